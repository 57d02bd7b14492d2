//! What a peer holds for a relay that knows less than the peer, as after a backup was restored.

use crate::tests::federation::*;
use relay_proto::messages::HeldBlob;
use relay_proto::transfer::NameSum;

/// What came of settling everything.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    claimed: u32,
    told: u32,
    /// Parts that were compared, and parts of which the names were needed.
    compared: usize,
    named: usize,
}

/// Settles all that a peer holds for an origin, as federation does.
async fn reconcile(origin: (&Relay, PeerId), peer: (&Relay, PeerId)) -> Tally {
    let (mut tally, mut after, mut names) = (Tally::default(), None, false);
    loop {
        let listing = peer.0.list(origin.1, after, names).await;
        let until = end(&listing);
        let ReconcileReply { needs_names, claimed, told } =
            origin.0.reconcile(peer.1, after, names, listing).await.unwrap();
        *(if names { &mut tally.named } else { &mut tally.compared }) += 1;
        (tally.claimed, tally.told) = (tally.claimed + claimed, tally.told + told);
        names = needs_names;
        if !names {
            after = until;
            if until.is_none() {
                return tally;
            }
        }
    }
}

/// The name that a part ends with.
fn end(listing: &Listing) -> Option<BlobName> {
    listing.until.clone().map(|name| name.try_into().unwrap())
}

/// A part without blobs.
fn nothing() -> Listing {
    Listing { ids: NameSum::default().ids(), ..Listing::default() }
}

/// A peer's word, with its sum.
fn said(blobs: &[TransferBlob]) -> Listing {
    let mut sum = NameSum::default();
    let held = |blob: &TransferBlob| {
        sum.add(&blob.blob_id);
        HeldBlob {
            name: Some(blob.name().into()),
            size: blob.ciphertext.as_bytes().len() as u64,
            created_at: blob.created_at.get(),
            expires_at: blob.expires_at.get(),
        }
    };
    let blobs = blobs.iter().map(held).collect();
    Listing { count: sum.count, ids: sum.ids(), blobs, until: None }
}

async fn hear(origin: &Relay, peer: PeerId, listing: Listing) -> ReconcileReply {
    origin.reconcile(peer, None, true, listing).await.unwrap()
}

/// A relay that has forgotten everything, and a peer that holds blobs for it.
async fn forgetful(contents: &[&[u8]]) -> (Relay, Relay) {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    for content in contents {
        origin.send(mailbox(1), content).await.unwrap();
    }
    assert_eq!(carry((&origin, A), (&peer, B), false).await as usize, contents.len());
    (Relay::start(&[]), peer)
}

#[tokio::test]
async fn what_a_restored_relay_knows_nothing_of_is_fetched_from_the_peer_and_acked() {
    let (origin, peer) = forgetful(&[b"one", b"two"]).await;
    origin.introduce(B, "https://b.example").await;
    assert_eq!(reconcile((&origin, A), (&peer, B)).await.claimed, 2);
    assert_eq!(origin.store.gauges.of(Total::CLAIMS), 2);
    origin.reach(&[B]).await;
    let page = origin.page(&[mailbox(1)]).await.unwrap();
    assert!(
        page.blobs.is_empty()
            && page.moved.iter().all(|moved| moved.peer == B.as_bytes()[..] && moved.reachable)
    );
    assert_eq!(page.moved.len(), 2);
    let name = name(mailbox(1), b"one");
    let signed = origin.hints(&[name]).await.unwrap();
    assert_eq!(signed.hints[0].relay_url, "https://b.example");

    assert_eq!(origin.ack(mailbox(1), name.blob_id).await, Ok(true));
    assert_eq!(origin.page(&[mailbox(1)]).await.unwrap().moved.len(), 1);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 1);
    assert_eq!(peer.store.gauges.of(Total::HELD), 1);
    origin.recount();
    let origin = origin.restart(&[]).await;
    assert_eq!(origin.store.gauges.of(Total::CLAIMS), 1, "over a restart too");
    origin.clock.advance(121 * DAY);
    origin.sweep.sweep().await.unwrap();
    assert_eq!(origin.store.gauges.of(Total::CLAIMS), 0);
    origin.recount();
}

