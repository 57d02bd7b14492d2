//! Takes in bodies of clients and of targets, bounded in size, time and memory.

use super::reply::ForwardError;
use crate::edge::TrackedBody;
use crate::limits::memory::{Account, MemoryPermit, Size};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bytes of the longest sealed request, as deployed outer relays have it.
pub(super) const LONGEST_REQUEST: usize = 64 << 10;

/// Bytes of the longest answer to one, likewise.
pub(super) const LONGEST_ANSWER: usize = 128 << 10;

/// Time for a whole body of a client.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time after which a client's body must have come at [`MINIMUM_RATE`].
const HEAD_START: Duration = Duration::from_secs(5);

/// Bytes a second.
const MINIMUM_RATE: usize = 1024;

/// Reads a client's whole body, with memory for it.
pub(super) async fn request(
    body: TrackedBody,
    account: &Arc<Account>,
) -> Result<(Vec<u8>, MemoryPermit), ForwardError> {
    read(body, account).await
}

async fn read<B: Body + Unpin>(
    mut body: B,
    account: &Arc<Account>,
) -> Result<(Vec<u8>, MemoryPermit), ForwardError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > LONGEST_REQUEST {
        return Err(ForwardError::TooLarge);
    }
    let mut memory = account.take(announced, Size::of(announced)).await?;
    let mut read = Vec::with_capacity(announced);
    let began = Instant::now();
    loop {
        let frame = match timeout_at(began + allowance(read.len()), body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(ForwardError::Broken),
            Err(_) => return Err(ForwardError::Slow),
        };
        let Ok(mut data) = frame.into_data() else { continue };
        let length = read.len() + bytes::Buf::remaining(&data);
        if length > LONGEST_REQUEST {
            return Err(ForwardError::TooLarge);
        }
        memory.grow_as(length, Size::of(length.max(announced))).await?;
        append(&mut read, &mut data);
    }
    Ok((read, memory))
}

/// Takes memory for the longest answer besides a request of so many bytes, before it is sent: an answer that a target
/// will not give again must not be lost for want of memory.
pub(super) async fn make_room(memory: &mut MemoryPermit, request: usize) -> Result<(), ForwardError> {
    Ok(memory.grow(request + LONGEST_ANSWER).await?)
}

/// How long a body may take that has come this far.
fn allowance(received: usize) -> Duration {
    (HEAD_START + Duration::from_secs((received / MINIMUM_RATE) as u64)).min(DEADLINE)
}

/// Reads a target's whole body; the time for it is the caller's business.
///
/// # Errors
/// When it ends early, or is longer than `longest`.
pub(super) async fn answer(mut body: Incoming, longest: usize) -> Result<Vec<u8>, ForwardError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > longest {
        return Err(ForwardError::Unusable);
    }
    let mut read = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ForwardError::Unusable)?;
        let Ok(mut data) = frame.into_data() else { continue };
        if read.len() + data.len() > longest {
            return Err(ForwardError::Unusable);
        }
        append(&mut read, &mut data);
    }
    Ok(read)
}

fn append(read: &mut Vec<u8>, data: &mut impl bytes::Buf) {
    while data.has_remaining() {
        let piece = data.chunk();
        let length = piece.len();
        read.extend_from_slice(piece);
        data.advance(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::memory::Memory;
    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use prometheus::IntCounter;
    use std::convert::Infallible;
    use tokio_stream::{StreamExt as _, iter};

    fn account() -> Arc<Account> {
        let refused = IntCounter::new("refused", "Refused.").unwrap();
        Arc::new(Memory::new(LONGEST_REQUEST + LONGEST_ANSWER, refused))
            .account("192.0.2.1".parse().unwrap(), false)
    }

    async fn length<B: Body + Unpin>(body: B) -> Result<usize, ForwardError> {
        read(body, &account()).await.map(|(body, _)| body.len())
    }

    /// A body of pieces, each after a pause, of a length that nobody announced.
    fn pieces(count: usize, size: usize, pause: Duration) -> impl Body<Data = Bytes> + Unpin {
        let stream = iter(0..count).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        StreamBody::new(Box::pin(stream))
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_request_is_taken_and_one_byte_more_is_not() {
        let whole = |length| Full::new(Bytes::from(vec![0; length]));
        assert_eq!(length(whole(LONGEST_REQUEST)).await, Ok(LONGEST_REQUEST));
        assert_eq!(length(whole(LONGEST_REQUEST + 1)).await, Err(ForwardError::TooLarge));
        assert_eq!(length(pieces(64, 1024, Duration::ZERO)).await, Ok(LONGEST_REQUEST));
        assert_eq!(length(pieces(65, 1024, Duration::ZERO)).await, Err(ForwardError::TooLarge));
        assert_eq!(length(whole(0)).await, Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up() {
        assert_eq!(length(pieces(100, 10, Duration::from_secs(1))).await, Err(ForwardError::Slow));
        assert_eq!(length(pieces(20, 2048, Duration::from_secs(1))).await, Ok(40_960));
        assert_eq!(length(pieces(60, 1024, Duration::from_secs(1))).await, Err(ForwardError::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_holds_a_part_of_the_memory_only() {
        let account = account();
        let mut held = Vec::new();
        let refused = loop {
            match read(Full::new(Bytes::from(vec![0; LONGEST_REQUEST])), &account).await {
                Ok((body, mut memory)) => match make_room(&mut memory, body.len()).await {
                    Ok(()) => held.push(memory),
                    Err(error) => break error,
                },
                Err(error) => break error,
            }
        };
        assert_eq!(refused, ForwardError::InProgress);
        assert!((16..64).contains(&held.len()), "{}", held.len());
    }
}
