//! Frames: the plaintext of a Noise message, and messages cut into them.

use super::noise;

/// Bytes that a frame's plaintext may have.
pub const SIZES: [usize; 5] = [256, 1024, 4096, 16_384, 65_519];

/// Bytes of the largest message.
pub const LARGEST_MESSAGE: usize = 20_971_520;

/// Bytes before the data of a data frame.
pub const HEADER: usize = 16;

/// Bytes of a message that fit into one frame.
pub const LARGEST_PIECE: usize = noise::LARGEST - noise::TAG - HEADER;

/// Marks the last frame of a stream.
pub const LAST: u8 = 1;

/// What one Noise message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of a message.
    Data(Data),
    /// The end, and why.
    Close {
        /// See [`super::Closed`].
        reason: u8,
    },
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Number of the message, from 1.
    pub stream: u32,
    /// Number of the piece, from 0.
    pub sequence: u32,
    /// [`LAST`] or 0.
    pub flags: u8,
    /// Bytes of the whole message.
    pub total: u32,
    /// The piece, at most 65,535 bytes.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Its bytes without padding.
    ///
    /// # Panics
    /// When a piece is longer than its length can say.
    pub fn bare(&self) -> Vec<u8> {
        match self {
            Self::Close { reason } => vec![2, *reason],
            Self::Data(data) => {
                let mut bytes = vec![1];
                bytes.extend(data.stream.to_be_bytes());
                bytes.extend(data.sequence.to_be_bytes());
                bytes.push(data.flags);
                bytes.extend(data.total.to_be_bytes());
                bytes.extend(u16::try_from(data.bytes.len()).expect("a piece that fits").to_be_bytes());
                bytes.extend(&data.bytes);
                bytes
            }
        }
    }

    /// Its bytes, padded to the next size.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.bare();
        bytes.resize(padded(bytes.len()), 0);
        bytes
    }

    /// Reads a frame, with all its rules.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (frame, used) = match *bytes {
            [1, ref rest @ ..] => data(rest)?,
            [2, reason, ..] => (Self::Close { reason }, 2),
            _ => return Err("a frame of an unknown kind"),
        };
        if bytes.len() != padded(used) {
            return Err("a frame of another size than the next");
        }
        if bytes[used..].iter().any(|&byte| byte != 0) {
            return Err("padding that is not zero");
        }
        Ok(frame)
    }
}

fn padded(length: usize) -> usize {
    // What is larger than all sizes stays as it is: such frames exist only where a test wants them.
    SIZES.into_iter().find(|&size| size >= length).unwrap_or(length)
}

/// Reads a data frame from after its kind; says also how many bytes it took with it.
fn data(rest: &[u8]) -> Result<(Frame, usize), &'static str> {
    let cut = "a frame that ends early";
    let (stream, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (sequence, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (&flags, rest) = rest.split_first().ok_or(cut)?;
    let (total, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (length, rest) = rest.split_first_chunk().ok_or(cut)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let bytes = rest.get(..length).ok_or(cut)?.to_vec();
    if flags & !LAST != 0 {
        return Err("unknown flags");
    }
    let (stream, sequence) = (u32::from_be_bytes(*stream), u32::from_be_bytes(*sequence));
    let data = Data { stream, sequence, flags, total: u32::from_be_bytes(*total), bytes };
    Ok((Frame::Data(data), HEADER + length))
}

/// Cuts a message into the frames of one stream, with at most so many bytes each.
///
/// # Panics
/// When the message is longer than a total can say, or pieces are empty.
pub fn cut(stream: u32, message: &[u8], piece: usize) -> Vec<Data> {
    let total = message.len().try_into().expect("a message that fits");
    let mut pieces: Vec<&[u8]> = message.chunks(piece).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let last = pieces.len() - 1;
    let frame = |(index, bytes): (usize, &[u8])| Data {
        stream,
        sequence: index.try_into().expect("fewer pieces than bytes"),
        flags: if index == last { LAST } else { 0 },
        total,
        bytes: bytes.to_vec(),
    };
    pieces.into_iter().enumerate().map(frame).collect()
}
