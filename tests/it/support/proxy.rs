//! A TCP proxy on a port that stays: connections through it can be cut, stalled in one direction or both, and let go
//! again. For whatever must survive a network.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passing {
    pub to_server: bool,
    pub to_client: bool,
    /// New connections are taken.
    pub connects: bool,
    /// Raised by every cut: connections of before end.
    cuts: u64,
}

/// The proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    passing: Arc<watch::Sender<Passing>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Proxy {
    /// A proxy to `server` that lets everything pass.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let all = Passing { to_server: true, to_client: true, connects: true, cuts: 0 };
        let passing = Arc::new(watch::Sender::new(all));
        let shared = Arc::clone(&passing);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                if shared.borrow().connects {
                    tokio::spawn(carry(client, server, shared.subscribe()));
                }
            }
        });
        Self { address, passing, task }
    }

    /// Ends every connection; new ones are made.
    pub fn cut(&self) {
        self.passing.send_modify(|passing| passing.cuts += 1);
    }

    /// Ends every connection, and new ones at once, until `resume`.
    pub fn shut(&self) {
        self.passing.send_modify(|passing| {
            passing.connects = false;
            passing.cuts += 1;
        });
    }

    /// Nothing passes any more, and nobody is told: as when a cable is pulled.
    pub fn stall(&self) {
        self.passing.send_modify(|passing| (passing.to_server, passing.to_client) = (false, false));
    }

    /// What the server says is held back.
    pub fn stall_answers(&self) {
        self.passing.send_modify(|passing| passing.to_client = false);
    }

    /// Everything passes again; what was held back too, where its connection still stands.
    pub fn resume(&self) {
        self.passing.send_modify(|passing| {
            *passing = Passing { to_server: true, to_client: true, connects: true, cuts: passing.cuts };
        });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut passing: watch::Receiver<Passing>) {
    let cuts = passing.borrow().cuts;
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (one, other) = (passing.clone(), passing.clone());
    tokio::select! {
        () = copy(from_client, to_server, one, |passing| passing.to_server) => {}
        () = copy(from_server, to_client, other, |passing| passing.to_client) => {}
        _ = passing.wait_for(|now| now.cuts != cuts) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut passing: watch::Receiver<Passing>,
    passes: impl Fn(&Passing) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if passing.wait_for(&passes).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
