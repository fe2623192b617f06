//! What the pages load: one style sheet and a few scripts, embedded in the binary, no build step.
//!
//! All of it lies under one folder named after its own hash, so that it may be cached for ever and modules find each
//! other by relative names. Pages load nothing else (content security policy: own origin, nothing inline).

use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $content_type:ident),+ $(,)?) => {
        &[$(Asset { name: $name, content_type: $content_type, body: include_str!(concat!("assets/", $name)) }),+]
    };
}

/// Everything there is.
pub const ALL: &[Asset] = assets![
    "console.css": CSS,
    "theme.js": JS,
    "frame.js": JS,
    "forms.js": JS,
    "clock.js": JS,
    "live.js": JS,
    "decide.js": JS,
    "reveal.js": JS,
    "hpke.js": JS,
    "keys.js": JS,
    "post.js": JS,
    "passkey.js": JS,
    "favicon.svg": SVG,
];

/// The route of [`serve`].
pub const ROUTE: &str = "/console/assets/{version}/{name}";

/// The folder's name: changes with any byte of any file.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut all = Sha256::new();
        for asset in ALL {
            all.update(asset.name);
            all.update([0]);
            all.update(asset.body);
            all.update([0]);
        }
        hex::encode(&all.finalize()[..8])
    })
}

/// Where a page finds a file.
pub fn url(name: &str) -> String {
    format!("/console/assets/{}/{name}", version())
}

/// `GET` of [`ROUTE`]. A page of another version of the binary gets today's file, not to be kept.
pub async fn serve(Path((asked, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ALL.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let keep = if asked == version() { "public, max-age=31536000, immutable" } else { "no-store" };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (headers, asset.body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_url_and_nothing_in_it_reaches_elsewhere() {
        for asset in ALL {
            assert!(url(asset.name).ends_with(asset.name));
            let foreign = asset.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{}", asset.name);
            assert!(asset.body.len() < 40_000, "{} is {} bytes", asset.name, asset.body.len());
        }
        assert_eq!(version().len(), 16);
    }

    #[tokio::test]
    async fn an_old_page_gets_the_file_but_must_not_keep_it() {
        let cache = |response: &Response| response.headers().get(CACHE_CONTROL).cloned();
        let now = serve(Path((version().to_owned(), "console.css".to_owned()))).await;
        assert_eq!(cache(&now), Some(HeaderValue::from_static("public, max-age=31536000, immutable")));
        let old = serve(Path(("0".to_owned(), "console.css".to_owned()))).await;
        assert_eq!((old.status(), cache(&old)), (StatusCode::OK, Some(HeaderValue::from_static("no-store"))));
        let none = serve(Path((version().to_owned(), "../mod.rs".to_owned()))).await;
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
    }
}
