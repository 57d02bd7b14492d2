//! The daemon's parts together, against real SQLite in a temporary directory, with a clock that tests move.

mod accounting;
mod binding;
mod clock;
mod escrow;
mod exchange;
mod expiry;
mod federation;
mod guardians;
mod guesses;
mod keys;
mod mail;
mod owners;
mod pages;
mod purged;
mod purging;
mod recovery;
mod replays;
mod room;
mod shares;
mod timing;
mod usage;

use crate::clock::{TrustedClock, memory};
use crate::config::Config;
use crate::db::writer::Ended;
use crate::db::{Store, Total};
use crate::limits::Limits;
use crate::mail::purging::Purging;
use crate::maintenance::sweep::Sweep;
use crate::metrics::Metrics;
use crate::offline::backup::integrity::{self, Census};
use crate::records;
use crate::records::guess_limiter::GuessLimiter;
use crate::rpc::{Records, exchange::Exchange, mailbox::Mailbox, offload::Offload};
use crate::transfer::offer_cursor::OfferCursor;
use crate::transfer::peers::peering::Peering;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use relay_daemon::{ManualClock, Throttle, Vars};
use relay_proto::caller::{Caller, RateLimitClass, RateLimitSubject};
use relay_proto::mail::BlobName;
use relay_proto::messages::mailbox_server::Mailbox as _;
use relay_proto::messages::write_command::Command;
use relay_proto::messages::write_outcome::Outcome;
use relay_proto::messages::{
    self, Ack, Blob, FetchReply, FetchRequest, HintsRequest, LargerBlob, LargerReply, LargerRequest,
    Ownership, PurgeReply, PurgeRequest, RegisterReply, RegisterRequest, SignedHints, WriteCommand,
    WriteOutcome, WriteReply, WriteRequest,
};
use relay_proto::{
    AddressHash, BlobId, Ciphertext, MailboxHash, MailboxToken, PublicKey, PurgeToken, RequestId, Signature,
    StorageError, TokensDigest, UnixSeconds, refusal_of, signed_bytes,
};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tonic::{Request, Response, Status};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);
/// A quarter past some hour.
const START: UnixSeconds = UnixSeconds::new(1_800_000_900);

/// When the program of these tests was built.
const BUILT: UnixSeconds = UnixSeconds::new(1_600_000_000);

/// What a service replied, or why it refused.
fn replied<T>(result: Result<Response<T>, Status>) -> Result<T, StorageError> {
    result.map(Response::into_inner).map_err(|status| refusal_of(&status))
}

/// A store with its handlers, on a clock of its own.
struct Relay {
    mailbox: Mailbox,
    offload: Offload,
    vault: Vault,
    sweep: Sweep,
    store: Arc<Store>,
    metrics: Metrics,
    time: Arc<TrustedClock>,
    clock: ManualClock,
    ended: Ended,
    directory: TempDir,
}

/// Handlers of what is kept besides mail.
struct Vault {
    records: Records,
    exchange: Exchange,
}

impl Relay {
    fn start(variables: &[(&str, &str)]) -> Self {
        Self::open(tempfile::tempdir().unwrap(), ManualClock::at(START), variables)
    }

    fn open(directory: TempDir, clock: ManualClock, variables: &[(&str, &str)]) -> Self {
        let vars = Vars::from_pairs([("RELAY_RATE_LIMIT", "1000000")]);
        let vars = variables.iter().fold(vars, |vars, (name, value)| vars.with(name, *value));
        let vars = vars.with("RELAY_DATA_DIR", directory.path().to_str().unwrap());
        let config = Config::from_vars(&vars).unwrap();
        let metrics = Metrics::new(records::gauges()).unwrap();
        let (store, memory, ended) = Store::open(&config, metrics.commits(), memory::recall).unwrap();
        let store = Arc::new(store);
        let time = Arc::new(TrustedClock::new(memory, clock.clock(), BUILT, metrics.clone()));
        let limits = Arc::new(Limits::new(config.rates(), clock.clock(), metrics.clone()));
        let peering = Arc::new(Peering::new(false, clock.clock()));
        let records =
            Records { store: Arc::clone(&store), limits: Arc::clone(&limits), time: Arc::clone(&time) };
        let offload = Offload {
            store: Arc::clone(&store),
            peering: Arc::clone(&peering),
            limits: Arc::clone(&limits),
            rounds: OfferCursor::new(clock.clock()),
            bounds: config.bounds,
            refuse: config.refuse,
            time: Arc::clone(&time),
            metrics: metrics.clone(),
        };
        let mailbox = Mailbox {
            purging: Purging::new(Arc::clone(&store), Arc::clone(&time), metrics.clone()),
            peering,
            store: Arc::clone(&store),
            limits: Arc::clone(&limits),
            bounds: config.bounds,
            time: Arc::clone(&time),
            metrics: metrics.clone(),
        };
        let (gauges, bounds) = (Arc::clone(&store.gauges), config.exchange);
        let guesses = GuessLimiter::new(bounds.guess_rate, gauges, clock.clock(), metrics.clone());
        let exchange = Exchange { records: records.clone(), guesses: Arc::new(guesses), bounds };
        let vault = Vault { records, exchange };
        let sweep = Sweep::new(Arc::clone(&store), Arc::clone(&time), metrics.clone());
        Self { mailbox, offload, vault, sweep, store, metrics, time, clock, ended, directory }
    }

