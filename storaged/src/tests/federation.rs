//! Mail between relays: what moves, what is held, what is told. Relays stand beside one another in one process, and
//! a test carries between them what federation would.

mod answers;
mod finding;
mod hints;
mod holding;
mod home;
mod inventory;
mod moving;
mod outbox;
mod peers;
mod quotas;
mod room;
mod simulation;

use crate::tests::*;
use relay_proto::federation::{
    Accept, BlobNames, CarriedBlob, Found, Introduction, Lease, Link, PeerState, Settle, Verdict,
};
use relay_proto::mail::BlobName;
use relay_proto::server::OffloadHandler as _;
use relay_proto::{OwnerHash, PeerId};

/// The relays, as peers: the origin, and two that hold.
const A: PeerId = PeerId::from_bytes([1; 32]);
pub(super) const B: PeerId = PeerId::from_bytes([2; 32]);
const C: PeerId = PeerId::from_bytes([3; 32]);

/// How long offers last in these tests, in seconds.
pub(super) const LEASE_SECS: u32 = 60;

fn name(mailbox: MailboxHash, content: &[u8]) -> BlobName {
    BlobName { mailbox, blob_id: BlobId::derive(&mailbox, content) }
}

/// A blob as a peer would bring it, which ends so much later.
fn carried(mailbox: MailboxHash, content: &[u8], ends: UnixSeconds) -> CarriedBlob {
    CarriedBlob {
        mailbox,
        blob_id: BlobId::derive(&mailbox, content),
        ciphertext: Ciphertext::try_from(Bytes::copy_from_slice(content)).unwrap(),
        origin_hint: None,
        created_at: START,
        expires_at: ends,
        owner: None,
    }
}

fn contents(blobs: &[CarriedBlob]) -> Vec<&[u8]> {
    blobs.iter().map(|blob| blob.ciphertext.as_bytes().as_ref()).collect()
}

impl Relay {
    async fn lease(&self, peer: PeerId, home: bool, max_blobs: u32) -> Vec<CarriedBlob> {
        let lease =
            Lease { peer, home, max_blobs, max_bytes: 1 << 20, lease_secs: LEASE_SECS, latest_expiry: None };
        self.offload.lease(lease).await.unwrap()
    }

    async fn accept(&self, peer: PeerId, home: bool, blobs: Vec<CarriedBlob>) -> Vec<Verdict> {
        self.offload.accept(Accept { peer, home, blobs }).await.unwrap()
    }

    async fn accept_one(&self, peer: PeerId, blob: CarriedBlob) -> Verdict {
        self.accept(peer, false, vec![blob]).await[0]
    }

    async fn settle(&self, peer: PeerId, home: bool, blobs: &[CarriedBlob], verdict: Verdict) -> u32 {
        let settlements = blobs.iter().map(|blob| (blob.name(), verdict)).collect();
        self.offload.settle(Settle { peer, home, settlements }).await.unwrap()
    }

    async fn find(&self, peer: PeerId, name: BlobName) -> Found {
        self.offload.read(BlobNames { peer, names: vec![name] }).await.unwrap()
    }

    /// Whether a peer could have this blob of its own back.
    async fn holds_for(&self, peer: PeerId, name: BlobName) -> bool {
        let found = self.find(peer, name).await;
        assert_eq!(found.blobs.len() + found.missing.len(), 1);
        !found.blobs.is_empty()
    }

    async fn forget(&self, peer: PeerId, names: Vec<BlobName>) -> u32 {
        self.offload.forget(BlobNames { peer, names }).await.unwrap()
    }

    async fn waiting(&self, peer: PeerId) -> Vec<BlobName> {
        self.offload.outbox(peer, 100).await.unwrap().iter().map(|entry| entry.name).collect()
    }

    /// Says that the links to these peers are up.
    pub(super) fn reach(&self, peers: &[PeerId]) {
        let state = |identity: &PeerId| PeerState {
            url: String::new(),
            identity: Some(*identity),
            link: Link::Up,
            free_bytes: 0,
            last_seen: None,
            blobs_sent: 0,
            blobs_received: 0,
            blobs_recalled: 0,
            trouble: String::new(),
            clock_ahead_secs: None,
            keeps_secs: 0,
        };
        self.offload.tell(peers.iter().map(state).collect());
    }

    async fn introduce(&self, identity: PeerId, client_url: &str) {
        let introduction = Introduction { identity, met: None, client_url: client_url.to_owned() };
        self.offload.introduce(introduction).await.unwrap();
    }

    /// Compares what is counted with what is there.
    fn recount(&self) {
        assert_eq!(self.census().problems, Vec::<String>::new());
        let gauges = &self.store.gauges;
        let held = [
            gauges.blobs(),
            gauges.leases(),
            gauges.hints(),
            gauges.claims(),
            gauges.held(),
            gauges.outbox(),
        ];
        assert_eq!(
            held,
            ["blobs", "leases", "hints", "claims", "held", "outbox"].map(|table| self.rows(table))
        );
        for table in ["leases", "held"] {
            let strays = format!("SELECT count(*) FROM {table} WHERE seq NOT IN (SELECT seq FROM blobs)");
            let strays: u64 = self.sql().query_row(&strays, [], |row| row.get(0)).unwrap();
            assert_eq!(strays, 0, "{table}");
        }
    }
}

/// Everything that one relay offers another in one go, carried through both phases. Answers how many blobs moved.
async fn carry(from: (&Relay, PeerId), to: (&Relay, PeerId), home: bool) -> u32 {
    let blobs = from.0.lease(to.1, home, 100).await;
    let verdicts = to.0.accept(from.1, home, blobs.clone()).await;
    let settlements = blobs.iter().map(CarriedBlob::name).zip(verdicts).collect();
    from.0.offload.settle(Settle { peer: to.1, home, settlements }).await.unwrap()
}

/// Tells one relay what another wants forgotten.
async fn deliver(from: (&Relay, PeerId), to: (&Relay, PeerId)) -> usize {
    let entries = from.0.offload.outbox(to.1, 100).await.unwrap();
    to.0.forget(from.1, entries.iter().map(|entry| entry.name).collect()).await;
    from.0.offload.delivered(entries.iter().map(|entry| entry.number).collect()).await.unwrap();
    entries.len()
}

/// An origin with a blob in mailbox 1, and a peer.
async fn pair() -> (Relay, Relay) {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    origin.send(mailbox(1), b"one").await.unwrap();
    (origin, peer)
}

/// The same after the blob has moved.
async fn moved_pair() -> (Relay, Relay) {
    let (origin, peer) = pair().await;
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 1);
    (origin, peer)
}
