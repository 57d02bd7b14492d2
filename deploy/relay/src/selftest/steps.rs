//! The steps of the walk. Each is a promise of the contract; a later one may use what an earlier one made.

use super::client::{Answer, Client, Trouble};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use relay_daemon::Clock;
use relay_proto::{MailboxToken, TokensDigest};
use serde_json::{Value, json};

type Step = fn(&mut Trial) -> Result<(), Trouble>;

/// All of them, in order.
pub(super) const STEPS: [(&str, Step); 14] = [
    ("health", Trial::health),
    ("version headers", Trial::version_headers),
    ("a bad request is refused", Trial::bad_request),
    ("register", Trial::register),
    ("send", Trial::send),
    ("sending again gives the same id", Trial::send_again),
    ("fetch brings it byte for byte", Trial::fetch),
    ("ack", Trial::ack),
    ("a second ack finds nothing", Trial::ack_again),
    ("fetch brings nothing any more", Trial::fetch_nothing),
    ("purge, signed by the mailbox's key", Trial::purge),
    ("the same purge again is refused", Trial::purge_replay),
    ("register, signed by an owner", Trial::register_owned),
    ("purge of what the owner registered", Trial::purge_owned),
];

/// One walk: random mailboxes, a random blob, a random key.
pub(super) struct Trial {
    client: Client,
    clock: Clock,
    key: SigningKey,
    mailbox: MailboxToken,
    owned: MailboxToken,
    blob: Vec<u8>,
    blob_id: Option<String>,
    purge: Option<Value>,
}

