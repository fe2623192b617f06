//! Applications: their secrets, and the tokens they call Graph and ARM with.
//!
//! Tokens are opaque to callers, though shaped like Microsoft's: the twin looks them up, it verifies no signature.

use super::{
    Tenant,
    clock::{millis, read, write},
    login::Refusal,
    password,
    reply::{Call, Fail, Reply, Surface},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::HashMap;
use url::form_urlencoded;

/// Which host an application's token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Any,
    Graph,
    Arm,
}

#[derive(Clone, Copy, Debug)]
struct AppToken {
    app: usize,
    audience: Audience,
    expires: i64,
}

/// Live application tokens.
#[derive(Debug, Default)]
pub(super) struct AppTokens(std::sync::RwLock<HashMap<String, AppToken>>);

impl Tenant {
    /// The application behind a bearer token, by its index; 401 as Graph says it.
    pub(super) fn caller(&self, call: &Call<'_>, surface: Surface) -> Result<usize, Fail> {
        let refuse = |message: &'static str| Fail::new(401, "InvalidAuthenticationToken", message);
        let bearer = call.bearer.ok_or_else(|| refuse("Access token is empty."))?;
        let tokens = read(&self.app_tokens.0);
        let token = tokens.get(bearer).ok_or_else(|| refuse("IDX14100: JWT is not well formed or not known."))?;
        if token.expires <= call.now {
            return Err(refuse("Lifetime validation failed, the token is expired."));
        }
        let wanted = if surface == Surface::Arm { Audience::Arm } else { Audience::Graph };
        if token.audience != Audience::Any && token.audience != wanted {
            return Err(refuse("Access token validation failure. Invalid audience."));
        }
        Ok(token.app)
    }

    /// Forgets every application token: the next call of each caller meets a 401.
    pub(super) fn expire_app_tokens(&self) {
        write(&self.app_tokens.0).clear();
    }

    pub(super) fn managed_identity(&self, call: &Call<'_>) -> Reply {
        let resource = form_urlencoded::parse(call.query.as_bytes())
            .find(|(name, _)| name == "resource")
            .map_or_else(String::new, |(_, value)| value.into_owned());
        let seconds = call.knobs.app_token_seconds;
        let expires = call.now / 1000 + millis(seconds);
        Reply::ok(json!({"access_token": self.app_token(0, &resource, call), "expires_in": seconds.to_string(),
            "expires_on": expires.to_string(), "resource": resource, "token_type": "Bearer"}))
    }

    /// Checks an application's secret, or the claims of its assertion (whose signature is not verified).
    pub(super) fn app(&self, client: &str, form: &HashMap<String, String>) -> Result<usize, Refusal> {
        let found = self.apps.iter().position(|app| app.client_id.eq_ignore_ascii_case(client));
        let app = found.ok_or_else(|| {
            Refusal::new(700_016, format!("Application with identifier '{client}' was not found in the directory."))
        })?;
        if let Some(assertion) = form.get("client_assertion") {
            let claims = assertion.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let live = claims.and_then(|it| it["exp"].as_i64()).is_some_and(|exp| exp > self.clock.now() / 1000);
            return if live {
                Ok(app)
            } else {
                Err(Refusal::new(700_024, "Client assertion is not within its valid time range."))
            };
        }
        let secret = form.get("client_secret").map_or("", String::as_str);
        if password::same_text(&self.apps[app].client_secret, secret) {
            Ok(app)
        } else {
            Err(Refusal::new(7_000_215, "Invalid client secret provided."))
        }
    }

    pub(super) fn app_token(&self, app: usize, scope: &str, call: &Call<'_>) -> String {
        let audience = if scope.contains("management") {
            Audience::Arm
        } else if scope.contains("graph.microsoft") || scope.contains("microsoftgraph") {
            Audience::Graph
        } else {
            Audience::Any
        };
        let now = call.now / 1000;
        let expires = call.now + millis(call.knobs.app_token_seconds.saturating_mul(1000));
        let claims = json!({"aud": scope.trim_end_matches("/.default"), "tid": self.config.tenant_id,
            "iss": format!("https://sts.windows.net/{}/", self.config.tenant_id), "iat": now, "nbf": now,
            "exp": expires / 1000, "appid": self.apps[app].client_id, "idtyp": "app", "ver": "1.0",
            "roles": self.granted(app), "uti": self.clock.fresh_id()});
        let head = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"RS256"}"#);
        let middle = URL_SAFE_NO_PAD.encode(claims.to_string());
        let token = format!("{head}.{middle}.{}", self.seal(&middle));
        let mut tokens = write(&self.app_tokens.0);
        if tokens.len() > 1_000 {
            tokens.retain(|_, token| token.expires > call.now);
        }
        tokens.insert(token.clone(), AppToken { app, audience, expires });
        token
    }
}
