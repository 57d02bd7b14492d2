//! What takes the room, and making room by hand.

use crate::rpc::usage;
use crate::tests::*;
use relay_proto::Ttl;
use relay_proto::messages::{EvictReply, EvictRequest, KindUsage, RowKind};
use tokio_stream::StreamExt as _;

const TTL: Ttl = Ttl::from_secs(120 * 86_400);

async fn counted(relay: &Relay) -> Vec<KindUsage> {
    let mut kinds = usage::usage(&relay.store, TTL, relay.clock.clock().now());
    let mut all = Vec::new();
    while let Some(kind) = kinds.next().await {
        all.push(kind.unwrap());
    }
    all
}

/// Rows of a kind by age: under an hour, a day, a week, thirty days, and older.
async fn rows(relay: &Relay, kind: RowKind) -> Vec<u64> {
    let all = counted(relay).await;
    assert_eq!(all.iter().map(KindUsage::kind).collect::<Vec<_>>(), RowKind::ALL);
    let usage = all.into_iter().find(|usage| usage.kind() == kind).unwrap();
    usage.ages.iter().map(|age| age.rows).collect()
}

/// Evicts rows of a kind. What else is wanted is in the request.
async fn evicted(relay: &Relay, kind: RowKind, request: EvictRequest) -> Result<EvictReply, StorageError> {
    evicted_of(relay, EvictRequest { kind: kind.into(), ..request }).await
}

async fn evicted_of(relay: &Relay, request: EvictRequest) -> Result<EvictReply, StorageError> {
    let mut steps = usage::evict(&relay.store, request, TTL, relay.clock.clock().now())?;
    let mut last = EvictReply::default();
    while let Some(step) = steps.next().await {
        last = step.map_err(|status| refusal_of(&status))?;
    }
    Ok(last)
}

const ALL: EvictRequest =
    EvictRequest { kind: 0, older_than_secs: 0, larger_than_bytes: None, dry_run: false };

/// One row of every kind that a single relay has.
async fn one_of_each(relay: &Relay) {
    let id = relay.send(mailbox(9), b"acked").await.unwrap();
    relay.ack(mailbox(9), id).await.unwrap();
    relay.send(mailbox(1), b"mail").await.unwrap();
    relay.register(&[1], Some(&key(1))).await.unwrap();
    relay.prove(1, b"proof").await.unwrap();
    relay.offer("payload").await.unwrap();
    relay.designate(&key(1), &[b"entry"]).await.unwrap();
    relay.put(1, 1, b"content").await.unwrap();
}

const SINGLE: [RowKind; 7] = [
    RowKind::Mail,
    RowKind::Registrations,
    RowKind::Offers,
    RowKind::Proofs,
    RowKind::Guardians,
    RowKind::Escrow,
    RowKind::Tombstones,
];

#[tokio::test]
async fn every_kind_is_counted_and_can_be_deleted_and_the_sums_stay_right() {
    let relay = Relay::start(&[]);
    one_of_each(&relay).await;
    for kind in SINGLE {
        assert_eq!(rows(&relay, kind).await.iter().sum::<u64>(), 1, "{kind:?}");
        let dry = evicted(&relay, kind, EvictRequest { dry_run: true, ..ALL }).await.unwrap();
        assert_eq!(evicted(&relay, kind, ALL).await.unwrap(), dry, "{kind:?}");
        assert!(dry.rows == 1 && dry.bytes > 0);
        assert_eq!(rows(&relay, kind).await.iter().sum::<u64>(), 0, "{kind:?}");
    }
    assert!(rows(&relay, RowKind::Used).await.iter().sum::<u64>() > 0);
    assert_eq!(relay.census().problems, Vec::<String>::new());
}

#[tokio::test]
async fn mail_of_peers_is_told_apart_and_evicted_alone() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"own").await.unwrap();
    let content = b"of a peer";
    let blob = relay_proto::transfer::TransferBlob {
        mailbox: mailbox(1),
        blob_id: BlobId::derive(&mailbox(1), content),
        ciphertext: Ciphertext::try_from(Bytes::from_static(content)).unwrap(),
        origin_hint: None,
        created_at: START,
        expires_at: START.plus(86_400),
        owner: None,
    };
    relay.accept(super::federation::B, false, vec![blob]).await;
    for kind in [RowKind::Mail, RowKind::Held] {
        assert_eq!(rows(&relay, kind).await.iter().sum::<u64>(), 1);
    }
    assert_eq!(evicted(&relay, RowKind::Held, ALL).await.unwrap().rows, 1);
    assert_eq!(relay.fetch(mailbox(1)).await, [b"own"]);
    assert_eq!(relay.census().problems, Vec::<String>::new());
}

#[tokio::test]
async fn only_what_is_old_and_large_enough_goes() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), &[1; 2000]).await.unwrap();
    relay.send(mailbox(1), b"small").await.unwrap();
    relay.register(&[3], None).await.unwrap();
    relay.clock.advance(10 * DAY);
    relay.send(mailbox(1), &[2; 2000]).await.unwrap();
    relay.register(&[2], None).await.unwrap();
    assert_eq!(rows(&relay, RowKind::Mail).await, [1, 0, 0, 2, 0]);
    assert_eq!(rows(&relay, RowKind::Registrations).await, [1, 0, 0, 1, 0]);
    let old = EvictRequest { older_than_secs: 9 * 86_400, ..ALL };
    let large = EvictRequest { larger_than_bytes: Some(1000), ..old };
    assert_eq!(evicted(&relay, RowKind::Mail, large).await.unwrap().rows, 1);
    let mut left = relay.fetch(mailbox(1)).await;
    left.sort();
    assert_eq!(left, [vec![2; 2000], b"small".to_vec()]);
    assert_eq!(evicted(&relay, RowKind::Registrations, old).await.unwrap().rows, 1);
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 1);
    // A renewal makes it young again.
    relay.clock.advance(10 * DAY);
    relay.register(&[2], None).await.unwrap();
    assert_eq!(evicted(&relay, RowKind::Registrations, old).await.unwrap().rows, 0);
}

#[tokio::test]
async fn more_than_a_slice_and_more_than_a_step_go_all_the_same() {
    let relay = Relay::start(&[]);
    expiry::fill(&relay, 0..4500).await;
    assert_eq!(rows(&relay, RowKind::Mail).await.iter().sum::<u64>(), 4500);
    assert_eq!(evicted(&relay, RowKind::Mail, ALL).await.unwrap().rows, 4500);
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.rows("blobs"), 0);
}

#[tokio::test]
async fn what_was_used_stays_used_whatever_an_operator_wants() {
    let relay = Relay::start(&[]);
    for kind in [RowKind::Used, RowKind::Moved] {
        assert_eq!(evicted(&relay, kind, ALL).await, Err(StorageError::invalid("kind")));
    }
    for kind in [0, 12, -1] {
        let refused = evicted_of(&relay, EvictRequest { kind, ..ALL }).await;
        assert_eq!(refused, Err(StorageError::invalid("kind")), "{kind}");
    }
}
