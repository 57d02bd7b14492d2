//! Clocks that are wrong, and right again: nothing is lost, and nothing comes back.

use crate::clock::Times;
use crate::config::KeySettings;
use crate::ohttp_keys::keyring::Keyring;
use crate::tests::expiry::fill;
use crate::tests::*;
use relay_proto::PeerId;
use relay_proto::keys::DAY_SECS;
use relay_proto::messages::KeySet;
use relay_proto::transfer::{OfferResult, TransferBlob};

/// Steps that a clock makes, in days.
const STEPS: [i64; 5] = [-400, -1, 4, 130, 1826];

/// A store with some of everything.
struct Stocked {
    relay: Relay,
    blobs: u64,
    /// A mailbox and the content that was acked in it.
    acked: (MailboxHash, [u8; 4]),
    /// A purge that was carried out.
    purged: PurgeRequest,
    keys: KeySet,
}

async fn keyring(relay: &Relay) -> Keyring {
    let config = KeySettings { window_secs: DAY_SECS, anchor: None };
    Keyring::open(Arc::clone(&relay.store), config, Arc::clone(&relay.time), relay.metrics.clone())
        .await
        .unwrap()
}

impl Stocked {
    async fn new(blobs: u32) -> Self {
        let relay = Relay::start(&[]);
        relay.time.keep(&relay.store).await.unwrap();
        if blobs < 100 {
            for number in 0..blobs {
                relay.send(mailbox(1), &number.to_be_bytes()).await.unwrap();
            }
        } else if blobs < 10_000 {
            fill(&relay, 0..blobs).await;
        }
        let acked = (mailbox(2), u32::MAX.to_be_bytes());
        let id = relay.send(acked.0, &acked.1).await.unwrap();
        assert!(relay.ack(acked.0, id).await.unwrap());
        let purged = relay.purge_request(&key(1), 1);
        relay.purge(purged.clone()).await.unwrap();
        relay.prove(1, b"proof").await.unwrap();
        relay.register(&[1], None).await.unwrap();
        let keys = keyring(&relay).await.current().await.unwrap();
        let relay = if blobs < 10_000 { relay } else { relay.with_many(blobs).await };
        let blobs = relay.store.gauges.of(Total::BLOBS);
        Self { relay, blobs, acked, purged, keys }
    }

    /// What was promised is there, and what is over stays over.
    async fn is_whole(&self) {
        let Self { relay, blobs, acked, purged, keys } = self;
        assert_eq!(relay.store.gauges.of(Total::BLOBS), *blobs);
        assert_eq!(relay.rows("blobs"), *blobs);
        relay.send(acked.0, &acked.1).await.unwrap();
        assert_eq!(relay.store.gauges.of(Total::BLOBS), *blobs, "acked mail has come back");
        let replay = PurgeRequest { request_id: fresh_id(), ..purged.clone() };
        let replayed = relay.purge(replay).await;
        assert!(
            matches!(replayed, Err(StorageError::Replayed | StorageError::OutsideWindow)),
            "{replayed:?}"
        );
        assert_eq!((relay.rows("recovery_proofs"), relay.rows("registrations")), (1, 1));
        let now = keyring(relay).await.current().await.unwrap();
        assert!(keys.windows.iter().all(|window| now.windows.contains(window)), "a key is gone");
    }

    async fn wrong_for_a_while(mut self, days: i64, restarts: bool) {
        let right = self.relay.clock.clock().now().get();
        self.relay.clock.jump_to(UnixSeconds::new(right.saturating_add_signed(days * 86_400)));
        if restarts {
            self.relay = self.relay.restart(&[]).await;
        }
        let while_wrong = keyring(&self.relay).await;
        for _ in 0..3 {
            self.relay.sweep.sweep().await.unwrap();
            let shown = while_wrong.current().await.unwrap();
            assert!(
                self.keys.windows.iter().all(|window| shown.windows.contains(window)),
                "a key is refused"
            );
            assert!(shown.record_at(self.relay.time.times().wall).is_some());
            self.relay.clock.advance(HOUR / 2);
        }
        drop(while_wrong);
        assert_eq!(self.relay.metrics.sweep_suspended.get(), 1);
        let stored = self.relay.send(mailbox(9), b"while the clock is wrong").await;
        assert_eq!(stored.is_ok(), days > 0);
        self.blobs += u64::from(stored.is_ok());
        if self.blobs < 10_000 {
            assert!(
                !self.relay.fetch(mailbox(1)).await.is_empty(),
                "mail is hidden by a step of {days} days"
            );
        }
        self.relay.clock.jump_to(UnixSeconds::new(right).plus(3 * 1800));
        if restarts {
            self.relay = self.relay.restart(&[]).await;
        }
        self.relay.sweep.sweep().await.unwrap();
        self.is_whole().await;
        assert_eq!(self.relay.metrics.sweep_suspended.get(), 0);
        self.relay.clock.advance(DAY);
        self.relay.sweep.sweep().await.unwrap();
        self.expect_whole_but_for_old_keys().await;
    }