    /// Closes the store properly and opens it again.
    async fn restart(self, variables: &[(&str, &str)]) -> Self {
        let Self { mailbox, offload, vault, sweep, store, time, clock, ended, directory, .. } = self;
        time.keep(&store).await.unwrap();
        store.writer.stop();
        ended.await.unwrap().unwrap();
        drop((mailbox, offload, vault, sweep, store));
        Self::open(directory, clock, variables)
    }

    fn database(&self) -> std::path::PathBuf {
        self.directory.path().join("relay.db")
    }

    fn sql(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    /// Rows of a table.
    fn rows(&self, table: &str) -> u64 {
        self.sql().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Sends mail until there is no room for more.
    async fn fill_up(&self) {
        for number in 0_u8.. {
            match self.send(mailbox(number), &vec![number; 8000]).await {
                Ok(_) => {}
                Err(refusal) => {
                    assert_eq!(refusal, StorageError::StorageFull);
                    return;
                }
            }
        }
    }

    /// Sends a write message. Returns an outcome for each command.
    async fn write_all(
        &self,
        commands: Vec<WriteCommand>,
    ) -> Result<Vec<Result<Outcome, StorageError>>, StorageError> {
        let written = |WriteOutcome { outcome }| match outcome.unwrap() {
            Outcome::Refused(refusal) => Err(refusal.into()),
            done @ (Outcome::Stored(_) | Outcome::Acknowledged(_)) => Ok(done),
        };
        let reply = replied(self.mailbox.write(Request::new(WriteRequest { commands })).await);
        reply.map(|WriteReply { outcomes }| outcomes.into_iter().map(written).collect())
    }

    async fn write_for(&self, caller: Caller, command: Command) -> Result<Outcome, StorageError> {
        let command = WriteCommand { caller: caller.map(Into::into), command: Some(command) };
        self.write_all(vec![command]).await?.pop().unwrap()
    }

    /// Takes stock, as `relay verify` does.
    fn census(&self) -> Census {
        integrity::take(self.sql(), Throttle::hurried()).unwrap()
    }

    async fn send(&self, mailbox: MailboxHash, content: &[u8]) -> Result<BlobId, StorageError> {
        self.send_blob(blob(mailbox, content)).await
    }

    async fn send_blob(&self, blob: messages::Send) -> Result<BlobId, StorageError> {
        match self.write_for(None, Command::Send(blob)).await? {
            Outcome::Stored(id) => Ok(BlobId::try_from(&id[..]).unwrap()),
            other => panic!("a send was answered as something else: {other:?}"),
        }
    }

    async fn ack(&self, mailbox: MailboxHash, blob_id: impl Into<Bytes>) -> Result<bool, StorageError> {
        self.ack_for(None, mailbox, blob_id).await
    }

    async fn ack_for(
        &self,
        caller: Caller,
        mailbox: MailboxHash,
        blob_id: impl Into<Bytes>,
    ) -> Result<bool, StorageError> {
        let ack = Ack { mailbox: mailbox.into(), blob_id: blob_id.into() };
        match self.write_for(caller, Command::Ack(ack)).await? {
            Outcome::Acknowledged(removed) => Ok(removed),
            other => panic!("an ack was answered as something else: {other:?}"),
        }
    }

    async fn fetched(&self, request: FetchRequest) -> Result<FetchReply, StorageError> {
        replied(self.mailbox.fetch(Request::new(request)).await)
    }

    async fn larger(&self, mailbox: MailboxHash, place: u64) -> Option<Blob> {
        let request = LargerRequest { mailbox: mailbox.into(), place };
        let LargerReply { blob } = replied(self.mailbox.larger(Request::new(request)).await).unwrap();
        blob
    }

    async fn hints(&self, names: &[BlobName]) -> Result<SignedHints, StorageError> {
        let blobs = names.iter().map(|name| (*name).into()).collect();
        replied(self.mailbox.hints(Request::new(HintsRequest { blobs })).await)
    }

    /// A page, with the blob that it tells of, as gateways put it together.
    async fn page(&self, mailboxes: &[MailboxHash]) -> Result<FetchReply, StorageError> {
        let mut page = self.fetched(fetch(None, mailboxes, false)).await?;
        if let Some(LargerBlob { mailbox_index, place, bytes }) = page.larger.take() {
            let blob = self.larger(mailboxes[mailbox_index as usize], place).await.unwrap();
            assert_eq!(blob.ciphertext.len() as u64, bytes);
            page.blobs.push(Blob { mailbox_index, ..blob });
        }
        Ok(page)
    }

    /// As [`Relay::page`], for an answer that will be sealed.
    async fn sealed_page(&self, mailboxes: &[MailboxHash]) -> Result<FetchReply, StorageError> {
        self.fetched(fetch(None, mailboxes, true)).await
    }

    /// The contents of a mailbox's first page.
    async fn fetch(&self, mailbox: MailboxHash) -> Vec<Vec<u8>> {
        let page = self.page(&[mailbox]).await.unwrap();
        page.blobs.iter().map(|blob| blob.ciphertext.to_vec()).collect()
    }

    async fn register(&self, tokens: &[u8], owner: Option<&SigningKey>) -> Result<u32, StorageError> {
        let tokens: Vec<_> = tokens.iter().map(|token| MailboxToken::from_bytes([*token; 32])).collect();
        let mailboxes: Vec<_> = tokens.iter().map(MailboxToken::hash).collect();
        let ownership = owner.map(|key| self.ownership(key, &tokens));
        self.registered(registration(None, &mailboxes, ownership)).await.map(|reply| reply.registered)
    }

    async fn registered(&self, request: RegisterRequest) -> Result<RegisterReply, StorageError> {
        replied(self.mailbox.register(Request::new(request)).await)
    }

    /// A key's proof for these tokens, signed now.
    fn ownership(&self, key: &SigningKey, tokens: &[MailboxToken]) -> Ownership {
        let (tokens, now) = (TokensDigest::of(tokens), self.clock.clock().now());
        let signed = signed_bytes::registration(&public(key), &tokens, now);
        Ownership {
            public_key: public(key).into(),
            timestamp: now.get(),
            signature: Bytes::copy_from_slice(&key.sign(&signed).to_bytes()),
            tokens_digest: tokens.into(),
        }
    }

    /// Carries out a purge. Returns how many blobs it deleted.
    async fn purge(&self, request: PurgeRequest) -> Result<u64, StorageError> {
        replied(self.mailbox.purge(Request::new(request)).await)
            .map(|PurgeReply { blobs_deleted }| blobs_deleted)
    }

    /// A purge of the key's own mailbox, signed now.
    fn purge_request(&self, key: &SigningKey, token: u8) -> PurgeRequest {
        self.purge_with(key, PurgeToken::from_bytes([token; 32]))
    }

    fn purge_with(&self, key: &SigningKey, token: PurgeToken) -> PurgeRequest {
        let now = self.clock.clock().now();
        let signed = signed_bytes::purge(&public(key), &token, now);
        PurgeRequest {
            caller: None,
            request_id: fresh_id(),
            mailbox: MailboxHash::of_public_key(&public(key)).into(),
            public_key: public(key).into(),
            purge_token: token.into(),
            timestamp: now.get(),
            signature: Bytes::copy_from_slice(&key.sign(&signed).to_bytes()),
        }
    }
}

fn fresh_id() -> Bytes {
    RequestId::random().unwrap().into()
}

fn registration(caller: Caller, mailboxes: &[MailboxHash], ownership: Option<Ownership>) -> RegisterRequest {
    RegisterRequest {
        caller: caller.map(Into::into),
        request_id: fresh_id(),
        mailboxes: names_of(mailboxes),
        ownership,
    }
}

fn names_of(mailboxes: &[MailboxHash]) -> Vec<Bytes> {
    mailboxes.iter().map(|mailbox| Bytes::from(*mailbox)).collect()
}

fn client(number: u8) -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::Client, AddressHash::from_bytes([number; 16])))
}

