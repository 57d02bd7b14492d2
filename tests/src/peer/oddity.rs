//! What a relay has to put up with: unusual, and allowed.

use super::channel::Channel;
use super::frame::{self, Frame};
use super::message::{Body, Capacity, Drain, Encoded as _, ForgetAck, Message, OffloadAck, RecallAck};
use super::websocket::{FIN, opcode};

/// Something that a peer may do on an open channel, and that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// Answers, one of each kind, that nobody waits for.
    AnswersNobodyAsked,
    /// A message whose body is not known.
    UnknownBody,
    /// A notice with a field that is not known.
    UnknownField,
    /// Notices of room that comes and goes.
    ManyNotices,
    /// Pings, one of them empty and one of the largest size, and a pong that nobody asked for.
    Pings,
    /// A notice in frames of one byte each.
    TinyFrames,
    /// Four streams that take turns.
    FourStreams,
    /// A message that fills the largest frame to the last byte.
    LargestFrame,
}

impl Oddity {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::AnswersNobodyAsked,
        Self::UnknownBody,
        Self::UnknownField,
        Self::ManyNotices,
        Self::Pings,
        Self::TinyFrames,
        Self::FourStreams,
        Self::LargestFrame,
    ];

    /// Does it.
    pub async fn show(self, channel: &mut Channel) {
        match self {
            Self::AnswersNobodyAsked => {
                for (request, body) in (u64::MAX - 9..).zip(answers()) {
                    channel.send(&Message::new(request, body)).await;
                }
            }
            // Field 1000, a length and some bytes, in place of a body.
            Self::UnknownBody => channel.send_bytes(&[0xC2, 0x3E, 3, 1, 2, 3]).await,
            Self::UnknownField => {
                let known = notice(1 << 30).encode_to_vec();
                channel.send_bytes(&[&known[..], &[0xC2, 0x3E, 3, 1, 2, 3]].concat()).await;
            }
            Self::ManyNotices => {
                for room in [0, u64::MAX, 1, 1 << 30] {
                    channel.send(&notice(room)).await;
                }
            }
            Self::Pings => {
                for (kind, length) in [(opcode::PING, 0), (opcode::PING, 125), (opcode::PONG, 9)] {
                    channel.sender.writer.frame(FIN | kind, &vec![b'x'; length]).await;
                }
            }
            Self::TinyFrames => {
                let stream = channel.sender.next_stream();
                for data in frame::cut(stream, &notice(1 << 30).encode_to_vec(), 1) {
                    channel.send_frame(&Frame::Data(data)).await;
                }
            }
            Self::FourStreams => {
                let notice = notice(1 << 30).encode_to_vec();
                let mut streams: Vec<_> = (0..4)
                    .map(|_| frame::cut(channel.sender.next_stream(), &notice, 1).into_iter())
                    .collect();
                for _ in 0..notice.len() {
                    for stream in &mut streams {
                        if let Some(data) = stream.next() {
                            channel.send_frame(&Frame::Data(data)).await;
                        }
                    }
                }
            }
            Self::LargestFrame => {
                // Field 1000 again, and as many bytes as make the message fill the frame.
                let rest = frame::LARGEST_PIECE - 5;
                let length = [rest as u8 & 0x7F | 0x80, (rest >> 7) as u8 & 0x7F | 0x80, (rest >> 14) as u8];
                channel.send_bytes(&[&[0xC2, 0x3E], &length[..], &vec![7; rest]].concat()).await;
            }
        }
    }
}

fn notice(free_bytes: u64) -> Message {
    Message::new(0, Body::Capacity(Capacity { free_bytes, accepting: true }))
}

fn answers() -> [Body; 4] {
    [
        Body::OffloadAck(OffloadAck {
            verdicts: vec![1],
            capacity: Some(Capacity { free_bytes: 1 << 30, accepting: true }),
        }),
        Body::RecallAck(RecallAck::default()),
        Body::ForgetAck(ForgetAck { done: true }),
        Body::DrainAck(Drain {}),
    ]
}
