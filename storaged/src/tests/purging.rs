//! Purges in progress: in bounded steps, whole for everybody who looks, finished whatever happens in between.

use crate::auth::idempotency;
use crate::clock::Times;
use crate::db::steps::STEP_BYTES;
use crate::db::{STEP_ROWS, StepRoom, Write};
use crate::mail::purges::{self, Step};
use crate::tests::federation::B;
use crate::tests::*;

fn own(owner: &SigningKey) -> MailboxHash {
    MailboxHash::of_public_key(&public(owner))
}

impl Relay {
    fn times(&self) -> Times {
        self.time.times()
    }

    /// Begins a purge as its first transaction does, and leaves it there, as a crash would.
    async fn begin_purge(&self, purge: &PurgeRequest) {
        let public_key = PublicKey::try_from(&purge.public_key[..]).unwrap();
        let (owner, own) = (public_key.owner(), MailboxHash::of_public_key(&public_key));
        let request = RequestId::try_from(&purge.request_id[..]).unwrap();
        let begin = move |write: &mut Write<'_>| purges::begin(write, &owner, &own, &request);
        self.store.writer.run_one(begin).await.unwrap();
    }

    async fn step(&self, owner: &SigningKey) -> Step {
        let (owner, now) = (public(owner).owner(), self.times());
        let step = move |write: &mut Write<'_>| purges::step(write, &owner, StepRoom::WHOLE, now);
        self.store.writer.run_one(step).await.unwrap()
    }

    fn bytes(&self) -> u64 {
        self.sql().query_row("SELECT bytes FROM totals", [], |row| row.get(0)).unwrap()
    }

    async fn send_many(&self, mailbox: MailboxHash, number: u32, bytes: usize) {
        for number in 0..number {
            let content = [&number.to_be_bytes()[..], &vec![7; bytes]].concat();
            self.send(mailbox, &content).await.unwrap();
        }
    }
}

const ROOMY: &[(&str, &str)] =
    &[("RELAY_MAX_BLOBS_PER_USER", "100000"), ("RELAY_MAX_STORAGE_PER_USER", "1000000000")];

#[tokio::test]
async fn from_its_first_moment_nobody_sees_a_part_and_a_restart_goes_on() {
    let relay = Relay::start(ROOMY);
    let owner = key(1);
    relay.register(&[1, 2], Some(&owner)).await.unwrap();
    relay.send_many(own(&owner), 600, 0).await;
    relay.send(mailbox(1), b"registered").await.unwrap();
    relay.send(mailbox(3), b"of others").await.unwrap();
    let purge = relay.purge_request(&owner, 1);
    relay.begin_purge(&purge).await;
    let all = [own(&owner), mailbox(1), mailbox(2)];
    assert!(relay.page(&all).await.unwrap().blobs.is_empty());
    assert_eq!(relay.step(&owner).await, Step::More);
    assert!(relay.page(&all).await.unwrap().blobs.is_empty());
    relay.send(mailbox(1), b"came later").await.unwrap();
    let relay = relay.restart(ROOMY).await;
    assert!(relay.store.gauges.of(Total::BLOBS) > 2, "there is more to delete");
    assert_eq!(relay.fetch(mailbox(1)).await, [b"came later"]);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await, [b"came later"]);
    assert_eq!(relay.fetch(mailbox(3)).await, [b"of others"]);
    assert_eq!((relay.store.gauges.of(Total::BLOBS), relay.store.gauges.of(Total::PURGES)), (2, 0));
    assert_eq!(relay.purge(purge).await, Ok(601), "the answer counts all steps");
    assert_eq!(relay.census().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_gateway_that_asks_again_finishes_what_has_begun() {
    let relay = Relay::start(ROOMY);
    let owner = key(1);
    relay.send_many(own(&owner), 700, 0).await;
    let purge = relay.purge_request(&owner, 1);
    relay.begin_purge(&purge).await;
    assert_eq!(relay.step(&owner).await, Step::More);
    // By then the signature may be older than a new one could be.
    relay.clock.advance(Duration::from_secs(90));
    assert_eq!(relay.purge(purge.clone()).await, Ok(700));
    assert_eq!(relay.purge(purge.clone()).await, Ok(700));
    let late = PurgeRequest { request_id: fresh_id(), ..purge };
    assert_eq!(relay.purge(late).await, Err(StorageError::OutsideWindow));
}

#[tokio::test]
async fn no_step_takes_more_rows_or_bytes_than_a_step_may() {
    let relay = Relay::start(ROOMY);
    let owner = key(1);
    relay.send_many(own(&owner), 10, (1 << 20) - 16).await;
    relay.send_many(own(&owner), 600, 10).await;
    for first in [0, 100] {
        let tokens: Vec<u8> = (first..first + 100).collect();
        relay.register(&tokens, Some(&owner)).await.unwrap();
    }
    relay.begin_purge(&relay.purge_request(&owner, 1)).await;
    let (mut steps, mut outcome) = (0, Step::More);
    while outcome == Step::More {
        let rows = relay.store.gauges.of(Total::BLOBS) + relay.store.gauges.of(Total::REGISTRATIONS);
        let bytes = relay.bytes();
        outcome = relay.step(&owner).await;
        let rows = rows - relay.store.gauges.of(Total::BLOBS) - relay.store.gauges.of(Total::REGISTRATIONS);
        assert!(rows > 0 && rows <= u64::from(STEP_ROWS), "{rows}");
        assert!(bytes - relay.bytes() <= STEP_BYTES);
        steps += 1;
    }
    assert_eq!(outcome, Step::Last(610));
    assert!(steps >= 3, "{steps}");
    assert_eq!((relay.store.gauges.of(Total::BLOBS), relay.store.gauges.of(Total::REGISTRATIONS)), (0, 0));
}

#[tokio::test]
async fn what_is_being_purged_does_not_come_back_by_being_sent_again() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "1")]);
    let owner = key(1);
    let id = relay.send(own(&owner), b"purged").await.unwrap();
    relay.begin_purge(&relay.purge_request(&owner, 1)).await;
    assert_eq!(relay.send(own(&owner), b"purged").await, Ok(id), "as if it were new");
    assert!(relay.fetch(own(&owner)).await.is_empty());
    relay.send(own(&owner), b"the quota is free from the first moment").await.unwrap();
    relay.sweep.sweep().await.unwrap();
    relay.send(own(&owner), b"purged").await.unwrap();
    assert_eq!(relay.fetch(own(&owner)).await.len(), 1);
}

