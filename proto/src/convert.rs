//! The boundary: messages become domain types here and nowhere else. An absent field, a wrong length or an
//! unknown number is a [`Refusal::Invalid`] with the field's name, never a default.

mod admin;
mod admission;
pub(crate) mod mailbox;
pub(crate) mod telemetry;

use crate::door::Malformed;
use crate::{AddressHash, Refusal};
use bytes::Bytes;

/// Reads a fixed-size identifier.
fn identifier<T>(field: &'static str, bytes: &Bytes) -> Result<T, Refusal>
where
    T: for<'a> TryFrom<&'a [u8], Error = Malformed>,
{
    T::try_from(bytes.as_ref()).map_err(|_| Refusal::invalid(field))
}

/// Writes a fixed-size identifier.
fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn caller(bytes: &Bytes) -> Result<Option<AddressHash>, Refusal> {
    if bytes.is_empty() { Ok(None) } else { identifier("caller", bytes).map(Some) }
}

fn caller_bytes(caller: Option<AddressHash>) -> Bytes {
    caller.map_or_else(Bytes::new, |hash| bytes_of(hash.as_bytes()))
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or(Refusal::invalid(field))
}
