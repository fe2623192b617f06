//! The subscriber: log lines to standard error, spans to an OTLP collector when one is configured.
//!
//! Spans get ids and are carried even without a collector, so that one trace per signal exists in what is stored and
//! sent, whichever process exports. The exporter's own traffic is not traced.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};
use url::Url;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// For a person at a terminal.
    #[default]
    Pretty,
    /// One object a line, for a collector.
    Json,
    Off,
}

/// What is logged and where spans go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub log: Log,
    /// A level (`info`) or directives (`info,oust::graph=debug`).
    pub level: String,
    /// OTLP over HTTP, e.g. `http://collector:4318`; without a path, `/v1/traces` is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Url>,
}

impl Default for Config {
    fn default() -> Self {
        Self { log: Log::default(), level: "info".to_owned(), otlp: None }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("telemetry.level: not a level or list of directives: {level}")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("telemetry.otlp: expected http:// or https:// without user and password")]
    Endpoint,
    #[error("telemetry.otlp: no exporter to {endpoint}")]
    Exporter { endpoint: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("a subscriber is already installed in this process")]
    Installed { source: tracing_subscriber::util::TryInitError },
}

/// Exports what is left when dropped; keep it until the process ends.
#[derive(Debug)]
#[must_use = "spans are exported only as long as the guard lives"]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A collector that is away must not hold up the exit, and nobody is left to be told.
        let _ = self.provider.shutdown_with_timeout(FLUSH_WITHIN);
    }
}

const FLUSH_WITHIN: Duration = Duration::from_secs(3);
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// Installs the subscriber for the whole process; at most once.
pub fn install(config: &Config) -> Result<Guard, Error> {
    let (subscriber, guard) = build(config)?;
    subscriber.try_init().map_err(|source| Error::Installed { source })?;
    Ok(guard)
}

/// The subscriber, not installed.
pub(super) fn build(config: &Config) -> Result<(impl Subscriber + Send + Sync + use<>, Guard), Error> {
    let mut filter =
        EnvFilter::try_new(&config.level).map_err(|source| Error::Level { level: config.level.clone(), source })?;
    // What fails there is said by us, once; and what it says of every frame may be a password.
    for silent in ["lapin=off", "amq_protocol=off", "async_rs=off", "tcp_stream=off"] {
        filter = filter.add_directive(silent.parse().expect("a directive"));
    }
    let lines: Option<Box<dyn Layer<Registry> + Send + Sync>> = match config.log {
        Log::Pretty => {
            let ansi = std::io::stderr().is_terminal();
            Some(fmt::layer().with_ansi(ansi).with_target(false).with_writer(std::io::stderr).boxed())
        }
        Log::Json => Some(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()),
        Log::Off => None,
    };
    let provider = provider(config.otlp.as_ref())?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("oust"))
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_target("oust", LevelFilter::INFO));
    let subscriber = Registry::default().with(lines.map(|lines| lines.with_filter(filter))).with(spans);
    Ok((subscriber, Guard { provider }))
}

/// Without an endpoint: spans with ids, exported nowhere.
fn provider(otlp: Option<&Url>) -> Result<SdkTracerProvider, Error> {
    let builder = SdkTracerProvider::builder().with_resource(Resource::builder().with_service_name("oust").build());
    let Some(url) = otlp else { return Ok(builder.build()) };
    let endpoint = endpoint(url)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint.as_str())
        .with_timeout(EXPORT_WITHIN)
        .build()
        .map_err(|source| Error::Exporter { endpoint: endpoint.to_string(), source: source.into() })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

fn endpoint(url: &Url) -> Result<Url, Error> {
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(Error::Endpoint);
    }
    let mut url = url.clone();
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn with(level: &str, otlp: Option<&str>) -> Config {
        Config { log: Log::Off, level: level.into(), otlp: otlp.map(|url| url.parse().expect("a URL")) }
    }

    #[test]
    fn spans_reach_a_collector_before_the_guard_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut seen = Vec::new();
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&seen).contains("the-span-of-this-test") {
                let count = stream.read(&mut chunk).expect("readable");
                assert_ne!(count, 0, "closed early: {}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&chunk[..count]);
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).expect("writable");
            String::from_utf8_lossy(&seen).into_owned()
        });
        let (subscriber, guard) = build(&with("info", Some(&url))).expect("a subscriber");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("the-span-of-this-test").in_scope(|| ());
        });
        drop(guard);
        let seen = collector.join().expect("the collector saw the span");
        assert!(seen.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{seen}");
    }

    #[test]
    fn rubbish_in_the_configuration_is_a_clear_error() {
        let error = |config: Config| build(&config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(with("oust=loud", None)).starts_with("telemetry.level: not a level"));
        for url in ["ftp://collector", "http://user:secret@collector:4318"] {
            let text = error(with("info", Some(url)));
            assert_eq!(text, "telemetry.otlp: expected http:// or https:// without user and password");
        }
        assert!(serde_json::from_str::<Config>(r#"{"logs":"json"}"#).is_err());
    }

    #[test]
    fn an_endpoint_with_a_path_is_taken_as_it_is() {
        let path = |url: &str| endpoint(&url.parse().expect("a URL")).expect("an endpoint").path().to_owned();
        assert_eq!(path("http://collector:4318"), "/v1/traces");
        assert_eq!(path("https://collector/otlp/v1/traces"), "/otlp/v1/traces");
    }
}
