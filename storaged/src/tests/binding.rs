//! Whose a mailbox is: what one request may bind, who waits for whom, and what is told of it.

use crate::tests::*;

/// A request for so many mailboxes, by a key if there is one.
fn request(relay: &Relay, mailboxes: &[MailboxHash], owner: Option<&SigningKey>) -> RegisterRequest {
    // The gateway digests the tokens; here there are none.
    let ownership = owner.map(|key| relay.ownership(key, &[MailboxToken::random().unwrap()]));
    registration(None, mailboxes, ownership)
}

fn many(from: u32, number: u32) -> Vec<MailboxHash> {
    let hash = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        MailboxHash::from_bytes(bytes)
    };
    (from..from + number).map(hash).collect()
}

async fn told(relay: &Relay, numbers: &[u8], owner: Option<&SigningKey>) -> (u32, u32) {
    let mailboxes: Vec<_> = numbers.iter().map(|number| mailbox(*number)).collect();
    let RegisterReply { registered, bound_elsewhere, waiting } =
        relay.registered(request(relay, &mailboxes, owner)).await.unwrap();
    assert_eq!(registered as usize, numbers.len());
    (bound_elsewhere, waiting)
}

/// Whether a key may purge a mailbox.
async fn may_purge(relay: &Relay, key: &SigningKey, number: u8) -> bool {
    let purge = relay.purge_with(key, PurgeToken::random().unwrap());
    match relay.purge(PurgeRequest { mailbox: mailbox(number).into(), ..purge }).await {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal, StorageError::BadSignature);
            false
        }
    }
}

#[tokio::test]
async fn a_mailbox_in_use_without_a_key_is_not_taken_from_its_client() {
    let relay = Relay::start(&[]);
    let stranger = key(1);
    for _ in 0..2 {
        assert_eq!(told(&relay, &[1, 2], None).await, (0, 0));
    }
    relay.send(mailbox(1), b"for the client").await.unwrap();
    for _ in 0..4 {
        assert_eq!(told(&relay, &[1], Some(&stranger)).await, (0, 1), "it has to wait");
        relay.clock.advance(20 * DAY);
        relay.sweep.sweep().await.unwrap();
        assert!(!may_purge(&relay, &stranger, 1).await);
        assert_eq!(told(&relay, &[1, 2], None).await, (1, 0), "the client learns of it");
        assert_eq!(told(&relay, &[1, 2], None).await, (0, 0), "and has ended it");
    }
    relay.purge(relay.purge_request(&stranger, 1)).await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await, [b"for the client"]);
}

#[tokio::test]
async fn a_key_has_a_mailbox_for_good_if_nobody_objects() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    for _ in 0..2 {
        told(&relay, &[1], None).await;
    }
    assert_eq!(told(&relay, &[1], Some(&owner)).await, (0, 1));
    relay.clock.advance(29 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(told(&relay, &[1], Some(&owner)).await, (0, 1));
    relay.clock.advance(2 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(told(&relay, &[1], Some(&owner)).await, (0, 0));
    assert_eq!(told(&relay, &[1], None).await, (1, 0), "too late");
    assert!(may_purge(&relay, &owner, 1).await);
}

#[tokio::test]
async fn a_mailbox_that_was_registered_once_finds_its_key_at_once_until_somebody_objects() {
    let relay = Relay::start(&[]);
    let (owner, other) = (key(1), key(2));
    told(&relay, &[1], None).await;
    assert_eq!(told(&relay, &[1], Some(&owner)).await, (0, 0));
    assert_eq!(told(&relay, &[1], Some(&other)).await, (1, 0));
    assert!(may_purge(&relay, &owner, 1).await);
    told(&relay, &[1], None).await;
    told(&relay, &[1], Some(&other)).await;
    assert_eq!(told(&relay, &[1], None).await, (1, 0));
    assert!(!may_purge(&relay, &other, 1).await);
}

#[tokio::test]
async fn a_fetch_shows_that_a_mailbox_is_in_use_as_well() {
    let relay = Relay::start(&[]);
    told(&relay, &[1], None).await;
    relay.clock.advance(2 * DAY);
    relay.fetch(mailbox(1)).await;
    // The renewal does not keep the fetch waiting; the queue is first in, first out.
    tokio::task::yield_now().await;
    relay.store.check().await.unwrap();
    assert_eq!(told(&relay, &[1], Some(&key(1))).await, (0, 1));
}

#[tokio::test]
async fn an_owner_that_waits_is_told_to_no_peer() {
    let relay = Relay::start(&[]);
    for _ in 0..2 {
        told(&relay, &[1], None).await;
    }
    told(&relay, &[1], Some(&key(1))).await;
    relay.send(mailbox(1), b"moves").await.unwrap();
    let leased = relay.leased(super::federation::all_of(super::federation::B)).await.unwrap();
    assert_eq!((leased.len(), leased[0].owner.is_none()), (1, true));
}

#[tokio::test]
async fn many_names_go_in_steps_and_what_is_known_is_no_work() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    let names = many(0, 1900);
    let all = Ok(RegisterReply { registered: 1900, ..RegisterReply::default() });
    let register = request(&relay, &names, Some(&owner));
    assert_eq!(relay.registered(register.clone()).await, all);
    assert_eq!(relay.registered(register).await, all, "a retry");
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 1900);
    let sql = relay.sql();
    let commits = || sql.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(relay.registered(request(&relay, &names, None)).await.unwrap().bound_elsewhere, 1900);
    let before = commits();
    assert_eq!(relay.registered(request(&relay, &names, None)).await.unwrap().bound_elsewhere, 1900);
    assert_eq!(commits(), before, "nothing was written");
    relay.clock.advance(HOUR);
    relay.registered(request(&relay, &names, None)).await.unwrap();
    assert!(commits() > before, "the end has moved on by an hour");
    assert_eq!(relay.census().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_register_that_was_cut_short_is_finished_by_its_retry() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    let register = request(&relay, &many(0, 1200), Some(&owner));
    // As if the process had died behind the first step: some names are there, the signature is not used up.
    relay.registered(request(&relay, &many(0, 500), Some(&owner))).await.unwrap();
    assert_eq!(relay.registered(register.clone()).await.unwrap().registered, 1200);
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 1200);
    let replay = RegisterRequest { request_id: fresh_id(), ..register };
    assert_eq!(relay.registered(replay).await, Err(StorageError::Replayed));
}

#[tokio::test]
async fn a_key_owns_ten_thousand_mailboxes_at_most() {
    let relay = Relay::start(&[]);
    let (owner, other) = (key(1), key(2));
    for part in 0..5 {
        relay.registered(request(&relay, &many(part * 1900, 1900), Some(&owner))).await.unwrap();
    }
    let more = || many(20_000, 501);
    assert_eq!(
        relay.registered(request(&relay, &more(), Some(&owner))).await,
        Err(StorageError::QuotaExceeded)
    );
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 9500, "none of them");
    relay.registered(request(&relay, &more(), Some(&other))).await.unwrap();
    relay.registered(request(&relay, &many(0, 1900), Some(&owner))).await.unwrap();
    relay.registered(request(&relay, &many(30_000, 500), Some(&owner))).await.unwrap();
    relay.registered(request(&relay, &many(40_000, 1), None)).await.unwrap();
    assert_eq!(relay.purge(relay.purge_request(&owner, 1)).await, Ok(0));
    assert_eq!(relay.store.gauges.of(Total::REGISTRATIONS), 502);
    relay.clock.advance(Duration::from_secs(1));
    relay.registered(request(&relay, &many(0, 1900), Some(&owner))).await.unwrap();
}
