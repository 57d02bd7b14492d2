//! The boundary: messages become domain types here and nowhere else. An absent field, a wrong length or an
//! unknown number is a [`Refusal::Invalid`] with the field's name, never a default.

mod admin;
pub(crate) mod federation;
mod keys;
pub(crate) mod telemetry;

pub(crate) use crate::field::{identifier, required};
use bytes::Bytes;

/// Writes a fixed-size identifier.
pub(crate) fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
