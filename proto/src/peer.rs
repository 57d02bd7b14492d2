//! What relays say to one another, inside the Noise channel: how the messages are written and read, and what their parts
//! are read into.

mod blob;
mod hello;

pub use blob::{Hops, OfferedBlob, listing, names, offered_blobs, write_listing, write_names};
pub use hello::Hello;

use crate::peer_messages::Message;
use crate::peer_messages::message::Body;
use crate::{Malformed, bounds};
use bytes::Bytes;
use prost::Message as _;

/// Version of what relays say to one another.
pub const VERSION: u32 = 1;

/// Returns a question or an answer.
#[must_use]
pub const fn message(request: u64, body: Body) -> Message {
    Message { request, body: Some(body) }
}

/// Returns a message that nobody answers.
#[must_use]
pub const fn notice(body: Body) -> Message {
    message(0, body)
}

/// Writes a message.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// Reads a message. What is in its fields is still to be checked; how many of them there are is not.
///
/// # Errors
/// [`Malformed`] for what is not a message, or has more parts than it may.
pub fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    bounds::decode(bytes).map_err(|_| Malformed)
}

/// Whether a message answers another one.
#[must_use]
pub const fn is_answer(body: &Body) -> bool {
    matches!(
        body,
        Body::HelloAck(_)
            | Body::OffloadAck(_)
            | Body::RecallAck(_)
            | Body::ForgetAck(_)
            | Body::DrainAck(_)
            | Body::InventoryAck(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_messages::{DrainAck, ForgetAck};

    #[test]
    fn these_bytes_are_what_other_programs_send() {
        // Field 1, a number: 7. Field 10, a message of two bytes: field 1, a number: 1.
        let bytes = Bytes::from_static(&[0x08, 7, 0x52, 2, 0x08, 1]);
        let said = message(7, Body::ForgetAck(ForgetAck { done: true }));
        assert_eq!(encode(&said), bytes);
        assert_eq!(decode(bytes), Ok(said));
    }

    #[test]
    fn a_message_that_is_not_known_is_no_message_and_no_fault() {
        // Field 99, which no version has.
        let bytes = Bytes::from_static(&[0x08, 7, 0x9a, 0x06, 1, 0]);
        assert_eq!(decode(bytes), Ok(Message { request: 7, body: None }));
    }

    #[test]
    fn a_message_shows_its_kind_and_nothing_else() {
        assert_eq!(format!("{:?}", Body::DrainAck(DrainAck {})), "DrainAck");
        assert_eq!(format!("{:?}", notice(Body::DrainAck(DrainAck {}))), "Message");
    }
}
