//! Everything that ends a channel by the rules, one at a time.

use super::channel::Channel;
use super::frame::{self, Data, Frame, LARGEST_MESSAGE, LAST};
use super::noise;
use super::websocket::{FIN, Side, encode, opcode};

/// Something that a peer must not do on an open channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// A text message.
    Text,
    /// A message in two WebSocket frames.
    Fragmented,
    /// A WebSocket message of 65,536 bytes.
    Oversized,
    /// A WebSocket frame with a reserved bit.
    ReservedBit,
    /// A WebSocket frame of a kind that there is not.
    UnknownOpcode,
    /// A WebSocket frame whose sender masks, or does not, as the other side should.
    WrongMask,
    /// A Noise message of 0 bytes.
    EmptyNoise,
    /// Bytes that nobody sealed.
    Garbage,
    /// A turned bit in a sealed message.
    TurnedBit,
    /// A sealed message twice.
    Repeated,
    /// A sealed message left out.
    LeftOut,
    /// A frame of no bytes.
    EmptyFrame,
    /// A frame of kind 0.
    KindZero,
    /// A frame of kind 3.
    KindThree,
    /// A frame without its padding.
    Unpadded,
    /// A frame of 257 bytes.
    OddSize,
    /// Padding that is not zero, after data.
    LoudPadding,
    /// Padding that is not zero, after a close.
    LoudClose,
    /// A length that reaches past the frame.
    LongLength,
    /// A flag that is not known.
    UnknownFlag,
    /// A stream's number used again.
    StreamAgain,
    /// A stream's number left out.
    StreamLeftOut,
    /// Stream 0.
    StreamZero,
    /// A stream that begins with frame 1.
    LateStart,
    /// A frame left out.
    FrameLeftOut,
    /// A frame twice.
    FrameAgain,
    /// A total that changes.
    ChangingTotal,
    /// A total of one byte more than is allowed.
    LargeTotal,
    /// The largest total that a frame can say.
    HugeTotal,
    /// More bytes than the total.
    PastTotal,
    /// A last frame before the total.
    EndsEarly,
    /// Five streams open at once.
    FiveStreams,
    /// A message that is no protobuf.
    NoMessage,
    /// Ten million empty blobs in one message of 19 MiB.
    EmptyBlobs,
    /// As many empty names.
    EmptyNames,
    /// Twenty million verdicts of one byte, to a question that nobody asked.
    Verdicts,
}

impl Misdeed {
    /// Every one.
    pub const ALL: [Self; 36] = [
        Self::Text,
        Self::Fragmented,
        Self::Oversized,
        Self::ReservedBit,
        Self::UnknownOpcode,
        Self::WrongMask,
        Self::EmptyNoise,
        Self::Garbage,
        Self::TurnedBit,
        Self::Repeated,
        Self::LeftOut,
        Self::EmptyFrame,
        Self::KindZero,
        Self::KindThree,
        Self::Unpadded,
        Self::OddSize,
        Self::LoudPadding,
        Self::LoudClose,
        Self::LongLength,
        Self::UnknownFlag,
        Self::StreamAgain,
        Self::StreamLeftOut,
        Self::StreamZero,
        Self::LateStart,
        Self::FrameLeftOut,
        Self::FrameAgain,
        Self::ChangingTotal,
        Self::LargeTotal,
        Self::HugeTotal,
        Self::PastTotal,
        Self::EndsEarly,
        Self::FiveStreams,
        Self::NoMessage,
        Self::EmptyBlobs,
        Self::EmptyNames,
        Self::Verdicts,
    ];

    /// Those that name much more in a message than it has bytes for.
    pub const INFLATED: [Self; 3] = [Self::EmptyBlobs, Self::EmptyNames, Self::Verdicts];

    /// Does it. Nothing else is sent, before or after.
    pub async fn commit(self, channel: &mut Channel) {
        if let Some(bytes) = self.websocket(channel) {
            return channel.send_raw_websocket(&bytes).await;
        }
        if let Some(messages) = self.noise(channel) {
            for message in messages {
                channel.send_raw_noise(&message).await;
            }
            return;
        }
        let next = channel.sender.next_stream();
        let plaintexts = match self.plaintext(next) {
            Some(plaintext) => vec![plaintext],
            None => self.frames(next).into_iter().map(|data| Frame::Data(data).encode()).collect(),
        };
        for plaintext in plaintexts {
            channel.send_raw_frame(&plaintext).await;
        }
    }

    /// What is wrong below Noise.
    fn websocket(self, channel: &mut Channel) -> Option<Vec<u8>> {
        let side = channel.sender.writer.side();
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        let binary = FIN | opcode::BINARY;
        // Sealed like any message, so that nothing is wrong but the frame.
        let mut sound = || {
            let next = channel.sender.next_stream();
            channel.sender.seal(&sound(next))
        };
        Some(match self {
            Self::Text => encode(FIN | opcode::TEXT, &sound(), side),
            Self::Fragmented => {
                let sealed = sound();
                let (front, back) = sealed.split_at(100);
                let rest = encode(FIN | opcode::CONTINUATION, back, side);
                [encode(opcode::BINARY, front, side), rest].concat()
            }
            Self::Oversized => encode(binary, &vec![0; noise::LARGEST + 1], side),
            Self::ReservedBit => encode(binary | 0x40, &sound(), side),
            Self::UnknownOpcode => encode(FIN | 3, &sound(), side),
            Self::WrongMask => encode(binary, &sound(), other),
            _ => return None,
        })
    }

