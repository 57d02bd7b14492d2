//! Mail: send, fetch, ack, register, purge.

use super::records::list;
use super::{Step, Trial, no_randomness, random};
use crate::selftest::reply::{StepError, expect, wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_client::fields::{ack_fields, mailbox_fields, send_fields};
use serde_json::{Value, json};

pub(super) const STEPS: &[Step] = &[
    ("a bad request is refused", |trial| {
        let fields = json!({ "recipient_id": "too short", "ciphertext": "AAAA" });
        trial.act("send", &fields)?.refusal(400, "recipient_id must be 64 hex characters")
    }),
    ("register", |trial| {
        let fields = mailbox_fields(&[&trial.mailbox, &trial.owner.public_key()]);
        let body = trial.act("register", &fields)?.success()?;
        expect(body["registered"] == 2, "two mailboxes were given, and not two registered")
    }),
    ("send", |trial| {
        trial.blob_id = Some(trial.leave_in(&trial.mailbox.clone())?);
        Ok(())
    }),
    ("sending again gives the same id", |trial| {
        let first = trial.sent()?;
        expect(trial.leave_in(&trial.mailbox.clone())? == first, "the second id is another one")
    }),
    ("fetch brings it byte for byte", |trial| {
        let id = trial.sent()?;
        let blobs = trial.waiting_in(&trial.mailbox.clone())?;
        let [blob] = &blobs[..] else { return Err(wrong("one blob should wait, and not one does")) };
        expect(blob["blob_id"] == id, "the id is another one than the send gave")?;
        expect(blob["mailbox_token"] == trial.mailbox, "the mailbox is not the one it was sent to")?;
        expect(blob["created_at"].is_u64(), "the blob has no time")?;
        expect(blob["ciphertext"] == STANDARD.encode(&trial.blob), "the bytes are not those that were sent")
    }),
    ("ack", |trial| expect(trial.acknowledge()? == true, "it was not there to be removed")),
    ("a second ack finds nothing", |trial| expect(trial.acknowledge()? == false, "it was removed twice")),
    ("fetch brings nothing any more", |trial| {
        expect(trial.waiting_in(&trial.mailbox.clone())?.is_empty(), "it is still there after its ack")
    }),
    ("purge, signed by the mailbox's key", |trial| {
        let own = trial.owner.public_key();
        trial.purge = Some(trial.purge_one(&own)?);
        expect(trial.waiting_in(&own)?.is_empty(), "it is still there")
    }),
    ("the same purge again is refused", |trial| {
        let fields = trial.purge.clone().ok_or_else(|| wrong("there was no purge to repeat"))?;
        trial.act("purge", &fields)?.refusal(401, "replay")
    }),
    ("register, signed by an owner", |trial| {
        let fields = trial.owner.register(&[trial.owned], trial.clock.now().get());
        let body = trial.act("register", &fields)?.success()?;
        expect(body["registered"] == 1, "one mailbox was given, and not one registered")
    }),
    ("purge of what the owner registered", |trial| trial.purge_one(&hex::encode(trial.owned)).map(drop)),
];

impl Trial {
    /// Sends a blob to a mailbox of the owner's and purges it. Returns the fields of the purge.
    fn purge_one(&mut self, mailbox: &str) -> Result<Value, StepError> {
        self.leave_in(mailbox)?;
        let token: [u8; 32] = random().map_err(no_randomness)?;
        let fields = self.owner.purge(mailbox, &token, self.clock.now().get());
        let body = self.act("purge", &fields)?.success()?;
        expect(body["blobs_deleted"] == 1, "one blob waited, and not one was deleted")?;
        Ok(fields)
    }

    fn sent(&self) -> Result<String, StepError> {
        self.blob_id.clone().ok_or_else(|| wrong("there is no id, since the send failed"))
    }

    fn leave_in(&mut self, mailbox: &str) -> Result<String, StepError> {
        let body = self.act("send", &send_fields(mailbox, &self.blob))?.success()?;
        body["blob_id"].as_str().map(str::to_owned).ok_or_else(|| wrong("the answer has no blob_id"))
    }

    fn waiting_in(&mut self, mailbox: &str) -> Result<Vec<Value>, StepError> {
        list(&self.act("fetch", &mailbox_fields(&[mailbox]))?.success()?, "blobs")
    }

    fn acknowledge(&mut self) -> Result<Value, StepError> {
        let fields = ack_fields(&self.mailbox, &self.sent()?);
        Ok(self.act("ack", &fields)?.success()?["acknowledged"].take())
    }
}
