//! Time: expiry, sweeps, clocks that jump.

use crate::tests::*;
use std::ops::Range;

#[tokio::test]
async fn nothing_expires_early_and_nothing_expired_is_served() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "7200")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    relay.clock.advance(2 * HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1, "its time is over to the second, and not yet past");
    relay.clock.advance(HOUR);
    assert!(relay.fetch(mailbox(1)).await.is_empty(), "expired and unswept");
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(relay.metrics.blobs_expired.get(), 1);
}

#[tokio::test]
async fn expired_mail_does_not_count_against_the_quota_and_may_be_sent_again() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "3600"), ("RELAY_MAX_BLOBS_PER_USER", "1")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    relay.clock.advance(2 * HOUR);
    assert_eq!(relay.ack(mailbox(1), BlobId::from_bytes([0; 16])).await, Ok(false));
    assert_eq!(relay.send(mailbox(1), b"one").await, Ok(id));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1);
}

#[tokio::test]
async fn an_ack_of_expired_mail_removes_it_and_says_that_nothing_was_there() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "3600")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    relay.clock.advance(2 * HOUR);
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(false));
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
}

/// Stores blobs of these numbers, spread over a hundred mailboxes.
pub(super) async fn fill(relay: &Relay, blobs: Range<u32>) {
    for chunk in blobs.step_by(100) {
        let blobs = (0..100)
            .map(|number: u32| blob(mailbox(u8::try_from(number).unwrap()), &(chunk + number).to_be_bytes()));
        assert!(relay.write_all(sends(blobs)).await.unwrap().iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn a_sweep_of_many_goes_in_batches_and_takes_all() {
    let relay = Relay::start(&[]);
    fill(&relay, 0..1200).await;
    relay.clock.advance(60 * DAY);
    fill(&relay, 10_000..11_300).await;
    relay.clock.advance(60 * DAY + HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1300);
    assert_eq!(relay.metrics.blobs_expired.get(), 1200);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_costs_no_mail_and_hides_none() {
    let relay = Relay::start(&[]);
    fill(&relay, 0..1000).await;
    relay.clock.jump_to(START.plus(200 * 86_400));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.metrics.sweep_suspended.get(), 1);
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 10);
    relay.clock.jump_to(START.plus(60));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.metrics.sweep_suspended.get(), 0);
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1000);
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 10);
}

#[tokio::test]
async fn a_clock_that_stays_ahead_for_a_day_is_believed() {
    let relay = Relay::start(&[]);
    fill(&relay, 0..1000).await;
    relay.clock.jump_to(START.plus(200 * 86_400));
    relay.sweep.sweep().await.unwrap();
    relay.clock.advance(DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(relay.metrics.sweep_suspended.get(), 0);
}

#[tokio::test]
async fn a_clock_set_back_makes_no_purge_usable_again() {
    let relay = Relay::start(&[]);
    let purge = relay.purge_request(&key(1), 1);
    relay.purge(purge.clone()).await.unwrap();
    let replay = PurgeRequest { request_id: fresh_id(), ..purge };
    assert_eq!(relay.purge(replay.clone()).await, Err(StorageError::Replayed));
    relay.clock.advance(3 * HOUR);
    relay.sweep.sweep().await.unwrap();
    let remembered: i64 = relay.sql().query_row("SELECT count(*) FROM used", [], |row| row.get(0)).unwrap();
    assert_eq!(remembered, 0, "the sweep has forgotten the token itself");
    relay.clock.jump_to(START);
    assert_eq!(relay.purge(replay).await, Err(StorageError::OutsideWindow));
    relay.clock.jump_to(START.plus(3 * 3600));
    relay.purge(relay.purge_request(&key(1), 2)).await.unwrap();
}

#[tokio::test]
async fn times_on_disk_are_whole_hours() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"one").await.unwrap();
    let id = relay.send(mailbox(1), b"two").await.unwrap();
    relay.ack(mailbox(1), id).await.unwrap();
    relay.register(&[1], Some(&key(1))).await.unwrap();
    for column in ["created FROM blobs", "hour FROM acked", "hour FROM used", "expires FROM registrations"] {
        let time: i64 = relay.sql().query_row(&format!("SELECT {column}"), [], |row| row.get(0)).unwrap();
        assert_eq!(time % 3600, 0, "{column}");
    }
}
