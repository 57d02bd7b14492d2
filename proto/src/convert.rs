//! The boundary: messages become domain types here and nowhere else. An absent field, a wrong length or an
//! unknown number is a [`Refusal::Invalid`] with the field's name, never a default.

mod admin;
mod admission;
mod escrow;
mod exchange;
pub(crate) mod federation;
mod guardian;
mod inventory;
mod keys;
pub(crate) mod mailbox;
pub(crate) mod peer;
pub(crate) mod recovery;
pub(crate) mod telemetry;

use crate::caller::{Budget, Caller, Payer};
use crate::door::Malformed;
use crate::{Refusal, wire};
use bytes::Bytes;

/// Reads a fixed-size identifier.
pub(crate) fn identifier<T>(field: &'static str, bytes: &Bytes) -> Result<T, Refusal>
where
    T: for<'a> TryFrom<&'a [u8], Error = Malformed>,
{
    T::try_from(bytes.as_ref()).map_err(|_| Refusal::invalid(field))
}

/// Writes a fixed-size identifier.
pub(crate) fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn caller(message: Option<wire::Caller>) -> Result<Caller, Refusal> {
    let Some(wire::Caller { budget, address, network }) = message else { return Ok(None) };
    let budget = match wire::Budget::try_from(budget) {
        Ok(wire::Budget::Client) => Budget::Client,
        Ok(wire::Budget::ObliviousRelay) => Budget::ObliviousRelay,
        Ok(wire::Budget::KnownObliviousRelay) => Budget::KnownObliviousRelay,
        Ok(wire::Budget::Unspecified) | Err(_) => return Err(Refusal::invalid("caller")),
    };
    let address = identifier("caller", &address)?;
    let network = if network.is_empty() { address } else { identifier("caller", &network)? };
    Ok(Some(Payer { budget, address, network }))
}

fn caller_message(caller: Caller) -> Option<wire::Caller> {
    let Payer { budget, address, network } = caller?;
    let network = if network == address { Bytes::new() } else { bytes_of(network.as_bytes()) };
    let budget = match budget {
        Budget::Client => wire::Budget::Client,
        Budget::ObliviousRelay => wire::Budget::ObliviousRelay,
        Budget::KnownObliviousRelay => wire::Budget::KnownObliviousRelay,
    };
    Some(wire::Caller { budget: budget.into(), address: bytes_of(address.as_bytes()), network })
}

pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or(Refusal::invalid(field))
}