#[tokio::test]
async fn a_purge_forgets_the_registrations_that_it_served_and_no_others() {
    let relay = Relay::start(&[("RELAY_REQUIRE_REGISTRATION", "true")]);
    let (owner, other) = (key(1), key(2));
    relay.register(&[1], Some(&owner)).await.unwrap();
    relay.register(&[2], Some(&other)).await.unwrap();
    relay.register(&[3], None).await.unwrap();
    relay.purge(relay.purge_request(&owner, 1)).await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"one").await, Err(StorageError::NotRegistered));
    relay.send(mailbox(2), b"two").await.unwrap();
    relay.send(mailbox(3), b"three").await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 2);
    // Whoever stays registers anew.
    relay.clock.advance(Duration::from_secs(1));
    relay.register(&[1], Some(&owner)).await.unwrap();
    relay.send(mailbox(1), b"one").await.unwrap();
}

#[tokio::test]
async fn a_registration_or_purge_of_the_same_key_comes_after_the_purge_before_it() {
    let relay = Relay::start(ROOMY);
    let owner = key(1);
    relay.send_many(own(&owner), 600, 0).await;
    relay.begin_purge(&relay.purge_request(&owner, 1)).await;
    relay.register(&[1], Some(&owner)).await.unwrap();
    assert_eq!((relay.store.gauges.of(Total::PURGES), relay.store.gauges.of(Total::BLOBS)), (0, 0));
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 1, "what is registered after a purge stays");
    relay.send_many(own(&owner), 600, 1).await;
    relay.begin_purge(&relay.purge_request(&owner, 2)).await;
    relay.send(own(&owner), b"later").await.unwrap();
    assert_eq!(relay.purge(relay.purge_request(&owner, 3)).await, Ok(1));
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn a_registration_whose_time_ends_during_a_purge_is_purged_all_the_same() {
    let relay = Relay::start(&[("RELAY_BLOB_TTL_SECS", "7200")]);
    let (owner, other) = (key(1), key(2));
    relay.register(&[1], Some(&owner)).await.unwrap();
    relay.clock.advance(HOUR);
    relay.send(mailbox(1), b"purged").await.unwrap();
    relay.begin_purge(&relay.purge_request(&owner, 1)).await;
    relay.clock.advance(HOUR + HOUR / 2);
    relay.register(&[1], Some(&other)).await.unwrap();
    assert!(relay.fetch(mailbox(1)).await.is_empty());
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn no_peer_brings_back_what_is_being_purged() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.begin_purge(&relay.purge_request(&owner, 1)).await;
    let content = b"from a peer";
    let carried = relay_proto::transfer::TransferBlob {
        mailbox: own(&owner),
        blob_id: BlobId::derive(&own(&owner), content),
        ciphertext: Ciphertext::try_from(Bytes::from_static(content)).unwrap(),
        origin_hint: None,
        created_at: START,
        expires_at: START.plus(86_400),
        owner: None,
    };
    for home in [true, false] {
        let verdicts = relay.accept(B, home, vec![carried.clone()]).await;
        assert_eq!(verdicts, [relay_proto::transfer::OfferResult::NotNow]);
    }
}

#[tokio::test]
async fn many_purges_at_once_are_each_answered_with_their_own() {
    let relay = Arc::new(Relay::start(ROOMY));
    let mut tasks = Vec::new();
    for number in 1..=8_u8 {
        relay.send_many(own(&key(number)), 150 * u32::from(number), 0).await;
    }
    for number in 1..=8_u8 {
        let relay = Arc::clone(&relay);
        tasks.push(tokio::spawn(async move {
            let caller = client(number % 3);
            let purge =
                PurgeRequest { caller: caller.map(Into::into), ..relay.purge_request(&key(number), number) };
            (number, relay.purge(purge).await)
        }));
    }
    for task in tasks {
        let (number, deleted) = task.await.unwrap();
        assert_eq!(deleted, Ok(150 * u64::from(number)));
    }
    assert_eq!((relay.store.gauges.of(Total::BLOBS), relay.store.gauges.of(Total::PURGES)), (0, 0));
    assert_eq!(relay.metrics.blobs_purged.get(), 150 * 36);
    assert_eq!(relay.rows("answers"), 8);
}

#[tokio::test]
async fn the_answer_to_a_purge_is_remembered_with_its_last_step_and_not_before() {
    let relay = Relay::start(ROOMY);
    let owner = key(1);
    relay.send_many(own(&owner), 600, 0).await;
    let purge = relay.purge_request(&owner, 1);
    relay.begin_purge(&purge).await;
    relay.step(&owner).await;
    let request = RequestId::try_from(&purge.request_id[..]).unwrap();
    let find = || relay.store.readers.run(move |sql| idempotency::find(sql, &request));
    assert_eq!(find().await.unwrap(), None);
    assert_eq!(relay.step(&owner).await, Step::Last(600));
    assert_eq!(find().await.unwrap(), Some(600));
    assert_eq!(relay.step(&owner).await, Step::Over);
}
