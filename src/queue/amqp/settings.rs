//! Where the broker is and how it is used. Nothing here shows a password, whatever fails.

use std::fmt;
use std::path::{Path, PathBuf};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use url::Url;

use super::Error;

/// How the broker is used.
#[derive(Debug, Clone)]
pub struct Config {
    pub endpoint: Endpoint,
    /// The exchange's name and the first part of every queue's.
    pub prefix: String,
    /// Signals a worker holds at most before it settles some.
    pub prefetch: u16,
    /// Messages a process has on the way to the broker at most, unconfirmed.
    pub in_flight: usize,
}

impl Config {
    /// The usual numbers.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, prefix: "oust".to_owned(), prefetch: 512, in_flight: 1024 }
    }

    pub(super) fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}

/// One broker, or one address of a cluster.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub vhost: String,
    pub username: String,
    pub password: SecretString,
    /// Whoever signed the broker's certificate; absent = what the operating system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate (chain) and its key, both PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Without the password.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{}@{host}:{}", self.username, self.port)?;
        if self.vhost == "/" { Ok(()) } else { write!(f, "/{}", self.vhost) }
    }
}

impl Endpoint {
    /// Reads `amqp(s)://user:password@host:port/vhost`. What is left out is guest, guest, 5672 (5671) and `/`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim()).map_err(|_| "it is no URL; write amqps://user@host:5671/vhost")?;
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err("its scheme must be amqp:// or amqps://"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must end with the vhost: settings stand beside `url`, not in it");
        }
        let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
            _ => Err("a part of it is not percent-encoded UTF-8"),
        };
        let host = match url.host() {
            Some(url::Host::Domain(name)) if !name.is_empty() => decoded(name)?,
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            _ => return Err("it names no host"),
        };
        let path = url.path().strip_prefix('/').unwrap_or(url.path());
        if path.contains('/') {
            return Err("the vhost has a slash; write it as %2F");
        }
        let vhost = if path.is_empty() { "/".to_owned() } else { decoded(path)? };
        let username = if url.username().is_empty() { "guest".to_owned() } else { decoded(url.username())? };
        let password = url.password().map_or(Ok("guest".to_owned()), decoded)?;
        Ok(Self {
            tls,
            host,
            port: url.port().unwrap_or(if tls { 5671 } else { 5672 }),
            vhost,
            username,
            password: SecretString::from(password),
            ca: None,
            identity: None,
        })
    }

    /// True for this very machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What a handshake is made with; `None` without TLS.
    pub(super) fn connector(&self) -> Result<Option<RustlsConnector>, Error> {
        if !self.tls {
            return Ok(None);
        }
        let failed = |error: std::io::Error| Error::Tls(error.to_string());
        let trust = match &self.ca {
            // Then nobody else is trusted.
            Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(path)?),
            None => RustlsConnectorConfig::new_with_platform_verifier(),
        };
        let connector = match &self.identity {
            None => trust.connector_with_no_client_auth(),
            Some((chain, key)) => {
                let unreadable = |error| Error::Tls(format!("{} holds no private key ({error})", key.display()));
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                trust.connector_with_single_cert(certificates(chain)?, key)
            }
        };
        connector.map(Some).map_err(failed)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |error: String| Error::Tls(format!("{} holds no certificate in PEM ({error})", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it is empty".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_url_says_everything_and_shows_no_password() {
        let endpoint = Endpoint::parse("amqps://ada:hunter%2F2@mq.contoso.example:5673/prod%2Feu").expect("a URL");
        assert_eq!((endpoint.tls, endpoint.host.as_str(), endpoint.port), (true, "mq.contoso.example", 5673));
        assert_eq!((endpoint.vhost.as_str(), endpoint.password.expose_secret()), ("prod/eu", "hunter/2"));
        for shown in [endpoint.to_string(), format!("{endpoint:?}"), format!("{:?}", Config::new(endpoint.clone()))] {
            assert!(!shown.contains("hunter"), "{shown}");
        }
        let short = Endpoint::parse("amqp://localhost").expect("a URL");
        assert_eq!(short.to_string(), "amqp://guest@localhost:5672");
        assert_eq!(Endpoint::parse("amqp://[::1]/").expect("a URL").to_string(), "amqp://guest@[::1]:5672");
    }

    #[test]
    fn what_is_no_broker_is_refused_without_repeating_it() {
        for text in
            ["", "amqp://", "http://h", "amqp://u:hunter2@h/a/b", "amqp://u:hunter2@h/v?heartbeat=1", "amqp://h/%ff"]
        {
            let reason = Endpoint::parse(text).expect_err(text);
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
