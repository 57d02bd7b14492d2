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
use relay_proto::mail::BlobName;
use relay_proto::messages::offload_server::Offload as _;
use relay_proto::messages::{
    self, AcceptRequest, DeliveredRequest, Introduction, LeaseRequest, Link, ListRequest, Listing, Orders,
    OutboxRequest, PeerReport, PeerState, ReadReply, ReconcileReply, ReconcileRequest, ResumeReply,
    ResumeRequest, SettleRequest, Settlement,
};
use relay_proto::transfer::{OfferResult, TransferBlob, blob_names, carried_blobs, names_of, verdict};
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
fn carried(mailbox: MailboxHash, content: &[u8], ends: UnixSeconds) -> TransferBlob {
    TransferBlob {
        mailbox,
        blob_id: BlobId::derive(&mailbox, content),
        ciphertext: Ciphertext::try_from(Bytes::copy_from_slice(content)).unwrap(),
        origin_hint: None,
        created_at: START,
        expires_at: ends,
        owner: None,
    }
}

fn contents(blobs: &[TransferBlob]) -> Vec<&[u8]> {
    blobs.iter().map(|blob| blob.ciphertext.as_bytes().as_ref()).collect()
}

/// Asks for as many blobs to offer as fit into a message.
pub(super) fn all_of(peer: PeerId) -> LeaseRequest {
    LeaseRequest {
        peer: peer.into(),
        home: false,
        max_blobs: 100,
        max_bytes: 1 << 20,
        lease_secs: LEASE_SECS,
        latest_expiry: 0,
    }
}

impl Relay {
    /// Leases blobs.
    pub(super) async fn leased(&self, request: LeaseRequest) -> Result<Vec<TransferBlob>, StorageError> {
        let reply = replied(self.offload.lease(Request::new(request)).await)?;
        carried_blobs(reply.blobs)
    }

    async fn lease(&self, peer: PeerId, home: bool, max_blobs: u32) -> Vec<TransferBlob> {
        self.leased(LeaseRequest { home, max_blobs, ..all_of(peer) }).await.unwrap()
    }

    /// Brings blobs to a relay.
    pub(super) async fn accept(
        &self,
        peer: PeerId,
        home: bool,
        blobs: Vec<TransferBlob>,
    ) -> Vec<OfferResult> {
        let blobs: Vec<_> = blobs.into_iter().map(messages::CarriedBlob::from).collect();
        let request = AcceptRequest { peer: peer.into(), home, blobs };
        let reply = replied(self.offload.accept(Request::new(request)).await).unwrap();
        reply.verdicts.into_iter().map(|number| verdict("verdicts", number).unwrap()).collect()
    }

    async fn accept_one(&self, peer: PeerId, blob: TransferBlob) -> OfferResult {
        self.accept(peer, false, vec![blob]).await[0]
    }

    /// Says what a peer said of blobs. Returns how many moved.
    pub(super) async fn settle_each(
        &self,
        peer: PeerId,
        home: bool,
        said: impl IntoIterator<Item = (BlobName, OfferResult)>,
    ) -> u32 {
        let settlement = |(name, verdict): (BlobName, OfferResult)| Settlement {
            name: Some(name.into()),
            verdict: verdict.into(),
        };
        let settlements = said.into_iter().map(settlement).collect();
        let request = SettleRequest { peer: peer.into(), home, settlements };
        replied(self.offload.settle(Request::new(request)).await).unwrap().moved
    }

    async fn settle(&self, peer: PeerId, home: bool, blobs: &[TransferBlob], verdict: OfferResult) -> u32 {
        self.settle_each(peer, home, blobs.iter().map(|blob| (blob.name(), verdict))).await
    }

    /// Ends all offers, as federation does when it starts.
    async fn resume(&self) {
        let ResumeReply {} = replied(self.offload.resume(Request::new(ResumeRequest {})).await).unwrap();
    }

    /// Reads what is held for a peer: what is there, and what is missing.
    async fn find_all(&self, peer: PeerId, names: Vec<BlobName>) -> (Vec<TransferBlob>, Vec<BlobName>) {
        let request = Request::new(names_of(peer, names));
        let ReadReply { blobs, missing } = replied(self.offload.read(request).await).unwrap();
        (carried_blobs(blobs).unwrap(), blob_names(missing).unwrap())
    }

