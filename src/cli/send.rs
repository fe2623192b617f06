//! `oust send`: signs and posts a payload as a sender would, with the secrets of the configured source.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::out::{pretty, printable};
use super::{Code, ConfigArg, Context, Failure};
use crate::config::{Config, Kind, Source};
use crate::sources::auth::{self, SecretRef, hmac, standard_webhooks};

/// `oust send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// The body; `-` reads stdin.
    file: PathBuf,
    /// The name of a configured source.
    #[arg(long)]
    source: String,
    /// Where oust listens [default: the configured address].
    #[arg(long)]
    url: Option<Url>,
    #[command(flatten)]
    config: ConfigArg,
}

/// Longest answer that is read, in bytes.
const MOST: usize = 1024 * 1024;

impl Send {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = self.body()?;
        let config = context.load(&self.config)?;
        let source = config.sources.iter().find(|source| source.name == self.source).ok_or_else(|| {
            let names = config.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
            Failure::new(Code::Usage, format!("no source is called {}", self.source), format!("there is {names}"))
        })?;
        let url = self.address(&config)?;
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("oust/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::of(Code::Unreachable, &error, "the TLS setup of this machine is broken"))?;
        let request = client.post(url.clone()).header("content-type", "application/json");
        let request = signed(request, source, &body)?.body(body);
        let mut shown = url;
        shown.set_query(None);
        let next = format!("is `oust serve` running and reachable at {shown}?");
        // The address may hold a token: it is never part of a message.
        let answer =
            request.send().await.map_err(|error| Failure::of(Code::Unreachable, &error.without_url(), next.clone()))?;
        tell(context, answer, &next).await
    }

    fn body(&self) -> Result<Vec<u8>, Failure> {
        let read = if self.file.as_os_str() == "-" {
            let mut body = Vec::new();
            std::io::stdin().lock().read_to_end(&mut body).map(|_| body)
        } else {
            std::fs::read(&self.file)
        };
        read.map_err(|error| {
            let message = format!("{} cannot be read: {error}", self.file.display());
            Failure::new(Code::Unreachable, message, "name a file with the body, or - for stdin")
        })
    }

    fn address(&self, config: &Config) -> Result<Url, Failure> {
        let mut listen = config.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(if listen.is_ipv6() { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() });
        }
        let wrong = || Failure::new(Code::Usage, "this is no address to post to", "--url http://127.0.0.1:8080");
        let mut url = match &self.url {
            Some(url) => url.clone(),
            None => Url::parse(&format!("http://{listen}/")).map_err(|_| wrong())?,
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        if !url.path().contains("/webhooks/") {
            url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(["webhooks", self.source.as_str()]);
        }
        Ok(url)
    }
}

/// Signs as the first way of the source's `auth` wants it.
pub(super) fn signed(request: RequestBuilder, source: &Source, body: &[u8]) -> Result<RequestBuilder, Failure> {
    if matches!(source.kind, Kind::Graph { .. }) {
        return Ok(request);
    }
    let lacks = || Failure::new(Code::Problems, format!("the source {} has no secret to sign with", source.name), "");
    let first = |secrets: &[SecretRef]| match secrets.first() {
        Some(SecretRef::Inline(secret)) => Ok(secret.clone()),
        _ => Err(lacks()),
    };
    match source.auth.first().ok_or_else(lacks)? {
        auth::Config::StandardWebhooks(config) => {
            let (id, now) = (format!("msg_{}", Uuid::now_v7().simple()), Timestamp::now());
            let signature =
                standard_webhooks::signature(&first(&config.secrets)?, &id, now, body).map_err(|error| {
                    Failure::of(Code::Problems, &error, "make a secret: whsec_$(openssl rand -base64 32)")
                })?;
            let sent = now.as_second().to_string();
            let headers = [("webhook-id", id), ("webhook-timestamp", sent), ("webhook-signature", signature)];
            Ok(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
        }
        auth::Config::Hmac(config) => {
            let signature = hmac::signature(config, &first(&config.secrets)?, body);
            Ok(request.header(config.header.as_str(), signature))
        }
        auth::Config::Bearer(config) => {
            let secret: SecretString = first(&config.secrets)?;
            Ok(request.bearer_auth(secret.expose_secret()))
        }
        auth::Config::QueryToken(config) => {
            let secret = first(&config.secrets)?;
            Ok(request.query(&[(config.parameter.as_str(), secret.expose_secret())]))
        }
    }
}

async fn tell(context: &Context, mut answer: reqwest::Response, next: &str) -> Result<(), Failure> {
    let status = answer.status();
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| Failure::of(Code::Unreachable, &error.without_url(), next);
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.clone()));
    context.out.say(&json!({ "status": status.as_u16(), "answer": parsed }), || {
        let shown = if parsed.is_string() { printable(&text) } else { pretty(&parsed) };
        format!("{status}\n{shown}").trim_end().to_owned()
    });
    if status.is_success() {
        Ok(())
    } else if status.is_server_error() {
        Err(Failure::new(Code::Unreachable, format!("the server answered {status}"), "send it again later"))
    } else {
        Err(Failure::shown())
    }
}