#[tokio::test]
async fn two_relays_that_agree_need_no_names() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    for number in 0..200_u8 {
        origin.send(mailbox(number), &[number; 9]).await.unwrap();
        peer.send(mailbox(number), &[number; 8]).await.unwrap();
    }
    while carry((&origin, A), (&peer, B), false).await > 0 {}
    assert_eq!(peer.store.gauges.of(Total::HELD), 200);
    let tally = reconcile((&origin, A), (&peer, B)).await;
    assert_eq!(tally, Tally { compared: 1, ..Tally::default() });
    assert_eq!(reconcile((&origin, C), (&peer, B)).await.compared, 1, "nothing is held for the third");
    let forgetful = Relay::start(&[]);
    assert_eq!(reconcile((&forgetful, A), (&peer, B)).await.claimed, 200);
    let tally = reconcile((&forgetful, A), (&peer, B)).await;
    assert_eq!(tally, Tally { compared: 1, ..Tally::default() }, "claims are known too");
}

#[tokio::test]
async fn a_long_list_comes_in_parts_of_bounded_size_and_whole() {
    let peer = Relay::start(&[]);
    let ends = START.plus(86_400);
    for number in 0..11_u16 {
        let blobs =
            (0..100_u8).map(|content| carried(mailbox((number % 251) as u8), &[content, number as u8], ends));
        peer.accept(A, false, blobs.collect()).await;
    }
    let first = peer.list(A, None, true).await;
    assert_eq!((first.blobs.len(), first.count), (1000, 1000));
    let names: Vec<_> = first.blobs.iter().map(|blob| blob.name.clone().unwrap()).collect();
    assert!(names.is_sorted_by_key(|name| (name.mailbox.clone(), name.blob_id.clone())));
    assert_eq!(first.until, names.last().cloned());
    let rest = peer.list(A, end(&first), true).await;
    assert_eq!((rest.blobs.len(), rest.until), (100, None));
    let origin = Relay::start(&[]);
    let tally = reconcile((&origin, A), (&peer, B)).await;
    assert_eq!((tally.claimed, tally.named), (1100, 2));
}

#[tokio::test]
async fn what_is_acked_or_purged_here_is_told_to_a_peer_that_lists_it() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let own = MailboxHash::of_public_key(&public(&key(1)));
    origin.send(mailbox(1), b"acked").await.unwrap();
    origin.send(own, b"purged").await.unwrap();
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 2);
    let listing = peer.list(A, None, true).await;
    origin.ack(mailbox(1), name(mailbox(1), b"acked").blob_id).await.unwrap();
    origin.purge(origin.purge_request(&key(1), 1)).await.unwrap();
    // What waits to be told is not told twice.
    assert_eq!(hear(&origin, B, listing.clone()).await.told, 2);
    assert_eq!(origin.waiting(B).await.len(), 2);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 2);
    // The peer was put back to before it heard that.
    assert_eq!(hear(&origin, B, listing).await, ReconcileReply { told: 2, ..ReconcileReply::default() });
    assert_eq!(origin.waiting(B).await.len(), 2);
    assert_eq!(
        (origin.store.gauges.of(Total::CLAIMS), origin.page(&[mailbox(1), own]).await.unwrap().moved.len()),
        (0, 0)
    );
    origin.recount();
}

#[tokio::test]
async fn a_blob_that_both_have_stays_on_both_until_it_is_acked_and_then_on_neither() {
    for moves in [false, true] {
        let (origin, peer) = pair().await;
        let copy = origin.lease(B, false, 1).await;
        assert_eq!(peer.accept(A, false, copy).await, [OfferResult::Accepted]);
        // The backup was made before that.
        let restored = Relay::start(&[]);
        restored.send(mailbox(1), b"one").await.unwrap();
        assert_eq!(reconcile((&restored, A), (&peer, B)).await.claimed, 0);
        assert_eq!(restored.fetch(mailbox(1)).await, [b"one"]);
        assert_eq!((restored.store.gauges.of(Total::LEASES), peer.store.gauges.of(Total::HELD)), (1, 1));
        if moves {
            assert_eq!(carry((&restored, A), (&peer, B), false).await, 1);
            assert_eq!(restored.page(&[mailbox(1)]).await.unwrap().moved.len(), 1);
        }
        assert_eq!(restored.ack(mailbox(1), name(mailbox(1), b"one").blob_id).await, Ok(true));
        assert_eq!(deliver((&restored, A), (&peer, B)).await, 1);
        assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
        restored.recount();
        peer.recount();
    }
}