fn mailbox(number: u8) -> MailboxHash {
    MailboxToken::from_bytes([number; 32]).hash()
}

fn blob(mailbox: MailboxHash, content: &[u8]) -> messages::Send {
    messages::Send { mailbox: mailbox.into(), ciphertext: Bytes::copy_from_slice(content), origin_hint: None }
}

/// The same with an origin hint.
fn hinted(mailbox: MailboxHash, content: &[u8]) -> messages::Send {
    messages::Send { origin_hint: Some(Bytes::from_static(&[7; 74])), ..blob(mailbox, content) }
}

/// Sends that nobody is charged for.
fn sends(blobs: impl IntoIterator<Item = messages::Send>) -> Vec<WriteCommand> {
    let command = |blob| WriteCommand { caller: None, command: Some(Command::Send(blob)) };
    blobs.into_iter().map(command).collect()
}

fn fetch(caller: Caller, mailboxes: &[MailboxHash], sealed: bool) -> FetchRequest {
    FetchRequest { caller: caller.map(Into::into), mailboxes: names_of(mailboxes), sealed }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from_bytes(key.verifying_key().to_bytes())
}

/// Whether a file holds these bytes.
fn holds(file: &Path, content: &[u8]) -> bool {
    std::fs::read(file).unwrap().windows(content.len()).any(|window| window == content)
}
