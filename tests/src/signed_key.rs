//! The signed key record, read from its bytes and checked as clients check it, by no code of the relay's.
//!
//! ```text
//! version 1 | window u64 | length u16 | key configuration | signature 64
//!   | intermediate key 32 | not_before u64 | not_after u64 | anchor signature 64
//! ```

use crate::oblivious::{CHACHA20_POLY1305, Key};
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Where the record is.
pub const PATH: &str = "/v2/ohttp-key-signed";
/// Its content type.
pub const CONTENT_TYPE: &str = "application/vnd.vauchi.ohttp-key-signed";
/// Most bytes that it may have.
pub const LONGEST: usize = 699;

/// A record, taken apart.
#[derive(Debug, Clone)]
pub struct SignedKey {
    /// Unix time in days.
    pub window: u64,
    /// What is signed.
    pub key: Key,
    signature: Signature,
    intermediate: [u8; 32],
    /// First second at which the intermediate key may sign.
    pub not_before: u64,
    /// The second at which it may not any more.
    pub not_after: u64,
    anchor_signature: Signature,
}

impl SignedKey {
    /// Reads a record to its last byte.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn parse(record: &[u8]) -> Self {
        match Self::read(record) {
            Ok(signed) => signed,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads a record to its last byte.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(record: &[u8]) -> Result<Self, String> {
        if record.len() > LONGEST {
            return Err(format!("a record of {} bytes", record.len()));
        }
        let mut rest = record;
        if try_take::<1>(&mut rest)? != [1] {
            return Err("another version of the record".to_owned());
        }
        let window = u64::from_be_bytes(try_take(&mut rest)?);
        let length = usize::from(u16::from_be_bytes(try_take(&mut rest)?));
        if length > 512 || length > rest.len() {
            return Err(format!("a configuration of {length} bytes"));
        }
        let (config, after) = rest.split_at(length);
        rest = after;
        let signed = Self {
            window,
            key: Key::bare(Bytes::copy_from_slice(config)),
            signature: Signature::from_bytes(&try_take(&mut rest)?),
            intermediate: try_take(&mut rest)?,
            not_before: u64::from_be_bytes(try_take(&mut rest)?),
            not_after: u64::from_be_bytes(try_take(&mut rest)?),
            anchor_signature: Signature::from_bytes(&try_take(&mut rest)?),
        };
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the record", rest.len()));
        }
        Ok(signed)
    }

    /// Whether a client that knows an anchor takes the key at a time, in Unix seconds.
    ///
    /// # Errors
    /// What is wrong.
    pub fn holds(&self, anchor: &str, now: u64) -> Result<(), String> {
        let window = now / 86_400;
        if self.window != window {
            return Err(format!("the record is for window {}, and this is {window}", self.window));
        }
        if u64::from(self.key.id()) != window % 256 {
            return Err(format!("key {} in window {window}", self.key.id()));
        }
        if !(self.not_before..self.not_after).contains(&now) {
            return Err("the certificate does not hold now".to_owned());
        }
        if self.key.suites().first() != Some(&CHACHA20_POLY1305) {
            return Err("another suite comes first".to_owned());
        }
        if !self.is_vouched_for_by(anchor) {
            return Err("the anchor does not vouch for it".to_owned());
        }
        Ok(())
    }

    /// Whether both signatures hold, strictly, from an anchor in hex.
    ///
    /// # Panics
    /// When the anchor is no public key.
    #[track_caller]
    pub fn is_vouched_for_by(&self, anchor: &str) -> bool {
        let anchor: [u8; 32] =
            hex::decode(anchor).expect("an anchor is hex").try_into().expect("32 bytes of an anchor");
        let anchor = VerifyingKey::from_bytes(&anchor).expect("an anchor is a public key");
        let certificate = [
            b"vauchi-ohttp-intermediate-v1".as_slice(),
            &self.intermediate,
            &self.not_before.to_be_bytes(),
            &self.not_after.to_be_bytes(),
        ]
        .concat();
        let config =
            [b"vauchi-ohttp-keyconfig-v1".as_slice(), &self.window.to_be_bytes(), self.key.config()].concat();
        let Ok(intermediate) = VerifyingKey::from_bytes(&self.intermediate) else { return false };
        anchor.verify_strict(&certificate, &self.anchor_signature).is_ok()
            && intermediate.verify_strict(&config, &self.signature).is_ok()
    }
}

/// Where records of changed anchors are.
pub const ROLLOVER_PATH: &str = "/v2/ohttp-anchor-rollover";
/// Their content type.
pub const ROLLOVER_TYPE: &str = "application/vnd.vauchi.ohttp-anchor-rollover";

/// A change of anchor: version 1, new anchor 32, next commitment 32, signature 64.
#[derive(Debug, Clone)]
pub struct Rollover {
    anchor: [u8; 32],
    commitment: [u8; 32],
    signature: Signature,
}

impl Rollover {
    /// Reads a list of records to its last byte.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn parse_all(list: &[u8]) -> Vec<Self> {
        let mut rest = list;
        let [count] = take::<1>(&mut rest);
        assert!(count <= 16, "{count} records");
        assert_eq!(rest.len(), usize::from(count) * 129, "{count} records");
        let mut records = Vec::new();
        while !rest.is_empty() {
            assert_eq!(take::<1>(&mut rest), [1], "version");
            records.push(Self {
                anchor: take(&mut rest),
                commitment: take(&mut rest),
                signature: Signature::from_bytes(&take(&mut rest)),
            });
        }
        records
    }

    /// The new anchor, in hex.
    pub fn anchor(&self) -> String {
        hex::encode(self.anchor)
    }

    /// What it commits to for the next change, in hex.
    pub fn commitment(&self) -> String {
        hex::encode(self.commitment)
    }

    /// Whether the new anchor is the one that a client was promised, and says so itself.
    pub fn keeps(&self, promised: &str) -> bool {
        let backup = Sha256::new_with_prefix("vauchi-ohttp-backup-anchor-v1").chain_update(self.anchor);
        let message =
            [b"vauchi-ohttp-anchor-rollover-v1".as_slice(), &self.anchor, &self.commitment].concat();
        hex::encode(backup.finalize()) == promised
            && VerifyingKey::from_bytes(&self.anchor)
                .is_ok_and(|anchor| anchor.verify_strict(&message, &self.signature).is_ok())
    }
}

fn try_take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, after) = rest.split_first_chunk().ok_or("the record is cut short")?;
    *rest = after;
    Ok(*taken)
}

#[track_caller]
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("a whole record");
    *rest = after;
    *taken
}
