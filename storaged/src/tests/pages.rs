//! Pages: no blob stands in the way of another, whatever its size.

use crate::tests::federation::{B, all_of};
use crate::tests::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use relay_proto::messages::LeaseRequest;
use relay_proto::page::{self, BUDGET, LARGEST, wire_size};
use relay_proto::transfer::OfferResult;

/// Sizes around everything that matters.
fn sizes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let one = prop_oneof![
        4 => 1_usize..4000,
        2 => 1_usize..72_000,
        1 => LARGEST - 100..LARGEST + 100,
        1 => LARGEST..=1 << 20,
    ];
    prop::collection::vec((one, any::<bool>()), 1..16)
}

/// Leaves blobs of these sizes, with and without an origin hint, each with its number in front.
async fn leave(relay: &Relay, to: MailboxHash, sizes: &[(usize, bool)]) {
    for (number, (size, hint)) in sizes.iter().enumerate() {
        let mut content = u32::try_from(number).unwrap().to_be_bytes().to_vec();
        content.resize(4.max(*size), 7);
        let mut blob = blob(to, &content);
        blob.origin_hint = hint.then(|| Bytes::from_static(&[9; 74]));
        relay.send_blob(blob).await.unwrap();
    }
}

fn counted(blob: &Blob) -> usize {
    blob.ciphertext.len() + if blob.origin_hint.is_some() { 74 } else { 0 }
}

fn number(blob: &Blob) -> usize {
    u32::from_be_bytes(blob.ciphertext[..4].try_into().unwrap()) as usize
}

#[test]
fn fetching_and_acking_ends_and_brings_everything_that_fits() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = |(sizes, sealed): (Vec<(usize, bool)>, bool)| {
        runtime.block_on(async {
            let relay = Relay::start(&[]);
            leave(&relay, mailbox(1), &sizes).await;
            let fits = |(size, hint): &(usize, bool)| page::fits(4.max(*size) + if *hint { 74 } else { 0 });
            let mut larger = sizes.iter().filter(|size| !fits(size)).count() as u64;
            let mut missing = sizes.len();
            loop {
                let page = if sealed {
                    relay.sealed_page(&[mailbox(1)]).await
                } else {
                    relay.page(&[mailbox(1)]).await
                };
                let page = page.unwrap();
                prop_assert_eq!(page.oversized, if sealed { larger } else { 0 });
                prop_assert!(page.blobs.is_sorted_by_key(number));
                let wire = |blob: &Blob| wire_size(blob.ciphertext.len(), blob.origin_hint.is_some());
                let total: usize = page.blobs.iter().map(wire).sum();
                let is_larger = page.blobs.iter().any(|blob| !page::fits(counted(blob)));
                if is_larger {
                    prop_assert!(
                        !sealed && page.blobs.len() == 1 && missing as u64 == larger,
                        "alone, after the rest"
                    );
                    larger -= 1;
                } else {
                    prop_assert!(total <= BUDGET + 24, "{} bytes", total);
                }
                for blob in &page.blobs {
                    relay.ack(mailbox(1), blob.blob_id.clone()).await.unwrap();
                }
                missing -= page.blobs.len();
                if !page.truncated {
                    break;
                }
                prop_assert!(!page.blobs.is_empty(), "a client would ask for ever");
            }
            prop_assert_eq!(missing as u64, if sealed { larger } else { 0 });
            Ok(())
        })
    };
    runner.run(&(sizes(), any::<bool>()), check).unwrap();
}

#[tokio::test]
async fn thousands_of_oversized_blobs_hide_nothing_behind_them() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"before").await.unwrap();
    let first = i64::try_from((START.get() / 3600 + 1) << 40).unwrap();
    let oversized = "INSERT INTO blobs SELECT ?1 + value, ?2, randomblob(16), ?3, 0, NULL, x'00'
                     FROM (WITH RECURSIVE n (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 20000)
                           SELECT value FROM n)";
    let size = i64::try_from(LARGEST + 1).unwrap();
    relay.sql().execute(oversized, rusqlite::params![first, mailbox(1).as_bytes(), size]).unwrap();
    relay.send(mailbox(2), b"after").await.unwrap();
    let page = relay.sealed_page(&[mailbox(1), mailbox(2)]).await.unwrap();
    let contents: Vec<_> = page.blobs.iter().map(|blob| blob.ciphertext.to_vec()).collect();
    assert_eq!(contents, [b"before".to_vec(), b"after".to_vec()]);
    assert_eq!((page.truncated, page.oversized), (false, 20_001));
    assert_eq!(relay.metrics.blobs_damaged.get(), 0, "they were not even read");
    let page = relay.page(&[mailbox(1), mailbox(2)]).await.unwrap();
    assert_eq!((page.blobs.len(), page.truncated, page.oversized), (2, true, 0));
}

