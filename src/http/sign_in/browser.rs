//! What a browser sends and is told: cookies, the check against forged requests, the headers that bind a page's hands.
//!
//! The check is our own, thirty lines, instead of tower-http's layer: it also refuses what names no origin at all, counts
//! what it refuses, and stands in the same place as the session's token, so that no route can have one without the other.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HeaderName, HeaderValue, ORIGIN};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::site::Site;
use crate::http::serve::Peer;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Where scripts send the session's token; forms send it as the field `csrf`.
pub const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// 256 random bits as text: session ids, flow ids, handles of challenges, tokens of invitations.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// True for a text that `secret` could have made.
pub(super) fn is_secret(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// SHA-256 in hex: how the store knows a secret.
pub(super) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// A session's token against forged requests: made of its id, so that nothing more is stored.
pub(super) fn csrf_of(session: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"oust csrf v1\0");
    hasher.update(session.as_bytes());
    URL_SAFE_NO_PAD.encode(hasher.finalize())
}

/// Compares secrets without telling how far they agree.
pub(super) fn same(a: &str, b: &str) -> bool {
    bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// The value of a cookie that looks like a secret of ours. Two of one name are none: somebody planted one.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next()?;
    (values.next().is_none() && is_secret(value)).then(|| value.to_owned())
}

/// `Set-Cookie`; an empty value removes it.
pub(super) fn set_cookie(site: &Site, name: &str, value: &str) -> HeaderValue {
    let secure = if site.is_secure() { "; Secure" } else { "" };
    let ends = if value.is_empty() { "; Max-Age=0" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{ends}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Why a changing request was not believed to come from our own pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forged {
    /// `Origin` is another's.
    Origin,
    /// The browser says that another site made it.
    Site,
    /// Neither is said: no browser of today, or a stripped request.
    Unsaid,
}

impl Forged {
    /// The reason in counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Origin => "foreign_origin",
            Self::Site => "cross_site",
            Self::Unsaid => "no_origin",
        }
    }
}

