//! The relay's keys, in every form that clients get them in.

use super::{Step, Trial};
use crate::selftest::reply::{StepError, check_type, expect, wrong};
use relay_client::{
    AnchorRollover, Key, ROLLOVER_PATH, ROLLOVER_TYPE, ServedKeyRecord, envelope, key_record, oblivious,
};
use relay_proto::PublicKey;
use serde_json::json;

const PROBLEM: &str = "application/problem+json";
/// RFC 9458 §5.3.
const KEY_PROBLEM: &str = "https://iana.org/assignments/http-problem-types#ohttp-key";

pub(super) const STEPS: &[Step] = &[
    ("key, with its fingerprint", |trial| {
        let key = trial.ask_bare_key()?;
        trial.transport.seal_to(key);
        Ok(())
    }),
    ("the list of keys has the same key", |trial| {
        let answer = trial.transport.get(oblivious::WELL_KNOWN)?;
        check_type(&answer, 200, oblivious::KEYS_TYPE)?;
        let keys = Key::parse_list(&answer.body)
            .map_err(|_| wrong("the body is not a list of key configurations"))?;
        // The window may have turned since the key was asked for.
        let holds = keys.contains(trial.transport.key()?) || keys.contains(&trial.ask_bare_key()?);
        expect(holds, "the key is not in the list")
    }),
    ("key record, as clients check it", |trial| {
        let asked = trial.clock.now().get();
        let answer = trial.transport.get(key_record::PATH)?;
        check_type(&answer, 200, key_record::CONTENT_TYPE)?;
        let anchor = trial.anchor.as_ref().map(PublicKey::as_bytes);
        let record =
            ServedKeyRecord::check(&answer.body, anchor, asked, trial.clock.now().get()).map_err(wrong)?;
        let holds = record.key == *trial.transport.key()? || record.key == trial.ask_bare_key()?;
        trial.record = Some(record);
        expect(holds, "it has another key than the bare one")
    }),
    ("anchor rollovers", |trial| {
        let answer = trial.transport.get(ROLLOVER_PATH)?;
        if answer.status == 404 {
            // No rollover ever happened.
            return Ok(());
        }
        check_type(&answer, 200, ROLLOVER_TYPE)?;
        let records = AnchorRollover::parse_list(&answer.body)
            .map_err(|_| wrong("the body is no list of rollovers"))?;
        let Some(newest) = records.last() else { return Err(wrong("an empty list should be a 404")) };
        expect(AnchorRollover::is_chain(&records), "the rollovers do not follow from one another")?;
        expect(
            trial.record.as_ref().is_none_or(|record| record.is_certified_by(&newest.anchor)),
            "the key record is not certified by the newest anchor",
        )
    }),
    ("a request to an unknown key is refused as such", |trial| {
        let key = trial.transport.key()?;
        // Far from the ids of every window that is accepted.
        let foreign = key.with_id(key.id().wrapping_add(128));
        let plaintext = envelope::request("fetch", &json!({ "mailbox_tokens": [] }))?;
        let (sealed, _) = foreign.seal(&plaintext)?;
        let answer = trial.transport.post_sealed(sealed)?;
        check_type(&answer, 400, PROBLEM)?;
        expect(answer.json()["type"] == KEY_PROBLEM, "the problem is not of the type for keys")
    }),
];

impl Trial {
    fn ask_bare_key(&self) -> Result<Key, StepError> {
        let answer = self.transport.get(oblivious::KEY_PATH)?;
        check_type(&answer, 200, oblivious::KEYS_TYPE)?;
        let key = Key::parse(answer.body.clone())?;
        expect(
            answer.header("key-fingerprint") == Some(hex::encode(key.fingerprint()).as_str()),
            "Key-Fingerprint is not the SHA-256 of the body",
        )?;
        Ok(key)
    }
}
