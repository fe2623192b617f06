//! The identity provider: discovery, the way there (code, PKCE, state, nonce), the exchange and the check of the token.
//!
//! Bounded: ten seconds a call, one MiB an answer, no redirects; what the provider says about itself is kept for an hour,
//! and its keys are read again at most once a minute when a token names one that is not known.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGrantType, CoreIdTokenVerifier, CoreJsonWebKey, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AsyncHttpClient, AuthenticationContextClass, AuthorizationCode,
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, Scope, SignatureVerificationError,
    TokenResponse,
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::claims::Claims;
use super::{Config, Error};
use crate::http::sign_in::proof::check_token;

/// Clocks of the provider and of ours may differ by so much.
pub(super) const SKEW: i64 = 60;
/// A token older than this was not made for this attempt.
const OLDEST_TOKEN: i64 = 600;
const CALL: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 1024 * 1024;
const KEEP: Duration = Duration::from_secs(3600);
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// What we read of the provider's description beside the usual.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct More {
    /// RFC 9207: answers name their issuer.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

#[derive(Debug, Clone)]
struct Known {
    metadata: Arc<Metadata>,
    keys: Arc<CoreJsonWebKeySet>,
    read_at: Instant,
    keys_at: Instant,
}

/// A call that did not come back as it must.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the call failed")]
    Call(#[from] reqwest::Error),
    #[error("the answer is larger than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("the answer is no HTTP response")]
    Malformed(#[from] axum::http::Error),
}

/// A token that holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub claims: Claims,
    pub payload: Value,
    pub raw: String,
    /// The provider's key that signed it.
    pub key: Value,
}

/// The configured provider.
#[derive(Debug)]
pub(in crate::http::sign_in) struct Provider {
    pub(super) config: Config,
    redirect: RedirectUrl,
    issuer: IssuerUrl,
    http: Http,
    clock: Clock,
    known: Mutex<Option<Known>>,
}

struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Our own client as the library asks for it: no redirects, bounded.
#[derive(Debug)]
struct Http(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, CallError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut response = self.0.execute(reqwest::Request::try_from(request)?).await?;
            let mut built = axum::http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                built = built.header(name, value);
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if bytes.len() + chunk.len() > MOST_BYTES {
                    return Err(CallError::TooLarge);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(built.body(bytes)?)
        })
    }
}

/// What the way to the provider is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    SignIn,
    /// The person must be asked again, by more than a password.
    StepUp,
}

impl Provider {
    pub fn new(config: Config, redirect: &str, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL)
            .connect_timeout(CALL)
            .user_agent(concat!("oust/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|_| Error::Address)?;
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|_| Error::Address)?;
        Ok(Self { config, redirect, issuer, http: Http(client), clock: Clock(clock), known: Mutex::new(None) })
    }

    pub(super) fn issuer(&self) -> &url::Url {
        self.issuer.url()
    }

    fn now(&self) -> Timestamp {
        (self.clock.0)()
    }

