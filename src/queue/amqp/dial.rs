//! One connection to the broker, with every wait bounded. The library's own connecting waits without an end and its
//! thread would outlive a broker that takes the connection and then says nothing: so the socket is made here, and can
//! be cut.

use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_compat::CompatExt as _;
use futures_util::StreamExt as _;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties, Event};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Endpoint, Error};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Seconds; a connection over which nothing came for twice as long is given up.
const HEARTBEAT: u16 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The socket, to be cut from outside.
#[derive(Debug)]
struct Cut(StdTcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A connection that works until `gone`.
#[derive(Debug)]
pub(super) struct Live {
    pub connection: Connection,
    pub gone: CancellationToken,
    why: OnceLock<String>,
    cut: Mutex<Option<Cut>>,
}

impl Live {
    /// Something failed on it: it is not used any more.
    pub(super) fn fail(&self, why: impl Into<String>) {
        let _ = self.why.set(why.into());
        self.gone.cancel();
    }

    /// Why it is gone.
    pub(super) fn why(&self) -> String {
        self.why.get().cloned().unwrap_or_else(|| "the connection ended".to_owned())
    }

    /// The broker takes no messages for now (its memory or disk is short).
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Resolves when it is gone, noticing by itself what the library noticed.
    pub(super) async fn watch(&self) {
        let mut events = self.connection.events_listener();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.gone.cancelled() => return,
                event = events.next() => match event {
                    Some(Event::Error(error)) => self.fail(words(&error)),
                    Some(_) => {}
                    None => self.fail("the connection ended"),
                },
                _ = looks.tick() => if !self.connection.status().connected() {
                    self.fail("the broker closed the connection");
                },
            }
        }
    }

    /// Says goodbye where somebody listens, and cuts in any case.
    pub(super) async fn close(&self) {
        self.fail("closed by us");
        if self.connection.status().connected() {
            let _ = timeout(CLOSE_WITHIN, self.connection.close(200, "bye".into())).await;
        }
        drop(self.cut.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What the library says, in one line; never a password.
pub(super) fn words(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        lapin::ErrorKind::IOError(error) => error.to_string(),
        lapin::ErrorKind::MissingHeartbeatError => "the broker fell silent".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects and authenticates.
pub(super) async fn dial(endpoint: &Endpoint, tls: Option<&RustlsConnector>, name: &str) -> Result<Live, Error> {
    let unreachable =
        |reason: String| Error::Unreachable { broker: endpoint.to_string(), reason: reason.trim().to_owned() };
    let silent = |_| unreachable("it does not answer".to_owned());
    let address = (endpoint.host.as_str(), endpoint.port);
    let tcp = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await.map_err(silent)?;
    let tcp = tcp.map_err(|error| unreachable(error.to_string()))?;
    let io = |error: std::io::Error| unreachable(error.to_string());
    tcp.set_nodelay(true).map_err(io)?;
    let cut = Cut(StdTcpStream::from(tcp.as_fd().try_clone_to_owned().map_err(io)?));
    let mut stream = AsyncTcpStream::Plain(tcp.compat());
    if let Some(tls) = tls {
        let secured = timeout(HANDSHAKE_WITHIN, stream.into_rustls(tls, &endpoint.host)).await.map_err(silent)?;
        stream = secured.map_err(|error| unreachable(format!("TLS: {error}")))?;
    }
    let once = Mutex::new(Some(stream));
    let give = async move |_, _| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.ok_or_else(|| std::io::Error::other("one connection, one attempt").into())
    };
    let runtime = lapin::runtime::default_runtime().map_err(|error| unreachable(words(&error)))?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connected = timeout(HANDSHAKE_WITHIN, Connection::connector(uri(endpoint), runtime, give, properties)).await;
    let connection = connected.map_err(silent)?.map_err(|error| unreachable(words(&error)))?;
    Ok(Live { connection, gone: CancellationToken::new(), why: OnceLock::new(), cut: Mutex::new(Some(cut)) })
}

fn uri(endpoint: &Endpoint) -> AMQPUri {
    AMQPUri {
        scheme: if endpoint.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: endpoint.username.clone(),
                password: endpoint.password.expose_secret().to_owned(),
            },
            host: endpoint.host.clone(),
            port: endpoint.port,
        },
        vhost: endpoint.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
    }
}
