//! Bounds before memory: what a message may hold is checked on its bytes, before it is decoded.
//!
//! A decoder makes room for every element that a message names, and an element may be named in two bytes: 20 MiB of
//! empty blobs become 2 GiB. So the bytes are walked first, with nothing but the shapes of the messages as `build.rs`
//! found them in the `.proto` files, and whatever has more of something than the table of bounds (`most`) allows is
//! refused. A list without a bound does not compile.

mod most;
#[cfg(test)]
mod tests;

use crate::StorageError;
use bytes::Bytes;
use most::most;
use std::borrow::Cow;

// The shapes of all messages, their bounds, and all calls.
include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Most fields of one message.
const MOST_FIELDS: usize = 32;

/// A message's fields.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Package and name.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test of the table"))]
    pub(crate) name: &'static str,
    /// In the order of the `.proto` file.
    pub(crate) fields: &'static [Field],
}

/// A field, and how often it may come.
#[derive(Debug)]
pub(crate) struct Field {
    number: u64,
    name: &'static str,
    most: usize,
    kind: Kind,
}

/// How a field is written.
#[derive(Debug)]
enum Kind {
    Varint,
    Fixed(usize),
    Bytes,
    Message(&'static Shape),
}

/// A message whose shape is known.
pub(crate) trait Shaped {
    /// Its shape.
    const SHAPE: &'static Shape;
}

/// A call between the processes.
#[derive(Debug)]
pub(crate) struct Call {
    /// Where it is asked for: `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// Whether either side sends any number of messages.
    pub(crate) streams: bool,
}

/// Why a message is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbounded {
    /// A field came more often than it may.
    #[error("too many of {0}")]
    TooMany(&'static str),
    /// The bytes are no message, or not this one.
    #[error("malformed message")]
    Malformed,
}

impl From<Unbounded> for StorageError {
    fn from(unbounded: Unbounded) -> Self {
        let field = match unbounded {
            Unbounded::TooMany(field) => field,
            Unbounded::Malformed => "message",
        };
        Self::Invalid { field: Cow::Borrowed(field) }
    }
}

/// Decodes a message that keeps its bounds.
pub(crate) fn decode<M: Shaped + prost::Message + Default>(bytes: Bytes) -> Result<M, Unbounded> {
    check(M::SHAPE, &bytes)?;
    M::decode(bytes).map_err(|_| Unbounded::Malformed)
}

/// Whether the bytes of a message keep its bounds. Takes no memory, and time in proportion to the bytes: no message
/// contains itself, so the shapes end.
pub(crate) fn check(shape: &Shape, mut bytes: &[u8]) -> Result<(), Unbounded> {
    let mut seen = [0_usize; MOST_FIELDS];
    while !bytes.is_empty() {
        let (number, value) = next(&mut bytes)?;
        let known = shape.fields.iter().zip(&mut seen).find(|(field, _)| field.number == number);
        // What a newer version has besides is skipped here as it is by the decoder.
        let Some((field, seen)) = known else { continue };
        let (times, inner) = match (&field.kind, value) {
            (Kind::Message(inner), Value::Bytes(bytes)) => (1, Some((inner, bytes))),
            (Kind::Message(_), Value::Number) => return Err(Unbounded::Malformed),
            // Numbers of a list stand together, and each ends with a byte below 128.
            (Kind::Varint, Value::Bytes(packed)) => {
                (packed.iter().filter(|byte| **byte < 0x80).count(), None)
            }
            (Kind::Fixed(size), Value::Bytes(packed)) => (packed.len() / size, None),
            (Kind::Bytes, Value::Bytes(_)) | (_, Value::Number) => (1, None),
        };
        *seen = seen.saturating_add(times);
        if *seen > field.most {
            return Err(Unbounded::TooMany(field.name));
        }
        if let Some((inner, bytes)) = inner {
            check(inner, bytes)?;
        }
    }
    Ok(())
}

/// A field's value: a number of some kind, or bytes with a length before them.
enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// Takes the next field off: its number and value.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>), Unbounded> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => varint(bytes).map(|_| Value::Number)?,
        1 => take(bytes, 8).map(|_| Value::Number)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| Unbounded::Malformed)?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Value::Number)?,
        // Groups, which nobody writes any more.
        _ => return Err(Unbounded::Malformed),
    };
    Ok((key >> 3, value))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Unbounded> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Unbounded::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

/// A number of up to ten bytes with seven bits each, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64, Unbounded> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = *take(bytes, 1)?.first().ok_or(Unbounded::Malformed)?;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Unbounded::Malformed)
}
