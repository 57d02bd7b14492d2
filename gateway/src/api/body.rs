//! Takes in request bodies, bounded in size, time and memory.

use super::error::{ApiError, Fault};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// Time for a whole body.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time after which a body must have come at [`MINIMUM_RATE`].
const HEAD_START: Duration = Duration::from_secs(5);

/// Bytes a second.
const MINIMUM_RATE: usize = 1024;

/// Bytes of bodies and pages that all requests together may hold.
const MEMORY: usize = 24 << 20;

/// Bytes that the budget counts in.
const UNIT: usize = 1024;

/// How long a request waits for others to finish before it is turned away.
const CROWD_PATIENCE: Duration = Duration::from_millis(500);

/// Answers above this size hold a share of the memory until they are written out.
pub(crate) const LARGE: usize = 16 << 10;

/// Room in a body for everything but base64.
const JSON_ROOM: usize = 4096;

/// Bytes around a sealed request: padding up to a multiple of 4 KiB, control data and headers, key and tag.
const SEALING_ROOM: usize = 8192;

/// Body bytes that 1900 tokens of 64 digits need, quoted and listed, in any sane formatting.
const TOKENS_ROOM: usize = 160 << 10;

/// What request bodies may take.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Bytes of one body.
    limit: usize,
    memory: Arc<Semaphore>,
}

/// A share of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Intake {
    /// For blobs of at most `max_message_size` decoded bytes.
    pub(crate) fn new(max_message_size: usize) -> Self {
        let limit = (max_message_size.div_ceil(3) * 4 + JSON_ROOM).max(TOKENS_ROOM);
        let units = MEMORY.max(2 * limit) / UNIT;
        Self { limit, memory: Arc::new(Semaphore::new(units)) }
    }

    /// Reads a whole body. The share belongs to it for as long as anything made from it lives.
    pub(super) async fn read(&self, body: Body) -> Result<(Bytes, Share), ApiError> {
        self.read_up_to(self.limit, body).await
    }

    /// Reads the whole body of a sealed request: any other, with padding, framing and sealing around it.
    pub(crate) async fn read_sealed(&self, body: Body) -> Result<(Bytes, Share), ApiError> {
        self.read_up_to(self.limit + SEALING_ROOM, body).await
    }

    async fn read_up_to(&self, limit: usize, mut body: Body) -> Result<(Bytes, Share), ApiError> {
        let too_long = |length: u64| length > limit as u64;
        let announced = body.size_hint().lower();
        if too_long(announced) {
            return Err(Fault::BodyTooLarge.into());
        }
        let mut share = self.share(0).await?;
        let mut received = Received::Nothing;
        let began = Instant::now();
        loop {
            let frame = match timeout_at(began + allowance(received.len()), body.frame()).await {
                Ok(None) => return Ok((received.whole(), share)),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Err(Fault::BodyBroken.into()),
                Err(_) => return Err(Fault::BodyTooSlow.into()),
            };
            let Ok(data) = frame.into_data() else { continue };
            let length = received.len() + data.len();
            if too_long(length as u64) {
                return Err(Fault::BodyTooLarge.into());
            }
            self.grow(&mut share, length).await?;
            received = received.and(data);
        }
    }

    /// Takes a share of the memory.
    pub(crate) async fn share(&self, bytes: usize) -> Result<Share, ApiError> {
        Ok(Share { permit: self.permit(bytes.div_ceil(UNIT)).await?, bytes: bytes.next_multiple_of(UNIT) })
    }

    async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), ApiError> {
        if bytes > share.bytes {
            share.permit.merge(self.permit((bytes - share.bytes).div_ceil(UNIT)).await?);
            share.bytes = bytes.next_multiple_of(UNIT);
        }
        Ok(())
    }

    async fn permit(&self, units: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let units = u32::try_from(units).map_err(|_| Fault::Crowded)?;
        if let Ok(permit) = Arc::clone(&self.memory).try_acquire_many_owned(units) {
            return Ok(permit);
        }
        match timeout(CROWD_PATIENCE, Arc::clone(&self.memory).acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Fault::Crowded.into()),
        }
    }
}

impl Share {
    /// Bytes that hold this share until the last of them is written out.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> Bytes {
        struct Held(Vec<u8>, #[expect(dead_code, reason = "dropped with the bytes")] Share);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Held(bytes, self))
    }
}

/// How long a body may take that has come this far.
fn allowance(received: usize) -> Duration {
    (HEAD_START + Duration::from_secs((received / MINIMUM_RATE) as u64)).min(DEADLINE)
}

/// What has come of a body. Most bodies come in one piece and are never copied.
enum Received {
    Nothing,
    Piece(Bytes),
    Pieces(BytesMut),
}

impl Received {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Piece(piece) => piece.len(),
            Self::Pieces(pieces) => pieces.len(),
        }
    }

    fn and(self, data: Bytes) -> Self {
        match self {
            Self::Nothing => Self::Piece(data),
            Self::Piece(piece) => Self::Pieces(BytesMut::from(piece)).and(data),
            Self::Pieces(mut pieces) => {
                pieces.extend_from_slice(&data);
                Self::Pieces(pieces)
            }
        }
    }

    fn whole(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Piece(piece) => piece,
            Self::Pieces(pieces) => pieces.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use tokio_stream::{StreamExt as _, iter};

    /// A body of pieces, each after a pause.
    fn pieces(count: usize, size: usize, pause: Duration) -> Body {
        let stream = iter(0..count).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        Body::new(StreamBody::new(stream))
    }

    async fn read(body: Body) -> Result<usize, Fault> {
        let intake = Intake::new(1 << 20);
        intake.read(body).await.map(|(bytes, _)| bytes.len()).map_err(|error| error.fault)
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_body_is_read_and_a_trickle_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(read(pieces(20, 2048, second)).await, Ok(40_960));
        let began = Instant::now();
        assert_eq!(read(pieces(100, 1, second)).await, Err(Fault::BodyTooSlow));
        assert_eq!(began.elapsed(), HEAD_START);
        let began = Instant::now();
        assert_eq!(read(pieces(100, 4096, second)).await, Err(Fault::BodyTooSlow));
        assert_eq!(began.elapsed(), DEADLINE);
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_it_announces_its_length_or_not() {
        let limit = Intake::new(1 << 20).limit;
        assert_eq!(read(Body::from(vec![b'x'; limit])).await, Ok(limit));
        assert_eq!(read(Body::from(vec![b'x'; limit + 1])).await, Err(Fault::BodyTooLarge));
        assert_eq!(read(pieces(3, limit / 2, Duration::ZERO)).await, Err(Fault::BodyTooLarge));
        assert_eq!(read(Body::empty()).await, Ok(0));
    }

    #[test]
    fn the_smallest_message_size_still_leaves_room_for_1900_tokens() {
        assert!(Intake::new(1024).limit > relay_proto::limits::MAX_MAILBOXES * 67 + 40);
        assert_eq!(Intake::new(1 << 20).limit, (1_usize << 20).div_ceil(3) * 4 + JSON_ROOM);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_memory_and_are_turned_away_when_there_is_none() {
        let intake = Intake::new(1 << 20);
        let all = intake.share(MEMORY).await.unwrap();
        assert_eq!(intake.read(Body::from("x")).await.unwrap_err().fault, Fault::Crowded);
        let bytes = all.hold(vec![1, 2, 3]);
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert!(intake.read(Body::from("x")).await.is_err(), "a slice still holds the memory");
        drop(slice);
        assert!(intake.read(Body::from("x")).await.is_ok());
    }
}
