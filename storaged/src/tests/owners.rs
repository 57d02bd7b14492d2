//! Registration and purge.

use crate::tests::*;

const FROM_STRANGERS: &[(&str, &str)] = &[("RELAY_REQUIRE_REGISTRATION", "true")];

#[tokio::test]
async fn only_registered_mailboxes_take_mail_where_the_operator_asks_for_it() {
    let relay = Relay::start(FROM_STRANGERS);
    assert_eq!(relay.send(mailbox(1), b"one").await, Err(StorageError::NotRegistered));
    assert_eq!(relay.register(&[1, 2], None).await, Ok(2));
    relay.send(mailbox(1), b"one").await.unwrap();
    let relay = relay.restart(FROM_STRANGERS).await;
    relay.send(mailbox(2), b"one").await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 2);
}

#[tokio::test]
async fn a_registration_lives_as_long_as_its_mailbox_is_fetched() {
    let relay = Relay::start(FROM_STRANGERS);
    relay.register(&[1, 2], None).await.unwrap();
    for _ in 0..5 {
        relay.clock.advance(40 * DAY);
        let before = expiry(&relay, 1);
        relay.fetch(mailbox(1)).await;
        // The renewal does not keep the fetch waiting; the queue is first in, first out.
        tokio::task::yield_now().await;
        relay.store.check().await.unwrap();
        assert!(expiry(&relay, 1) > before);
        relay.fetch(mailbox(1)).await;
        relay.sweep.sweep().await.unwrap();
    }
    relay.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(relay.send(mailbox(2), b"one").await, Err(StorageError::NotRegistered));
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 1);
}

fn expiry(relay: &Relay, number: u8) -> i64 {
    let hash = mailbox(number);
    relay
        .sql()
        .query_row("SELECT expires FROM registrations WHERE mailbox = ?1", [hash.as_bytes()], |row| {
            row.get(0)
        })
        .unwrap()
}

#[tokio::test]
async fn a_purge_takes_the_keys_own_mailbox_and_all_that_are_registered_to_it() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.register(&[1, 2], Some(&owner)).await.unwrap();
    let own = MailboxHash::of_public_key(&public(&owner));
    for (hash, content) in [(own, b"own"), (mailbox(1), b"one"), (mailbox(2), b"two"), (mailbox(3), b"xxx")] {
        relay.send(hash, content).await.unwrap();
    }
    assert_eq!(relay.purge(relay.purge_request(&owner, 1)).await, Ok(3));
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 1);
    assert_eq!(relay.fetch(mailbox(3)).await, [b"xxx"]);
    assert_eq!(relay.metrics.blobs_purged.get(), 3);
}

#[tokio::test]
async fn a_purge_may_name_a_registered_mailbox_and_no_other() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.register(&[1], Some(&owner)).await.unwrap();
    relay.register(&[2], Some(&key(2))).await.unwrap();
    relay.send(mailbox(2), b"two").await.unwrap();
    let named = |number, token| PurgeRequest {
        mailbox: mailbox(number).into(),
        ..relay.purge_request(&owner, token)
    };
    assert_eq!(relay.purge(named(1, 1)).await, Ok(0));
    assert_eq!(relay.purge(named(2, 2)).await, Err(StorageError::BadSignature));
    assert_eq!(relay.purge(named(3, 3)).await, Err(StorageError::BadSignature));
    assert_eq!(relay.fetch(mailbox(2)).await, [b"two"]);
}

#[tokio::test]
async fn the_first_owner_of_a_mailbox_stays() {
    let relay = Relay::start(&[]);
    let (first, second) = (key(1), key(2));
    relay.register(&[1], Some(&first)).await.unwrap();
    relay.register(&[1], Some(&second)).await.unwrap();
    relay.register(&[1], None).await.unwrap();
    relay.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(relay.purge(relay.purge_request(&second, 1)).await, Ok(0));
    assert_eq!(relay.purge(relay.purge_request(&first, 2)).await, Ok(1));
}

