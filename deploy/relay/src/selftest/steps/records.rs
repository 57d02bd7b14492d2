//! What clients store besides mail: recovery proofs, exchanges, guardian sets, escrow.

use super::{Step, Trial};
use crate::selftest::reply::{ApiReply, StepError, expect, wrong};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use relay_client::fields::{
    claim_fields, complete_fields, count_fields, get_fields, guardian_fields, key_fields, proof_fields,
    put_fields,
};
use serde_json::{Value, json};

/// How long proofs are kept, in seconds.
const PROOF_SECS: u64 = 90 * 86_400;
/// Times at rest are rounded to the hour, one down and one up.
const ROUNDING_SECS: u64 = 2 * 3600;
/// Of what cannot be taken back, and of an offer that is left if a step fails.
const SHORT_TTL: u64 = 60;

const PROOF: &[u8] = b"a proof of the selftest";
const OFFER: &str = "an offer of the selftest";
const RESPONSE: &str = "a response of the selftest";
const GUARDIANS: [&[u8]; 2] = [b"a guardian", b"another guardian"];
const DEPOSITS: [&[u8]; 2] = [&[0xfb, 0xff, 1], &[0xfb, 0xff, 2]];

pub(super) const STEPS: &[Step] = &[
    ("recovery: store a proof", |trial| {
        let fields = proof_fields(&trial.names[0], PROOF);
        trial.act("recovery_store", &fields)?.success().map(drop)
    }),
    ("recovery: query brings that proof alone", |trial| {
        // The second is a key that nothing was stored under.
        let fields = key_fields(&trial.names[..2]);
        let body = trial.act("recovery_query", &fields)?.success()?;
        let [proof] = &list(&body, "proofs")?[..] else {
            return Err(wrong("one proof was stored, and not one found"));
        };
        expect(proof["key_hash"] == trial.names[0].as_str(), "it is under another key")?;
        expect(proof["proof_data"] == STANDARD.encode(PROOF), "the bytes are not those that were stored")?;
        let kept = proof["created_at"].as_u64().zip(proof["expires_at"].as_u64());
        let kept = kept.and_then(|(created, expires)| expires.checked_sub(created));
        let holds = kept.is_some_and(|kept| (PROOF_SECS..=PROOF_SECS + ROUNDING_SECS).contains(&kept));
        expect(holds, "it is not kept for 90 days")
    }),
    ("exchange: an offer gets a code", |trial| {
        let fields = json!({ "payload": OFFER, "expires_secs": SHORT_TTL });
        let body = trial.act("exchange_offer", &fields)?.success()?;
        let code = body["code"].as_str().unwrap_or_default();
        let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        expect(digits, "the code is not six digits")?;
        trial.code = Some(code.to_owned());
        Ok(())
    }),
    ("exchange: nothing to complete before a claim", |trial| {
        trial.complete()?.refusal(400, "not yet claimed")
    }),
    ("exchange: claim", |trial| {
        let body = trial.claim()?.success()?;
        expect(body["payload"] == OFFER, "the payload is not the one that was offered")
    }),
    ("exchange: a second claim is refused", |trial| trial.claim()?.refusal(400, "already claimed")),
    ("exchange: complete", |trial| {
        let body = trial.complete()?.success()?;
        expect(body["response"] == RESPONSE, "the response is not the claimant's")
    }),
    // The only wrong code in the selftest: a relay accepts few of them a minute, counted over all clients.
    ("exchange: completed once and no more", |trial| {
        trial.complete()?.refusal(400, "invalid or expired code")
    }),
    ("guardians: store", |trial| {
        let fields = trial.owner.guardian_store(&GUARDIANS, trial.clock.now().get());
        trial.act("guardian_store", &fields)?.success().map(drop)
    }),
    ("guardians: query brings them", |trial| {
        expect(trial.guardians()? == entries(), "they are not those that were stored")
    }),
    ("guardians: a forged signature is refused", |trial| {
        let now = trial.clock.now().get();
        let mut fields = trial.owner.guardian_delete(now);
        // Signed, but for something else.
        fields["signature"] = trial.owner.guardian_store(&GUARDIANS, now)["signature"].take();
        trial.act("guardian_delete", &fields)?.refusal(401, "invalid guardian signature")
    }),
    ("guardians: delete", |trial| {
        let fields = trial.owner.guardian_delete(trial.clock.now().get());
        trial.act("guardian_delete", &fields)?.success()?;
        expect(trial.guardians()?.is_empty(), "they are still there")
    }),
    ("escrow: one slot is not enough", |trial| {
        says(&trial.put_escrow(3, 0)?, "Stored")?;
        let waiting = trial.get_escrow(3)?;
        says(&waiting, "NotReady")?;
        expect(waiting["count"] == 1, "one slot is filled, and not one counted")
    }),
    ("escrow: each slot reads the other", |trial| {
        says(&trial.put_escrow(4, 1)?, "Stored")?;
        let other = trial.get_escrow(3)?;
        says(&other, "Blob")?;
        expect(other["blob"] == URL_SAFE_NO_PAD.encode(DEPOSITS[1]), "the first does not read the second")?;
        let other = trial.get_escrow(4)?;
        says(&other, "Blob")?;
        expect(other["blob"] == URL_SAFE_NO_PAD.encode(DEPOSITS[0]), "the second does not read the first")
    }),
    ("escrow: no third slot, and nothing unknown", |trial| {
        says(&trial.put_escrow(1, 0)?, "GateFull")?;
        says(&trial.put_escrow(3, 1)?, "AlreadyExists")?;
        says(&trial.get_escrow(1)?, "NotFound")?;
        let count = trial.act("escrow", &count_fields(&trial.names[2]))?.body()?;
        says(&count, "Count")?;
        expect(count["count"] == 2, "two slots are filled, and not two counted")
    }),
];

