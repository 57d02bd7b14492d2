//! What fuzzers feed: every place where bytes of peers become something else. Each body takes any bytes and panics where
//! a promise is broken. The fuzzer in `tests/fuzz` runs them for hours, the tests here for a moment and over everything
//! that was ever found.

use crate::link::frame::Frame;
use crate::link::stream::{Incoming, Outgoing, Priority};
use crate::session::{Answer, Question};
use bytes::Bytes;
use relay_proto::peer::{self, Hello};
use relay_proto::peer_messages::{self, message::Body};

/// A body by the name of its target.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 2] = [("peer_frames", peer_frames), ("peer_message", peer_message)];

/// Longest message of these streams, in bytes.
const LIMIT: usize = 4096;

/// Smallest frame, in bytes.
const FRAME: usize = 256;

/// Frames in a row, each of 256 bytes or its beginning: what is read is written again as it was, and no order of
/// pieces makes a message that is longer than it may be.
pub fn peer_frames(data: &[u8]) {
    let mut incoming = Incoming::new(LIMIT);
    for part in data.chunks(FRAME) {
        let mut bytes = part.to_vec();
        bytes.resize(FRAME, 0);
        let Ok(frame) = Frame::decode(&bytes) else { continue };
        if let Frame::Data(piece) = &frame {
            assert_eq!(frame.encode(), bytes, "there is one way to write a frame");
            if let Ok(Some(message)) = incoming.take(piece) {
                assert!(message.len() <= LIMIT);
            }
        }
    }
    // And the other way round: whatever is sent arrives.
    let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::new(data.len()));
    outgoing.push(data.to_vec(), Priority::Bulk, 0);
    let mut arrived = None;
    while let Some(frame) = outgoing.next() {
        if let Ok(Frame::Data(piece)) = Frame::decode(&frame) {
            arrived = incoming.take(&piece).unwrap_or_default();
        }
    }
    assert_eq!(arrived.as_deref(), Some(data));
}

/// A message: what can be read says the same when it is written and read again, and no field of it makes a reader panic.
pub fn peer_message(data: &[u8]) {
    if let Ok(message) = peer::decode(Bytes::copy_from_slice(data)) {
        let again = peer::decode(peer::encode(&message).into());
        assert_eq!(again.as_ref(), Ok(&message));
        let Some(body) = message.body else { return };
        assert!(!(Question::read(body.clone()).is_ok() && Answer::read(body.clone()).is_ok()));
        if let Body::Hello(hello) | Body::HelloAck(hello) = body
            && let Ok(hello) = Hello::try_from(hello)
        {
            assert_eq!(Hello::try_from(peer_messages::Hello::from(hello.clone())), Ok(hello));
        }
    }
}

#[cfg(test)]
mod harness;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::blob;
    use crate::session::body;
    use proptest::prelude::*;
    use relay_proto::peer::{Hops, OfferedBlob};
    use relay_proto::peer_messages::Capacity;
    use relay_proto::transfer::{Direction, OfferResult};

    #[test]
    fn what_was_ever_found_stays_found() {
        harness::run_over_corpora(&TARGETS);
    }

    #[test]
    fn no_input_breaks_a_promise() {
        harness::run_over_random_inputs(&TARGETS);
    }

    proptest! {
        #[test]
        fn no_change_of_a_message_breaks_a_promise(position: prop::sample::Index, value: u8, which in 0_usize..4) {
            let capacity = Capacity { free_bytes: 7, accepting: true };
            let blobs = vec![OfferedBlob::new(blob(1), Hops::said(1))];
            let body = match which {
                0 => body::offload(Direction::ToOrigin, blobs),
                1 => body::offload_ack(&[OfferResult::Accepted, OfferResult::NotNow], capacity),
                2 => body::recall(vec![blob(1).name()]),
                _ => Body::Capacity(capacity),
            };
            let mut bytes = peer::encode(&peer::message(5, body));
            peer_message(&bytes);
            let position = position.index(bytes.len());
            bytes[position] = value;
            peer_message(&bytes);
        }
    }
}
