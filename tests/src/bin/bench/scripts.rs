//! What connections do: send, fetch, ack, all three in turn.

use crate::load::Script;
use crate::random::Random;
use crate::requests::{self, AckRequest, BlobId, FetchRequest, Mailboxes, SendRequest, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a ciphertext where nothing else is said.
pub(crate) const BLOB: usize = 1024;

/// A blob that the relay has answered for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) mailbox: u64,
    pub(crate) blob: BlobId,
}

/// Sends fresh blobs to random mailboxes.
pub(crate) struct Sender {
    mailboxes: Mailboxes,
    among: u64,
    request: SendRequest,
    random: Random,
    mailbox: u64,
    pub(crate) sent: Vec<Sent>,
}

impl Sender {
    pub(crate) fn new(mailboxes: Mailboxes, among: u64) -> Self {
        let mut random = Random::new();
        let request = SendRequest::new(BLOB, &mut random);
        Self { mailboxes, among, request, random, mailbox: 0, sent: Vec::new() }
    }
}

impl Script for Sender {
    fn next(&mut self) -> Option<&[u8]> {
        self.mailbox = self.random.below(self.among);
        Some(self.request.fresh(&self.mailboxes.token(self.mailbox), &mut self.random))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        self.sent.push(Sent { mailbox: self.mailbox, blob: stored(status, body)? });
        Ok(())
    }
}

/// Fetches random mailboxes that hold one blob each: those whose number `every` divides.
pub(crate) struct Fetcher {
    mailboxes: Mailboxes,
    every: u64,
    below: u64,
    request: FetchRequest,
    random: Random,
}

impl Fetcher {
    pub(crate) fn new(mailboxes: Mailboxes, every: u64, below: u64) -> Self {
        Self { mailboxes, every, below, request: FetchRequest::new(), random: Random::new() }
    }
}

impl Script for Fetcher {
    fn next(&mut self) -> Option<&[u8]> {
        let mailbox = self.random.below(self.below / self.every) * self.every;
        Some(self.request.of(&self.mailboxes.token(mailbox)))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        ok(status, body)?;
        match requests::blob_ids(body).count() {
            1 => Ok(()),
            other => Err(format!("a mailbox with one blob answered {other}")),
        }
    }
}

/// Blobs to ack, shared by all connections, each handed out once.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    blobs: Vec<Sent>,
    taken: AtomicUsize,
}

impl Pool {
    /// In an order unlike that of arrival, as clients ack.
    pub(crate) fn shuffled(mut blobs: Vec<Sent>) -> Self {
        Random::new().shuffle(&mut blobs);
        Self { blobs, taken: AtomicUsize::new(0) }
    }

    pub(crate) fn rest(&self) -> Vec<Sent> {
        self.blobs.get(self.taken.load(Ordering::Relaxed)..).unwrap_or_default().to_vec()
    }
}

/// Acks blobs of a pool until it is empty.
pub(crate) struct Acker {
    mailboxes: Mailboxes,
    pool: Arc<Pool>,
    request: AckRequest,
}

impl Acker {
    pub(crate) fn new(mailboxes: Mailboxes, pool: Arc<Pool>) -> Self {
        Self { mailboxes, pool, request: AckRequest::new() }
    }
}

impl Script for Acker {
    fn next(&mut self) -> Option<&[u8]> {
        let sent = self.pool.blobs.get(self.pool.taken.fetch_add(1, Ordering::Relaxed))?;
        Some(self.request.of(&self.mailboxes.token(sent.mailbox), &sent.blob))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        acknowledged(status, body)
    }
}

/// Sends to a mailbox, fetches it, acks what it sent: what a delivered message costs, a third each.
pub(crate) struct Mixer {
    mailboxes: Mailboxes,
    among: u64,
    send: SendRequest,
    fetch: FetchRequest,
    ack: AckRequest,
    random: Random,
    token: Token,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Send,
    Fetch(BlobId),
    Ack(BlobId),
}

impl Mixer {
    pub(crate) fn new(mailboxes: Mailboxes, among: u64) -> Self {
        let mut random = Random::new();
        let send = SendRequest::new(BLOB, &mut random);
        let token = mailboxes.token(0);
        let (fetch, ack) = (FetchRequest::new(), AckRequest::new());
        Self { mailboxes, among, send, fetch, ack, random, token, step: Step::Send }
    }
}

impl Script for Mixer {
    fn next(&mut self) -> Option<&[u8]> {
        Some(match &self.step {
            Step::Send => {
                self.token = self.mailboxes.token(self.random.below(self.among));
                self.send.fresh(&self.token, &mut self.random)
            }
            Step::Fetch(_) => self.fetch.of(&self.token),
            Step::Ack(blob) => self.ack.of(&self.token, blob),
        })
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        match std::mem::replace(&mut self.step, Step::Send) {
            Step::Send => self.step = Step::Fetch(stored(status, body)?),
            Step::Fetch(blob) => {
                ok(status, body)?;
                if !requests::blob_ids(body).any(|found| found == blob) {
                    return Err("a blob just sent is not in its mailbox".to_owned());
                }
                self.step = Step::Ack(blob);
            }
            Step::Ack(_) => acknowledged(status, body)?,
        }
        Ok(())
    }
}

/// The id that the relay gave a blob.
pub(crate) fn stored(status: u16, body: &[u8]) -> Result<BlobId, String> {
    ok(status, body)?;
    requests::blob_ids(body).next().ok_or_else(|| "a send was answered without a blob id".to_owned())
}

pub(crate) fn ok(status: u16, body: &[u8]) -> Result<(), String> {
    if status == 200 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    Err(format!("status {status}: {text}"))
}

fn acknowledged(status: u16, body: &[u8]) -> Result<(), String> {
    ok(status, body)?;
    match requests::find(body, br#""acknowledged":true"#) {
        Some(_) => Ok(()),
        None => Err("an ack found no blob".to_owned()),
    }
}
