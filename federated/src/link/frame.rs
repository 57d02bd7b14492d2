//! Frames: what one Noise message holds. A piece of a message, or the end of the connection, padded so that its
//! length says little.

use super::{Broken, Reason};

/// Largest plaintext of a Noise message, in bytes: 65,535 less the tag.
pub(crate) const MAX_PLAINTEXT: usize = 65_519;

/// Lengths that frames have.
const BUCKETS: [usize; 5] = [256, 1024, 4096, 16_384, MAX_PLAINTEXT];

/// Kind, stream, sequence, flags, total, length.
const HEADER: usize = 1 + 4 + 4 + 1 + 4 + 2;

/// Most bytes of a message in one frame.
pub(crate) const MAX_PIECE: usize = MAX_PLAINTEXT - HEADER;

const DATA: u8 = 1;
const CLOSE: u8 = 2;
const LAST: u8 = 1;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A piece of a message.
    Data(Piece<'a>),
    /// The sender says nothing more.
    Close(Reason),
}

/// A piece of a message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Which message, by its sender's count.
    pub(crate) stream: u32,
    /// Which piece of it, from 0.
    pub(crate) sequence: u32,
    /// Whether it is the last one.
    pub(crate) last: bool,
    /// Bytes of the whole message.
    pub(crate) total: u32,
    /// The piece.
    pub(crate) bytes: &'a [u8],
}

impl std::fmt::Debug for Piece<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Piece({} bytes)", self.bytes.len())
    }
}

impl<'a> Frame<'a> {
    /// Writes it, padded. A piece has at most [`MAX_PIECE`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_PLAINTEXT);
        match self {
            Self::Data(piece) => {
                bytes.push(DATA);
                bytes.extend_from_slice(&piece.stream.to_be_bytes());
                bytes.extend_from_slice(&piece.sequence.to_be_bytes());
                bytes.push(if piece.last { LAST } else { 0 });
                bytes.extend_from_slice(&piece.total.to_be_bytes());
                bytes.extend_from_slice(&u16::try_from(piece.bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend_from_slice(piece.bytes);
            }
            Self::Close(reason) => bytes.extend_from_slice(&[CLOSE, reason.code()]),
        }
        let padded = BUCKETS.into_iter().find(|bucket| *bucket >= bytes.len()).unwrap_or(MAX_PLAINTEXT);
        bytes.resize(padded, 0);
        bytes
    }

    /// Reads one.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Broken> {
        if !BUCKETS.contains(&bytes.len()) {
            return Err(Broken);
        }
        let (kind, rest) = bytes.split_first().ok_or(Broken)?;
        let (frame, padding) = match *kind {
            DATA => {
                let (stream, rest) = number(rest)?;
                let (sequence, rest) = number(rest)?;
                let (flags, rest) = rest.split_first().ok_or(Broken)?;
                let (total, rest) = number(rest)?;
                let (length, rest) = rest.split_first_chunk().ok_or(Broken)?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (bytes, padding) = rest.split_at_checked(length).ok_or(Broken)?;
                if *flags & !LAST != 0 {
                    return Err(Broken);
                }
                let last = *flags == LAST;
                (Self::Data(Piece { stream, sequence, last, total, bytes }), padding)
            }
            CLOSE => {
                let (code, padding) = rest.split_first().ok_or(Broken)?;
                (Self::Close(Reason::read(*code)), padding)
            }
            _ => return Err(Broken),
        };
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Broken);
        }
        Ok(frame)
    }
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), Broken> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Broken)?;
    Ok((u32::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_these_bytes() {
        let piece = Piece { stream: 0x0102, sequence: 3, last: true, total: 5, bytes: b"hello" };
        let mut bytes = vec![
            1, // data
            0, 0, 1, 2, // stream
            0, 0, 0, 3, // sequence
            1, // last
            0, 0, 0, 5, // total
            0, 5, // length
        ];
        bytes.extend_from_slice(b"hello");
        bytes.resize(256, 0);
        assert_eq!(Frame::Data(piece.clone()).encode(), bytes);
        assert_eq!(Frame::decode(&bytes), Ok(Frame::Data(piece)));

        let mut bytes = vec![2, 4];
        bytes.resize(256, 0);
        assert_eq!(Frame::Close(Reason::Stopping).encode(), bytes);
        assert_eq!(Frame::decode(&bytes), Ok(Frame::Close(Reason::Stopping)));
    }

    #[test]
    fn reasons_keep_their_numbers_and_an_unknown_one_is_an_end() {
        for reason in Reason::ALL {
            assert_eq!(Reason::read(reason.code()), reason);
        }
        assert_eq!(Reason::read(200), Reason::Ended);
    }

    #[test]
    fn lengths_are_a_few() {
        for (piece, length) in [
            (0, 256),
            (240, 256),
            (241, 1024),
            (1008, 1024),
            (1009, 4096),
            (5000, 16_384),
            (MAX_PIECE, 65_519),
        ] {
            let bytes = vec![1; piece];
            let frame = Frame::Data(Piece { stream: 1, sequence: 0, last: true, total: 0, bytes: &bytes });
            assert_eq!(frame.encode().len(), length, "{piece}");
        }
    }

    #[test]
    fn padding_is_zero_and_flags_are_known() {
        let good = Frame::Close(Reason::Ended).encode();
        for (position, value) in [(255, 1), (2, 1), (0, 3), (0, 0)] {
            let mut bytes = good.clone();
            bytes[position] = value;
            assert_eq!(Frame::decode(&bytes), Err(Broken), "{position}");
        }
        let piece = Piece { stream: 1, sequence: 0, last: false, total: 1, bytes: b"a" };
        let good = Frame::Data(piece).encode();
        for (position, value) in [(9, 2), (14, 255), (17, 1)] {
            let mut bytes = good.clone();
            bytes[position] = value;
            assert_eq!(Frame::decode(&bytes), Err(Broken), "{position}");
        }
        assert_eq!(Frame::decode(&good[..255]), Err(Broken));
        assert_eq!(Frame::decode(&[]), Err(Broken));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stream: u32, sequence: u32, last: bool, total: u32,
            bytes in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let frame = Frame::Data(Piece { stream, sequence, last, total, bytes: &bytes });
            let encoded = frame.encode();
            prop_assert_eq!(Frame::decode(&encoded), Ok(frame));
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), bucket in 0_usize..3) {
            drop(Frame::decode(&bytes));
            bytes.resize(BUCKETS[bucket], 0);
            drop(Frame::decode(&bytes));
        }
    }
}
