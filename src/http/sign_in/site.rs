//! Where browsers find us: the origin passkeys are bound to, the origins a request may come from, and the cookies' names.

use std::net::SocketAddr;

use url::{Host, Url};

/// Why there is no address for browsers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("signing in needs public_url: {0} is not an address of this machine alone")]
    NoPublicUrl(SocketAddr),
    #[error("public_url must begin with https:// (browsers keep passkeys and session cookies from plain HTTP)")]
    NotSecure,
    #[error("public_url must be an address with a host, such as https://oust.contoso.example")]
    NoHost,
}

/// The address browsers use.
#[derive(Debug, Clone)]
pub struct Site {
    origin: Url,
    /// As browsers write them in `Origin`.
    accepted: Vec<String>,
    secure: bool,
}

impl Site {
    /// From the configuration. Without `public_url` only a loopback address will do: then it is `http://localhost:…`,
    /// the one plain-HTTP origin on which browsers allow passkeys, and its cookies have neither `Secure` nor `__Host-`.
    ///
    /// # Errors
    /// Browsers would not sign in there.
    pub fn of(public_url: Option<&Url>, listen: SocketAddr) -> Result<Self, Error> {
        let Some(url) = public_url else {
            if !listen.ip().is_loopback() {
                return Err(Error::NoPublicUrl(listen));
            }
            let port = listen.port();
            let accepted = vec![format!("http://localhost:{port}"), format!("http://{listen}")];
            let origin = Url::parse(&accepted[0]).map_err(|_| Error::NoHost)?;
            return Ok(Self { origin, accepted, secure: false });
        };
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(Error::NoHost),
        };
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(Error::NotSecure),
        }
        let text = url.origin().ascii_serialization();
        let origin = Url::parse(&text).map_err(|_| Error::NoHost)?;
        Ok(Self { secure: origin.scheme() == "https", origin, accepted: vec![text] })
    }

    /// The one origin that passkeys and providers know.
    pub fn origin(&self) -> &Url {
        &self.origin
    }

    /// The host of the origin: the passkeys' relying party id.
    pub fn host(&self) -> &str {
        self.origin.host_str().unwrap_or_default()
    }

    /// An address below the origin; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin.as_str().trim_end_matches('/'))
    }

    /// True when cookies are `Secure`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// True for an `Origin` of ours.
    pub fn accepts(&self, origin: &str) -> bool {
        self.accepted.iter().any(|ours| ours == origin)
    }

    /// The session's cookie.
    pub fn session_cookie(&self) -> &'static str {
        if self.secure { "__Host-oust" } else { "oust-local" }
    }

    /// The cookie of a browser that is about to sign in.
    pub fn flow_cookie(&self) -> &'static str {
        if self.secure { "__Host-oust-flow" } else { "oust-local-flow" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn without_a_public_url_only_this_machine_signs_in_and_its_cookies_say_so() {
        let site = Site::of(None, listen("127.0.0.1:8080")).expect("loopback");
        assert_eq!(site.url("/console"), "http://localhost:8080/console");
        assert!(site.accepts("http://localhost:8080") && site.accepts("http://127.0.0.1:8080"));
        assert!(!site.accepts("http://localhost:8081") && !site.accepts("null"));
        assert_eq!((site.session_cookie(), site.is_secure()), ("oust-local", false));
        let refused = Site::of(None, listen("0.0.0.0:8080")).map(|_| ());
        assert_eq!(refused, Err(Error::NoPublicUrl(listen("0.0.0.0:8080"))));
    }

    #[test]
    fn a_public_url_must_be_https_and_gives_the_strict_cookie() {
        let site = Site::of(Some(&url("https://oust.contoso.example/base")), listen("0.0.0.0:80")).expect("https");
        assert_eq!((site.host(), site.session_cookie()), ("oust.contoso.example", "__Host-oust"));
        assert_eq!(site.url("/console"), "https://oust.contoso.example/console");
        assert!(site.accepts("https://oust.contoso.example") && !site.accepts("http://oust.contoso.example"));
        for bad in ["http://oust.contoso.example", "ftp://localhost"] {
            assert_eq!(Site::of(Some(&url(bad)), listen("127.0.0.1:1")).map(|_| ()), Err(Error::NotSecure), "{bad}");
        }
        assert!(Site::of(Some(&url("http://localhost:9000")), listen("127.0.0.1:1")).is_ok());
    }
}
