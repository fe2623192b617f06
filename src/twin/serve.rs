//! The twin on a socket.
//!
//! An accept loop of its own, because a planned fault must really cut the connection: the service answers with an
//! error, and hyper drops the connection without a word.

use super::{
    Twin,
    clock::{lock, pause},
};
use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::future::Future;
use tokio::{net::TcpListener, task::JoinSet};

/// How long open calls may take to finish at shutdown.
const DRAIN_MS: u64 = 500;

impl Twin {
    /// The twin as a router, for composing. A fault that cuts the connection breaks off the answer's body here; only
    /// [`Twin::serve`] can keep quiet altogether.
    pub fn router(&self) -> Router {
        let twin = self.clone();
        Router::new().fallback(move |request: Request| {
            let twin = twin.clone();
            async move {
                match twin.0.respond(request).await {
                    Ok(response) => response.map(Body::new),
                    Err(cut) => {
                        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b" ")), Err(cut)]);
                        let mut response = Response::new(Body::from_stream(broken));
                        *response.status_mut() = StatusCode::BAD_GATEWAY;
                        response
                    }
                }
            }
        })
    }

    /// Serves until `shutdown` resolves; then open calls get half a second, and hung ones are dropped.
    ///
    /// # Errors
    /// Never once it accepts: a connection that cannot be accepted is the client's loss. The signature leaves room for
    /// a listener that fails for good.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        // Out of descriptors: leave the open connections room to end.
                        pause(20).await;
                        continue;
                    };
                    let _ = stream.set_nodelay(true);
                    let twin = self.clone();
                    let service = service_fn(move |request| {
                        let twin = twin.clone();
                        async move { twin.0.respond(request).await }
                    });
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    let watched = graceful.watch(connection);
                    connections.spawn(async move {
                        // A cut connection ends in an error by intent; others are the client's doing.
                        let _ = watched.await;
                    });
                }
            }
        }
        drop(listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = pause(DRAIN_MS) => {}
        }
        connections.shutdown().await;
        lock(&self.0.thieves).clear();
        self.0.ledger.flush();
        Ok(())
    }
}
