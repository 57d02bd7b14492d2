//! How much memory the callers of one socket may take at once. A process that was taken over may ask for anything, and
//! as often as it likes; what it asks must not cost storage more than honest callers need.
//!
//! A request says its length before its bytes come, and waits until there is room for all of it, so that no two hold a
//! part each and wait for the other's. A reply is as large as its kind may become, and room for it is taken before the
//! request is carried out. Both are given back when the reply has been sent.

use crate::StorageError;
use crate::bounds::CALLS;
use crate::limits::{MAX_CARRIED_BYTES, MAX_GRPC_MESSAGE};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tonic::Status;
use tonic::body::Body;

/// Bytes of all requests: the largest one, and as much again.
const REQUESTS: usize = 2 * MAX_GRPC_MESSAGE;

/// Bytes of all replies that hold blobs.
const REPLIES: usize = 24 << 20;

/// Bytes of all others. They have room of their own, so that nobody who reads much keeps others from writing.
const SMALL_REPLIES: usize = 8 << 20;

/// Bytes of a reply that holds no blobs.
const SMALL_REPLY: usize = 64 << 10;

/// Bytes of a page of mail, with the names of what moved to peers.
const PAGE: usize = 128 << 10;

/// Calls that last: each caller has two or three.
const STREAMS: usize = 256;

/// Their paths.
static STREAMING: LazyLock<Vec<&str>> =
    LazyLock::new(|| CALLS.iter().filter(|call| call.streams).map(|call| call.path).collect());

/// Permits are for so many bytes each.
const UNIT: usize = 1024;

/// How long a call may wait for room. Callers give up at that time too.
const WAIT: Duration = Duration::from_secs(5);

/// How long a request may take to come, once it has begun.
const ARRIVE: Duration = Duration::from_secs(10);

/// Bytes before each message: whether it is compressed, and how long it is.
const HEAD: usize = 5;

/// What the callers of a socket share.
#[derive(Debug, Clone)]
pub(super) struct MessageBudget {
    requests: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    small_replies: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    largest_blob: usize,
}

/// What a call holds until its reply has been sent.
#[derive(Debug)]
pub(super) struct Held {
    _place: OwnedSemaphorePermit,
    request: OnceLock<OwnedSemaphorePermit>,
}

impl Held {
    fn new(place: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self { _place: place, request: OnceLock::new() })
    }
}

impl MessageBudget {
    pub(super) fn new(largest_blob: usize) -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self {
            requests: room(REQUESTS),
            replies: room(REPLIES),
            small_replies: room(SMALL_REPLIES),
            streams: Arc::new(Semaphore::new(STREAMS)),
            largest_blob,
        }
    }

    /// Takes room for the reply to a call, and watches over its request.
    pub(super) async fn admit(&self, path: &str, request: Body) -> Result<(Arc<Held>, Body), Status> {
        if STREAMING.contains(&path) {
            let place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| StorageError::Busy)?;
            return Ok((Held::new(place), request));
        }
        let (room, bytes) = match self.reply(path) {
            SMALL_REPLY => (&self.small_replies, SMALL_REPLY),
            bytes => (&self.replies, bytes.min(REPLIES)),
        };
        let place = match Arc::clone(room).try_acquire_many_owned(permits(bytes)) {
            Ok(place) => place,
            Err(_) => timeout(WAIT, acquire(room, bytes)).await.ok().flatten().ok_or(StorageError::Busy)?,
        };
        let held = Held::new(place);
        let request = BoundedRequest {
            inner: request,
            room: Arc::clone(&self.requests),
            held: Arc::clone(&held),
            head: [0; HEAD],
            come: 0,
            rest: 0,
            waiting: None,
            deadline: None,
        };
        Ok((held, Body::new(request)))
    }

    /// How large a reply may become.
    fn reply(&self, path: &str) -> usize {
        match path {
            "/relay.storage.v1.Mailbox/Fetch" => PAGE,
            "/relay.storage.v1.Mailbox/Larger" => SMALL_REPLY + self.largest_blob,
            "/relay.storage.v1.Offload/Lease"
            | "/relay.storage.v1.Offload/Read"
            | "/relay.storage.v1.Recalls/Bring" => MAX_CARRIED_BYTES + self.largest_blob,
            _ => SMALL_REPLY,
        }
    }
}

/// Waits for room. `None` never comes: nobody closes it.
fn acquire(
    room: &Arc<Semaphore>,
    bytes: usize,
) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
    let (permits, room) = (permits(bytes), Arc::clone(room));
    async move { room.acquire_many_owned(permits).await.ok() }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

