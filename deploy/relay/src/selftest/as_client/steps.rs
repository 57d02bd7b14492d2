//! What a client does once it has a key: mail, a stale key, a spent limit.

use super::ClientTrial;
use super::setup::{self, Step};
use crate::selftest::reply::{Passed, StepError, check_type, expect, wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_client::fields::{ack_fields, mailbox_fields, send_fields};
use relay_client::{AnchorRollover, ROLLOVER_PATH, ROLLOVER_TYPE};

/// Bytes of a blob whose send is, sealed, just below the 64 KiB that oblivious relays take. Its fetch takes the longest
/// answer that there is.
const LARGE: usize = 48_800;

/// More sends to one mailbox in a minute than most relays allow, and few enough to harm none.
const MOST_SENDS: u32 = 100;

/// All steps, in order.
pub(super) fn all() -> Vec<Step> {
    [setup::CONFIGURATION, &[setup::KEY_RECORD], STEPS].concat()
}

const STEPS: &[Step] = &[
    ("anchor rollovers, through the oblivious relay", rollovers),
    ("register", |trial| {
        let body = trial.client.act("register", &mailbox_fields(&[&trial.mailbox]))?.success()?;
        expect(body["registered"] == 1, "one mailbox was given, and not one registered")?;
        Ok(Passed::Plainly)
    }),
    ("send", |trial| {
        trial.leave()?;
        Ok(Passed::Plainly)
    }),
    ("fetch brings it byte for byte", |trial| {
        trial.is_waiting()?;
        Ok(Passed::Plainly)
    }),
    ("ack", |trial| {
        trial.acknowledge()?;
        Ok(Passed::Plainly)
    }),
    ("fetch brings nothing any more", |trial| {
        expect(trial.waiting()?.is_empty(), "it is still there after its ack")?;
        Ok(Passed::Plainly)
    }),
    ("the longest request and answer pass", |trial| {
        let blob = random_blob(LARGE).map_err(|_| wrong("this system has no randomness"))?;
        let small = std::mem::replace(&mut trial.blob, blob);
        let passed = trial.leave().and_then(|()| trial.is_waiting()).and_then(|()| trial.acknowledge());
        trial.blob = small;
        passed.map(|()| Passed::Plainly)
    }),
    ("a stale key is fetched again", |trial| {
        let key = trial.client.key()?;
        // Far from the ids of every window that is accepted.
        trial.client.seal_to(key.with_id(key.id().wrapping_add(128)));
        let before = trial.client.fetched();
        trial.waiting()?;
        expect(trial.client.fetched() > before, "a request to an unknown key was answered")?;
        Ok(Passed::Plainly)
    }),
    ("a spent limit is told inside", spent_limit),
];

/// Few relays have any. Then the relay answers 404, of which the deployed oblivious relays make a 502.
fn rollovers(trial: &mut ClientTrial) -> Result<Passed, StepError> {
    let answer = trial.client.get(ROLLOVER_PATH)?;
    match answer.status {
        404 => return Ok(Passed::Noting("there are none".to_owned())),
        502 => return Ok(Passed::Noting("none are shown (status 502)".to_owned())),
        _ => check_type(&answer, 200, ROLLOVER_TYPE)?,
    }
    let records =
        AnchorRollover::parse_list(&answer.body).map_err(|_| wrong("the body is no list of rollovers"))?;
    let Some(newest) = records.last() else { return Err(wrong("an empty list should be a 404")) };
    expect(AnchorRollover::is_chain(&records), "the rollovers do not follow from one another")?;
    expect(
        trial.client.record().is_none_or(|record| record.is_certified_by(&newest.anchor)),
        "the key record is not certified by the newest anchor",
    )?;
    Ok(Passed::Plainly)
}

/// Sends one small blob to one mailbox until that is too much. Sending it again stores nothing more.
fn spent_limit(trial: &mut ClientTrial) -> Result<Passed, StepError> {
    let before = trial.client.fetched();
    let fields = send_fields(&trial.mailbox, b"the selftest's small blob");
    for _ in 0..MOST_SENDS {
        let reply = trial.client.act("send", &fields)?;
        match reply.json["blob_id"].as_str() {
            Some(id) => trial.blob_id = Some(id.to_owned()),
            None => {
                reply.refusal(429, "rate limit exceeded")?;
                trial.acknowledge()?;
                let is_inside = trial.client.fetched() == before;
                expect(is_inside, "it was told outside, so that the client fetched its key again")?;
                return Ok(Passed::Plainly);
            }
        }
    }
    trial.acknowledge()?;
    Ok(Passed::Skipped(format!("this relay takes {MOST_SENDS} sends to a mailbox at once")))
}

impl ClientTrial {
    fn leave(&mut self) -> Result<(), StepError> {
        let body = self.client.act("send", &send_fields(&self.mailbox, &self.blob))?.success()?;
        let id = body["blob_id"].as_str().ok_or_else(|| wrong("the answer has no blob_id"))?;
        self.blob_id = Some(id.to_owned());
        Ok(())
    }

    fn waiting(&mut self) -> Result<Vec<serde_json::Value>, StepError> {
        let mut body = self.client.act("fetch", &mailbox_fields(&[&self.mailbox]))?.success()?;
        match body["blobs"].take() {
            serde_json::Value::Array(blobs) => Ok(blobs),
            _ => Err(wrong("the answer has no list blobs")),
        }
    }

    fn is_waiting(&mut self) -> Result<(), StepError> {
        let id = self.sent()?;
        let blobs = self.waiting()?;
        let [blob] = &blobs[..] else { return Err(wrong("one blob should wait, and not one does")) };
        expect(blob["blob_id"] == id, "the id is another one than the send gave")?;
        expect(blob["mailbox_token"] == self.mailbox, "the mailbox is not the one it was sent to")?;
        expect(blob["ciphertext"] == STANDARD.encode(&self.blob), "the bytes are not those that were sent")
    }

    fn acknowledge(&mut self) -> Result<(), StepError> {
        let fields = ack_fields(&self.mailbox, &self.sent()?);
        let body = self.client.act("ack", &fields)?.success()?;
        expect(body["acknowledged"] == true, "it was not there to be removed")
    }

    fn sent(&self) -> Result<String, StepError> {
        self.blob_id.clone().ok_or_else(|| wrong("there is no id, since the send failed"))
    }
}

pub(super) fn random_mailbox() -> Result<String, getrandom::Error> {
    Ok(hex::encode(random_blob(32)?))
}

pub(super) fn random_blob(size: usize) -> Result<Vec<u8>, getrandom::Error> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_name_of_its_own_that_fits_its_column() {
        let steps = all();
        for (index, (name, _)) in steps.iter().enumerate() {
            assert!(name.len() <= 46, "{name}");
            assert!(steps[..index].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
