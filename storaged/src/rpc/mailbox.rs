//! Mail: send, fetch, ack, register and purge.

use super::Reply;
use crate::auth::nonces::Nonce;
use crate::auth::signatures;
use crate::clock::TrustedClock;
use crate::config::Bounds;
use crate::db::Store;
use crate::limits::Limits;
use crate::mail::blobs::NewBlob;
use crate::mail::page::{self, Fetched};
use crate::mail::purging::{Order, Purging};
use crate::mail::registering::{self, Signed};
use crate::mail::writing::{self, Action, Command};
use crate::metrics::Metrics;
use crate::transfer::peers::peering::Peering;
use crate::transfer::remote_blobs;
use bytes::Bytes;
use relay_proto::field::{caller, identifier, identifiers, list, required, sealed};
use relay_proto::limits::{MAX_HINTS, MAX_MAILBOXES, MAX_WRITE_COMMANDS};
use relay_proto::mail::BlobName;
use relay_proto::messages::{
    Ack, FetchReply, FetchRequest, HintsRequest, LargerReply, LargerRequest, Ownership, PurgeReply,
    PurgeRequest, RegisterReply, RegisterRequest, Send, SignedHints, WriteCommand, WriteOutcome, WriteReply,
    WriteRequest, mailbox_server, write_command, write_outcome,
};
use relay_proto::{
    MailboxHash, PublicKey, PurgeToken, RequestId, Signature, StorageError, TokensDigest, UnixSeconds,
    signed_bytes,
};
use std::sync::Arc;
use tonic::{Request, Response};

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bounds: Bounds,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) metrics: Metrics,
    pub(crate) peering: Arc<Peering>,
    pub(crate) purging: Purging,
}

