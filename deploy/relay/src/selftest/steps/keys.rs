//! The relay's keys, in every form that clients get them in.

use super::Trial;
use crate::selftest::client::{Trouble, expect, wrong};
use crate::selftest::oblivious::{self, envelope};
use crate::selftest::record;
use ohttp::KeyConfig;
use relay_proto::Commitment;
use relay_proto::anchor::{ROLLOVER_CONTENT_TYPE, Rollover, parse_rollovers};
use relay_proto::key_record;
use relay_proto::keys::fingerprint;
use serde_json::json;

const KEYS: &str = "application/ohttp-keys";
const PROBLEM: &str = "application/problem+json";
/// RFC 9458 §5.3.
const KEY_PROBLEM: &str = "https://iana.org/assignments/http-problem-types#ohttp-key";

impl Trial {
    pub(super) fn bare_key(&mut self) -> Result<(), Trouble> {
        let key = self.ask_bare_key()?;
        self.way.learn(key);
        Ok(())
    }

    fn ask_bare_key(&self) -> Result<Vec<u8>, Trouble> {
        let answer = self.client.get("/v2/ohttp-key")?;
        answer.is(200, KEYS)?;
        KeyConfig::decode(&answer.body).map_err(|_| wrong("the body is not one bare key configuration"))?;
        let given = answer.header("key-fingerprint");
        expect(
            given == Some(hex::encode(fingerprint(&answer.body)).as_str()),
            "Key-Fingerprint is not the SHA-256 of the body",
        )?;
        Ok(answer.body)
    }

    pub(super) fn key_list(&mut self) -> Result<(), Trouble> {
        let answer = self.client.get("/.well-known/ohttp-gateway")?;
        answer.is(200, KEYS)?;
        let configurations = configurations(&answer.body)?;
        let has = |key: &[u8]| configurations.contains(&key);
        // The window may have turned since the key was asked for.
        let holds = has(self.way.key()?) || has(&self.ask_bare_key()?);
        expect(holds, "the key is not in the list")
    }

    pub(super) fn key_record(&mut self) -> Result<(), Trouble> {
        let asked = self.clock.now();
        let answer = self.client.get("/v2/ohttp-key-signed")?;
        answer.is(200, key_record::CONTENT_TYPE)?;
        let checked = record::check(&answer.body, self.anchor.as_ref(), asked, self.clock.now());
        let record = checked.map_err(wrong)?;
        let holds = record.config == self.way.key()? || record.config == self.ask_bare_key()?;
        self.record = Some(record);
        expect(holds, "it has another key than the bare one")
    }

    pub(super) fn rollovers(&mut self) -> Result<(), Trouble> {
        let answer = self.client.get("/v2/ohttp-anchor-rollover")?;
        if answer.status == 404 {
            // There was none.
            return Ok(());
        }
        answer.is(200, ROLLOVER_CONTENT_TYPE)?;
        let records = parse_rollovers(&answer.body).map_err(|_| wrong("the body is no list of rollovers"))?;
        let [first, ..] = records[..] else { return Err(wrong("an empty list should be a 404")) };
        expect(is_chain(&first, &records), "the rollovers do not follow from one another")?;
        let newest = records.last().map(|record| record.new_anchor);
        let certificate = self.record.as_ref().map(|record| &record.certificate);
        expect(
            certificate.zip(newest).is_none_or(|(certificate, anchor)| certificate.is_by(&anchor)),
            "the key record is not certified by the newest anchor",
        )
    }

    pub(super) fn unknown_key(&mut self) -> Result<(), Trouble> {
        let foreign = oblivious::under_a_foreign_id(self.way.key()?);
        let plaintext = envelope::request("fetch", &json!({ "mailbox_tokens": [] }))?;
        let (sealed, _) = oblivious::seal(&foreign, &plaintext)?;
        let answer = self.client.post_sealed(None, &sealed)?;
        answer.is(400, PROBLEM)?;
        expect(answer.json()["type"] == KEY_PROBLEM, "the problem is not of the type for keys")
    }
}

/// Takes the list form apart: every configuration behind its length.
fn configurations(mut list: &[u8]) -> Result<Vec<&[u8]>, Trouble> {
    let broken = || wrong("the body is not a list of key configurations");
    let mut configurations = Vec::new();
    while !list.is_empty() {
        let (length, rest) = list.split_first_chunk::<2>().ok_or_else(broken)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (configuration, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        configurations.push(configuration);
        list = rest;
    }
    Ok(configurations)
}

/// Whether every record is the one that the record before it committed to.
fn is_chain(first: &Rollover, records: &[Rollover]) -> bool {
    let mut commitment = Commitment::to(&first.new_anchor);
    records.iter().all(|record| {
        let follows = record.follows(&commitment);
        commitment = record.next_commitment;
        follows
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use relay_proto::anchor::public;

    fn keys() -> [SigningKey; 4] {
        [1, 2, 3, 4].map(|seed| SigningKey::from_bytes(&[seed; 32]))
    }

    #[test]
    fn a_list_is_taken_apart_and_a_broken_one_told() {
        assert_eq!(configurations(&[0, 1, 7, 0, 2, 8, 9]).unwrap(), [&[7][..], &[8, 9]]);
        assert!(configurations(&[]).unwrap().is_empty());
        for broken in [&[0][..], &[0, 2, 7], &[0, 1, 7, 0]] {
            assert!(configurations(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn rollovers_are_a_chain_or_not() {
        let [first, second, third, _] = keys();
        let to = |key: &SigningKey| Commitment::to(&public(key));
        let records = [Rollover::issue(&first, to(&second)), Rollover::issue(&second, to(&third))];
        assert!(is_chain(&records[0], &records));
        let broken = [records[0], Rollover::issue(&third, to(&second))];
        assert!(!is_chain(&broken[0], &broken));
        let forged = Rollover { next_commitment: to(&third), ..records[0] };
        assert!(!is_chain(&forged, &[forged]));
    }
}
