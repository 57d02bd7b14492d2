//! An established channel: messages in, messages out. It moves bytes when it is polled and has no task of its own.

use super::frame::Frame;
use super::noise::{MAX_NOISE, Transport};
use super::stream::{Incoming, Outgoing, Priority};
use super::{Broken, Reason};
use bytes::Bytes;
use futures_util::{Sink as _, SinkExt as _, Stream as _};
use relay_proto::limits::MAX_PEER_MESSAGE;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Carrier;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Longest message before both sides are sure of one another, in bytes.
const MAX_GREETING: usize = 4096;

/// What a connection may be made of.
pub(crate) trait Transit: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transit for T {}

/// Bounds of the WebSocket below.
pub(crate) fn websocket_bounds() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(MAX_NOISE + 1)
        .write_buffer_size(MAX_NOISE + 1)
        .max_write_buffer_size(8 * MAX_NOISE)
        .max_message_size(Some(MAX_NOISE))
        .max_frame_size(Some(MAX_NOISE))
}

/// A channel to a peer.
pub(crate) struct Channel<S> {
    socket: WebSocketStream<S>,
    transport: Transport,
    outgoing: Outgoing,
    incoming: Incoming,
    moved: u64,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A whole message.
    Message(Bytes),
    /// A sign of life.
    Alive,
    /// The peer closed the channel in order.
    Closed(Reason),
    /// The connection broke.
    Cut,
    /// The peer did what is not allowed.
    Broken,
}

impl<S: Transit> Channel<S> {
    /// A channel on a socket after the handshake. It takes greetings only, until [`Channel::open`].
    pub(crate) fn new(socket: WebSocketStream<S>, transport: Transport) -> Self {
        Self {
            socket,
            transport,
            outgoing: Outgoing::default(),
            incoming: Incoming::new(MAX_GREETING),
            moved: 0,
        }
    }

    /// Takes messages of every length from now on.
    pub(crate) fn open(&mut self) {
        self.incoming.set_limit(MAX_PEER_MESSAGE);
    }

    /// Queues a message; [`Channel::next`] sends it. `question` is its number if it is one, or else 0.
    pub(crate) fn push(&mut self, message: Vec<u8>, priority: Priority, question: u64) {
        self.outgoing.push(message, priority, question);
    }

    /// What waits to be sent.
    pub(crate) const fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Bytes that went either way under these keys.
    pub(crate) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Sends what is queued until something comes. With `reading` false nothing comes: the peer has to wait.
    /// May be dropped and called again at any time.
    pub(crate) async fn next(&mut self, reading: bool) -> Event {
        poll_fn(|context| {
            if self.poll_send(context).is_err() {
                return Poll::Ready(Event::Cut);
            }
            if reading { self.poll_receive(context) } else { Poll::Pending }
        })
        .await
    }

    /// Asks for a sign of life. Left out while others wait to be sent: they are one.
    pub(crate) async fn ping(&mut self) -> Result<(), ()> {
        poll_fn(|context| match Pin::new(&mut self.socket).poll_ready(context) {
            Poll::Ready(Ok(())) => {
                let ping = Carrier::Ping(Bytes::new());
                Poll::Ready(Pin::new(&mut self.socket).start_send(ping).map_err(drop))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(())),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Sends what is queued, and a close frame. The caller bounds the time.
    pub(crate) async fn close(mut self, reason: Reason) {
        let sent = poll_fn(|context| match self.poll_send(context) {
            Err(()) => Poll::Ready(Err(())),
            Ok(sent) => sent.map(Ok),
        });
        if sent.await.is_err() {
            return;
        }
        let Ok(sealed) = self.transport.seal(&Frame::Close(reason).encode()) else { return };
        if self.socket.send(Carrier::Binary(sealed.into())).await.is_ok() {
            // The other side may be gone already.
            drop(self.socket.close(None).await);
        }
    }

    /// Hands frames to the socket while it takes them. Ready when everything is out.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, ()> {
        let mut socket = Pin::new(&mut self.socket);
        loop {
            match socket.as_mut().poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(Poll::Pending),
            }
            let Some(frame) = self.outgoing.next() else { break };
            let sealed = self.transport.seal(&frame).map_err(drop)?;
            self.moved += sealed.len() as u64;
            socket.as_mut().start_send(Carrier::Binary(sealed.into())).map_err(drop)?;
        }
        match socket.poll_flush(context) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(_)) => Err(()),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let sealed = match ready!(Pin::new(&mut self.socket).poll_next(context)) {
            Some(Ok(Carrier::Binary(sealed))) => sealed,
            Some(Ok(Carrier::Ping(_) | Carrier::Pong(_))) => return Poll::Ready(Event::Alive),
            Some(Ok(Carrier::Text(_) | Carrier::Frame(_))) => return Poll::Ready(Event::Broken),
            Some(Ok(Carrier::Close(_)) | Err(_)) | None => return Poll::Ready(Event::Cut),
        };
        self.moved += sealed.len() as u64;
        Poll::Ready(self.take(&sealed).unwrap_or(Event::Broken))
    }