#[tonic::async_trait]
impl mailbox_server::Mailbox for Mailbox {
    async fn write(&self, request: Request<WriteRequest>) -> Reply<WriteReply> {
        let WriteRequest { commands } = request.into_inner();
        if commands.len() > MAX_WRITE_COMMANDS {
            return Err(StorageError::invalid("commands").into());
        }
        let mut admitted = Vec::with_capacity(commands.len());
        // A command that cannot be read or is refused leaves the others alone.
        let verdicts: Vec<Result<(), StorageError>> = commands
            .into_iter()
            .map(|command| self.admit(command).map(|command| admitted.push(command)))
            .collect();
        let (store, limits, bounds) = (&self.store, &self.limits, self.bounds);
        let mut written =
            writing::write(store, admitted, limits, bounds, &self.time, &self.metrics).await.into_iter();
        let outcome = |verdict: Result<(), StorageError>| {
            let outcome = verdict.and_then(|()| written.next().unwrap_or(Err(StorageError::Internal)));
            let outcome = outcome.unwrap_or_else(|refusal| write_outcome::Outcome::Refused(refusal.into()));
            WriteOutcome { outcome: Some(outcome) }
        };
        let outcomes = verdicts.into_iter().map(outcome).collect();
        Ok(Response::new(WriteReply { outcomes }))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Reply<FetchReply> {
        let FetchRequest { caller: payer, mailboxes, sealed } = request.into_inner();
        let (caller, mailboxes) = (caller(payer)?, mailbox_list(&mailboxes)?);
        self.limits.charge_caller(caller)?;
        let (limits, peering) = (Arc::clone(&self.limits), Arc::clone(&self.peering));
        let times = (self.bounds.ttl, self.time.times());
        let admit = move |mailbox: &MailboxHash| limits.try_fetch(mailbox, caller);
        let fetched =
            page::fetch(&self.store, mailboxes, sealed, times, admit, move || peering.reachable()).await?;
        let Fetched { page, damaged, refused, due } = fetched;
        if !due.is_empty()
            && let Ok(now) = self.time.times_to_store()
        {
            registering::renew(&self.store, due, caller, (self.bounds.ttl, now));
        }
        if damaged > 0 {
            self.metrics.blobs_damaged.inc_by(damaged);
            tracing::error!(blobs = damaged, "stored content does not match its name and is not served");
        }
        if let Some(retry_after) = refused {
            return Err(StorageError::MailboxRateLimited { retry_after }.into());
        }
        self.metrics.blobs_delivered.inc_by(page.blobs.len() as u64);
        Ok(Response::new(page))
    }

    async fn larger(&self, request: Request<LargerRequest>) -> Reply<LargerReply> {
        let LargerRequest { mailbox, place } = request.into_inner();
        let mailbox = identifier("mailbox", &mailbox)?;
        let blob = page::larger(&self.store, mailbox, place, self.time.times().now).await?;
        self.metrics.blobs_delivered.inc_by(blob.iter().len() as u64);
        Ok(Response::new(LargerReply { blob }))
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Reply<RegisterReply> {
        let RegisterRequest { caller: payer, request_id, mailboxes, ownership } = request.into_inner();
        let (caller, request) = (caller(payer)?, identifier("request_id", &request_id)?);
        let mailboxes = mailbox_list(&mailboxes)?;
        let proof = ownership.map(OwnershipProof::read).transpose()?;
        self.limits.charge_caller(caller)?;
        let now = self.time.times_to_store()?;
        let signed = proof.map(|proof| proof.check(request, now.wall)).transpose()?;
        let times = (self.bounds.ttl, now);
        let (store, purging, limits) = (&self.store, &self.purging, &self.limits);
        let reply = registering::register(store, purging, limits, caller, mailboxes, signed, times).await?;
        Ok(Response::new(reply))
    }

    async fn purge(&self, request: Request<PurgeRequest>) -> Reply<PurgeReply> {
        let PurgeRequest {
            caller: payer,
            request_id,
            mailbox,
            public_key,
            purge_token,
            timestamp,
            signature,
        } = request.into_inner();
        let (caller, request) = (caller(payer)?, identifier("request_id", &request_id)?);
        let mailbox = identifier("mailbox", &mailbox)?;
        let public_key: PublicKey = identifier("public_key", &public_key)?;
        let token: PurgeToken = identifier("purge_token", &purge_token)?;
        let (timestamp, signature) = (UnixSeconds::new(timestamp), identifier("signature", &signature)?);
        let now = self.time.times();
        let signed = signed_bytes::purge(&public_key, &token, timestamp);
        let is_timely = signatures::is_timely(&public_key, &signed, &signature, timestamp, now.wall)?;
        let once = Nonce::of("purge", token.as_bytes());
        let order = Order { request, mailbox, public_key, once, timestamp, is_timely };
        let blobs_deleted = self.purging.purge(order, caller, &self.limits, now).await?;
        Ok(Response::new(PurgeReply { blobs_deleted }))
    }

    async fn hints(&self, request: Request<HintsRequest>) -> Reply<SignedHints> {
        let HintsRequest { blobs } = request.into_inner();
        let names: Vec<BlobName> = list("blobs", blobs, MAX_HINTS)?;
        Ok(Response::new(remote_blobs::hints(&self.store, names, self.time.times().now).await?))
    }
}

impl Mailbox {
    /// Reads a command and refuses what can be refused without asking the database.
    fn admit(&self, command: WriteCommand) -> Result<Command, StorageError> {
        let command = read(command)?;
        self.limits.charge_caller(command.caller)?;
        match &command.action {
            Action::Send(blob) if blob.ciphertext.as_bytes().len() > self.bounds.blob_bytes => {
                Err(StorageError::TooLarge)
            }
            Action::Send(blob) => {
                self.time.times_to_store()?;
                self.limits.charge_mailbox(&blob.mailbox)?;
                Ok(command)
            }
            // A mailbox is not charged for acks: whoever knows its token would shut out its owner.
            Action::Ack { .. } => Ok(command),
        }
    }
}

/// Reads a command of a write message.
fn read(command: WriteCommand) -> Result<Command, StorageError> {
    let WriteCommand { caller: payer, command } = command;
    let action = match required("command", command)? {
        write_command::Command::Send(Send { mailbox, ciphertext, origin_hint }) => Action::Send(NewBlob {
            mailbox: identifier("mailbox", &mailbox)?,
            ciphertext: sealed("ciphertext", ciphertext)?,
            origin_hint: origin_hint.map(|hint| sealed("origin_hint", hint)).transpose()?,
        }),
        write_command::Command::Ack(Ack { mailbox, blob_id }) => Action::Ack {
            mailbox: identifier("mailbox", &mailbox)?,
            blob_id: identifier("blob_id", &blob_id)?,
        },
    };
    Ok(Command { caller: caller(payer)?, action })
}

/// Reads the names of mailboxes: at least one.
fn mailbox_list(list: &[Bytes]) -> Result<Vec<MailboxHash>, StorageError> {
    if list.is_empty() {
        return Err(StorageError::invalid("mailboxes"));
    }
    identifiers("mailboxes", list, MAX_MAILBOXES)
}

/// What an owner signed, as it came.
struct OwnershipProof {
    public_key: PublicKey,
    timestamp: UnixSeconds,
    signature: Signature,
    tokens: TokensDigest,
}

impl OwnershipProof {
    fn read(ownership: Ownership) -> Result<Self, StorageError> {
        let Ownership { public_key, timestamp, signature, tokens_digest } = ownership;
        Ok(Self {
            public_key: identifier("public_key", &public_key)?,
            timestamp: UnixSeconds::new(timestamp),
            signature: identifier("signature", &signature)?,
            tokens: identifier("tokens_digest", &tokens_digest)?,
        })
    }

    /// Fails unless the owner signed it, and lately or for a request that may have been carried out before.
    fn check(self, request: RequestId, now: UnixSeconds) -> Result<Signed, StorageError> {
        let Self { public_key, timestamp, signature, tokens } = self;
        let signed = signed_bytes::registration(&public_key, &tokens, timestamp);
        let is_timely = signatures::is_timely(&public_key, &signed, &signature, timestamp, now)?;
        let once = Nonce::of("register", signature.as_bytes());
        Ok(Signed { owner: public_key.owner(), once, timestamp, request, is_timely })
    }
}
