//! How much of something one message may hold: the one table for all messages, whoever sends them.

use crate::limits::{
    MAX_CARRIED_BLOBS, MAX_GUARDIANS, MAX_HINTS, MAX_LISTED_BLOBS, MAX_MAILBOXES, MAX_MOVED_BLOBS,
    MAX_RECOVERY_KEYS, MAX_WRITE_COMMANDS,
};
use crate::page;
use crate::telemetry::{MAX_BUCKETS, MAX_FAMILIES, MAX_LABELS, MAX_SAMPLES};

/// Blobs of one page: as many as fit when they hold next to nothing.
const PAGE_BLOBS: usize = page::BUDGET / page::wire_size(0, false) + 1;

/// What an operator is shown a list of: processes, keys, certificates.
const SHOWN: usize = 4096;

/// Peers that a relay knows, or ever knew.
const PEERS: usize = 16_384;

/// Every list of every message: the message, the list, and how long it may be.
const TABLE: &[(&str, &str, usize)] = &[
    ("relay.storage.v1.WriteRequest", "commands", MAX_WRITE_COMMANDS),
    ("relay.storage.v1.WriteReply", "outcomes", MAX_WRITE_COMMANDS),
    ("relay.storage.v1.FetchRequest", "mailboxes", MAX_MAILBOXES),
    ("relay.storage.v1.FetchReply", "blobs", PAGE_BLOBS),
    ("relay.storage.v1.FetchReply", "moved", MAX_MOVED_BLOBS),
    ("relay.storage.v1.HintsRequest", "blobs", MAX_HINTS),
    ("relay.storage.v1.SignedHints", "hints", MAX_HINTS),
    ("relay.storage.v1.RegisterRequest", "mailboxes", MAX_MAILBOXES),
    ("relay.storage.v1.RecoveryQueryRequest", "keys", MAX_RECOVERY_KEYS),
    ("relay.storage.v1.RecoveryQueryReply", "proofs", MAX_RECOVERY_KEYS),
    ("relay.storage.v1.GuardianStoreRequest", "entries", MAX_GUARDIANS),
    ("relay.storage.v1.GuardianQueryReply", "entries", MAX_GUARDIANS),
    ("relay.storage.v1.KeySet", "windows", SHOWN),
    ("relay.storage.v1.KeySet", "records", SHOWN),
    ("relay.storage.v1.PinsReply", "pins", PEERS),
    ("relay.storage.v1.CarriedBlobs", "blobs", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.BlobNames", "names", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.SettleRequest", "settlements", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.OutboxReply", "entries", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.DeliveredRequest", "numbers", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.AcceptRequest", "blobs", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.AcceptReply", "verdicts", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.ReadReply", "blobs", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.ReadReply", "missing", MAX_CARRIED_BLOBS),
    ("relay.storage.v1.Listing", "blobs", MAX_LISTED_BLOBS),
    ("relay.storage.v1.PeerReport", "peers", PEERS),
    ("relay.storage.v1.BringRequest", "wanted", MAX_MOVED_BLOBS),
    ("relay.storage.v1.CollectReply", "families", MAX_FAMILIES),
    ("relay.storage.v1.Snapshot", "families", MAX_FAMILIES),
    ("relay.storage.v1.Family", "samples", MAX_SAMPLES),
    ("relay.storage.v1.Sample", "labels", MAX_LABELS),
    ("relay.storage.v1.Sample", "buckets", MAX_BUCKETS),
    ("relay.storage.v1.StatusReply", "processes", SHOWN),
    ("relay.storage.v1.StatusReply", "keys", SHOWN),
    ("relay.storage.v1.KindUsage", "ages", SHOWN),
    ("relay.storage.v1.KeyStatus", "windows", SHOWN),
    ("relay.storage.v1.KeyStatus", "certificates", SHOWN),
    ("relay.storage.v1.PeersReply", "peers", PEERS),
    ("relay.storage.v1.PeersReply", "pins", PEERS),
    ("relay.storage.v1.PeersReply", "holdings", PEERS),
    ("relay.federation.v1.Offload", "blobs", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.OffloadAck", "verdicts", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.Recall", "names", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.RecallAck", "blobs", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.RecallAck", "missing", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.Forget", "names", MAX_CARRIED_BLOBS),
    ("relay.federation.v1.InventoryAck", "blobs", MAX_LISTED_BLOBS),
];

/// How long a list may be. Asked while this is compiled: a list without a bound is an error then.
#[expect(clippy::panic, reason = "a compiler's error, never a running program's")]
pub(super) const fn most(message: &str, list: &str) -> usize {
    let mut row = 0;
    while row < TABLE.len() {
        if same(TABLE[row].0, message) && same(TABLE[row].1, list) {
            return TABLE[row].2;
        }
        row += 1;
    }
    panic!("a list of a message has no bound: give it one in proto/src/wire/bounds/most.rs")
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Every row of the table.
#[cfg(test)]
pub(super) const fn table() -> &'static [(&'static str, &'static str, usize)] {
    TABLE
}
