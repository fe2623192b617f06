//! The accept loop: plain HTTP/1.1 and HTTP/2 (prior knowledge) on one listener, with the clocks that `axum::serve`
//! does not set. TLS is the reverse proxy's business.
//!
//! Bounded everywhere: connections (`crowd`), header time, body time (in `body`), idle time, streams, and the shutdown, which
//! finishes what was accepted and then stops.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Limits;
use super::crowd::{Activity, Crowd, InUse};

/// The address a request came from: a peer of the socket, perhaps a proxy.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves until `shutdown` resolves, then finishes what is under way for at most `limits.shutdown_timeout`.
///
/// Returns how many connections had to be cut.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> usize {
    let (stop, cut, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let crowd = Arc::new(Crowd::of(limits.connections));
    let builder = Arc::new(builder(&limits));
    let mut shutdown = pin!(shutdown);
    loop {
        // One connection beyond the cap may be in hand; the others wait in the kernel's backlog instead of in our memory.
        let accepted = async {
            let pair = listener.accept().await?;
            Ok::<_, std::io::Error>((pair, crowd.seat().await))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let ((stream, peer), seat) = match accepted {
            Ok(both) => both,
            Err(error) => {
                // Out of file descriptors, or a peer that left at once: neither ends the loop.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (builder, router, limits) = (Arc::clone(&builder), router.clone(), limits.clone());
        let (stop, cut) = (stop.clone(), cut.clone());
        tasks.spawn(async move {
            // Dropping the connection drops what it was doing; what was durable by then stays durable.
            cut.run_until_cancelled(connection(stream, peer, &builder, router, (&limits, &seat.activity), &stop)).await;
            drop(seat);
        });
    }
    drop(listener);
    stop.cancel();
    tasks.close();
    let finished = tokio::time::timeout(limits.shutdown_timeout, tasks.wait()).await;
    let left = if finished.is_ok() { 0 } else { tasks.len() };
    if left > 0 {
        tracing::warn!(connections = left, "connections were cut at shutdown");
        cut.cancel();
        tasks.wait().await;
    }
    left
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(64)
        .max_header_list_size(32 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024);
    builder
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    builder: &Builder<TokioExecutor>,
    router: Router,
    (limits, activity): (&Limits, &Arc<Activity>),
    stop: &CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection left at once");
        return;
    }
    let seen = Arc::clone(activity);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let under_way = InUse::begin(&seen);
        let (mut request, router) = (request.map(Body::new), router.clone());
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(under_way.clone());
        async move {
            let answer: Result<_, Infallible> = router.oneshot(request).await;
            drop(under_way);
            answer
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let step = (limits.header_timeout.min(limits.idle_timeout) / 2).max(Duration::from_millis(10));
    let mut check = tokio::time::interval(step);
    let (mut closing, mut let_go) = (None, false);
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(error = %error, "a connection ended early");
                }
                return;
            }
            () = stop.cancelled(), if closing.is_none() => {
                connection.as_mut().graceful_shutdown();
                closing = Some(limits.shutdown_timeout);
            }
            () = activity.let_go.cancelled(), if !let_go => {
                if activity.is_idle() {
                    return;
                }
                // A request came at the same moment: it is answered first.
                let_go = true;
                connection.as_mut().graceful_shutdown();
                closing.get_or_insert(limits.shutdown_timeout);
            }
            _ = check.tick() => match closing {
                // It was told to end and its peer does not read: cut.
                Some(grace) if activity.is_overdue(limits) && activity.since_last() > grace + limits.idle_timeout => {
                    return;
                }
                Some(_) => {}
                None if activity.is_overdue(limits) => {
                    if activity.is_new() {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    closing = Some(limits.header_timeout);
                }
                None => {}
            },
        }
    }
}