    async fn expect_whole_but_for_old_keys(mut self) {
        self.keys.windows.retain(|window| window.number + 1 >= self.relay.time.times().wall.get() / DAY_SECS);
        self.is_whole().await;
    }
}

impl Relay {
    /// Has so many more blobs, written into the database of a relay that does not run.
    async fn with_many(self, blobs: u32) -> Self {
        let expires = relay_proto::Ttl::from_secs(120 * 86_400).expiry(self.clock.clock().now());
        let sql = self.sql();
        sql.execute_batch(&format!(
            "BEGIN;
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {blobs})
             INSERT INTO blobs (seq, mailbox, id, size, created, ciphertext)
             SELECT ({hour} << 40) + 1000000 + n, randomblob(32), randomblob(16), 8, {created}, randomblob(8) FROM number;
             UPDATE totals SET blobs = blobs + {blobs}, bytes = bytes + 8 * {blobs}, arrivals = arrivals + 2000000;
             COMMIT",
            hour = expires.get() / 3600,
            created = self.clock.clock().now().hour_floor().get(),
        ))
        .unwrap();
        drop(sql);
        self.restart(&[]).await
    }
}

/// Each step, at a start and while running, on a store of so many blobs.
async fn is_unharmed_by_every_step(blobs: u32) {
    for days in STEPS {
        for restarts in [false, true] {
            Stocked::new(blobs).await.wrong_for_a_while(days, restarts).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_costs_a_single_blob_nothing_and_brings_nothing_back() {
    is_unharmed_by_every_step(1).await;
}

#[tokio::test]
async fn a_wrong_clock_costs_a_small_store_nothing() {
    is_unharmed_by_every_step(480).await;
}

#[tokio::test]
async fn a_wrong_clock_costs_a_middling_store_nothing() {
    is_unharmed_by_every_step(950).await;
}

#[tokio::test]
async fn a_wrong_clock_costs_a_large_store_nothing() {
    is_unharmed_by_every_step(100_000).await;
}

#[tokio::test]
async fn a_month_of_mail_that_is_rightly_over_is_swept() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "2592000")]);
    fill(&relay, 0..1000).await;
    for _ in 0..31 * 4 {
        relay.clock.advance(6 * HOUR);
        relay.sweep.sweep().await.unwrap();
        assert_eq!(relay.metrics.sweep_suspended.get(), 0);
    }
    assert_eq!((relay.store.gauges.of(Total::BLOBS), relay.metrics.blobs_expired.get()), (0, 1000));
}

#[tokio::test]
async fn a_relay_that_was_off_for_a_month_serves_and_stores_and_sweeps_a_day_later() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "864000")]);
    fill(&relay, 0..600).await;
    relay.clock.jump_to(START.plus(30 * 86_400));
    let relay = relay.restart(&[("RELAY_BLOB_TTL_SECS", "864000")]).await;
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 600);
    let id = relay.send(mailbox(1), b"new").await.unwrap();
    assert!(relay.ack(mailbox(1), id).await.unwrap());
    relay.send(mailbox(1), b"newer").await.unwrap();
    relay.clock.advance(DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1);
    assert_eq!(relay.send(mailbox(1), b"new").await, Ok(id));
    assert_eq!(relay.fetch(mailbox(1)).await, [b"newer"], "the ack is remembered for as long as ever");
}

#[tokio::test]
async fn what_the_operator_trusts_is_trusted_at_once_and_after_a_restart() {
    let relay = Relay::start(&[]);
    fill(&relay, 0..100).await;
    relay.clock.jump_to(START.plus(130 * 86_400));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 100);
    let before = relay.time.trust(&relay.store).await.unwrap();
    assert_eq!((before.apart_secs, before.trusted_in_secs), (130 * 86_400, 86_400));
    let relay = relay.restart(&[]).await;
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
    assert_eq!(relay.metrics.sweep_suspended.get(), 0);
}

