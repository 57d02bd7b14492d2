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

use crate::backup::integrity::{self, Census};
use crate::clock::trusted::TrustedClock;
use crate::config::Config;
use crate::db::Store;
use crate::db::writer::Ended;
use crate::limits::Limits;
use crate::mail::purging::Purging;
use crate::maintenance::sweep::Sweep;
use crate::metrics::Metrics;
use crate::records::guess_limiter::Guesses;
use crate::rpc::{
    escrow::Escrow, exchange::Exchange, guardian::Guardian, mailbox::Mailbox, offload::Offload,
    recovery::Recovery,
};
use crate::transfer::offer_cursor::Rounds;
use crate::transfer::peering::Peering;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use relay_daemon::{ManualClock, Pace, Vars};
use relay_proto::caller::{Budget, Caller, Payer};
use relay_proto::mail::{
    Fetch, LargerBlob, MailPage, NewBlob, Ownership, Purge, Register, StoredBlob, WriteAction, WriteCommand,
    Written,
};
use relay_proto::server::MailboxHandler as _;
use relay_proto::{
    AddressHash, BlobId, Ciphertext, MailboxHash, MailboxToken, OriginHint, PublicKey, PurgeToken, Refusal,
    RequestId, Signature, TokensDigest, UnixSeconds, refusal_of,
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
fn replied<T>(result: Result<Response<T>, Status>) -> Result<T, Refusal> {
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
    recovery: Recovery,
    exchange: Exchange,
    guardian: Guardian,
    escrow: Escrow,
}

impl Vault {
    fn open(
        config: &Config,
        store: &Arc<Store>,
        limits: &Arc<Limits>,
        (time, clock): (&Arc<TrustedClock>, &ManualClock),
        metrics: &Metrics,
    ) -> Self {
        let gauges = Arc::clone(&store.gauges);
        let guesses = Guesses::new(config.exchange.guess_rate, gauges, clock.clock(), metrics.clone());
        let parts = || (Arc::clone(store), Arc::clone(limits), Arc::clone(time));
        let (store, limits, time) = parts();
        let exchange = Exchange { store, limits, time, guesses: Arc::new(guesses), bounds: config.exchange };
        let (store, limits, time) = parts();
        let recovery = Recovery { store, limits, time };
        let (store, limits, time) = parts();
        let guardian = Guardian { store, limits, time };
        let (store, limits, time) = parts();
        Self { recovery, exchange, guardian, escrow: Escrow { store, limits, time } }
    }
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
        let metrics = Metrics::new().unwrap();
        let (store, ended) = Store::open(&config, metrics.clone()).unwrap();
        let store = Arc::new(store);
        let time = Arc::new(TrustedClock::new(store.clock, clock.clock(), BUILT, metrics.clone()));
        let limits = Arc::new(Limits::new(config.rates(), clock.clock(), metrics.clone()));
        let peering = Arc::new(Peering::new(false, clock.clock()));
        let offload = Offload {
            store: Arc::clone(&store),
            peering: Arc::clone(&peering),
            limits: Arc::clone(&limits),
            rounds: Rounds::new(clock.clock()),
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
        let vault = Vault::open(&config, &store, &limits, (&time, &clock), &metrics);
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
                    assert_eq!(refusal, Refusal::StorageFull);
                    return;
                }
            }
        }
    }

    async fn write(&self, action: WriteAction) -> Result<Written, Refusal> {
        let command = WriteCommand { caller: None, action };
        self.mailbox.write(vec![command]).await.pop().unwrap()
    }

    /// Takes stock, as `relay verify` does.
    fn census(&self) -> Census {
        integrity::take(self.sql(), Pace::hurried()).unwrap()
    }

    async fn send(&self, mailbox: MailboxHash, content: &[u8]) -> Result<BlobId, Refusal> {
        self.send_blob(blob(mailbox, content)).await
    }

    async fn send_blob(&self, blob: NewBlob) -> Result<BlobId, Refusal> {
        match self.write(WriteAction::Send(blob)).await? {
            Written::Stored(id) => Ok(id),
            Written::Acknowledged(_) => panic!("a send was answered as an ack"),
        }
    }

    async fn ack(&self, mailbox: MailboxHash, blob_id: BlobId) -> Result<bool, Refusal> {
        match self.write(WriteAction::Ack { mailbox, blob_id }).await? {
            Written::Acknowledged(removed) => Ok(removed),
            Written::Stored(_) => panic!("an ack was answered as a send"),
        }
    }

    async fn page(&self, mailboxes: &[MailboxHash]) -> Result<MailPage, Refusal> {
        self.page_of(Fetch { caller: None, mailboxes: mailboxes.to_vec(), sealed: false }).await
    }

    /// A page, with the blob that it tells of, as gateways put it together.
    async fn page_of(&self, fetch: Fetch) -> Result<MailPage, Refusal> {
        let mut page = self.mailbox.fetch(fetch.clone()).await?;
        if let Some(LargerBlob { mailbox_index, place, bytes }) = page.larger.take() {
            let blob = self.mailbox.larger(fetch.mailboxes[mailbox_index], place).await?.unwrap();
            assert_eq!(blob.ciphertext.as_bytes().len() as u64, bytes);
            page.blobs.push(StoredBlob { mailbox_index, ..blob });
        }
        Ok(page)
    }

    /// As [`Relay::page`], for an answer that will be sealed.
    async fn sealed_page(&self, mailboxes: &[MailboxHash]) -> Result<MailPage, Refusal> {
        self.mailbox.fetch(Fetch { caller: None, mailboxes: mailboxes.to_vec(), sealed: true }).await
    }

    /// The contents of a mailbox's first page.
    async fn fetch(&self, mailbox: MailboxHash) -> Vec<Vec<u8>> {
        let page = self.page(&[mailbox]).await.unwrap();
        page.blobs.iter().map(|blob| blob.ciphertext.as_bytes().to_vec()).collect()
    }

    async fn register(&self, tokens: &[u8], owner: Option<&SigningKey>) -> Result<u32, Refusal> {
        let tokens: Vec<_> = tokens.iter().map(|token| MailboxToken::from_bytes([*token; 32])).collect();
        let mailboxes = tokens.iter().map(MailboxToken::hash).collect();
        let ownership = owner.map(|key| {
            let mut proof = Ownership {
                public_key: public(key),
                timestamp: self.clock.clock().now(),
                signature: Signature::from_bytes([0; 64]),
                tokens_digest: TokensDigest::of(&tokens),
            };
            proof.signature = Signature::from_bytes(key.sign(&proof.message()).to_bytes());
            proof
        });
        let request_id = RequestId::random().unwrap();
        let register = Register { caller: None, request_id, mailboxes, ownership };
        self.mailbox.register(register).await.map(|registered| registered.registered)
    }

    /// A purge of the key's own mailbox, signed now.
    fn purge_request(&self, key: &SigningKey, token: u8) -> Purge {
        let mut purge = Purge {
            caller: None,
            request_id: RequestId::random().unwrap(),
            mailbox: MailboxHash::of_public_key(&public(key)),
            public_key: public(key),
            purge_token: PurgeToken::from_bytes([token; 32]),
            timestamp: self.clock.clock().now(),
            signature: Signature::from_bytes([0; 64]),
        };
        purge.signature = Signature::from_bytes(key.sign(&purge.message()).to_bytes());
        purge
    }
}

fn client(number: u8) -> Caller {
    Some(Payer::new(Budget::Client, AddressHash::from_bytes([number; 16])))
}

fn mailbox(number: u8) -> MailboxHash {
    MailboxToken::from_bytes([number; 32]).hash()
}

fn blob(mailbox: MailboxHash, content: &[u8]) -> NewBlob {
    let ciphertext = Ciphertext::try_from(Bytes::copy_from_slice(content)).unwrap();
    NewBlob { mailbox, ciphertext, origin_hint: None }
}

/// The same with an origin hint.
fn hinted(mailbox: MailboxHash, content: &[u8]) -> NewBlob {
    NewBlob { origin_hint: Some(origin_hint()), ..blob(mailbox, content) }
}

fn origin_hint() -> OriginHint {
    OriginHint::try_from(Bytes::from_static(&[7; 74])).unwrap()
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
