//! A TCP stream that tells its [`ConnectionState`] what happens on it, and that ends without losing its last reply.
//!
//! Against peers that send or read a byte now and then: only here is seen when bytes come, and when a write has to wait. And
//! for a client whose body is refused: hyper closes a connection with unread bytes, and the reset that follows from this can
//! overtake the reply (RFC 9112 §9.6).

use super::connection_state::ConnectionState;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first bytes of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are thrown away while waiting for a peer to close.
const MAX_DISCARDED: usize = 32 << 20;

pub(super) struct Stream {
    tcp: TcpStream,
    state: Arc<ConnectionState>,
    /// How much of the preface has come; `None` when it is known what the peer speaks.
    preface: Option<usize>,
    /// Bytes thrown away; `None` until this side has said everything.
    discarded: Option<usize>,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, state: Arc<ConnectionState>) -> Self {
        Self { tcp, state, preface: Some(0), discarded: None }
    }

    fn sniff(&mut self, bytes: &[u8]) {
        let Some(seen) = self.preface else { return };
        let expected = &PREFACE[seen..];
        let compared = expected.len().min(bytes.len());
        if expected[..compared] != bytes[..compared] {
            self.preface = None;
        } else if compared == expected.len() {
            self.preface = None;
            self.state.multiplexes();
        } else {
            self.preface = Some(seen + compared);
        }
    }

    /// Reads until the peer closes. Closing with unread bytes would reset the connection, and a reset can
    /// overtake the reply that tells why: a client in the middle of a body that is too large must learn so.
    fn poll_discard(&mut self, context: &mut Context<'_>, discarded: &mut usize) -> Poll<()> {
        let mut space = [0; 4096];
        while *discarded < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut space);
            let outcome = ready!(Pin::new(&mut self.tcp).poll_read(context, &mut buffer));
            if outcome.is_err() || buffer.filled().is_empty() {
                break;
            }
            *discarded += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.state.read();
            self.sniff(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.state.wrote(outcome.is_pending());
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut discarded = match self.discarded {
            Some(discarded) => discarded,
            None => {
                ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
                self.state.linger();
                0
            }
        };
        let ended = self.poll_discard(context, &mut discarded);
        self.discarded = Some(discarded);
        ended.map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.state.wrote(outcome.is_pending());
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