    fn take(&mut self, sealed: &[u8]) -> Result<Event, Broken> {
        let plaintext = self.transport.open(sealed)?;
        Ok(match Frame::decode(&plaintext)? {
            Frame::Close(reason) => Event::Closed(reason),
            Frame::Data(piece) => match self.incoming.take(&piece)? {
                Some(message) => Event::Message(message.into()),
                // A piece of a long message is a sign of life, too.
                None => Event::Alive,
            },
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::link::noise;
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    /// The two ends of a channel.
    pub(crate) async fn pair() -> [Channel<DuplexStream>; 2] {
        let (near, far, _) = noise::tests::pair();
        let (left, right) = duplex(8192);
        let bounds = || Some(websocket_bounds());
        let left = WebSocketStream::from_raw_socket(left, Role::Client, bounds()).await;
        let right = WebSocketStream::from_raw_socket(right, Role::Server, bounds()).await;
        [Channel::new(left, near), Channel::new(right, far)]
    }

    async fn message(channel: &mut Channel<DuplexStream>) -> Event {
        loop {
            match channel.next(true).await {
                Event::Alive => {}
                event => return event,
            }
        }
    }

    #[tokio::test]
    async fn long_messages_pass_through_a_narrow_socket_both_ways_at_once() {
        let [mut left, mut right] = pair().await;
        left.open();
        right.open();
        let (one, other) = (vec![1; 3 << 20], vec![2; 2 << 20]);
        left.push(one.clone(), Priority::Bulk, 0);
        right.push(other.clone(), Priority::Bulk, 0);
        let (mut came, mut went) = (None, None);
        while came.is_none() || went.is_none() {
            tokio::select! {
                event = message(&mut left) => came = Some(event),
                event = message(&mut right) => went = Some(event),
            }
        }
        assert!(came == Some(Event::Message(other.into())) && went == Some(Event::Message(one.into())));
        assert!(left.moved() > 5 << 20);
    }

    #[tokio::test]
    async fn a_close_frame_is_an_end_and_a_broken_connection_a_cut() {
        let [left, mut right] = pair().await;
        let (event, ()) = tokio::join!(message(&mut right), left.close(Reason::Stopping));
        assert_eq!(event, Event::Closed(Reason::Stopping));
        let [left, mut right] = pair().await;
        drop(left);
        assert_eq!(message(&mut right).await, Event::Cut);
    }

    #[tokio::test]
    async fn before_it_is_open_only_greetings_fit() {
        let [mut left, mut right] = pair().await;
        left.push(vec![0; MAX_GREETING], Priority::Prompt, 0);
        left.push(vec![0; MAX_GREETING + 1], Priority::Prompt, 0);
        let receiving = async { (message(&mut right).await, message(&mut right).await) };
        let (first, second) = tokio::select! {
            events = receiving => events,
            event = left.next(true) => panic!("{event:?}"),
        };
        assert!(matches!(first, Event::Message(_)));
        assert_eq!(second, Event::Broken);
    }

    #[tokio::test]
    async fn pings_are_answered_by_who_is_alive() {
        let [mut left, mut right] = pair().await;
        left.ping().await.unwrap();
        let answered = async {
            tokio::select! {
                event = left.next(true) => event,
                _ = async { loop { right.next(true).await; } } => Event::Cut,
            }
        };
        assert_eq!(answered.await, Event::Alive);
    }
}
