//! The signed key record, read from its bytes and checked as clients check it, by no code of the relay's processes.

use crate::oblivious::Key;
pub use relay_client::key_record::{CONTENT_TYPE, LONGEST, PATH};
use relay_client::{KeyRecordError, ServedKeyRecord};
pub use relay_client::{ROLLOVER_PATH, ROLLOVER_TYPE};

/// A record, taken apart.
#[derive(Debug, Clone)]
pub struct SignedKey {
    /// Unix time in days.
    pub window: u64,
    /// What is signed.
    pub key: Key,
    /// First second at which the intermediate key may sign.
    pub not_before: u64,
    /// The second at which it may not any more.
    pub not_after: u64,
    record: ServedKeyRecord,
}

impl SignedKey {
    /// Reads a record to its last byte.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn parse(record: &[u8]) -> Self {
        match ServedKeyRecord::parse(record) {
            Ok(record) => record.into(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads a record as a client that knows an anchor, in hex, takes it at a time, in Unix seconds.
    ///
    /// # Errors
    /// When such a client would refuse it.
    pub fn taken(record: &[u8], anchor: &str, now: u64) -> Result<Self, KeyRecordError> {
        ServedKeyRecord::check(record, Some(&bytes(anchor)), now, now).map(Self::from)
    }

    /// Whether both signatures hold, strictly, from an anchor in hex.
    ///
    /// # Panics
    /// When the anchor is no public key.
    #[track_caller]
    pub fn is_vouched_for_by(&self, anchor: &str) -> bool {
        self.record.is_certified_by(&bytes(anchor)) && self.record.is_signed()
    }
}

impl From<ServedKeyRecord> for SignedKey {
    fn from(record: ServedKeyRecord) -> Self {
        let ServedKeyRecord { window, not_before, not_after, .. } = record;
        Self { window, key: record.key.clone().into(), not_before, not_after, record }
    }
}

/// A change of anchor.
#[derive(Debug, Clone)]
pub struct Rollover(relay_client::AnchorRollover);

impl Rollover {
    /// Reads a list of records to its last byte.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn parse_all(list: &[u8]) -> Vec<Self> {
        let records = relay_client::AnchorRollover::parse_list(list).expect("a list of rollovers");
        records.into_iter().map(Self).collect()
    }

    /// The new anchor, in hex.
    pub fn anchor(&self) -> String {
        hex::encode(self.0.anchor)
    }

    /// What it commits to for the next change, in hex.
    pub fn commitment(&self) -> String {
        hex::encode(self.0.commitment)
    }

    /// Whether the new anchor is the one that a client was promised, and says so itself.
    pub fn keeps(&self, promised: &str) -> bool {
        self.0.follows(&bytes(promised))
    }
}

#[track_caller]
fn bytes(hexadecimal: &str) -> [u8; 32] {
    hex::decode(hexadecimal).expect("hexadecimal digits").try_into().expect("32 bytes")
}