impl Trial {
    fn claim(&mut self) -> Result<ApiReply, StepError> {
        let fields = claim_fields(&self.code()?, RESPONSE);
        self.act("exchange_claim", &fields)
    }

    fn complete(&mut self) -> Result<ApiReply, StepError> {
        let fields = complete_fields(&self.code()?);
        self.act("exchange_complete", &fields)
    }

    fn code(&self) -> Result<String, StepError> {
        self.code.clone().ok_or_else(|| wrong("there is no code, since the offer failed"))
    }

    fn guardians(&mut self) -> Result<Vec<Value>, StepError> {
        let fields = guardian_fields(&self.owner.guardian_hash());
        list(&self.act("guardian_query", &fields)?.success()?, "guardians")
    }

    fn put_escrow(&mut self, slot: usize, deposit: usize) -> Result<Value, StepError> {
        let fields = put_fields(&self.names[2], &self.names[slot], DEPOSITS[deposit], SHORT_TTL);
        self.act("escrow", &fields)?.body()
    }

    fn get_escrow(&mut self, slot: usize) -> Result<Value, StepError> {
        self.act("escrow", &get_fields(&self.names[2], &self.names[slot]))?.body()
    }
}

fn entries() -> Vec<Value> {
    GUARDIANS.iter().map(|guardian| json!({ "data": STANDARD.encode(guardian) })).collect()
}

pub(super) fn list(body: &Value, name: &str) -> Result<Vec<Value>, StepError> {
    body[name].as_array().cloned().ok_or_else(|| wrong(format_args!("the answer has no {name}")))
}

/// Checks the status in an escrow reply.
fn says(body: &Value, status: &str) -> Result<(), StepError> {
    match body["status"].as_str() {
        Some(said) if said == status => Ok(()),
        Some(said) => Err(wrong(format_args!("it says {said}, and not {status}"))),
        None => Err(wrong("the answer has no status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escrow_says_one_thing() {
        assert!(says(&json!({ "status": "Stored" }), "Stored").is_ok());
        let error = says(&json!({ "status": "GateFull" }), "Stored").unwrap_err();
        assert_eq!(error.to_string(), "it says GateFull, and not Stored");
        assert!(says(&json!({}), "Stored").is_err());
    }

    #[test]
    fn guardians_are_within_their_bounds() {
        assert_eq!(entries().len(), 2);
        assert!(list(&json!({ "guardians": [] }), "guardians").unwrap().is_empty());
        assert!(list(&json!({}), "guardians").is_err());
    }
}