#[tokio::test]
async fn a_hint_that_the_peer_does_not_list_stays_until_the_blob_is_asked_for() {
    let (origin, _) = moved_pair().await;
    assert_eq!(hear(&origin, B, nothing()).await, ReconcileReply::default());
    assert_eq!(origin.store.gauges.of(Total::HINTS), 1);
    assert_eq!(origin.lose(B, vec![name(mailbox(1), b"one")]).await, 1);
    assert_eq!(origin.store.gauges.of(Total::HINTS), 0);
}

#[tokio::test]
async fn no_peer_is_told_to_forget_a_blob_because_another_one_is_said_to_hold_it() {
    // The note is from before the restore: the blob has come home since, and moved to the other peer.
    let (origin, _) = moved_pair().await;
    let copy = carried(mailbox(1), b"one", START.plus(86_400));
    assert_eq!(hear(&origin, C, said(std::slice::from_ref(&copy))).await.claimed, 1);
    assert!(origin.waiting(C).await.is_empty());
    let peers = async |origin: &Relay| -> Vec<PeerId> {
        let page = origin.page(&[mailbox(1)]).await.unwrap();
        page.moved.iter().map(|moved| PeerId::try_from(&moved.peer[..]).unwrap()).collect()
    };
    let asked = peers(&origin).await;
    assert!(asked.len() == 2 && asked.contains(&B) && asked.contains(&C), "both are asked");
    let names = vec![copy.name()];
    origin.lose(B, names.clone()).await;
    assert_eq!(peers(&origin).await, [C]);
    origin.lose(C, names).await;
    assert!(peers(&origin).await.is_empty());
    assert_eq!(origin.store.gauges.of(Total::CLAIMS), 0);
    origin.recount();
}

#[tokio::test]
async fn a_claim_is_no_reason_to_refuse_or_to_skip_a_send() {
    let origin = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "3"), ("RELAY_MAX_STORAGE_PER_USER", "1024")]);
    let ends = START.plus(86_400);
    let bogus: Vec<_> = (0..50_u8).map(|number| carried(mailbox(1), &[number; 900], ends)).collect();
    assert_eq!(hear(&origin, B, said(&bogus)).await.claimed, 50);
    origin.send(mailbox(1), b"own").await.unwrap();
    // The very blob that the peer claims, too: a 200 is never a peer's word.
    origin.send(mailbox(1), &[7; 900]).await.unwrap();
    assert_eq!(origin.fetch(mailbox(1)).await, [b"own".to_vec(), vec![7; 900]]);
    assert_eq!(origin.ack(mailbox(1), bogus[7].blob_id).await, Ok(true));
    assert_eq!(origin.waiting(B).await, [bogus[7].name()]);
    origin.recount();
}

#[tokio::test]
async fn no_claim_takes_the_place_of_a_hint_in_a_page() {
    let (origin, _) = moved_pair().await;
    let oldest = |number: u8| TransferBlob {
        created_at: START.minus(86_400),
        ..carried(mailbox(1), &[number; 2000], START.plus(86_400))
    };
    let bogus: Vec<_> = (0..200).map(oldest).collect();
    assert_eq!(hear(&origin, C, said(&bogus)).await.claimed, 200);
    for reachable in [&[][..], &[B, C]] {
        origin.reach(reachable).await;
        let page = origin.page(&[mailbox(1)]).await.unwrap();
        let hinted =
            page.moved.iter().any(|moved| moved.blob_id == name(mailbox(1), b"one").blob_id.as_bytes()[..]);
        assert!(hinted && page.moved.len() > 1, "{}", page.moved.len());
        assert!(page.moved.is_sorted_by_key(|moved| (moved.created_at, moved.place)));
    }
}

