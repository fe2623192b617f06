//! What a tenant's client is made of, checked once, before anything is sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use url::{Host, Url};
use uuid::Uuid;

use super::client::Graph;
use super::terms::{GraphCall, Observer};

/// Microsoft's clouds; tokens are not interchangeable between them (facts: graph §7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    #[default]
    Global,
    /// GCC High.
    UsGov,
    UsDod,
    /// Has no identity protection.
    China,
}

impl Cloud {
    /// Where Graph is; also the audience of its tokens.
    pub const fn graph(self) -> &'static str {
        match self {
            Self::Global => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::UsDod => "https://dod-graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// Where tokens come from.
    pub const fn login(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::UsGov | Self::UsDod => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }

    /// Where Azure Resource Manager is; also the audience of its tokens.
    pub const fn arm(self) -> &'static str {
        match self {
            Self::Global => "https://management.azure.com",
            Self::UsGov | Self::UsDod => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        }
    }
}

/// How oust proves to Entra which application it is.
#[derive(Clone)]
pub enum Credential {
    /// A client secret of an app registration.
    ClientSecret { client_id: String, secret: SecretString },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::ClientSecret { client_id, .. } = self;
        f.debug_struct("ClientSecret").field("client_id", client_id).field("secret", &"[secret]").finish()
    }
}

/// So many calls in any span of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub calls: u32,
    pub per: Duration,
}

/// What Graph grants a tenant; exceeding it only costs time (facts: graph §6). `None` = no gate of ours.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Shared by every application of the tenant; its 429 carries no `Retry-After`.
    pub identity_protection: Option<Limit>,
    pub audit_logs: Option<Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            identity_protection: Some(Limit { calls: 1, per: Duration::from_secs(1) }),
            audit_logs: Some(Limit { calls: 5, per: Duration::from_secs(10) }),
        }
    }
}

/// One tenant's Graph.
#[derive(Debug, Clone)]
pub struct Config {
    pub tenant_id: Uuid,
    pub cloud: Cloud,
    /// Overrides of the cloud's addresses (tests, proxies). `https` unless the host is loopback.
    pub graph_url: Option<Url>,
    pub login_url: Option<Url>,
    pub arm_url: Option<Url>,
    pub credential: Credential,
    /// Used for password resets only, in place of `credential`.
    pub recover_credential: Option<Credential>,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    pub limits: Limits,
    /// How long a change of a user may take until a read shows it (facts: graph §4.1).
    pub read_lag: Duration,
}

impl Config {
    /// The usual values; addresses of the global cloud.
    pub fn new(tenant_id: Uuid, credential: Credential) -> Self {
        Self {
            tenant_id,
            cloud: Cloud::Global,
            graph_url: None,
            login_url: None,
            arm_url: None,
            credential,
            recover_credential: None,
            connect_timeout: Duration::from_secs(3),
            limits: Limits::default(),
            read_lag: Duration::from_secs(30),
        }
    }

    /// Every address at one place, as a simulated tenant has it.
    #[must_use]
    pub fn at(mut self, base: &Url) -> Self {
        self.graph_url = Some(base.clone());
        self.login_url = Some(base.clone());
        self.arm_url = Some(base.clone());
        self
    }

    /// Builds the client; sends nothing.
    ///
    /// # Errors
    /// An address is not `https` (and not loopback) or the TLS stack cannot be set up.
    pub fn build(self) -> Result<Graph, ConfigError> {
        self.build_with(Hooks::default())
    }

    /// Builds the client with a clock and an observer of its calls.
    ///
    /// # Errors
    /// As [`Config::build`].
    pub fn build_with(self, hooks: Hooks) -> Result<Graph, ConfigError> {
        Graph::new(&self, hooks)
    }

    pub(super) fn base(&self, given: Option<&Url>, default: &str, name: &'static str) -> Result<Url, ConfigError> {
        let url = match given {
            Some(url) => url.clone(),
            None => Url::parse(default).map_err(|_| ConfigError::Address { name })?,
        };
        let safe = match url.scheme() {
            "https" => true,
            "http" => is_loopback(&url),
            _ => false,
        };
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if safe && plain && url.host().is_some() && !url.cannot_be_a_base() {
            Ok(url)
        } else {
            Err(ConfigError::Address { name })
        }
    }
}

/// True when an address cannot leave this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// What the client asks of the process around it.
#[derive(Clone)]
pub struct Hooks {
    /// The wall clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Told of every HTTP call, for metrics.
    pub observer: Observer,
}

impl Default for Hooks {
    fn default() -> Self {
        #[allow(clippy::disallowed_methods)] // the default of the hook by which the clock is replaced
        let now = Timestamp::now;
        Self { now: Arc::new(now), observer: Arc::new(|_: GraphCall| ()) }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{name} must be an https address without user, password or query (http only on loopback)")]
    Address { name: &'static str },
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let secret = SecretString::from("the-client-secret");
        Config::new(Uuid::from_u128(7), Credential::ClientSecret { client_id: "oust".into(), secret })
    }

    #[test]
    fn plain_http_is_accepted_on_loopback_only() {
        for (url, fits) in [
            ("http://127.0.0.1:9", true),
            ("http://[::1]:9", true),
            ("http://localhost:9/twin/", true),
            ("https://graph.example", true),
            ("http://graph.example", false),
            ("http://localhost.evil.example", false),
            ("https://user:pw@graph.example", false),
            ("https://graph.example/?a=b", false),
            ("file:///etc/passwd", false),
            ("data:text/plain,x", false),
        ] {
            let built = config().at(&Url::parse(url).expect("a URL")).build();
            assert_eq!(built.is_ok(), fits, "{url}");
        }
    }

    #[test]
    fn the_secret_is_in_no_debug_text() {
        let mut config = config();
        config.recover_credential = Some(config.credential.clone());
        let text = format!("{config:?}");
        assert!(!text.contains("the-client-secret"), "{text}");
        let graph = config.build().expect("a client");
        assert!(!format!("{graph:?}").contains("the-client-secret"));
    }
}
