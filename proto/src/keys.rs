//! Keys for Oblivious HTTP as storage hands them to gateways.
//!
//! Time is cut into windows of equal length, each with a seed of its own. Window `n` lasts from `n × length` to
//! `(n + 1) × length` in unix time and its key has the id `n mod 256`. Storage makes the seed of a window long
//! before it begins and deletes it when nobody should hold its key any more, so all replicas show the same key
//! at the same moment, and what was sealed to an old one stays sealed.

pub mod anchor;
pub mod key_record;
pub mod signed_bytes;

use crate::messages::{KeySet, KeyWindow, SignedRecord};
use crate::{UnixSeconds, WindowSeed};
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{KeyConfig, SymmetricSuite};
use sha2::{Digest as _, Sha256};

/// The suites on offer, the preferred one first.
const SUITES: [SymmetricSuite; 2] = [
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305),
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm),
];

/// Seconds of the day that a signed key record names.
pub const DAY_SECS: u64 = 86_400;

impl KeySet {
    /// Returns the window that a moment lies in; the first one where windows have no length.
    #[must_use]
    pub fn window_at(&self, now: UnixSeconds) -> u64 {
        now.get().checked_div(self.window_secs).unwrap_or(0)
    }

    /// The record to be shown at a moment, if there is one whose certificate holds.
    pub fn record_at(&self, now: UnixSeconds) -> Option<&SignedRecord> {
        let (day, window) = (now.get() / DAY_SECS, self.window_at(now));
        self.records
            .iter()
            .find(|record| record.day == day && record.window == window && record.certified_until > now.get())
    }
}

impl KeyWindow {
    /// The key's id in Oblivious HTTP messages.
    #[expect(clippy::cast_possible_truncation, reason = "ids are the window's number modulo 256")]
    pub const fn key_id(&self) -> u8 {
        self.number as u8
    }

    /// Derives the key pair (RFC 9180 §7.1.3, `DeriveKeyPair`).
    ///
    /// # Errors
    /// When the seed has not the length of one.
    pub fn config(&self) -> Result<KeyConfig, ohttp::Error> {
        let seed = WindowSeed::try_from(self.seed.as_ref()).map_err(|_| ohttp::Error::Format)?;
        KeyConfig::derive(self.key_id(), Kem::X25519Sha256, SUITES.to_vec(), seed.as_bytes())
    }

    /// The public half, as clients read it (RFC 9458 §3.1).
    ///
    /// # Errors
    /// As [`KeyWindow::config`].
    pub fn encoded_config(&self) -> Result<Vec<u8>, ohttp::Error> {
        self.config()?.encode()
    }
}

/// SHA-256 of a key configuration, by which two people can compare what they were given.
pub fn fingerprint(encoded_config: &[u8]) -> [u8; 32] {
    Sha256::digest(encoded_config).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn window(number: u64, seed: u8) -> KeyWindow {
        KeyWindow { number, seed: Bytes::copy_from_slice(&[seed; 32]) }
    }

    #[test]
    fn a_key_configuration_has_one_key_and_chacha20_poly1305_first() {
        let ours = window(0x1_23, 7);
        let config = ours.encoded_config().unwrap();
        assert_eq!(config.len(), 45);
        assert_eq!(config[0], 0x23, "key id");
        assert_eq!(config[1..3], [0x00, 0x20], "DHKEM(X25519, HKDF-SHA256)");
        assert_eq!(config[35..37], [0x00, 0x08], "length of the suites");
        assert_eq!(config[37..41], [0x00, 0x01, 0x00, 0x03], "HKDF-SHA256, ChaCha20-Poly1305");
        assert_eq!(config[41..45], [0x00, 0x01, 0x00, 0x01], "HKDF-SHA256, AES-128-GCM");
        assert_eq!(ours.encoded_config().unwrap(), config, "the same seed, the same key");
        assert_ne!(window(0x1_23, 8).encoded_config().unwrap(), config);
        assert!(KeyWindow { seed: Bytes::new(), ..ours }.config().is_err(), "a seed of no length");
    }

    #[test]
    fn the_key_of_the_rfcs_example_is_read_and_written_as_it_stands_there() {
        // RFC 9458, Appendix A.
        let example = "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e798155\
                       00080001000100010003";
        let config = KeyConfig::decode(&hex::decode(example).unwrap()).unwrap();
        assert_eq!(hex::encode(config.encode().unwrap()), example);
        let ours = window(1, 7).encoded_config().unwrap();
        assert_eq!(ours.len() * 2, example.len(), "the same form, with the suites the other way round");
    }

    #[test]
    fn the_record_of_a_moment_is_of_its_day_and_window_and_certified() {
        let record =
            |day, window, until| SignedRecord { day, window, record: Bytes::new(), certified_until: until };
        let set = KeySet {
            window_secs: DAY_SECS / 2,
            refresh_secs: 60,
            windows: Vec::new(),
            records: vec![record(10, 20, u64::MAX), record(10, 21, 10 * DAY_SECS + DAY_SECS / 2 + 5)],
            rollovers: Bytes::new(),
        };
        let at = |seconds| set.record_at(UnixSeconds::new(10 * DAY_SECS + seconds)).map(|found| found.window);
        assert_eq!(at(0), Some(20));
        assert_eq!(at(DAY_SECS / 2), Some(21));
        assert_eq!(at(DAY_SECS / 2 + 5), None, "its certificate has ended");
        assert_eq!(at(DAY_SECS), None);
        assert_eq!(KeySet { window_secs: 0, ..set }.window_at(UnixSeconds::new(u64::MAX)), 0);
    }
}