#[tokio::test]
async fn a_purge_asked_twice_under_one_id_is_done_once_and_answered_twice() {
    let relay = Relay::start(&[]);
    let own = MailboxHash::of_public_key(&public(&key(1)));
    relay.send(own, b"one").await.unwrap();
    let purge = relay.purge_request(&key(1), 1);
    assert_eq!(relay.purge(purge.clone()).await, Ok(1));
    relay.send(own, b"two").await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.purge(purge.clone()).await, Ok(1));
    assert_eq!(relay.fetch(own).await, [b"two"], "the retry had no second effect");
    let replay = PurgeRequest { request_id: fresh_id(), ..purge };
    assert_eq!(relay.purge(replay).await, Err(StorageError::Replayed));
}

#[tokio::test]
async fn what_does_not_prove_itself_is_charged_nothing_and_a_refused_purge_may_be_repeated() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "1")]);
    let purge = relay.purge_request(&key(1), 1);
    for _ in 0..5 {
        let forged = PurgeRequest { signature: Bytes::from_static(&[1; 64]), ..purge.clone() };
        assert_eq!(relay.purge(forged).await, Err(StorageError::BadSignature));
        let late = PurgeRequest { timestamp: START.plus(61).get(), ..purge.clone() };
        assert_eq!(relay.purge(late).await, Err(StorageError::OutsideWindow));
    }
    let own = MailboxHash::of_public_key(&public(&key(1)));
    relay.send(own, b"takes the only token of this minute").await.unwrap();
    assert!(matches!(relay.purge(purge.clone()).await, Err(StorageError::MailboxRateLimited { .. })));
    relay.clock.advance(Duration::from_secs(60));
    assert_eq!(relay.purge(purge).await, Ok(1));
}

#[tokio::test]
async fn a_registration_signature_is_used_once() {
    let relay = Relay::start(&[]);
    let tokens = [MailboxToken::from_bytes([1; 32])];
    let proof = relay.ownership(&key(1), &tokens);
    let register = registration(None, &[mailbox(1)], Some(proof));
    let registered = RegisterReply { registered: 1, ..Default::default() };
    assert_eq!(relay.registered(register.clone()).await, Ok(registered));
    assert_eq!(relay.registered(register.clone()).await, Ok(registered), "a retry of the same call");
    let replay = RegisterRequest { request_id: fresh_id(), ..register };
    assert_eq!(relay.registered(replay).await, Err(StorageError::Replayed));
}

#[tokio::test]
async fn what_was_purged_is_in_no_file_when_the_purge_is_answered() {
    let relay = Relay::start(&[]);
    let own = MailboxHash::of_public_key(&public(&key(1)));
    let content = [b"unmistakable content ".as_slice(); 500].concat();
    relay.send(own, &content).await.unwrap();
    let log = relay.directory.path().join("relay.db-wal");
    assert!(holds(&log, b"unmistakable") || holds(&relay.database(), b"unmistakable"));
    assert_eq!(relay.purge(relay.purge_request(&key(1), 1)).await, Ok(1));
    assert!(!holds(&log, b"unmistakable"));
    assert!(!holds(&relay.database(), b"unmistakable"));
}

#[tokio::test]
async fn no_token_and_no_public_key_rests_on_disk() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.register(&[0xd5], Some(&owner)).await.unwrap();
    relay.register(&[0xd6], None).await.unwrap();
    relay.send(mailbox(0xd5), b"one").await.unwrap();
    relay.purge(relay.purge_request(&owner, 0xd7)).await.unwrap();
    for file in std::fs::read_dir(relay.directory.path()).unwrap() {
        let path = file.unwrap().path();
        for secret in [&[0xd5; 32], public(&owner).as_bytes(), &[0xd7; 32]] {
            assert!(!holds(&path, secret), "{}", path.display());
        }
    }
    assert!(holds(&relay.database(), mailbox(0xd6).as_bytes()), "the search would find what is there");
}
