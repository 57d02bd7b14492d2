//! Messages of the admission service.

use super::{bytes_of, identifier};
use crate::policy::{Policy, VersionPolicy};
use crate::{Refusal, UnixSeconds, wire};

/// How many times `oblivious_rate` gateways and storage without `named_relay_rate` allow a named relay.
const OLD_RELAY_SHARE: u32 = 10;

impl TryFrom<wire::Policy> for Policy {
    type Error = Refusal;

    fn try_from(message: wire::Policy) -> Result<Self, Refusal> {
        let wire::Policy {
            address_key,
            address_rate,
            min_version,
            warn_version,
            upgrade_deadline,
            oblivious_rate,
            federation_key,
            named_relay_rate,
        } = message;
        let federation_key = if federation_key.is_empty() {
            None
        } else {
            Some(identifier("federation_key", &federation_key)?)
        };
        let version = |field, number: u32| u16::try_from(number).map_err(|_| Refusal::invalid(field));
        Ok(Self {
            address_key: identifier("address_key", &address_key)?,
            address_rate,
            oblivious_rate: match named_relay_rate {
                0 => oblivious_rate.saturating_mul(OLD_RELAY_SHARE),
                rate => rate,
            },
            versions: VersionPolicy {
                minimum: version("min_version", min_version)?,
                warn: version("warn_version", warn_version)?,
                deadline: UnixSeconds::new(upgrade_deadline),
            },
            federation_key,
        })
    }
}

impl From<Policy> for wire::Policy {
    fn from(policy: Policy) -> Self {
        let Policy { address_key, address_rate, oblivious_rate, versions, federation_key } = policy;
        let VersionPolicy { minimum, warn, deadline } = versions;
        Self {
            address_key: bytes_of(address_key.as_bytes()),
            address_rate,
            min_version: minimum.into(),
            warn_version: warn.into(),
            upgrade_deadline: deadline.get(),
            oblivious_rate: (oblivious_rate / OLD_RELAY_SHARE).max(1),
            named_relay_rate: oblivious_rate,
            federation_key: federation_key.map(|key| bytes_of(key.as_bytes())).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AddressKey;

    #[test]
    fn a_policy_survives_the_wire_and_a_version_must_fit_its_header() {
        let policy = Policy {
            address_key: AddressKey::from_bytes([1; 32]),
            address_rate: 600,
            oblivious_rate: 60_005,
            versions: VersionPolicy { minimum: 3, warn: 4, deadline: UnixSeconds::new(5) },
            federation_key: Some(crate::NoiseKey::from_bytes([2; 32])),
        };
        let message = wire::Policy::from(policy.clone());
        assert_eq!(Policy::try_from(message.clone()).unwrap(), policy);
        assert_eq!(message.oblivious_rate, 6000, "an older gateway allows a named relay ten times this");
        let older = wire::Policy { named_relay_rate: 0, ..message.clone() };
        assert_eq!(Policy::try_from(older).unwrap().oblivious_rate, 60_000);
        let message = wire::Policy { min_version: 70_000, ..message };
        assert_eq!(Policy::try_from(message).unwrap_err(), Refusal::invalid("min_version"));
    }
}
