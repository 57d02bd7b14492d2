//! What people entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.

use super::Trial;
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

impl Trial {
    pub(super) fn recovery_store(&mut self) -> Result<(), StepError> {
        let fields = proof_fields(&self.names[0], PROOF);
        self.act("recovery_store", &fields)?.success().map(drop)
    }

    pub(super) fn recovery_query(&mut self) -> Result<(), StepError> {
        // The second is a key that nothing was stored under.
        let fields = key_fields(&self.names[..2]);
        let body = self.act("recovery_query", &fields)?.success()?;
        let [proof] = &list(&body, "proofs")?[..] else {
            return Err(wrong("one proof was stored, and not one found"));
        };
        expect(proof["key_hash"] == self.names[0].as_str(), "it is under another key")?;
        expect(proof["proof_data"] == STANDARD.encode(PROOF), "the bytes are not those that were stored")?;
        let kept = proof["created_at"].as_u64().zip(proof["expires_at"].as_u64());
        let kept = kept.and_then(|(created, expires)| expires.checked_sub(created));
        let holds = kept.is_some_and(|kept| (PROOF_SECS..=PROOF_SECS + ROUNDING_SECS).contains(&kept));
        expect(holds, "it is not kept for 90 days")
    }

    pub(super) fn exchange_offer(&mut self) -> Result<(), StepError> {
        let fields = json!({ "payload": OFFER, "expires_secs": SHORT_TTL });
        let body = self.act("exchange_offer", &fields)?.success()?;
        let code = body["code"].as_str().unwrap_or_default();
        let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        expect(digits, "the code is not six digits")?;
        self.code = Some(code.to_owned());
        Ok(())
    }

    pub(super) fn exchange_early(&mut self) -> Result<(), StepError> {
        self.complete()?.refusal(400, "not yet claimed")
    }

    pub(super) fn exchange_claim(&mut self) -> Result<(), StepError> {
        let body = self.claim()?.success()?;
        expect(body["payload"] == OFFER, "the payload is not the one that was offered")
    }

    pub(super) fn exchange_claim_again(&mut self) -> Result<(), StepError> {
        self.claim()?.refusal(400, "already claimed")
    }

    pub(super) fn exchange_complete(&mut self) -> Result<(), StepError> {
        let body = self.complete()?.success()?;
        expect(body["response"] == RESPONSE, "the response is not the claimant's")
    }

    /// The one wrong code of the walk: a relay hears few of them a minute, from everybody together.
    pub(super) fn exchange_complete_again(&mut self) -> Result<(), StepError> {
        self.complete()?.refusal(400, "invalid or expired code")
    }

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

    pub(super) fn guardian_store(&mut self) -> Result<(), StepError> {
        let fields = self.owner.guardian_store(&GUARDIANS, self.clock.now().get());
        self.act("guardian_store", &fields)?.success().map(drop)
    }

    pub(super) fn guardian_query(&mut self) -> Result<(), StepError> {
        expect(self.guardians()? == entries(), "they are not those that were stored")
    }

    pub(super) fn guardian_forged(&mut self) -> Result<(), StepError> {
        let now = self.clock.now().get();
        let mut fields = self.owner.guardian_delete(now);
        // Signed, but for something else.
        fields["signature"] = self.owner.guardian_store(&GUARDIANS, now)["signature"].take();
        self.act("guardian_delete", &fields)?.refusal(401, "invalid guardian signature")
    }

    pub(super) fn guardian_delete(&mut self) -> Result<(), StepError> {
        let fields = self.owner.guardian_delete(self.clock.now().get());
        self.act("guardian_delete", &fields)?.success()?;
        expect(self.guardians()?.is_empty(), "they are still there")
    }

    fn guardians(&mut self) -> Result<Vec<Value>, StepError> {
        let fields = guardian_fields(&self.owner.guardian_hash());
        list(&self.act("guardian_query", &fields)?.success()?, "guardians")
    }

    pub(super) fn escrow_first(&mut self) -> Result<(), StepError> {
        says(&self.put_escrow(3, 0)?, "Stored")?;
        let waiting = self.get_escrow(3)?;
        says(&waiting, "NotReady")?;
        expect(waiting["count"] == 1, "one slot is filled, and not one counted")
    }

    pub(super) fn escrow_second(&mut self) -> Result<(), StepError> {
        says(&self.put_escrow(4, 1)?, "Stored")?;
        let other = self.get_escrow(3)?;
        says(&other, "Blob")?;
        expect(other["blob"] == URL_SAFE_NO_PAD.encode(DEPOSITS[1]), "the first does not read the second")?;
        let other = self.get_escrow(4)?;
        says(&other, "Blob")?;
        expect(other["blob"] == URL_SAFE_NO_PAD.encode(DEPOSITS[0]), "the second does not read the first")
    }

    pub(super) fn escrow_full(&mut self) -> Result<(), StepError> {
        says(&self.put_escrow(1, 0)?, "GateFull")?;
        says(&self.put_escrow(3, 1)?, "AlreadyExists")?;
        says(&self.get_escrow(1)?, "NotFound")?;
        let count = self.act("escrow", &count_fields(&self.names[2]))?.body()?;
        says(&count, "Count")?;
        expect(count["count"] == 2, "two slots are filled, and not two counted")
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

/// Checks the status that escrow answers with.
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
