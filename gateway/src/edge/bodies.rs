//! The bodies of a request and of its answer, with what the edge must know about them.

use super::vitals::Vitals;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// A request's body, which remembers whether all of it was taken. What was not taken stands between this
/// request and the next one on the same connection.
#[derive(Debug)]
pub(crate) struct Asked {
    body: Incoming,
    taken: Arc<AtomicBool>,
}

impl Asked {
    /// Wraps a body; the flag tells whether all of it was taken.
    pub(super) fn new(body: Incoming) -> (Self, Arc<AtomicBool>) {
        let taken = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, taken: Arc::clone(&taken) }, taken)
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.taken.store(true, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, with the request that it ends.
pub(super) struct Answer {
    pub(super) body: Full<Bytes>,
    #[expect(dead_code, reason = "ends the request when dropped")]
    pub(super) progress: Progress,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request in progress, until the last byte of its answer has been handed on.
pub(super) struct Progress(Arc<Vitals>);

impl Progress {
    pub(super) fn begin(vitals: &Arc<Vitals>) -> Self {
        vitals.begin();
        Self(Arc::clone(vitals))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.end();
    }
}
