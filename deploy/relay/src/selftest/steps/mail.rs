//! Mail: send, fetch, ack, register, purge.

use super::{Trial, no_randomness, random};
use crate::selftest::reply::{StepError, expect, wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_proto::{MailboxToken, TokensDigest};
use serde_json::{Value, json};

impl Trial {
    pub(super) fn bad_request(&mut self) -> Result<(), StepError> {
        let fields = json!({ "recipient_id": "too short", "ciphertext": "AAAA" });
        self.act("send", &fields)?.refusal(400, "recipient_id must be 64 hex characters")
    }

    pub(super) fn register(&mut self) -> Result<(), StepError> {
        let fields = json!({ "mailbox_tokens": [hexadecimal(&self.mailbox), hexadecimal(&self.own())] });
        let body = self.act("register", &fields)?.success()?;
        expect(body["registered"] == 2, "two mailboxes were given, and not two registered")
    }

    pub(super) fn send(&mut self) -> Result<(), StepError> {
        self.blob_id = Some(self.leave_in(self.mailbox)?);
        Ok(())
    }

    pub(super) fn send_again(&mut self) -> Result<(), StepError> {
        let first = self.sent()?;
        expect(self.leave_in(self.mailbox)? == first, "the second id is another one")
    }

    pub(super) fn fetch(&mut self) -> Result<(), StepError> {
        let id = self.sent()?;
        let blobs = self.waiting_in(self.mailbox)?;
        let [blob] = &blobs[..] else { return Err(wrong("one blob should wait, and not one does")) };
        expect(blob["blob_id"] == id.as_str(), "the id is another one than the send gave")?;
        expect(
            blob["mailbox_token"] == hexadecimal(&self.mailbox),
            "the mailbox is not the one it was sent to",
        )?;
        expect(blob["created_at"].is_u64(), "the blob has no time")?;
        expect(blob["ciphertext"] == STANDARD.encode(&self.blob), "the bytes are not those that were sent")
    }

    pub(super) fn ack(&mut self) -> Result<(), StepError> {
        expect(self.acknowledge()? == Value::Bool(true), "it was not there to be removed")
    }

    pub(super) fn ack_again(&mut self) -> Result<(), StepError> {
        expect(self.acknowledge()? == Value::Bool(false), "it was removed twice")
    }

    pub(super) fn fetch_nothing(&mut self) -> Result<(), StepError> {
        expect(self.waiting_in(self.mailbox)?.is_empty(), "it is still there after its ack")
    }

    pub(super) fn purge(&mut self) -> Result<(), StepError> {
        let own = self.own();
        self.leave_in(own)?;
        let fields = self.signed_purge(&own)?;
        self.purge = Some(fields.clone());
        let body = self.act("purge", &fields)?.success()?;
        expect(body["blobs_deleted"] == 1, "one blob waited, and not one was deleted")?;
        expect(self.waiting_in(own)?.is_empty(), "it is still there")
    }

    pub(super) fn purge_replay(&mut self) -> Result<(), StepError> {
        let fields = self.purge.clone().ok_or_else(|| wrong("there was no purge to repeat"))?;
        self.act("purge", &fields)?.refusal(401, "replay")
    }

    pub(super) fn register_owned(&mut self) -> Result<(), StepError> {
        let timestamp = self.clock.now().get();
        let mut message = b"vauchi-register-v1".to_vec();
        message.extend_from_slice(self.key.verifying_key().as_bytes());
        message.extend_from_slice(TokensDigest::of(&[self.owned]).as_bytes());
        message.extend_from_slice(&timestamp.to_be_bytes());
        let fields = json!({
            "mailbox_tokens": [hexadecimal(&self.owned)],
            "public_key": hex::encode(self.key.verifying_key().as_bytes()),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        });
        let body = self.act("register", &fields)?.success()?;
        expect(body["registered"] == 1, "one mailbox was given, and not one registered")
    }

    pub(super) fn purge_owned(&mut self) -> Result<(), StepError> {
        self.leave_in(self.owned)?;
        let fields = self.signed_purge(&self.owned)?;
        let body = self.act("purge", &fields)?.success()?;
        expect(body["blobs_deleted"] == 1, "one blob waited, and not one was deleted")
    }

    /// The mailbox whose token is the public key.
    fn own(&self) -> MailboxToken {
        MailboxToken::from_bytes(self.key.verifying_key().to_bytes())
    }

    fn sent(&self) -> Result<String, StepError> {
        self.blob_id.clone().ok_or_else(|| wrong("there is no id, since the send failed"))
    }

    fn leave_in(&mut self, mailbox: MailboxToken) -> Result<String, StepError> {
        let fields =
            json!({ "recipient_id": hexadecimal(&mailbox), "ciphertext": STANDARD.encode(&self.blob) });
        let body = self.act("send", &fields)?.success()?;
        body["blob_id"].as_str().map(str::to_owned).ok_or_else(|| wrong("the answer has no blob_id"))
    }

    fn waiting_in(&mut self, mailbox: MailboxToken) -> Result<Vec<Value>, StepError> {
        let fields = json!({ "mailbox_tokens": [hexadecimal(&mailbox)] });
        match self.act("fetch", &fields)?.success()?["blobs"].take() {
            Value::Array(blobs) => Ok(blobs),
            _ => Err(wrong("the answer has no blobs")),
        }
    }

    fn acknowledge(&mut self) -> Result<Value, StepError> {
        let fields = json!({ "recipient_id": hexadecimal(&self.mailbox), "blob_id": self.sent()? });
        Ok(self.act("ack", &fields)?.success()?["acknowledged"].take())
    }

    fn signed_purge(&self, mailbox: &MailboxToken) -> Result<Value, StepError> {
        let token: [u8; 32] = random().map_err(no_randomness)?;
        let timestamp = self.clock.now().get();
        let public_key = self.key.verifying_key();
        let message = [&public_key.as_bytes()[..], &token, &timestamp.to_be_bytes()].concat();
        Ok(json!({
            "recipient_id": hexadecimal(mailbox),
            "public_key": hex::encode(public_key.as_bytes()),
            "purge_token": hex::encode(token),
            "timestamp": timestamp,
            "signature": self.sign(&message),
        }))
    }
}

fn hexadecimal(token: &MailboxToken) -> String {
    hex::encode(token.as_bytes())
}