    /// A blob that is held for a peer.
    async fn find(&self, peer: PeerId, name: BlobName) -> TransferBlob {
        self.find_all(peer, vec![name]).await.0.remove(0)
    }

    /// Says that a peer does not have blobs. Returns of how many that was noted.
    async fn lose(&self, peer: PeerId, names: Vec<BlobName>) -> u32 {
        replied(self.offload.missing(Request::new(names_of(peer, names))).await).unwrap().forgotten
    }

    /// Whether a peer could have this blob of its own back.
    async fn holds_for(&self, peer: PeerId, name: BlobName) -> bool {
        let (blobs, missing) = self.find_all(peer, vec![name]).await;
        assert_eq!(blobs.len() + missing.len(), 1);
        !blobs.is_empty()
    }

    async fn forget(&self, peer: PeerId, names: Vec<BlobName>) -> u32 {
        replied(self.offload.forget(Request::new(names_of(peer, names))).await).unwrap().deleted
    }

    /// Deletions that wait for a peer, with their numbers.
    async fn outbox(&self, peer: PeerId, limit: u32) -> Vec<(u64, BlobName)> {
        let request = OutboxRequest { peer: peer.into(), limit };
        let entries = replied(self.offload.outbox(Request::new(request)).await).unwrap().entries;
        let read = |entry: messages::OutboxEntry| (entry.number, entry.name.unwrap().try_into().unwrap());
        entries.into_iter().map(read).collect()
    }

    async fn delivered(&self, numbers: Vec<u64>) {
        replied(self.offload.delivered(Request::new(DeliveredRequest { numbers })).await).unwrap();
    }

    /// A part of what is held for a peer.
    async fn list(&self, peer: PeerId, after: Option<BlobName>, names: bool) -> Listing {
        let request = ListRequest { peer: peer.into(), after: after.map(Into::into), names };
        replied(self.offload.list(Request::new(request)).await).unwrap()
    }

    /// Settles a part of what a peer holds.
    async fn reconcile(
        &self,
        peer: PeerId,
        after: Option<BlobName>,
        names: bool,
        listing: Listing,
    ) -> Result<ReconcileReply, StorageError> {
        let (after, listing) = (after.map(Into::into), Some(listing));
        let request = ReconcileRequest { peer: peer.into(), after, names, listing };
        replied(self.offload.reconcile(Request::new(request)).await)
    }

    async fn waiting(&self, peer: PeerId) -> Vec<BlobName> {
        self.outbox(peer, 100).await.into_iter().map(|(_, name)| name).collect()
    }

    /// Says that the links to these peers are up.
    pub(super) async fn reach(&self, peers: &[PeerId]) {
        let state = |identity: &PeerId| PeerState {
            identity: (*identity).into(),
            link: Link::Up.into(),
            ..PeerState::default()
        };
        self.tell(peers.iter().map(state).collect()).await.unwrap();
    }

    async fn tell(&self, peers: Vec<PeerState>) -> Result<Orders, StorageError> {
        replied(self.offload.tell(Request::new(PeerReport { peers })).await)
    }

    async fn introduce(&self, identity: PeerId, client_url: &str) {
        let introduction = Introduction {
            identity: identity.into(),
            client_url: client_url.to_owned(),
            ..Introduction::default()
        };
        replied(self.offload.introduce(Request::new(introduction)).await).unwrap();
    }

    /// Compares what is counted with what is there.
    fn recount(&self) {
        assert_eq!(self.census().problems, Vec::<String>::new());
        let gauges = &self.store.gauges;
        let held = [
            gauges.of(Total::BLOBS),
            gauges.of(Total::LEASES),
            gauges.of(Total::HINTS),
            gauges.of(Total::CLAIMS),
            gauges.of(Total::HELD),
            gauges.of(Total::OUTBOX),
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
    from.0.settle_each(to.1, home, blobs.iter().map(TransferBlob::name).zip(verdicts)).await
}

/// Tells one relay what another wants forgotten.
async fn deliver(from: (&Relay, PeerId), to: (&Relay, PeerId)) -> usize {
    let (numbers, names): (Vec<_>, Vec<_>) = from.0.outbox(to.1, 100).await.into_iter().unzip();
    let told = names.len();
    to.0.forget(from.1, names).await;
    from.0.delivered(numbers).await;
    told
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