impl Trial {
    pub(super) fn new(client: Client, clock: Clock) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut blob = vec![0; 1024];
        getrandom::fill(&mut blob)?;
        Ok(Self {
            client,
            clock,
            key: SigningKey::from_bytes(&seed),
            mailbox: MailboxToken::random()?,
            owned: MailboxToken::random()?,
            blob,
            blob_id: None,
            purge: None,
        })
    }

    fn health(&mut self) -> Result<(), Trouble> {
        for path in ["/health", "/v2/health"] {
            let body = self.client.get(path)?.success()?;
            expect(body == json!({ "status": "ok" }), "the answer says more than that it is well")?;
        }
        Ok(())
    }

    fn version_headers(&mut self) -> Result<(), Trouble> {
        let versions = self.client.get("/v2/health")?.versions();
        expect(versions.is_some(), "X-Min-Version and X-Warn-Version are not both there")
    }

    fn bad_request(&mut self) -> Result<(), Trouble> {
        let fields = json!({ "recipient_id": "too short", "ciphertext": "AAAA" });
        self.client.post("/v2/send", &fields)?.refusal(400)
    }

    fn register(&mut self) -> Result<(), Trouble> {
        let fields = json!({ "mailbox_tokens": [hexadecimal(&self.mailbox), hexadecimal(&self.own())] });
        let body = self.client.post("/v2/register", &fields)?.success()?;
        expect(body["registered"] == 2, "two mailboxes were given, and not two registered")
    }

    fn send(&mut self) -> Result<(), Trouble> {
        self.blob_id = Some(self.leave_in(&self.mailbox)?);
        Ok(())
    }

    fn send_again(&mut self) -> Result<(), Trouble> {
        let first = self.sent()?;
        expect(self.leave_in(&self.mailbox)? == first, "the second id is another one")
    }

    fn fetch(&mut self) -> Result<(), Trouble> {
        let id = self.sent()?;
        let blobs = self.waiting_in(&self.mailbox)?;
        expect(blobs.len() == 1, "one blob should wait, and not one does")?;
        let blob = &blobs[0];
        expect(blob["blob_id"] == id.as_str(), "the id is another one than the send gave")?;
        expect(
            blob["mailbox_token"] == hexadecimal(&self.mailbox),
            "the mailbox is not the one it was sent to",
        )?;
        expect(blob["created_at"].is_u64(), "the blob has no time")?;
        expect(blob["ciphertext"] == STANDARD.encode(&self.blob), "the bytes are not those that were sent")
    }

    fn ack(&mut self) -> Result<(), Trouble> {
        expect(self.acknowledge()? == Value::Bool(true), "it was not there to be removed")
    }

    fn ack_again(&mut self) -> Result<(), Trouble> {
        expect(self.acknowledge()? == Value::Bool(false), "it was removed twice")
    }

    fn fetch_nothing(&mut self) -> Result<(), Trouble> {
        expect(self.waiting_in(&self.mailbox)?.is_empty(), "it is still there after its ack")
    }

    fn purge(&mut self) -> Result<(), Trouble> {
        let own = self.own();
        self.leave_in(&own)?;
        let fields = self.signed_purge(&own)?;
        self.purge = Some(fields.clone());
        let body = self.client.post("/v2/purge", &fields)?.success()?;
        expect(body["blobs_deleted"] == 1, "one blob waited, and not one was deleted")?;
        expect(self.waiting_in(&own)?.is_empty(), "it is still there")
    }

    fn purge_replay(&mut self) -> Result<(), Trouble> {
        let fields = self.purge.as_ref().ok_or_else(|| wrong("there was no purge to repeat"))?;
        self.client.post("/v2/purge", fields)?.refusal(401)
    }

    fn register_owned(&mut self) -> Result<(), Trouble> {
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
        let body = self.client.post("/v2/register", &fields)?.success()?;
        expect(body["registered"] == 1, "one mailbox was given, and not one registered")
    }

    fn purge_owned(&mut self) -> Result<(), Trouble> {
        self.leave_in(&self.owned)?;
        let fields = self.signed_purge(&self.owned)?;
        let body = self.client.post("/v2/purge", &fields)?.success()?;
        expect(body["blobs_deleted"] == 1, "one blob waited, and not one was deleted")
    }

    /// The mailbox whose token is the public key.
    fn own(&self) -> MailboxToken {
        MailboxToken::from_bytes(self.key.verifying_key().to_bytes())
    }

    fn sent(&self) -> Result<String, Trouble> {
        self.blob_id.clone().ok_or_else(|| wrong("there is no id, since the send failed"))
    }

    fn leave_in(&self, mailbox: &MailboxToken) -> Result<String, Trouble> {
        let fields =
            json!({ "recipient_id": hexadecimal(mailbox), "ciphertext": STANDARD.encode(&self.blob) });
        let body = self.client.post("/v2/send", &fields)?.success()?;
        body["blob_id"].as_str().map(str::to_owned).ok_or_else(|| wrong("the answer has no blob_id"))
    }

    fn waiting_in(&self, mailbox: &MailboxToken) -> Result<Vec<Value>, Trouble> {
        let fields = json!({ "mailbox_tokens": [hexadecimal(mailbox)] });
        let answer: Answer = self.client.post("/v2/fetch", &fields)?;
        match answer.success()?["blobs"].take() {
            Value::Array(blobs) => Ok(blobs),
            _ => Err(wrong("the answer has no blobs")),
        }
    }

    fn acknowledge(&self) -> Result<Value, Trouble> {
        let fields = json!({ "recipient_id": hexadecimal(&self.mailbox), "blob_id": self.sent()? });
        Ok(self.client.post("/v2/ack", &fields)?.success()?["acknowledged"].take())
    }

    fn signed_purge(&self, mailbox: &MailboxToken) -> Result<Value, Trouble> {
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(|_| wrong("this system has no randomness"))?;
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

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }
}

fn hexadecimal(token: &MailboxToken) -> String {
    hex::encode(token.as_bytes())
}

fn wrong(reason: &str) -> Trouble {
    Trouble::Wrong(reason.to_owned())
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Trouble> {
    if holds { Ok(()) } else { Err(wrong(otherwise)) }
}