#[tokio::test]
async fn nothing_with_an_end_is_stored_under_a_clock_that_is_behind() {
    for wrong in [START.minus(86_400), BUILT.minus(86_400), UnixSeconds::new(0)] {
        let relay = Relay::start(&[]);
        let id = relay.send(mailbox(1), b"one").await.unwrap();
        relay.send(mailbox(1), b"two").await.unwrap();
        relay.clock.jump_to(wrong);
        assert!(relay.time.check().is_err());
        let refused = Err(StorageError::ClockWrong);
        assert_eq!(relay.send(mailbox(1), b"three").await, refused.clone().map(|()| id));
        assert_eq!(relay.register(&[1], None).await, refused.clone().map(|()| 1));
        assert_eq!(relay.prove(1, b"proof").await, refused);
        assert_eq!(relay.designate(&key(5), &[b"one"]).await, refused);
        assert_eq!(relay.offer("payload").await.err(), Some(StorageError::ClockWrong));
        assert_eq!(relay.fetch(mailbox(1)).await.len(), 2, "mail is read as always");
        assert!(relay.ack(mailbox(1), id).await.unwrap(), "and acked");
        assert_eq!(relay.rows("recovery_proofs") + relay.rows("registrations") + relay.rows("exchanges"), 0);
        relay.clock.jump_to(START.plus(60));
        assert_eq!(relay.time.check(), Ok(()));
        relay.sweep.sweep().await.unwrap();
        assert_eq!(relay.send(mailbox(1), b"one").await, Ok(id));
        assert_eq!(relay.fetch(mailbox(1)).await, [b"two"], "what was acked meanwhile stays acked");
        assert_eq!(relay.register(&[1], None).await, Ok(1));
    }
}

#[tokio::test]
async fn tombstones_of_a_time_that_never_was_do_not_outlast_the_others() {
    let relay = Relay::start(&[]);
    relay.clock.jump_to(START.plus(1826 * 86_400));
    let mut acked = Vec::new();
    for number in 0..600_u32 {
        let id = relay.send(mailbox(1), &number.to_be_bytes()).await.unwrap();
        assert!(relay.ack(mailbox(1), id).await.unwrap());
        acked.push(id);
    }
    relay.clock.jump_to(START.plus(60));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.rows("acked"), 600);
    relay.clock.advance(3 * DAY - HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.send(mailbox(1), &7_u32.to_be_bytes()).await, Ok(acked[7]));
    assert!(relay.fetch(mailbox(1)).await.is_empty());
    relay.clock.advance(3 * HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.rows("acked"), 0);
}

#[tokio::test]
async fn an_offer_of_a_time_that_never_was_is_over_within_the_hour() {
    let relay = Relay::start(&[]);
    relay.clock.jump_to(START.plus(130 * 86_400));
    let code = relay.offer("payload").await.unwrap();
    relay.clock.jump_to(START.plus(60));
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!(relay.rows("exchanges"), 1);
    relay.clock.advance(HOUR + Duration::from_secs(1));
    assert_eq!(relay.claim(code.offer(), "response").await, Err(StorageError::UnknownCode));
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!(relay.rows("exchanges"), 0);
}

#[tokio::test]
async fn mail_of_a_peer_that_is_offered_under_a_clock_that_is_behind_stays_with_the_peer() {
    let relay = Relay::start(&[]);
    let content = b"sealed";
    let offered = TransferBlob {
        mailbox: mailbox(1),
        blob_id: BlobId::derive(&mailbox(1), content),
        ciphertext: Ciphertext::try_from(Bytes::from_static(content)).unwrap(),
        origin_hint: None,
        created_at: START,
        expires_at: START.plus(10 * 86_400),
        owner: None,
    };
    let accept = |home| relay.accept(PeerId::from_bytes([2; 32]), home, vec![offered.clone()]);
    relay.clock.jump_to(START.minus(86_400));
    for home in [false, true] {
        assert_eq!(accept(home).await, [OfferResult::NotNow]);
    }
    relay.clock.jump_to(START);
    assert_eq!(accept(false).await, [OfferResult::Accepted]);
}

#[tokio::test]
async fn the_times_of_a_trusted_clock_are_all_the_same() {
    let relay = Relay::start(&[]);
    assert_eq!(relay.time.times(), Times::trusted(START));
    relay.clock.advance(5 * HOUR);
    assert_eq!(relay.time.times(), Times::trusted(START.plus(5 * 3600)));
}
