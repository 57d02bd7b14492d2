//! Takes in request bodies, bounded in size, time and memory.

use super::error::{ApiError, ErrorCode};
use crate::limits::memory::{Account, Exhausted, Memory, MemoryPermit, Size};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use prometheus::IntCounter;
use relay_proto::page::RUNG;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Time for a whole body.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time after which a body must have come at [`MINIMUM_RATE`].
const HEAD_START: Duration = Duration::from_secs(5);

/// Bytes a second.
const MINIMUM_RATE: usize = 1024;

/// Replies up to this size hold no memory: how many there can be, the limits on connections and their streams say.
pub(crate) const UNCOUNTED: usize = 4 << 10;

/// Room in a body for everything but base64.
const JSON_ROOM: usize = 4096;

/// Bytes around a sealed request: padding up to a multiple of 4 KiB, control data and headers, key and tag.
const SEALING_ROOM: usize = 8192;

/// Body bytes that 1900 tokens of 64 digits need, quoted and listed, in any sane formatting.
const TOKENS_ROOM: usize = 160 << 10;

/// Bytes that a sealed reply takes, at most, as plaintext and sealed.
pub(crate) const SEALED_ANSWER: usize = 2 * RUNG;

/// Reads request bodies.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    /// Bytes of one body.
    limit: usize,
    memory: Arc<Memory>,
}

/// A request body, and who pays for the memory that it takes.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) body: Body,
    /// `None` for a request inside another one, which holds memory for both.
    pub(crate) account: Option<Arc<Account>>,
}

impl Upload {
    /// Whether there is nothing in it.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl From<Exhausted> for ApiError {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Account => ErrorCode::TooMuchInProgress.into(),
            Exhausted::Whole => ErrorCode::Crowded.into(),
        }
    }
}

impl BodyBudget {
    /// For blobs of at most `max_message_size` decoded bytes. `refused` counts refusals for what one payer holds.
    pub(crate) fn new(max_message_size: usize, refused: IntCounter) -> Self {
        let limit = (max_message_size.div_ceil(3) * 4 + JSON_ROOM).max(TOKENS_ROOM);
        let memory = Arc::new(Memory::new(limit + SEALING_ROOM + SEALED_ANSWER, refused));
        Self { limit, memory }
    }

    /// The account of a client's address, or of a named outer relay's.
    pub(crate) fn account(&self, payer: IpAddr, is_relay: bool) -> Arc<Account> {
        self.memory.account(payer, is_relay)
    }

    /// Reads a whole body. The share belongs to it for as long as anything made from it lives.
    pub(crate) async fn read(&self, upload: Upload) -> Result<(Bytes, MemoryPermit), ApiError> {
        Self::read_up_to(self.limit, upload).await
    }

    /// Reads the whole body of a sealed request: any other, with padding, framing and sealing around it.
    pub(crate) async fn read_sealed(&self, upload: Upload) -> Result<(Bytes, MemoryPermit), ApiError> {
        Self::read_up_to(self.limit + SEALING_ROOM, upload).await
    }

    async fn read_up_to(limit: usize, upload: Upload) -> Result<(Bytes, MemoryPermit), ApiError> {
        let Upload { mut body, account } = upload;
        let too_long = |length: u64| length > limit as u64;
        let announced = body.size_hint().lower();
        if too_long(announced) {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        let announced = usize::try_from(announced).unwrap_or(limit);
        let mut share = match &account {
            Some(account) => account.take(0, Size::of(announced)).await?,
            None => MemoryPermit::of_another(),
        };
        let mut received = Received::Nothing;
        let began = Instant::now();
        loop {
            let frame = match timeout_at(began + allowance(received.len()), body.frame()).await {
                Ok(None) => return Ok((received.whole(), share)),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Err(ErrorCode::BodyBroken.into()),
                Err(_) => return Err(ErrorCode::BodyTooSlow.into()),
            };
            let Ok(data) = frame.into_data() else { continue };
            let length = received.len() + data.len();
            if too_long(length as u64) {
                return Err(ErrorCode::BodyTooLarge.into());
            }
            share.grow_as(length, Size::of(length.max(announced))).await?;
            received = received.and(data);
        }
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

    fn intake(max_message_size: usize) -> BodyBudget {
        BodyBudget::new(max_message_size, IntCounter::new("refused", "Refused.").unwrap())
    }

    async fn read_by(client: &str, intake: &BodyBudget, body: Body) -> Result<usize, ErrorCode> {
        let account = Some(intake.account(client.parse().unwrap(), false));
        let read = intake.read(Upload { body, account }).await;
        read.map(|(bytes, _)| bytes.len()).map_err(|error| error.fault)
    }

    async fn read(body: Body) -> Result<usize, ErrorCode> {
        read_by("192.0.2.1", &intake(1 << 20), body).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_body_is_read_and_a_trickle_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(read(pieces(20, 2048, second)).await, Ok(40_960));
        let began = Instant::now();
        assert_eq!(read(pieces(100, 1, second)).await, Err(ErrorCode::BodyTooSlow));
        assert_eq!(began.elapsed(), HEAD_START);
        let began = Instant::now();
        assert_eq!(read(pieces(100, 4096, second)).await, Err(ErrorCode::BodyTooSlow));
        assert_eq!(began.elapsed(), DEADLINE);
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_it_announces_its_length_or_not() {
        let limit = intake(1 << 20).limit;
        assert_eq!(read(Body::from(vec![b'x'; limit])).await, Ok(limit));
        assert_eq!(read(Body::from(vec![b'x'; limit + 1])).await, Err(ErrorCode::BodyTooLarge));
        assert_eq!(read(pieces(3, limit / 2, Duration::ZERO)).await, Err(ErrorCode::BodyTooLarge));
        assert_eq!(read(Body::empty()).await, Ok(0));
    }

    #[test]
    fn the_smallest_message_size_still_leaves_room_for_1900_tokens() {
        assert!(intake(1024).limit > relay_proto::limits::MAX_MAILBOXES * 67 + 40);
        assert_eq!(intake(1 << 20).limit, (1_usize << 20).div_ceil(3) * 4 + JSON_ROOM);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_of_one_client_that_do_not_end_cost_others_nothing() {
        let intake = Arc::new(intake(1 << 20));
        let mut unfinished = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let intake = Arc::clone(&intake);
            unfinished.spawn(async move {
                read_by("192.0.2.1", &intake, pieces(64, 16 << 10, Duration::from_secs(1))).await
            });
        }
        tokio::time::sleep(Duration::from_secs(15)).await;
        let large = || Body::from(vec![b'x'; 1 << 20]);
        assert_eq!(read_by("192.0.2.1", &intake, large()).await, Err(ErrorCode::TooMuchInProgress));
        assert_eq!(read_by("192.0.2.1", &intake, Body::from("x")).await, Ok(1), "a small one has room");
        assert_eq!(read_by("192.0.2.2", &intake, large()).await, Ok(1 << 20));
    }
}
