//! Where pages end, whatever the sizes of blobs are.

use super::super::tests::stored;
use super::super::write;
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use relay_proto::limits::{MAX_CLIENT_URL, MAX_HINTS};
use relay_proto::messages::{Hint, SignedHints};
use relay_proto::page::{LARGEST, RUNG};

/// What a page has room for of [`RUNG`] beside the length in front of it, and the head of a Binary HTTP reply.
const ROOM: usize = RUNG - 300;

pub(in super::super) fn here(sizes: &[(usize, bool)]) -> Vec<Blob> {
    let blob = |(place, (size, hint)): (u64, &(usize, bool))| Blob { place, ..stored(*size, *hint) };
    (0..).zip(sizes).map(blob).collect()
}

/// Hints as large as they can be.
fn largest_hints(count: usize) -> Option<ForwardingHints> {
    let hint = Hint {
        blob_id: Bytes::from_static(&[255; 16]),
        relay_url: format!("https://{}", "a".repeat(MAX_CLIENT_URL - 8)),
        expires_at: u64::MAX,
    };
    ForwardingHints::read(SignedHints {
        hints: vec![hint; count],
        signing_key: Bytes::from_static(&[255; 32]),
        signature: Bytes::from_static(&[255; 64]),
    })
    .unwrap()
}

fn found(blobs: Vec<Blob>) -> Found {
    Found { blobs, truncated: false, oversized: 0, is_clearer: false }
}

/// Sizes of blobs, with and without an origin hint: small ones, ones around the largest that fits, and larger ones.
fn sizes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let one = prop_oneof![
        4 => 1_usize..4000,
        2 => 1_usize..72_000,
        1 => LARGEST - 100..LARGEST + 100,
        1 => LARGEST..=1 << 20,
    ];
    prop_oneof![
        3 => prop::collection::vec((one, any::<bool>()), 0..40),
        1 => prop::collection::vec((1_usize..40, any::<bool>()), 300..900),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_page_holds_what_fits_in_order_and_says_what_it_leaves_out(
        sizes in sizes(),
        hints in 0..=MAX_HINTS,
        sealed: bool,
    ) {
        let all = here(&sizes);
        let fitting: Vec<u64> = all.iter().filter(|blob| blob.fits_page()).map(|blob| blob.place).collect();
        let larger = all.len() - fitting.len();
        let page = cut(found(all), largest_hints(hints), sealed);
        let kept: Vec<u64> = page.blobs.iter().map(|blob| blob.place).collect();
        let (has_hints, truncated, oversized) = (page.hints.is_some(), page.truncated, page.oversized);
        prop_assert!(kept.is_sorted());
        prop_assert_eq!(oversized, if sealed { larger as u64 } else { 0 });
        let waits_here = fitting.len() + if sealed { 0 } else { larger };
        prop_assert_eq!(kept.is_empty(), waits_here == 0);
        if let Some(oldest) = fitting.first() {
            prop_assert_eq!(kept[0], *oldest, "the oldest goes first");
            prop_assert!(kept.iter().all(|place| fitting.contains(place)));
        }
        let left_out = kept.len() < waits_here || (hints > 0 && !has_hints);
        prop_assert_eq!(truncated, left_out && !kept.is_empty());
        let written = write(page, &["f".repeat(64).into()]).unwrap();
        let alone = !sealed && fitting.is_empty() && kept.len() == 1;
        prop_assert!(alone || written.len() <= ROOM, "{} bytes", written.len());
    }

    #[test]
    fn fetching_and_acking_ends_and_brings_every_small_blob_soon(sizes in sizes(), sealed: bool) {
        const SMALL: usize = 4000;
        let mut waiting = here(&sizes);
        let wire = |blob: &Blob| wire_size(blob.ciphertext.len(), blob.origin_hint.is_some());
        let mail: usize = waiting.iter().filter(|blob| blob.fits_page()).map(wire).sum();
        let soon = mail.div_ceil(BUDGET - wire_size(SMALL, true)) + 2;
        let (mut rounds, mut fetched) = (0, 0);
        loop {
            let page = cut(found(waiting.clone()), None, sealed);
            rounds += 1;
            fetched += page.blobs.len();
            waiting.retain(|blob| page.blobs.iter().all(|acked| acked.place != blob.place));
            let is_small = |blob: &Blob| blob.ciphertext.len() < SMALL;
            prop_assert!(rounds < soon || !waiting.iter().any(is_small), "{} rounds", rounds);
            if !page.truncated {
                break;
            }
            prop_assert!(!page.blobs.is_empty());
        }
        prop_assert!(waiting.iter().all(|blob| sealed && !blob.fits_page()));
        prop_assert_eq!(fetched + waiting.len(), sizes.len());
    }

    #[test]
    fn hints_take_the_room_that_they_say(hints in 1..=MAX_HINTS) {
        let with = write(cut(found(Vec::new()), largest_hints(hints), false), &[]).unwrap();
        let without = write(cut(found(Vec::new()), None, false), &[]).unwrap();
        prop_assert_eq!(with.len() - without.len(), largest_hints(hints).unwrap().wire_size());
    }
}

#[test]
fn hints_wait_while_the_first_blob_needs_their_room() {
    for (size, sealed) in [(72_000, true), (72_000, false), (1 << 20, false)] {
        let blobs = here(&[(size, false)]);
        let page = cut(found(blobs), largest_hints(MAX_HINTS), sealed);
        assert_eq!((page.hints.is_some(), page.truncated), (false, true), "{size}");
        assert_eq!(page.blobs[0].ciphertext.len(), size);
    }
    let page = cut(found(here(&[(60_000, false), (20_000, false)])), largest_hints(MAX_HINTS), true);
    assert_eq!((page.blobs.len(), page.hints.is_some(), page.truncated), (1, true, true));
}

#[test]
fn a_larger_blob_comes_alone_after_the_rest_or_is_left_out_and_counted() {
    let sizes = [(LARGEST + 1, false), (LARGEST - 73, true), (5, false), (1 << 20, true)];
    let kept = |blobs, sealed| {
        let page = cut(found(blobs), None, sealed);
        (page.blobs.iter().map(|blob| blob.place).collect::<Vec<_>>(), page.truncated, page.oversized)
    };
    assert_eq!(kept(here(&sizes), true), (vec![2], false, 3));
    assert_eq!(kept(here(&sizes), false), (vec![2], true, 0));
    let mut larger = here(&sizes);
    larger.retain(|blob| !blob.fits_page());
    assert_eq!(kept(larger.clone(), false), (vec![0], true, 0));
    assert_eq!(kept(larger.clone(), true), (vec![], false, 3), "nothing to ack, so no rest to ask for");
    larger.drain(..2);
    assert_eq!(kept(larger, false), (vec![3], false, 0));
}