#[tokio::test]
async fn claims_are_bounded_and_one_peer_does_not_take_the_room_of_another() {
    // Room for 256 claims, and 128 of one peer.
    let origin = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let ends = START.plus(86_400);
    let claims = |of: u8| -> Vec<_> {
        (0..250_u8).map(|number| carried(mailbox(number), &[of, number], ends)).collect()
    };
    assert_eq!(hear(&origin, B, said(&claims(2))).await.claimed, 128);
    assert_eq!(hear(&origin, B, said(&claims(3))).await.claimed, 0);
    assert_eq!(hear(&origin, C, said(&claims(4))).await.claimed, 128);
    assert_eq!(hear(&origin, A, said(&claims(5))).await.claimed, 0);
    origin.recount();
    let large = carried(mailbox(1), b"large", ends);
    let mut listing = said(&[large]);
    listing.blobs[0].size = u64::MAX;
    let roomy = Relay::start(&[]);
    assert_eq!(hear(&roomy, B, listing.clone()).await.claimed, 0, "no blob of this relay's is that large");
    listing.blobs[0].size = 1;
    listing.blobs[0].expires_at = START.get();
    assert_eq!(hear(&roomy, B, listing.clone()).await.claimed, 0, "its time is over");
    listing.blobs[0].expires_at = u64::MAX;
    listing.blobs[0].created_at = u64::MAX;
    assert_eq!(hear(&roomy, B, listing).await.claimed, 1);
    let moved = roomy.page(&[mailbox(1)]).await.unwrap().moved;
    assert_eq!(moved[0].created_at, START.hour_floor().get());
    roomy.clock.advance(121 * DAY);
    assert!(roomy.page(&[mailbox(1)]).await.unwrap().moved.is_empty());
}

#[tokio::test]
async fn a_purge_takes_what_peers_claim_and_counts_each_blob_once() {
    let (origin, peer) = (Relay::start(&[]), Relay::start(&[]));
    let own = MailboxHash::of_public_key(&public(&key(1)));
    for content in [b"one", b"two", b"six"] {
        origin.send(own, content).await.unwrap();
    }
    assert_eq!(carry((&origin, A), (&peer, B), false).await, 3);
    let origin = Relay::start(&[]);
    assert_eq!(reconcile((&origin, A), (&peer, B)).await.claimed, 3);
    assert_eq!(hear(&origin, C, said(&[carried(own, b"one", START.plus(86_400))])).await.claimed, 1);
    origin.send(own, b"two").await.unwrap();
    assert_eq!(origin.purge(origin.purge_request(&key(1), 1)).await, Ok(3));
    assert_eq!(origin.store.gauges.of(Total::CLAIMS), 0);
    assert_eq!(deliver((&origin, A), (&peer, B)).await, 3);
    assert_eq!(peer.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(origin.waiting(C).await.len(), 1);
    origin.recount();
}

#[tokio::test]
async fn a_part_whose_sum_fits_is_not_looked_at() {
    let (origin, peer) = moved_pair().await;
    let mut listing = peer.list(A, None, true).await;
    listing.blobs = said(&[carried(mailbox(2), b"bogus", START.plus(86_400))]).blobs;
    assert_eq!(hear(&origin, B, listing.clone()).await, ReconcileReply::default());
    listing = Listing { blobs: listing.blobs, ..nothing() };
    assert_eq!(hear(&origin, B, listing).await.claimed, 1);
}

#[tokio::test]
async fn a_store_in_memory_asks_nobody_for_its_past() {
    let memory = Relay::start(&[("RELAY_STORAGE_BACKEND", "memory")]);
    let listing = said(&[carried(mailbox(1), b"one", START.plus(86_400))]);
    assert_eq!(hear(&memory, B, listing).await, ReconcileReply::default());
    assert_eq!(memory.store.gauges.of(Total::CLAIMS), 0);
}

#[tokio::test]
async fn a_part_is_bounded_and_whole() {
    let origin = Relay::start(&[]);
    let held = said(&[carried(mailbox(1), b"one", START.plus(86_400))]).blobs.remove(0);
    let part = |blobs| origin.reconcile(B, None, true, Listing { blobs, ..nothing() });
    assert!(part(vec![held.clone(); 1000]).await.is_ok());
    assert_eq!(part(vec![held.clone(); 1001]).await.err(), Some(StorageError::invalid("blobs")));
    assert_eq!(part(vec![HeldBlob { name: None, ..held }]).await.err(), Some(StorageError::invalid("name")));
    let short = Listing { ids: Bytes::from_static(&[1; 15]), ..nothing() };
    assert_eq!(origin.reconcile(B, None, true, short).await.err(), Some(StorageError::invalid("ids")));
    let request = ReconcileRequest { peer: B.into(), after: None, names: true, listing: None };
    let refused = replied(origin.offload.reconcile(Request::new(request)).await).err();
    assert_eq!(refused, Some(StorageError::invalid("listing")));
}
