//! The last inch: a request body that lets nothing out after `send_by`, and remembers whether and when it was written.
//!
//! The HTTP client polls a body when a connection stands and before anything of the request is flushed to it. So an
//! expired `send_by` stops the request there, however long the connection took; and a body never polled proves that
//! Graph saw nothing. A body is given out once: no layer below can send it a second time.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use jiff::Timestamp;

use super::clock::SendBy;

/// What became of the body of one attempt.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// When the body was handed over for writing.
    written_at: OnceLock<Timestamp>,
    /// `send_by` had passed: nothing was written.
    late: OnceLock<()>,
}

impl Fate {
    pub(super) fn written_at(&self) -> Option<Timestamp> {
        self.written_at.get().copied()
    }

    pub(super) fn was_late(&self) -> bool {
        self.late.get().is_some()
    }
}

/// The body was asked for too late, or twice.
#[derive(Debug, thiserror::Error)]
#[error("the request may not be written any more")]
pub(super) struct Withheld;

/// A body of known length behind the `send_by` check.
pub(super) struct Guarded {
    bytes: Option<Bytes>,
    length: u64,
    send_by: Option<SendBy>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    fate: Arc<Fate>,
}

impl Guarded {
    pub(super) fn new(bytes: Bytes, send_by: Option<SendBy>, now: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { bytes: Some(bytes), length, send_by, now, fate: Arc::default() }
    }

    pub(super) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        if self.fate.written_at().is_some() && self.bytes.is_none() {
            return Poll::Ready(None);
        }
        if self.send_by.is_some_and(SendBy::passed) {
            self.bytes = None;
            let _ = self.fate.late.set(());
            return Poll::Ready(Some(Err(Withheld)));
        }
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(Some(Err(Withheld))) };
        let _ = self.fate.written_at.set((self.now)());
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.fate.written_at().is_some()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.bytes.is_some() { self.length } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::graph::testing::{Answer, Server};

    use super::*;

    fn now() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        Arc::new(|| Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn nothing_reaches_the_server_when_send_by_passes_while_the_connection_comes_up() {
        let server = Server::start(|_| Answer::status(204)).await;
        for (send_by, heard) in [(SendBy::within(Duration::ZERO), 0), (SendBy::within(Duration::from_secs(60)), 1)] {
            let body = Guarded::new(Bytes::from_static(b"{}"), Some(send_by), now());
            let fate = body.fate();
            let http = reqwest::Client::builder().no_proxy().build().expect("a client");
            let answer = http.post(server.url.clone()).body(reqwest::Body::wrap(body)).send().await;
            assert_eq!(answer.is_ok(), heard == 1);
            assert_eq!((fate.was_late(), fate.written_at().is_some()), (heard == 0, heard == 1));
            assert_eq!(server.calls().len(), heard);
        }
        assert_eq!(server.calls()[0].header("content-length"), Some("2"));
    }

    #[test]
    fn a_body_is_given_out_once() {
        let mut body = Guarded::new(Bytes::from_static(b"{}"), None, now());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(poll(), Poll::Ready(None)));
    }
}