/// Only our own pages may change something.
pub(super) fn check_origin(method: &Method, headers: &HeaderMap, site: &Site) -> Result<(), Forged> {
    if method.is_safe() {
        return Ok(());
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    let fetch = headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    match (origin, fetch) {
        (Some(origin), _) if !site.accepts(origin) => Err(Forged::Origin),
        (_, Some(fetch)) if fetch != b"same-origin" => Err(Forged::Site),
        (None, None) => Err(Forged::Unsaid),
        _ => Ok(()),
    }
}

/// Whom a limit counts: the peer, or what a proxy of our own network says it is. IPv6 by its /64.
pub(super) fn source(peer: Option<&Peer>, headers: &HeaderMap) -> String {
    let Some(peer) = peer.map(|peer| peer.0.ip().to_canonical()) else { return "unknown".to_owned() };
    let ours = match peer {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    // Only the last entry was written by the proxy that stands before us.
    let said = headers.get_all(&FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
    let said = said.and_then(|text| forwarded(text.rsplit(',').next()?.trim()));
    match said.filter(|_| ours).unwrap_or(peer).to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments()[..4].iter().map(|part| format!("{part:x}")).collect::<Vec<_>>().join(":"),
    }
}

/// An address as proxies write it: some add the port, some put IPv6 in brackets.
fn forwarded(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    plain.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// What every answer of the console says to the browser.
pub(super) fn seal(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 9] = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        // Not `no-referrer`: browsers would then write `Origin: null` on our own forms.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("strict-transport-security"), "max-age=31536000"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
        (
            HeaderName::from_static("permissions-policy"),
            "publickey-credentials-get=(self), publickey-credentials-create=(self), clipboard-write=(self), \
             camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Where to go after a sign-in: a path of the console and nothing else.
pub(super) fn next(asked: Option<&str>) -> String {
    let plain = |path: &&str| {
        let rest = path.strip_prefix("/console");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && path.len() <= 512
            && !path.contains("//")
            && path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'))
    };
    asked.filter(plain).unwrap_or("/console").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let url = "https://oust.contoso.example".parse().expect("a URL");
        Site::of(Some(&url), "127.0.0.1:1".parse().expect("an address")).expect("https")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn only_our_own_pages_may_change_something() {
        let ours = "https://oust.contoso.example";
        let check = |pairs: &[(&'static str, &str)]| check_origin(&Method::POST, &headers(pairs), &site());
        assert_eq!(check(&[("origin", ours), ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check(&[("origin", ours)]), Ok(()));
        assert_eq!(check(&[("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(
            check(&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")]),
            Err(Forged::Origin)
        );
        assert_eq!(check(&[("origin", "https://oust.contoso.example.evil.example")]), Err(Forged::Origin));
        assert_eq!(check(&[("origin", "null")]), Err(Forged::Origin));
        for site in ["cross-site", "same-site", "none", ""] {
            assert_eq!(check(&[("origin", ours), ("sec-fetch-site", site)]), Err(Forged::Site), "{site}");
        }
        assert_eq!(check(&[]), Err(Forged::Unsaid));
        assert_eq!(check_origin(&Method::GET, &headers(&[("origin", "null")]), &site()), Ok(()));
    }

    #[test]
    fn a_cookie_is_read_once_and_only_if_it_could_be_ours() {
        let value = secret();
        let good = headers(&[("cookie", &format!("a=b; __Host-oust={value}; c=d"))]);
        assert_eq!(cookie(&good, "__Host-oust"), Some(value.clone()));
        let planted =
            headers(&[("cookie", &format!("__Host-oust={value}")), ("cookie", &format!("__Host-oust={value}"))]);
        assert_eq!(cookie(&planted, "__Host-oust"), None);
        for bad in ["", "short", &"a".repeat(44), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"] {
            assert_eq!(cookie(&headers(&[("cookie", &format!("__Host-oust={bad}"))]), "__Host-oust"), None, "{bad}");
        }
        let text = set_cookie(&site(), "__Host-oust", &value);
        let expected = format!("__Host-oust={value}; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(text.to_str().expect("text"), expected);
    }

    #[test]
    fn after_a_sign_in_one_goes_to_the_console_and_nowhere_else() {
        for good in ["/console", "/console/tasks/task_1?x=1", "/console?tab=a"] {
            assert_eq!(next(Some(good)), good);
        }
        for bad in [
            "https://evil.example",
            "//evil.example",
            "/console//evil",
            "/consolex",
            "/console/\\evil",
            "/api",
            "/console/ä",
        ] {
            assert_eq!(next(Some(bad)), "/console", "{bad}");
        }
    }

    #[test]
    fn a_limit_counts_the_peer_unless_our_own_proxy_names_another() {
        let peer = |text: &str| Peer(text.parse().expect("an address"));
        let said = headers(&[("x-forwarded-for", "198.51.100.7, 203.0.113.9")]);
        assert_eq!(source(Some(&peer("192.0.2.1:1")), &said), "192.0.2.1");
        assert_eq!(source(Some(&peer("10.0.0.2:1")), &said), "203.0.113.9");
        assert_eq!(source(Some(&peer("[2001:db8:1:2:3:4:5:6]:1")), &HeaderMap::new()), "2001:db8:1:2");
        assert_eq!(source(Some(&peer("127.0.0.1:1")), &headers(&[("x-forwarded-for", "rubbish")])), "127.0.0.1");
    }

    #[test]
    fn an_address_with_its_port_is_the_same_address() {
        let peer = Peer("10.0.0.2:1".parse().expect("an address"));
        for (said, counted) in [
            ("203.0.113.9:50123", "203.0.113.9"),
            ("198.51.100.7, 203.0.113.9:1", "203.0.113.9"),
            ("[2001:db8:1:2:3:4:5:6]:50123", "2001:db8:1:2"),
            ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
            ("[::ffff:203.0.113.9]:443", "203.0.113.9"),
            ("203.0.113.9:", "10.0.0.2"),
            ("[203.0.113.9", "10.0.0.2"),
            ("unknown", "10.0.0.2"),
        ] {
            assert_eq!(source(Some(&peer), &headers(&[("x-forwarded-for", said)])), counted, "{said}");
        }
    }
}