type Waiting = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A request of one message, which waits for room and comes in time.
struct BoundedRequest {
    inner: Body,
    room: Arc<Semaphore>,
    held: Arc<Held>,
    /// The bytes before the message, and how many of them have come.
    head: [u8; HEAD],
    come: usize,
    /// Bytes of the message that have not come yet.
    rest: usize,
    /// For room, and what came meanwhile.
    waiting: Option<(Waiting, Bytes)>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl BoundedRequest {
    /// Looks at some bytes. Returns those that may go on at once.
    fn look(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Status> {
        let begins = self.come < HEAD;
        let missing = self.head.iter_mut().skip(self.come);
        let come = missing.zip(&bytes).map(|(place, byte)| *place = *byte).count();
        self.come += come;
        let length = match self.head {
            [_, a, b, c, d] if begins && self.come == HEAD => u32::from_be_bytes([a, b, c, d]),
            _ => 0,
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.rest += length;
        // More than one message, or bytes behind it.
        self.rest = self.rest.checked_sub(bytes.len() - come).ok_or(StorageError::invalid("message"))?;
        // What is too long is refused by its length, and never comes.
        if length == 0 || length > MAX_GRPC_MESSAGE {
            return Ok(Some(bytes));
        }
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(permits(length)) {
            self.hold(permit);
            return Ok(Some(bytes));
        }
        self.waiting = Some((Box::pin(acquire(&self.room, length)), bytes));
        Ok(None)
    }

    /// There is one message, and so one permit.
    fn hold(&self, permit: OwnedSemaphorePermit) {
        drop(self.held.request.set(permit));
    }

    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some((waiting, bytes)) = &mut self.waiting {
                let permit = ready!(waiting.as_mut().poll(context));
                let bytes = std::mem::take(bytes);
                self.waiting = None;
                permit.into_iter().for_each(|permit| self.hold(permit));
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(bytes) => {
                    if let Some(bytes) = self.look(bytes)? {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}

impl HttpBody for BoundedRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = self.poll_arrival(context) {
            return Poll::Ready(frame);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(ARRIVE)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(StorageError::Busy.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio_stream::StreamExt as _;

    const FETCH: &str = "/relay.storage.v1.Mailbox/Fetch";
    const LARGER: &str = "/relay.storage.v1.Mailbox/Larger";
    const WRITE: &str = "/relay.storage.v1.Mailbox/Write";

    /// A request whose bytes come in these pieces, and then no more for as long as `open`.
    fn request(pieces: Vec<Vec<u8>>, open: bool) -> Body {
        let pieces = tokio_stream::iter(pieces).map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
        if open {
            Body::new(StreamBody::new(pieces.chain(tokio_stream::pending())))
        } else {
            Body::new(StreamBody::new(pieces))
        }
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    async fn read(body: Body) -> Result<Bytes, Status> {
        body.collect().await.map(|whole| whole.to_bytes())
    }

    #[tokio::test]
    async fn a_request_arrives_whole_however_it_is_cut() {
        let budget = MessageBudget::new(1 << 20);
        let bytes = framed(&[7; 3000]);
        for size in [1, 2, 4, 5, 6, 1000, 4000] {
            let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            let (_held, body) = budget.admit(WRITE, request(pieces, false)).await.unwrap();
            assert_eq!(read(body).await.unwrap(), bytes, "{size}");
        }
        assert_eq!(budget.requests.available_permits(), REQUESTS / UNIT);
        assert_eq!(budget.small_replies.available_permits(), SMALL_REPLIES / UNIT);
    }

    #[tokio::test]
    async fn a_second_message_in_a_request_is_refused() {
        let budget = MessageBudget::new(1 << 20);
        let two = [framed(&[7; 10]), framed(&[7; 10])];
        for pieces in [two.to_vec(), vec![two.concat()]] {
            let (_held, body) = budget.admit(WRITE, request(pieces, false)).await.unwrap();
            assert!(read(body).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_room_and_those_that_do_not_come_give_it_back() {
        let budget = MessageBudget::new(1 << 20);
        let head = |bytes: usize| {
            let mut head = vec![0];
            head.extend((bytes as u32).to_be_bytes());
            head
        };
        let mut slow = Vec::new();
        for _ in 0..2 {
            let (held, body) =
                budget.admit(WRITE, request(vec![head(MAX_GRPC_MESSAGE)], true)).await.unwrap();
            slow.push((held, tokio::spawn(read(body))));
        }
        tokio::task::yield_now().await;
        let (_held, body) = budget.admit(WRITE, request(vec![framed(&[7; 10])], false)).await.unwrap();
        let waiting = tokio::spawn(read(body));
        for (held, slow) in slow {
            assert!(slow.await.unwrap().is_err(), "it never came");
            drop(held);
        }
        // It was refused or served, and never hung.
        drop(waiting.await.unwrap());
        let (_held, body) = budget.admit(WRITE, request(vec![framed(&[7; 10])], false)).await.unwrap();
        assert!(read(body).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn replies_that_nobody_takes_keep_no_more_than_their_room() {
        let budget = MessageBudget::new(1 << 20);
        for (call, bytes) in [(FETCH, PAGE), (LARGER, SMALL_REPLY + (1 << 20))] {
            let mut held = Vec::new();
            while let Ok((room, _)) = budget.admit(call, Body::empty()).await {
                held.push(room);
            }
            assert_eq!(held.len(), REPLIES / bytes);
            assert!(budget.admit(WRITE, Body::empty()).await.is_ok(), "whoever writes has room of its own");
            held.pop();
            assert!(budget.admit(call, Body::empty()).await.is_ok());
        }
    }

    #[tokio::test]
    async fn calls_that_last_are_bounded() {
        let budget = MessageBudget::new(1 << 20);
        let watch = "/relay.storage.v1.Admission/Watch";
        let mut held = Vec::new();
        while let Ok((place, _)) = budget.admit(watch, Body::empty()).await {
            held.push(place);
        }
        assert_eq!(held.len(), STREAMS);
        held.pop();
        assert!(budget.admit(watch, Body::empty()).await.is_ok());
    }
}
