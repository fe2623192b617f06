//! Where the database is: a URL, taken apart once, so that what is wrong is said before anything connects.
//!
//! `sslmode` here: `disable`; `prefer` (encrypted if the server can, verified never); `require` (encrypted, verified
//! never); `verify-full` (encrypted, the certificate must be of a trusted authority and for this host). `verify-ca` is
//! read as `verify-full`, and a `ca` always means that it is verified. Without `sslmode`: `prefer` on this machine's own
//! addresses, `verify-full` everywhere else.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};
use url::Url;

/// Connections for everything that is not on the way to a containment, unless configured.
pub const POOL: usize = 16;
/// Connections that only containment uses.
pub(super) const URGENT: usize = 4;
/// Connections that only deliveries use: what a sender brings waits for nobody who reads.
pub(super) const ACCEPT: usize = 3;
/// Connections that pages are read over, and no others: a slow page holds up pages.
pub(super) const PAGES: usize = 6;
/// Connections that only leases use: a renewal must not wait behind work.
pub(super) const LEASES: usize = 2;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Plain text.
    Off,
    /// Encrypted where the server offers it; the server is not verified.
    Prefer,
    /// Encrypted; the server is not verified.
    Require,
    /// Encrypted, by a certificate of a trusted authority for this host.
    Verify,
}

/// Where the database is and how it is reached. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Config {
    settings: tokio_postgres::Config,
    password: Option<SecretString>,
    pub tls: Tls,
    /// The authority that signed the server's certificate (PEM); `None` = those the machine trusts.
    pub ca: Option<PathBuf>,
    /// Connections at most, beside sixteen: four for containment, three for deliveries, six for pages, two for leases and
    /// one for hints.
    pub pool: usize,
}

/// Why a URL is not one; never says what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("this is not a URL; write postgres://user@host:5432/database?sslmode=verify-full")]
    NoUrl,
    #[error("the URL names no {0}; write postgres://user@host:5432/database?sslmode=verify-full")]
    Lacks(&'static str),
    #[error("sslmode must be disable, prefer, require or verify-full")]
    SslMode,
    #[error("the URL has a parameter that means nothing here; known are sslmode, sslrootcert and those of libpq")]
    Parameter,
}

impl Config {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// It is not a URL of a database; see [`BadUrl`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let mut url = Url::parse(text).map_err(|_| BadUrl::NoUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(BadUrl::NoUrl);
        }
        let password = url.password().map(|word| percent_decode_str(word).decode_utf8_lossy().into_owned());
        url.set_password(None).map_err(|()| BadUrl::Lacks("host"))?;
        let (mut mode, mut ca, mut rest) = (None, None, Vec::new());
        let mut password = password.filter(|word| !word.is_empty()).map(SecretString::from);
        for (key, value) in url.query_pairs() {
            match &*key {
                "sslmode" => mode = Some(tls(&value)?),
                "sslrootcert" => ca = Some(PathBuf::from(&*value)).filter(|path| !path.as_os_str().is_empty()),
                "password" => password = Some(SecretString::from(value.into_owned())),
                _ => rest.push((key.into_owned(), value.into_owned())),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        // The form of URLs writes a blank as `+`; the driver reads `%20` only.
        let plain = url.as_str().replace('+', "%20");
        let settings: tokio_postgres::Config = plain.parse().map_err(|_| BadUrl::Parameter)?;
        if settings.get_hosts().is_empty() && settings.get_hostaddrs().is_empty() {
            return Err(BadUrl::Lacks("host"));
        }
        for (what, there) in [("user", settings.get_user()), ("database", settings.get_dbname())] {
            there.filter(|word| !word.is_empty()).ok_or(BadUrl::Lacks(what))?;
        }
        let tls = mode.unwrap_or(if is_local(&settings) { Tls::Prefer } else { Tls::Verify });
        Ok(Self { settings, password, tls, ca, pool: POOL })
    }

    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The password from elsewhere than the URL.
    #[must_use]
    pub fn with_password(self, password: SecretString) -> Self {
        Self { password: Some(password), ..self }
    }

    /// `database at host:port`, for people.
    pub fn place(&self) -> String {
        let host = match self.settings.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => self.settings.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
        };
        let port = self.settings.get_ports().first().copied().unwrap_or(5432);
        format!("{} at {host}:{port}", self.settings.get_dbname().unwrap_or_default())
    }

    /// What the driver is told; `more` are settings of the session.
    pub(super) fn driver(&self, more: &str) -> tokio_postgres::Config {
        let mut settings = self.settings.clone();
        if let Some(password) = &self.password {
            settings.password(password.expose_secret());
        }
        settings.ssl_mode(match self.tls {
            Tls::Off => SslMode::Disable,
            Tls::Prefer if self.ca.is_none() => SslMode::Prefer,
            _ => SslMode::Require,
        });
        // A transaction that hangs, or holds others up, ends by itself. What the URL says comes last and wins.
        let ours = "-c statement_timeout=10s -c lock_timeout=3s -c idle_in_transaction_session_timeout=10s";
        settings.options(format!("{ours} {more} {}", self.settings.get_options().unwrap_or_default()));
        if self.settings.get_application_name().is_none() {
            settings.application_name("oust");
        }
        if self.settings.get_connect_timeout().is_none() {
            settings.connect_timeout(Duration::from_secs(5));
        }
        settings.tcp_user_timeout(Duration::from_secs(10));
        settings.keepalives_idle(Duration::from_secs(15));
        settings.keepalives_interval(Duration::from_secs(5));
        settings.keepalives_retries(3);
        settings
    }
}

