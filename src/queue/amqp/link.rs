//! Keeps one connection to the broker: whatever fails on it drops it, and another is made, from 100 ms to 2 s later.
//!
//! Not the library's own recovery: it holds a publisher's answer back until the connection is there again (35 s were
//! seen), does not come back from errors of a channel, and gives up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dial::{Live, dial};
use super::{Endpoint, Error};
use crate::telemetry::Telemetry;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
/// A connection that held this long was a good one: the next attempt is made at once.
const GOOD: Duration = Duration::from_secs(5);

/// What a connection is for: makes its channels.
pub(super) type Make<S> = Box<dyn Fn(Arc<Live>) -> BoxFuture<'static, Result<S, Error>> + Send + Sync>;

/// Whether the connection is there.
#[derive(Debug)]
pub(super) enum State<S> {
    /// No attempt has ended yet.
    Dialling,
    Down {
        since: Timestamp,
        why: String,
    },
    Up(Arc<S>),
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Dialling => Self::Dialling,
            Self::Down { since, why } => Self::Down { since: *since, why: why.clone() },
            Self::Up(session) => Self::Up(Arc::clone(session)),
        }
    }
}

/// A connection kept.
#[derive(Debug)]
pub(super) struct Link<S> {
    state: watch::Receiver<State<S>>,
}

impl<S: Send + Sync + 'static> Link<S> {
    /// Keeps a connection until `stop`.
    pub(super) fn keep(
        endpoint: Endpoint,
        name: &'static str,
        make: Make<S>,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> Self {
        let (sender, state) = watch::channel(State::Dialling);
        tokio::spawn(async move {
            let keeper = Keeper { endpoint, name, make, telemetry, state: sender };
            keeper.work(&stop).await;
        });
        Self { state }
    }

    pub(super) fn state(&self) -> State<S> {
        self.state.borrow().clone()
    }

    /// The connection, or since when and why there is none.
    pub(super) fn up(&self) -> Result<Arc<S>, String> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(Arc::clone(session)),
            State::Dialling => Err("no connection was made yet".to_owned()),
            State::Down { since, why } => Err(format!("away since {since:.0}: {why}")),
        }
    }

    /// Waits for a connection.
    pub(super) async fn wait_up(&self) -> Option<Arc<S>> {
        let mut state = self.state.clone();
        let found = state.wait_for(|state| matches!(state, State::Up(_))).await.ok()?;
        if let State::Up(session) = &*found { Some(Arc::clone(session)) } else { None }
    }

    /// Waits until the first attempt has ended, well or not.
    pub(super) async fn wait_known(&self) {
        let mut state = self.state.clone();
        let _ = state.wait_for(|state| !matches!(state, State::Dialling)).await;
    }
}

struct Keeper<S> {
    endpoint: Endpoint,
    name: &'static str,
    make: Make<S>,
    telemetry: Telemetry,
    state: watch::Sender<State<S>>,
}

impl<S: Send + Sync + 'static> Keeper<S> {
    async fn work(&self, stop: &CancellationToken) {
        let mut pause = SHORTEST;
        loop {
            let attempt = tokio::select! {
                attempt = self.attempt() => attempt,
                () = stop.cancelled() => return,
            };
            match attempt {
                Ok((live, session)) => {
                    let since = Instant::now();
                    self.state.send_replace(State::Up(session));
                    self.telemetry.broker_connected(self.name, &self.endpoint);
                    tokio::select! {
                        () = live.watch() => {}
                        () = stop.cancelled() => live.fail("this process stops"),
                    }
                    self.down(live.why(), !stop.is_cancelled());
                    // Not waited for: a broker that says nothing must not hold up the next attempt.
                    let closing = tokio::spawn(async move { live.close().await });
                    if stop.is_cancelled() {
                        let _ = closing.await;
                        return;
                    }
                    pause = if since.elapsed() > GOOD { SHORTEST } else { pause };
                }
                Err(error) => self.down(error.to_string(), true),
            }
            let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn attempt(&self) -> Result<(Arc<Live>, Arc<S>), Error> {
        let tls = self.endpoint.connector()?;
        let live = Arc::new(dial(&self.endpoint, tls.as_ref(), &format!("oust {}", self.name)).await?);
        let made = tokio::time::timeout(Duration::from_secs(10), (self.make)(Arc::clone(&live))).await;
        let made = made.unwrap_or_else(|_| {
            let reason = "it took the connection and then fell silent".to_owned();
            Err(Error::Unreachable { broker: self.endpoint.to_string(), reason })
        });
        match made {
            Ok(session) => Ok((live, Arc::new(session))),
            Err(error) => {
                tokio::spawn(async move { live.close().await });
                Err(error)
            }
        }
    }

    /// Said once, not at every attempt.
    fn down(&self, why: String, tell: bool) {
        let mut since = Timestamp::now();
        let mut known = false;
        if let State::Down { since: first, why: told } = &*self.state.borrow() {
            (since, known) = (*first, *told == why);
        }
        if tell && !known {
            self.telemetry.broker_lost(self.name, &why);
        }
        self.state.send_replace(State::Down { since, why });
    }
}
