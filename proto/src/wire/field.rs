//! Reading the fields of a message. An absent field, a wrong length or an unknown number is a [`StorageError::Invalid`] with
//! the field's name, never a default.

use crate::caller::{Caller, RateLimitClass, RateLimitSubject};
use crate::identifier::encoding::Malformed;
use crate::{StorageError, messages};
use bytes::Bytes;

/// Reads an identifier.
///
/// # Errors
/// [`StorageError::Invalid`] unless the bytes have its length.
pub fn identifier<T>(field: &'static str, bytes: &[u8]) -> Result<T, StorageError>
where
    T: for<'a> TryFrom<&'a [u8], Error = Malformed>,
{
    T::try_from(bytes).map_err(|_| StorageError::invalid(field))
}

/// Reads an identifier that may be missing: it is then empty.
///
/// # Errors
/// [`StorageError::Invalid`] for any other length than its own.
pub fn optional<T>(field: &'static str, bytes: &[u8]) -> Result<Option<T>, StorageError>
where
    T: for<'a> TryFrom<&'a [u8], Error = Malformed>,
{
    if bytes.is_empty() { Ok(None) } else { identifier(field, bytes).map(Some) }
}

/// Reads one of several known values.
///
/// # Errors
/// [`StorageError::Invalid`] for a value that is missing, which is 0 in every message, or that is not known.
pub fn enumerated<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, StorageError> {
    if number == 0 {
        return Err(StorageError::invalid(field));
    }
    T::try_from(number).map_err(|_| StorageError::invalid(field))
}

fn each<V, T>(
    field: &'static str,
    list: impl IntoIterator<Item = V, IntoIter: ExactSizeIterator>,
    most: usize,
    read: impl FnMut(V) -> Result<T, StorageError>,
) -> Result<Vec<T>, StorageError> {
    let list = list.into_iter();
    if list.len() > most {
        return Err(StorageError::invalid(field));
    }
    list.map(read).collect()
}

/// Reads a list of identifiers.
///
/// # Errors
/// [`StorageError::Invalid`] for a list that is too long, or with an entry that has not their length.
pub fn identifiers<T>(field: &'static str, list: &[Bytes], most: usize) -> Result<Vec<T>, StorageError>
where
    T: for<'a> TryFrom<&'a [u8], Error = Malformed>,
{
    each(field, list, most, |bytes| identifier(field, bytes))
}

/// Reads a list of messages.
///
/// # Errors
/// [`StorageError::Invalid`] for a list that is too long, or what is wrong with an entry.
pub fn list<M, T>(field: &'static str, list: Vec<M>, most: usize) -> Result<Vec<T>, StorageError>
where
    T: TryFrom<M, Error = StorageError>,
{
    each(field, list, most, T::try_from)
}

/// Reads what a client sealed.
///
/// # Errors
/// [`StorageError::Invalid`] unless its length is within bounds.
pub fn sealed<T, V>(field: &'static str, value: V) -> Result<T, StorageError>
where
    T: TryFrom<V, Error = Malformed>,
{
    T::try_from(value).map_err(|_| StorageError::invalid(field))
}

/// Reads a list of what a client sealed.
///
/// # Errors
/// [`StorageError::Invalid`] for a list that is too long, or with an entry whose length is out of bounds.
pub fn sealed_list<T, V>(field: &'static str, list: Vec<V>, most: usize) -> Result<Vec<T>, StorageError>
where
    T: TryFrom<V, Error = Malformed>,
{
    each(field, list, most, |value| sealed(field, value))
}

/// Reads the position of one of `asked` things.
///
/// # Errors
/// [`StorageError::Invalid`] unless there are more than that.
pub fn index(field: &'static str, index: u32, asked: usize) -> Result<usize, StorageError> {
    usize::try_from(index).ok().filter(|index| *index < asked).ok_or(StorageError::invalid(field))
}

/// Reads a field that must be there.
///
/// # Errors
/// [`StorageError::Invalid`] when it is not.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, StorageError> {
    value.ok_or(StorageError::invalid(field))
}

/// Reads who pays for a request.
///
/// # Errors
/// [`StorageError::Invalid`] for a budget that is not known, or a hash that is none.
pub fn caller(message: Option<messages::Caller>) -> Result<Caller, StorageError> {
    let Some(messages::Caller { budget, address, network }) = message else { return Ok(None) };
    let budget = match messages::Budget::try_from(budget) {
        Ok(messages::Budget::Client) => RateLimitClass::Client,
        Ok(messages::Budget::ObliviousRelay) => RateLimitClass::ObliviousRelay,
        Ok(messages::Budget::KnownObliviousRelay) => RateLimitClass::KnownObliviousRelay,
        Ok(messages::Budget::Unspecified) | Err(_) => return Err(StorageError::invalid("caller")),
    };
    let address = identifier("caller", &address)?;
    let network = if network.is_empty() { address } else { identifier("caller", &network)? };
    Ok(Some(RateLimitSubject { budget, address, network }))
}

impl From<RateLimitSubject> for messages::Caller {
    fn from(payer: RateLimitSubject) -> Self {
        let RateLimitSubject { budget, address, network } = payer;
        let network = if network == address { Bytes::new() } else { network.into() };
        let budget = match budget {
            RateLimitClass::Client => messages::Budget::Client,
            RateLimitClass::ObliviousRelay => messages::Budget::ObliviousRelay,
            RateLimitClass::KnownObliviousRelay => messages::Budget::KnownObliviousRelay,
        };
        Self { budget: budget.into(), address: address.into(), network }
    }
}

/// A position in a list that a message holds.
#[must_use]
pub fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddressHash, GuardianEntry};

    #[test]
    fn a_caller_survives_the_wire_and_is_charged_only_under_a_known_budget() {
        let address = AddressHash::from_bytes([1; 16]);
        for budget in
            [RateLimitClass::Client, RateLimitClass::ObliviousRelay, RateLimitClass::KnownObliviousRelay]
        {
            for network in [address, AddressHash::from_bytes([2; 16])] {
                let payer = RateLimitSubject { budget, address, network };
                assert_eq!(caller(Some(payer.into())), Ok(Some(payer)));
            }
        }
        assert_eq!(caller(None), Ok(None));
        let good = messages::Caller::from(RateLimitSubject::new(RateLimitClass::Client, address));
        for wrong in [
            messages::Caller { budget: 0, ..good.clone() },
            messages::Caller { budget: 99, ..good.clone() },
            messages::Caller { address: Bytes::new(), ..good.clone() },
            messages::Caller { network: Bytes::from_static(&[0; 15]), ..good },
        ] {
            assert_eq!(caller(Some(wrong)), Err(StorageError::invalid("caller")));
        }
    }

    #[test]
    fn lists_positions_and_absent_fields_are_bounded() {
        let name = Bytes::from_static(&[1; 16]);
        let list = |count: usize| identifiers::<AddressHash>("list", &vec![name.clone(); count], 2);
        assert_eq!(list(2).map(|all| all.len()), Ok(2));
        assert_eq!(list(3), Err(StorageError::invalid("list")));
        assert_eq!(
            identifiers::<AddressHash>("list", &[Bytes::new()], 2),
            Err(StorageError::invalid("list"))
        );
        let entries = |count: usize, length: usize| {
            sealed_list::<GuardianEntry, _>("entries", vec![Bytes::from(vec![1; length]); count], 10)
        };
        assert_eq!(entries(10, 256).map(|all| all.len()), Ok(10));
        for (count, length) in [(11, 1), (1, 257)] {
            assert_eq!(entries(count, length), Err(StorageError::invalid("entries")));
        }
        assert_eq!((index("i", 1, 2), index("i", 2, 2)), (Ok(1), Err(StorageError::invalid("i"))));
        assert_eq!(required::<u8>("field", None), Err(StorageError::invalid("field")));
        assert_eq!(position(7), 7);
        assert_eq!(optional::<AddressHash>("field", &[]), Ok(None));
        assert!(optional::<AddressHash>("field", &[0; 15]).is_err());
        for number in [0, 99, -1] {
            let refused = enumerated::<messages::Budget>("field", number).err();
            assert_eq!(refused, Some(StorageError::invalid("field")));
        }
    }

    #[test]
    fn a_message_shows_its_name_and_nothing_else() {
        let message = messages::Caller { address: Bytes::from_static(b"secret"), ..Default::default() };
        assert_eq!(format!("{message:?}"), "Caller");
        assert_eq!(format!("{:?}", messages::WriteCommand::default()), "WriteCommand");
        let stored = messages::write_outcome::Outcome::Stored(Bytes::from_static(b"secret"));
        assert_eq!(format!("{stored:?}"), "Stored");
    }
}