#[tokio::test]
async fn a_damaged_oversized_blob_stands_in_nobodys_way() {
    let relay = Relay::start(&[]);
    leave(&relay, mailbox(1), &[(100_000, false), (200_000, true), (300_000, false)]).await;
    relay.sql().execute("UPDATE blobs SET ciphertext = x'00' WHERE size = 100000", []).unwrap();
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!(page.blobs.iter().map(number).collect::<Vec<_>>(), [1]);
    assert_eq!((page.truncated, relay.metrics.blobs_damaged.get()), (true, 1));
}

#[tokio::test]
async fn a_blob_that_a_page_told_of_is_read_while_it_lies_there_and_by_who_knows_its_mailbox() {
    let relay = Relay::start(&[]);
    leave(&relay, mailbox(2), &[(200_000, true)]).await;
    let page = relay.fetched(fetch(None, &[mailbox(1), mailbox(2)], false)).await.unwrap();
    let told = page.larger.unwrap();
    assert_eq!((page.blobs.len(), told.mailbox_index, told.bytes), (0, 1, 200_000));
    let read = async |of, place| relay.larger(of, place).await;
    let blob = read(mailbox(2), told.place).await.unwrap();
    assert!(blob.origin_hint.is_some());
    assert_eq!(relay.metrics.blobs_delivered.get(), 1, "once, when it is read");
    for (of, place) in [(mailbox(1), told.place), (mailbox(2), told.place + 1), (mailbox(2), u64::MAX)] {
        assert!(read(of, place).await.is_none());
    }
    relay.ack(mailbox(2), blob.blob_id).await.unwrap();
    assert!(read(mailbox(2), told.place).await.is_none());
}

#[tokio::test]
async fn a_page_with_nothing_to_ack_never_says_that_there_is_a_rest() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "2")]);
    relay.send(mailbox(1), b"small").await.unwrap();
    leave(&relay, mailbox(2), &[(LARGEST + 1, false)]).await;
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    // One mailbox is over its limit, and the other holds nothing that could be shown.
    let refused = relay.sealed_page(&[mailbox(1), mailbox(2)]).await;
    assert!(matches!(refused, Err(StorageError::MailboxRateLimited { .. })));
    let page = relay.sealed_page(&[mailbox(2)]).await.unwrap();
    assert_eq!((page.blobs.len(), page.truncated, page.oversized), (0, false, 1));
}

#[tokio::test]
async fn oversized_blobs_at_peers_hide_no_others_there() {
    let relay = Relay::start(&[]);
    let sizes =
        [(LARGEST + 1, false), (LARGEST - 73, true), (LARGEST - 74, true), (200_000, false), (10, false)];
    leave(&relay, mailbox(1), &sizes).await;
    let blobs = relay.leased(LeaseRequest { max_bytes: 4 << 20, ..all_of(B) }).await.unwrap();
    relay.settle_each(B, false, blobs.iter().map(|blob| (blob.name(), OfferResult::Accepted))).await;
    let ids = |page: &FetchReply| page.moved.iter().map(|moved| moved.blob_id.clone()).collect::<Vec<_>>();
    let id = |number: usize| Bytes::from(blobs[number].blob_id);
    let ack = async |number: usize| assert!(relay.ack(mailbox(1), id(number)).await.unwrap());

    let hinted = relay.sealed_page(&[mailbox(1)]).await.unwrap();
    assert_eq!(
        (ids(&hinted), hinted.oversized),
        (vec![id(2), id(4)], 3),
        "no hint leads a sealed client to one"
    );
    assert_eq!(relay.page(&[mailbox(1)]).await.unwrap().moved.len(), 5);
    relay.reach(&[B]).await;
    let page = relay.sealed_page(&[mailbox(1)]).await.unwrap();
    assert_eq!((ids(&page), page.truncated, page.oversized), (vec![id(2)], true, 3));
    ack(2).await;
    let page = relay.sealed_page(&[mailbox(1)]).await.unwrap();
    assert_eq!((ids(&page), page.truncated, page.oversized), (vec![id(4)], false, 3));
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!((ids(&page), page.truncated), (vec![id(4)], true));
    // What is small and here goes before what is large and elsewhere.
    let here = relay.send(mailbox(1), b"here").await.unwrap();
    ack(4).await;
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!((page.blobs.len(), ids(&page), page.truncated), (1, vec![], true));
    assert!(relay.ack(mailbox(1), here).await.unwrap());
    for (number, rest) in [(0, true), (1, true), (3, false)] {
        let page = relay.page(&[mailbox(1)]).await.unwrap();
        assert_eq!((ids(&page), page.truncated), (vec![id(number)], rest), "one alone");
        ack(number).await;
    }
}