    /// What is wrong with Noise messages.
    fn noise(self, channel: &mut Channel) -> Option<Vec<Vec<u8>>> {
        let mut sealed = || {
            let next = channel.sender.next_stream();
            channel.sender.seal(&sound(next))
        };
        Some(match self {
            Self::EmptyNoise => vec![Vec::new()],
            Self::Garbage => vec![vec![0x5A; 272]],
            Self::TurnedBit => {
                let mut message = sealed();
                message[0] ^= 1;
                vec![message]
            }
            Self::Repeated => {
                let message = sealed();
                vec![message.clone(), message]
            }
            Self::LeftOut => {
                drop(sealed());
                vec![sealed()]
            }
            _ => return None,
        })
    }

    /// What is wrong with one frame.
    fn plaintext(self, stream: u32) -> Option<Vec<u8>> {
        let mut sound = sound(stream);
        match self {
            Self::EmptyFrame => sound.clear(),
            Self::KindZero => sound[0] = 0,
            Self::KindThree => sound[0] = 3,
            Self::Unpadded => sound.truncate(frame::HEADER + notice().len()),
            Self::OddSize => sound.push(0),
            Self::LoudPadding => sound[255] = 1,
            Self::LoudClose => {
                sound.fill(0);
                (sound[0], sound[255]) = (2, 1);
            }
            Self::LongLength => sound[14..16].copy_from_slice(&241_u16.to_be_bytes()),
            Self::UnknownFlag => sound[9] |= 2,
            _ => return None,
        }
        Some(sound)
    }

    /// What is wrong with a stream.
    fn frames(self, next: u32) -> Vec<Data> {
        let text = [7; 300];
        let whole = |stream| frame::cut(stream, &notice(), 100);
        let parts = |stream| frame::cut(stream, &text, 100);
        let mut frames = parts(next);
        match self {
            Self::StreamAgain => return [whole(next), whole(next)].concat(),
            Self::StreamLeftOut => return whole(next + 1),
            Self::StreamZero => return whole(0),
            Self::LateStart => frames.retain(|data| data.sequence > 0),
            Self::FrameLeftOut => frames.retain(|data| data.sequence != 1),
            Self::FrameAgain => frames.insert(1, frames[0].clone()),
            Self::ChangingTotal => frames[1].total += 1,
            Self::LargeTotal => return huge(next, LARGEST_MESSAGE as u32 + 1),
            Self::HugeTotal => return huge(next, u32::MAX),
            Self::PastTotal => {
                for data in &mut frames {
                    (data.total, data.flags) = (250, 0);
                }
            }
            Self::EndsEarly => frames[1].flags = LAST,
            Self::FiveStreams => {
                return (0..5).map(|index| parts(next + index).swap_remove(0)).collect();
            }
            Self::NoMessage => return frame::cut(next, &[0xFF; 40], 100),
            Self::EmptyBlobs => return inflated(next, 5, &EMPTY.repeat(TEN_MILLION)),
            Self::EmptyNames => return inflated(next, 9, &EMPTY.repeat(TEN_MILLION)),
            Self::Verdicts => return inflated(next, 6, &bytes_field(1, &vec![1; 2 * TEN_MILLION])),
            _ => {}
        }
        frames
    }
}

/// As many elements as fit the largest message, in two bytes each.
const TEN_MILLION: usize = LARGEST_MESSAGE / 2 - 16;

/// An empty element of a message's first list.
const EMPTY: [u8; 2] = [1 << 3 | 2, 0];

/// A message with a body of this kind and these bytes, in frames.
fn inflated(stream: u32, kind: u8, body: &[u8]) -> Vec<Data> {
    let numbered = [&[1 << 3, 1][..], &bytes_field(kind, body)].concat();
    frame::cut(stream, &numbered, frame::LARGEST_PIECE)
}

/// A field of bytes: number, length, bytes.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// The message of a capacity notice, which is always allowed.
fn notice() -> Vec<u8> {
    use super::message::{Body, Capacity, Encoded as _, Message};
    let capacity = Capacity { free_bytes: 1 << 30, accepting: true };
    Message::new(0, Body::Capacity(capacity)).encode_to_vec()
}

/// A frame in which nothing is wrong.
fn sound(stream: u32) -> Vec<u8> {
    let data = frame::cut(stream, &notice(), frame::LARGEST_PIECE).swap_remove(0);
    Frame::Data(data).encode()
}

/// The beginning of a message that claims to be large.
fn huge(stream: u32, total: u32) -> Vec<Data> {
    vec![Data { stream, sequence: 0, flags: 0, total, bytes: vec![7; 100] }]
}
