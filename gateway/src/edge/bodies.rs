//! The bodies of a request and of its reply, with what the edge must know about them.
//!
//! Against a body that is left unread before the next request of its connection, and against HTTP/2 peers that open their
//! window for no reply: hyper does not tell whether a body was taken, or how far a reply has come.

use super::connection_state::ConnectionState;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// A request's body, which remembers whether all of it was taken. What was not taken stands between this
/// request and the next one on the same connection.
#[derive(Debug)]
pub(crate) struct TrackedBody {
    body: Incoming,
    taken: Arc<AtomicBool>,
}

impl TrackedBody {
    /// Wraps a body; the flag tells whether all of it was taken.
    pub(super) fn new(body: Incoming) -> (Self, Arc<AtomicBool>) {
        let taken = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, taken: Arc::clone(&taken) }, taken)
    }
}

impl Body for TrackedBody {
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

/// Bytes of an HTTP/2 reply that are handed on at once. How fast its peer takes a reply is seen by when it asks for the
/// next of them.
const PIECE: usize = 16 << 10;

/// A reply's body, with the request that it ends.
pub(super) struct ReplyBody {
    body: Full<Bytes>,
    /// What is left of it to be handed on in pieces; `None` before the first of them.
    rest: Option<Bytes>,
    progress: Arc<Progress>,
    is_multiplexed: bool,
}

impl ReplyBody {
    pub(super) fn new(body: Full<Bytes>, progress: Progress, is_multiplexed: bool) -> Self {
        Self { body, rest: None, progress: Arc::new(progress), is_multiplexed }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let rest = self.rest.as_mut().filter(|rest| !rest.is_empty())?;
        self.progress.moves();
        Some(rest.split_to(PIECE.min(rest.len())))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_none() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            if !self.is_multiplexed {
                return Poll::Ready(frame);
            }
            let Some(Ok(whole)) = frame.map(|frame| frame.map(Frame::into_data)) else {
                return Poll::Ready(None);
            };
            let bytes = whole.unwrap_or_default();
            self.rest = Some(Bytes::from_owner(Unwritten { bytes, _progress: Arc::clone(&self.progress) }));
        }
        Poll::Ready(self.next_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().map_or_else(|| self.body.is_end_stream(), Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .as_ref()
            .map_or_else(|| self.body.size_hint(), |rest| SizeHint::with_exact(rest.len() as u64))
    }
}

/// Bytes of a reply that are not all written yet. HTTP/2 keeps those for which its peer's window has no room, long after
/// they were handed on.
struct Unwritten {
    bytes: Bytes,
    _progress: Arc<Progress>,
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request in progress, until the last byte of its reply has been handed on, over HTTP/2 until it is written.
pub(super) struct Progress {
    state: Arc<ConnectionState>,
    /// By which the state know the reply, once there is one.
    answer: AtomicU64,
}

impl Progress {
    pub(super) fn begin(state: &Arc<ConnectionState>) -> Self {
        state.begin();
        Self { state: Arc::clone(state), answer: AtomicU64::new(0) }
    }

    /// A piece of the reply is handed on.
    fn moves(&self) {
        self.answer.store(self.state.reply_moves(self.answer.load(Relaxed)), Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.state.end(self.answer.load(Relaxed));
    }
}
