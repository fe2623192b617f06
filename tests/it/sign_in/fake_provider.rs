//! An identity provider that can be wrong in every way: real HTTP, tokens signed with ES256.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use oust::domain::task::Role;
use oust::http::sign_in::{Aal2, OidcConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::authenticator::encode;

pub const CLIENT: &str = "oust-test";
pub const SECRET: &str = "secret-of-a-test-client";
/// Directory in the issuer's path, as Entra has it.
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    Right,
    Spoiled,
    /// `alg: none`.
    Nothing,
    /// `alg: HS256` with the client's secret.
    Secret,
    /// A key that is nowhere shown.
    Stranger,
}

struct Key {
    kid: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(kid: &str) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("a key");
        Self { kid: kid.into(), pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        })
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature").as_ref().to_vec()
    }
}

pub struct Inside {
    key: Key,
    stranger: Key,
    pub issuer: String,
    pub claims: Value,
    pub signing: Signing,
    pub down: bool,
    pub refuse: Option<&'static str>,
    pub iss_parameter: bool,
    /// S256 of the verifier that the next exchange must bring.
    pub challenge: String,
    pub keys_read: usize,
    pub exchanges: usize,
}

#[derive(Clone)]
pub struct FakeProvider(Arc<Mutex<Inside>>);

impl FakeProvider {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let provider = Self(Arc::new(Mutex::new(Inside {
            key: Key::new("one"),
            stranger: Key::new("one"),
            issuer: format!("http://{address}/{TENANT}/v2.0"),
            claims: json!({}),
            signing: Signing::Right,
            down: false,
            refuse: None,
            iss_parameter: false,
            challenge: String::new(),
            keys_read: 0,
            exchanges: 0,
        })));
        let base = format!("/{TENANT}/v2.0");
        let router = Router::new()
            .route(&format!("{base}/.well-known/openid-configuration"), get(description))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key changes; the old one is gone.
    pub fn rotate(&self, kid: &str) {
        self.inside().key = Key::new(kid);
    }

    pub fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: self.inside().issuer.clone(),
            client_id: CLIENT.into(),
            client_secret: Some(SecretString::from(SECRET)),
            aal2: Aal2 { acr: vec!["urn:high".into()], amr: vec!["mfa".into()], acrs: vec!["c1".into()] },
            groups_claim: "groups".into(),
            roles: [(Role::Viewer, vec!["*".into()]), (Role::Approver, vec!["on-call".into()])].into(),
            scopes: vec!["email".into()],
        }
    }
}

async fn description(State(provider): State<FakeProvider>) -> Response {
    let inside = provider.inside();
    if inside.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let root = inside.issuer.split(&format!("/{TENANT}")).next().unwrap_or_default().to_owned();
    Json(json!({
        "issuer": inside.issuer, "authorization_endpoint": format!("{root}/authorize"),
        "token_endpoint": format!("{root}/token"), "jwks_uri": format!("{root}/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": inside.iss_parameter,
    }))
    .into_response()
}

async fn keys(State(provider): State<FakeProvider>) -> Response {
    let mut inside = provider.inside();
    if inside.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    inside.keys_read += 1;
    Json(json!({ "keys": [inside.key.jwk()] })).into_response()
}

async fn token(State(provider): State<FakeProvider>, headers: HeaderMap, body: String) -> Response {
    let mut inside = provider.inside();
    inside.exchanges += 1;
    if inside.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let fields: std::collections::HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let verifier = fields.get("code_verifier").map(String::as_str).unwrap_or_default();
    let fits = headers.get("authorization").and_then(|value| value.to_str().ok()) == Some(&expected)
        && encode(&Sha256::digest(verifier.as_bytes())) == inside.challenge
        && fields.get("redirect_uri").map(String::as_str)
            == Some("https://oust.contoso.example/console/sign-in/oidc/callback");
    if let Some(error) = inside.refuse.or((!fits).then_some("invalid_client")) {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    }
    let token = signed(&inside);
    Json(json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": token })).into_response()
}

fn signed(inside: &Inside) -> String {
    let header = match inside.signing {
        Signing::Nothing => json!({ "alg": "none" }),
        Signing::Secret => json!({ "alg": "HS256" }),
        Signing::Stranger => json!({ "alg": "ES256", "kid": "nowhere" }),
        Signing::Right | Signing::Spoiled => json!({ "alg": "ES256", "kid": inside.key.kid }),
    };
    let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(inside.claims.to_string().as_bytes()));
    let signature = match inside.signing {
        Signing::Nothing => Vec::new(),
        Signing::Secret => {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        Signing::Stranger | Signing::Spoiled => inside.stranger.sign(&text),
        Signing::Right => inside.key.sign(&text),
    };
    format!("{text}.{}", encode(&signature))
}