fn tls(word: &str) -> Result<Tls, BadUrl> {
    match word {
        "disable" => Ok(Tls::Off),
        "prefer" => Ok(Tls::Prefer),
        "require" => Ok(Tls::Require),
        "verify-ca" | "verify-full" => Ok(Tls::Verify),
        _ => Err(BadUrl::SslMode),
    }
}

/// True when every host is this machine.
fn is_local(settings: &tokio_postgres::Config) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    settings.get_hosts().iter().all(local) && settings.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_the_url_and_shown_nowhere() {
        let config = Config::parse("postgres://oust:hunt%40er-%2B2@db.contoso.example:6432/cases").expect("a URL");
        assert_eq!(config.password.as_ref().map(ExposeSecret::expose_secret), Some("hunt@er-+2"));
        assert_eq!(config.place(), "cases at db.contoso.example:6432");
        for shown in [format!("{config:?}"), config.place(), format!("{:?}", config.driver(""))] {
            assert!(!shown.contains("hunt"), "{shown}");
        }
        assert_eq!(config.driver("").get_password(), Some(b"hunt@er-+2".as_slice()));
        let asked = Config::parse("postgres://oust@h/d?password=hunt%40er&sslmode=require").expect("a URL");
        assert!(asked.has_password() && !format!("{asked:?}").contains("hunt"));
    }

    #[test]
    fn a_server_elsewhere_is_verified_unless_somebody_says_otherwise() {
        let tls = |text: &str| Config::parse(text).expect("a URL").tls;
        for local in ["localhost", "127.0.0.1", "[::1]", "%2Fvar%2Frun%2Fpostgresql"] {
            assert_eq!(tls(&format!("postgres://oust@{local}/cases")), Tls::Prefer, "{local}");
        }
        assert_eq!(tls("postgres://oust@db.contoso.example/cases"), Tls::Verify);
        assert_eq!(tls("postgresql://oust@10.0.0.7/cases"), Tls::Verify);
        for (word, expected) in [
            ("disable", Tls::Off),
            ("prefer", Tls::Prefer),
            ("require", Tls::Require),
            ("verify-ca", Tls::Verify),
            ("verify-full", Tls::Verify),
        ] {
            assert_eq!(tls(&format!("postgres://oust@10.0.0.7/cases?sslmode={word}")), expected);
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_repeated() {
        for (text, expected) in [
            ("postgres:", BadUrl::Lacks("host")),
            ("sqlite:///x", BadUrl::NoUrl),
            ("postgres://oust:hunter2@h:port/d", BadUrl::NoUrl),
            ("postgres://h/d", BadUrl::Lacks("user")),
            ("postgres://oust:hunter2@h", BadUrl::Lacks("database")),
            ("postgres://oust:hunter2@h/d?sslmode=maybe", BadUrl::SslMode),
            ("postgres://oust:hunter2@h/d?colour=red", BadUrl::Parameter),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_the_url_sets_for_the_session_comes_after_ours() {
        let config = Config::parse("postgres://oust@h/d?options=-c%20search_path%3Dmine").expect("a URL");
        let driver = config.driver("-c synchronous_commit=on");
        let options = driver.get_options().expect("set");
        assert!(options.starts_with("-c statement_timeout="), "{options}");
        assert!(options.ends_with("-c synchronous_commit=on -c search_path=mine"), "{options}");
    }
}