    /// What the provider says about itself.
    async fn known(&self) -> Result<Known, Error> {
        let mut kept = self.known.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| known.read_at.elapsed() < KEEP) {
            return Ok(known.clone());
        }
        let metadata =
            Metadata::discover_async(self.issuer.clone(), &self.http).await.map_err(|error| unusable(&error))?;
        let now = Instant::now();
        let keys = Arc::new(metadata.jwks().clone());
        let known = Known { metadata: Arc::new(metadata), keys, read_at: now, keys_at: now };
        *kept = Some(known.clone());
        Ok(known)
    }

    /// The keys again, if they were not read just now; `None`: they were.
    async fn keys_again(&self) -> Result<Option<Arc<CoreJsonWebKeySet>>, Error> {
        let mut kept = self.known.lock().await;
        let Some(known) = kept.as_mut() else { return Ok(None) };
        if known.keys_at.elapsed() < KEYS_AGAIN && known.keys_at != known.read_at {
            return Ok(None);
        }
        // Marked before the call: a provider that is down is not asked again at once either.
        known.keys_at = Instant::now();
        let keys = CoreJsonWebKeySet::fetch_async(known.metadata.jwks_uri(), &self.http).await;
        let keys = Arc::new(keys.map_err(|error| unusable(&error))?);
        known.keys = Arc::clone(&keys);
        Ok(Some(keys))
    }

    /// The address to send the browser to, and what is kept to finish: nonce and verifier.
    pub(super) async fn way(&self, state: &str, asking: Asking) -> Result<(url::Url, Value), Error> {
        let known = self.known().await?;
        let client = self.client(&known);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = Nonce::new_random();
        let (state, kept) = (CsrfToken::new(state.to_owned()), nonce.clone());
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || kept)
            .set_pkce_challenge(challenge)
            .add_scope(Scope::new("profile".to_owned()));
        for scope in &self.config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let aal2 = &self.config.aal2;
        for acr in &aal2.acr {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        if asking == Asking::StepUp {
            request = request.set_max_age(Duration::ZERO);
            if let Some(first) = aal2.acrs.first() {
                let wanted = json!({ "id_token": { "acrs": { "essential": true, "value": first } } });
                request = request.add_extra_param("claims", wanted.to_string());
            }
        }
        let (address, _, nonce) = request.url();
        Ok((address, json!({ "nonce": nonce.secret(), "verifier": verifier.into_secret() })))
    }

    fn client(
        &self,
        known: &Known,
    ) -> CoreClient<
        openidconnect::EndpointSet,
        openidconnect::EndpointNotSet,
        openidconnect::EndpointNotSet,
        openidconnect::EndpointNotSet,
        openidconnect::EndpointMaybeSet,
        openidconnect::EndpointMaybeSet,
    > {
        let secret = self.config.client_secret.as_ref().map(|it| ClientSecret::new(it.expose_secret().to_owned()));
        let id = ClientId::new(self.config.client_id.clone());
        CoreClient::from_provider_metadata((*known.metadata).clone(), id, secret)
            .set_redirect_uri(self.redirect.clone())
    }

    /// Exchanges a code and checks the token: signature by a known key, issuer, audience, time, nonce.
    pub(super) async fn exchange(&self, code: &str, issuer: Option<&str>, kept: &Value) -> Result<Verified, Error> {
        let known = self.known().await?;
        let says = known.metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match issuer {
            Some(issuer) if issuer != self.issuer.as_str() => return Err(Error::MixUp),
            None if says => return Err(Error::MixUp),
            _ => {}
        }
        let (Some(nonce), Some(verifier)) = (kept["nonce"].as_str(), kept["verifier"].as_str()) else {
            return Err(Error::Answer("the attempt is unreadable".to_owned()));
        };
        let client = self.client(&known);
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| unusable(&error))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
        let tokens = request.request_async(&self.http).await.map_err(|error| match &error {
            openidconnect::RequestTokenError::ServerResponse(said) => Error::Refused(said.error().to_string()),
            _ => unusable(&error),
        })?;
        let token = tokens.id_token().ok_or_else(|| Error::Answer("it sent no identity token".to_owned()))?;
        let nonce = Nonce::new(nonce.to_owned());
        let first = token.claims(&self.verifier(&known.keys), &nonce).map(|_| ());
        let keys = match first {
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let keys = self.keys_again().await?.ok_or(Error::UnknownKey)?;
                token.claims(&self.verifier(&keys), &nonce).map_err(Error::Token)?;
                keys
            }
            other => {
                other.map_err(Error::Token)?;
                known.keys
            }
        };
        let raw = token.to_string();
        let key = keys.keys().iter().filter_map(|key| serde_json::to_value(key).ok()).find(|key| signed(key, &raw));
        self.read(raw, key.unwrap_or_default())
    }

    fn verifier(&self, keys: &CoreJsonWebKeySet) -> CoreIdTokenVerifier<'static> {
        use CoreJwsSigningAlgorithm as Alg;
        let now = self.now().as_second();
        let instant = |second: i64| chrono::DateTime::from_timestamp(second, 0).unwrap_or(chrono::DateTime::UNIX_EPOCH);
        // As a public client: a signature by the client's secret is no signature by the provider.
        CoreIdTokenVerifier::new_public_client(
            ClientId::new(self.config.client_id.clone()),
            self.issuer.clone(),
            keys.clone(),
        )
        .set_allowed_algs([Alg::RsaSsaPkcs1V15Sha256, Alg::RsaSsaPssSha256, Alg::EcdsaP256Sha256, Alg::EcdsaP384Sha384])
        .set_time_fn(move || instant(now - SKEW))
        .set_issue_time_verifier_fn(move |issued| {
            let age = now - issued.timestamp();
            if (-SKEW..=OLDEST_TOKEN).contains(&age) { Ok(()) } else { Err(format!("issued {age} s ago")) }
        })
    }

    /// Reads the payload of a token whose signature was checked.
    fn read(&self, raw: String, key: Value) -> Result<Verified, Error> {
        let broken = || Error::Answer("the token's payload is unreadable".to_owned());
        let payload = raw.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        let payload: Value = serde_json::from_slice(&payload.ok_or_else(broken)?).map_err(|_| broken())?;
        let claims = Claims::deserialize(&payload).map_err(|_| broken())?;
        if claims.azp.as_ref().is_some_and(|azp| *azp != self.config.client_id) {
            return Err(Error::Answer("the token was made for another application (azp)".to_owned()));
        }
        if claims.nbf.is_some_and(|nbf| nbf > self.now().as_second() + SKEW) {
            return Err(Error::Answer("the token is not valid yet (nbf)".to_owned()));
        }
        Ok(Verified { claims, payload, raw, key })
    }
}

/// This key signed the token.
fn signed(key: &Value, token: &str) -> bool {
    check_token(key, token).is_ok()
}

/// A provider that does not answer as it must; the chain goes to the log.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Unusable(crate::http::chain(error))
}
