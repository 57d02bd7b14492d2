//! Whether the time of an answer tells what the answer does not: that a name is known.
//!
//! A measurement, so it is not part of the suite: a busy machine would fail it, and an idle one prove little. Run it
//! by hand, optimised:
//! `cargo test --release -p storaged -- --ignored --nocapture timing`

use crate::tests::*;
use relay_proto::{GuardianName, OfferName, RecoveryName};
use std::time::Instant;

/// Pairs of a comparison.
const PAIRS: usize = 2000;
/// Below this, two kinds of answers differ in time.
const SIGNIFICANT: f64 = 0.01;

/// Wilcoxon's signed-rank test, two-sided, in its normal approximation: how likely so uneven differences are
/// between two things that do not differ.
fn signed_rank(mut differences: Vec<f64>) -> f64 {
    differences.retain(|difference| *difference != 0.0);
    differences.sort_by(|one, other| one.abs().total_cmp(&other.abs()));
    let count = differences.len() as f64;
    let positive: f64 = differences
        .iter()
        .enumerate()
        .filter(|(_, difference)| **difference > 0.0)
        .map(|(rank, _)| rank as f64 + 1.0)
        .sum();
    let mean = count * (count + 1.0) / 4.0;
    let deviation = (count * (count + 1.0) * (2.0 * count + 1.0) / 24.0).sqrt();
    let z = ((positive - mean) / deviation).abs();
    // The tail of the normal distribution (Abramowitz and Stegun 26.2.17).
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let tail = t
        * (0.319_381_53
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    2.0 * tail * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Asks about known and unknown names in turns, in an order drawn by lot, and compares.
async fn compare<F: Future<Output = ()>>(what: &str, mut ask: impl FnMut(bool, usize) -> F) {
    let mut differences = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS + 200 {
        let mut lot = [0];
        getrandom::fill(&mut lot).unwrap();
        let mut times = [0.0; 2];
        let first = lot[0] % 2 == 0;
        for known in [first, !first] {
            let asked = ask(known, pair);
            let began = Instant::now();
            asked.await;
            times[usize::from(known)] = began.elapsed().as_secs_f64();
        }
        // The first ones warm up.
        if pair >= 200 {
            differences.push(times[1] - times[0]);
        }
    }
    differences.sort_by(f64::total_cmp);
    let median = differences[PAIRS / 2] * 1e6;
    let p = signed_rank(differences);
    println!("{what}: p = {p:.3}, median difference {median:+.2} µs");
    assert!(p > SIGNIFICANT, "{what} can be told apart by time: p = {p}");
}

/// A name that was never used.
fn unused<const N: usize>(pair: usize) -> [u8; N] {
    let mut name = [0xee; N];
    name[..8].copy_from_slice(&(pair as u64).to_be_bytes());
    name
}

#[test]
fn the_rank_test_tells_what_differs_and_not_what_does_not() {
    let noise = |number: usize| ((number * 7919) % 1009) as f64 - 504.0;
    assert!(signed_rank((0..2000).map(noise).collect()) > 0.05);
    assert!(signed_rank((0..2000).map(|number| noise(number) + 40.0).collect()) < SIGNIFICANT);
}

#[tokio::test]
#[ignore = "a measurement; see the head of this file"]
async fn timing_of_known_and_unknown_names() {
    let relay = &Relay::start(&[("RELAY_EXCHANGE_GUESS_LIMIT", "1000000")]);

    relay.register(&[1], None).await.unwrap();
    compare("an empty mailbox that is registered, and one that is not", |known, pair| async move {
        let hash = if known { mailbox(1) } else { MailboxHash::from_bytes(unused(pair)) };
        assert!(relay.page(&[hash]).await.unwrap().blobs.is_empty());
    })
    .await;

    let id = relay.send(mailbox(2), b"content").await.unwrap();
    relay.ack(mailbox(2), id).await.unwrap();
    compare("a blob that was acked, and one that never was", |known, pair| async move {
        let id = if known { id } else { BlobId::from_bytes(unused(pair)) };
        assert!(!relay.ack(mailbox(2), id).await.unwrap());
    })
    .await;

    let code = relay.offer("offered").await.unwrap().offer();
    relay.claim(code, "taken").await.unwrap();
    relay.complete(code).await.unwrap();
    compare("a code that is over, and one that never was", |known, pair| async move {
        let offer = if known { code } else { OfferName::from_bytes(unused(pair)) };
        assert_eq!(relay.claim(offer, "taken").await, Err(StorageError::UnknownCode));
    })
    .await;

    let name = RecoveryName::from_bytes([3; 32]);
    relay.store_proof(None, RequestId::random().unwrap(), name, &[3; 1000]).await.unwrap();
    relay.clock.advance(100 * DAY);
    compare("a recovery key whose proof is over, and one without", |known, pair| async move {
        let key = if known { name } else { RecoveryName::from_bytes(unused(pair)) };
        assert!(relay.query_proofs(None, &[key]).await.unwrap().is_empty());
    })
    .await;
    compare("two guardian sets that are not there", |known, pair| async move {
        let set = GuardianName::from_bytes(if known { [4; 32] } else { unused(pair) });
        assert!(relay.query_guardians(set.into()).await.unwrap().is_empty());
    })
    .await;
}
