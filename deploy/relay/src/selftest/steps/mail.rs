//! Mail: send, fetch, ack, register, purge.

use super::records::list;
use super::{Trial, no_randomness, random};
use crate::selftest::reply::{StepError, expect, wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_client::fields::{ack_fields, mailbox_fields, send_fields};
use serde_json::{Value, json};

impl Trial {
    pub(super) fn bad_request(&mut self) -> Result<(), StepError> {
        let fields = json!({ "recipient_id": "too short", "ciphertext": "AAAA" });
        self.act("send", &fields)?.refusal(400, "recipient_id must be 64 hex characters")
    }

    pub(super) fn register(&mut self) -> Result<(), StepError> {
        let fields = mailbox_fields(&[&self.mailbox, &self.owner.public_key()]);
        let body = self.act("register", &fields)?.success()?;
        expect(body["registered"] == 2, "two mailboxes were given, and not two registered")
    }

    pub(super) fn send(&mut self) -> Result<(), StepError> {
        self.blob_id = Some(self.leave_in(&self.mailbox.clone())?);
        Ok(())
    }

    pub(super) fn send_again(&mut self) -> Result<(), StepError> {
        let first = self.sent()?;
        expect(self.leave_in(&self.mailbox.clone())? == first, "the second id is another one")
    }

    pub(super) fn fetch(&mut self) -> Result<(), StepError> {
        let id = self.sent()?;
        let blobs = self.waiting_in(&self.mailbox.clone())?;
        let [blob] = &blobs[..] else { return Err(wrong("one blob should wait, and not one does")) };
        expect(blob["blob_id"] == id, "the id is another one than the send gave")?;
        expect(blob["mailbox_token"] == self.mailbox, "the mailbox is not the one it was sent to")?;
        expect(blob["created_at"].is_u64(), "the blob has no time")?;
        expect(blob["ciphertext"] == STANDARD.encode(&self.blob), "the bytes are not those that were sent")
    }

    pub(super) fn ack(&mut self) -> Result<(), StepError> {
        expect(self.acknowledge()? == true, "it was not there to be removed")
    }

    pub(super) fn ack_again(&mut self) -> Result<(), StepError> {
        expect(self.acknowledge()? == false, "it was removed twice")
    }

    pub(super) fn fetch_nothing(&mut self) -> Result<(), StepError> {
        expect(self.waiting_in(&self.mailbox.clone())?.is_empty(), "it is still there after its ack")
    }

    pub(super) fn purge(&mut self) -> Result<(), StepError> {
        let own = self.owner.public_key();
        self.purge = Some(self.purge_one(&own)?);
        expect(self.waiting_in(&own)?.is_empty(), "it is still there")
    }

    pub(super) fn purge_replay(&mut self) -> Result<(), StepError> {
        let fields = self.purge.clone().ok_or_else(|| wrong("there was no purge to repeat"))?;
        self.act("purge", &fields)?.refusal(401, "replay")
    }

    pub(super) fn register_owned(&mut self) -> Result<(), StepError> {
        let fields = self.owner.register(&[self.owned], self.clock.now().get());
        let body = self.act("register", &fields)?.success()?;
        expect(body["registered"] == 1, "one mailbox was given, and not one registered")
    }

    pub(super) fn purge_owned(&mut self) -> Result<(), StepError> {
        self.purge_one(&hex::encode(self.owned)).map(drop)
    }

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
