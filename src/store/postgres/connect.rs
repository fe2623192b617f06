//! Connections: TLS, pools, and what is said when there is none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{ACCEPT, Config, LEASES, PAGES, Tls, URGENT};
use super::failure::told;
use crate::store::Error;

/// How long a caller waits for a free connection, and for a new one to be made.
const WAIT: Duration = Duration::from_secs(5);

/// Connections by what they are for: none of them waits behind the others.
#[derive(Clone)]
pub(super) struct Pools {
    pub urgent: Pool,
    pub accept: Pool,
    pub general: Pool,
    pub pages: Pool,
    pub leases: Pool,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools")
            .field("urgent", &self.urgent.status())
            .field("accept", &self.accept.status())
            .field("general", &self.general.status())
            .field("pages", &self.pages.status())
            .field("leases", &self.leases.status())
            .finish()
    }
}

impl Pools {
    /// Pools without a connection yet.
    pub(super) fn new(
        config: &Config,
        driver: &tokio_postgres::Config,
        tls: &MakeRustlsConnect,
    ) -> Result<Self, Error> {
        let pool = |size| {
            let quick = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_config(driver.clone(), tls.clone(), quick);
            Pool::builder(manager)
                .max_size(size)
                .wait_timeout(Some(WAIT))
                .create_timeout(Some(WAIT))
                .runtime(Runtime::Tokio1)
                .build()
                .map_err(|error| Error::Unusable(format!("the connections cannot be pooled: {error}")))
        };
        Ok(Self {
            urgent: pool(URGENT)?,
            accept: pool(ACCEPT)?,
            general: pool(config.pool.max(1))?,
            pages: pool(PAGES)?,
            leases: pool(LEASES)?,
        })
    }

    pub(super) fn close(&self) {
        for pool in [&self.urgent, &self.accept, &self.general, &self.pages, &self.leases] {
            pool.close();
        }
    }
}

/// A connection of a pool that is closed, not given back, unless somebody says that it is clean: nobody must meet what a
/// caller that went away left behind, a transaction above all.
#[derive(Debug)]
pub(super) struct Lent {
    object: Option<Object>,
    is_clean: AtomicBool,
}

impl Lent {
    pub(super) async fn of(pool: &Pool) -> Result<Self, PoolError> {
        pool.get().await.map(|object| Self { object: Some(object), is_clean: AtomicBool::new(false) })
    }

    /// Nothing is left on it: back into the pool with it, in the end.
    pub(super) fn keep(&self) {
        self.is_clean.store(true, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Lent {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object.as_ref().expect("only `drop` takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let object = self.object.take();
        if !self.is_clean.load(Ordering::Relaxed) {
            drop(object.map(Object::take));
        }
    }
}

/// The TLS of every connection.
pub(super) fn tls(config: &Config) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let wrong = |what: &str, error: &dyn fmt::Display| Error::Unusable(format!("{what}: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS cannot be used", &error))?;
    let client = match (config.tls, &config.ca) {
        (Tls::Off, _) => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        (_, Some(path)) => {
            let unreadable = |error: &dyn fmt::Display| {
                wrong(&format!("{} is no authority's certificate (PEM)", path.display()), error)
            };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(unreadable(&"there is no certificate in it"));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        (Tls::Verify, None) => {
            let machine = rustls_platform_verifier::Verifier::new(provider)
                .map_err(|error| wrong("the certificates this machine trusts cannot be read", &error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(machine)).with_no_client_auth()
        }
        (Tls::Prefer | Tls::Require, None) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(client))
}

/// Believes every certificate: what `sslmode=require` means. The handshake's signatures are checked all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why the first connection failed, and what to do.
pub(super) fn unusable(config: &Config, error: &tokio_postgres::Error) -> Error {
    let place = config.place();
    let next = match error.code() {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "create the database (CREATE DATABASE …) once",
        Some(code) if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "check the user, the password and pg_hba.conf"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "raise max_connections of the server or lower `pool` of the store"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "GRANT CONNECT and CREATE on it to this user",
        Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => "the server starts or stops; try again in a moment",
        Some(_) => "see the server's log",
        None => match error.to_string().as_str() {
            "error performing TLS handshake" => {
                "check sslmode, and `ca` if an authority of your own signed its certificate"
            }
            "authentication error" | "invalid configuration" => "the server wants a password; set one",
            _ => "is PostgreSQL running, and reachable from here?",
        },
    };
    Error::Unusable(format!("the database {place} cannot be used: {}; {next}", told(error)))
}
