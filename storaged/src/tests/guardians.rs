//! Guardian sets.

use crate::tests::*;
use relay_proto::guardian::{DeleteGuardians, Designating, Designation, QueryGuardians, StoreGuardians};
use relay_proto::server::GuardianHandler as _;
use relay_proto::{GuardianEntry, GuardianHash};

fn entries(contents: &[&[u8]]) -> Vec<GuardianEntry> {
    contents.iter().map(|content| GuardianEntry::try_from(Bytes::copy_from_slice(content)).unwrap()).collect()
}

impl Relay {
    /// Signed now.
    fn designation(&self, key: &SigningKey, what: Designating) -> Designation {
        let mut designation = Designation {
            public_key: public(key),
            timestamp: self.clock.clock().now(),
            signature: Signature::from_bytes([0; 64]),
        };
        designation.signature = Signature::from_bytes(key.sign(&designation.message(what)).to_bytes());
        designation
    }

    fn store_request(&self, key: &SigningKey, contents: &[&[u8]]) -> StoreGuardians {
        StoreGuardians {
            caller: None,
            request_id: RequestId::random().unwrap(),
            designation: self.designation(key, Designating::Store),
            entries: entries(contents),
        }
    }

    fn delete_request(&self, key: &SigningKey) -> DeleteGuardians {
        DeleteGuardians {
            caller: None,
            request_id: RequestId::random().unwrap(),
            designation: self.designation(key, Designating::Delete),
        }
    }

    pub(super) async fn designate(&self, key: &SigningKey, contents: &[&[u8]]) -> Result<(), Refusal> {
        self.vault.guardian.store(self.store_request(key, contents)).await
    }

    async fn guardians(&self, key: &SigningKey) -> Vec<Vec<u8>> {
        let set = GuardianHash::of_public_key(&public(key)).name();
        let entries = self.vault.guardian.query(QueryGuardians { caller: None, set }).await.unwrap();
        entries.iter().map(|entry| entry.as_bytes().to_vec()).collect()
    }

    /// A signature carries a second, and each is used once.
    fn next_second(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_store_replaces_the_whole_set_and_it_survives_a_restart() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one", b"", b"three"]).await.unwrap();
    relay.designate(&key(2), &[b"another's"]).await.unwrap();
    assert_eq!(relay.guardians(&key(1)).await, [b"one".as_slice(), b"", b"three"]);
    relay.next_second();
    relay.designate(&key(1), &[[7; 256].as_slice(); 10]).await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.guardians(&key(1)).await, [[7; 256]; 10]);
    assert_eq!(relay.guardians(&key(2)).await, [b"another's"]);
    assert!(relay.guardians(&key(3)).await.is_empty());
    assert_eq!(relay.store.gauges.guardian_sets(), 2);
}

#[tokio::test]
async fn a_set_lives_for_a_year_and_not_much_longer() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    let expires: i64 =
        relay.sql().query_row("SELECT expires FROM guardian_sets", [], |row| row.get(0)).unwrap();
    assert_eq!(expires % 3600, 0, "times on disk are whole hours");
    relay.clock.advance(365 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.guardians(&key(1)).await, [b"one"]);
    relay.clock.advance(HOUR);
    assert!(relay.guardians(&key(1)).await.is_empty(), "expired and unswept");
    relay.sweep.sweep().await.unwrap();
    assert_eq!((relay.store.gauges.guardian_sets(), relay.rows("guardian_sets")), (0, 0));
}

#[tokio::test]
async fn only_the_designator_changes_a_set() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    let forged = |designation| StoreGuardians { designation, ..relay.store_request(&key(1), &[b"evil"]) };
    let with_key = |mut designation: Designation| {
        designation.public_key = public(&key(1));
        designation
    };
    let stranger = with_key(relay.designation(&key(2), Designating::Store));
    assert_eq!(relay.vault.guardian.store(forged(stranger)).await, Err(Refusal::BadSignature));
    let for_deletion = relay.designation(&key(1), Designating::Delete);
    assert_eq!(relay.vault.guardian.store(forged(for_deletion)).await, Err(Refusal::BadSignature));
    let stranger = with_key(relay.designation(&key(2), Designating::Delete));
    let delete = DeleteGuardians { designation: stranger, ..relay.delete_request(&key(1)) };
    assert_eq!(relay.vault.guardian.delete(delete).await, Err(Refusal::BadSignature));
    assert_eq!(relay.guardians(&key(1)).await, [b"one"]);
}

#[tokio::test]
async fn a_signature_holds_for_a_minute_both_ways() {
    let relay = Relay::start(&[]);
    for (signed, asked, expected) in [
        (0, 60, Ok(())),
        (1060, 1000, Ok(())),
        (2000, 2061, Err(Refusal::OutsideWindow)),
        (3061, 3000, Err(Refusal::OutsideWindow)),
    ] {
        relay.clock.jump_to(START.plus(signed));
        let store = relay.store_request(&key(1), &[b"one"]);
        relay.clock.jump_to(START.plus(asked));
        assert_eq!(relay.vault.guardian.store(store).await, expected, "{signed} at {asked}");
    }
}

#[tokio::test]
async fn a_signature_is_used_once_and_a_retry_finds_it_done() {
    let relay = Relay::start(&[]);
    let store = relay.store_request(&key(1), &[b"one"]);
    relay.vault.guardian.store(store.clone()).await.unwrap();
    relay.next_second();
    relay.designate(&key(1), &[b"two"]).await.unwrap();
    let relay = relay.restart(&[]).await;
    relay.vault.guardian.store(store.clone()).await.unwrap();
    assert_eq!(relay.guardians(&key(1)).await, [b"two"], "the retry had no second effect");
    let replay = StoreGuardians { request_id: RequestId::random().unwrap(), ..store };
    assert_eq!(relay.vault.guardian.store(replay).await, Err(Refusal::Replayed));

    let delete = relay.delete_request(&key(1));
    relay.vault.guardian.delete(delete.clone()).await.unwrap();
    relay.next_second();
    relay.designate(&key(1), &[b"three"]).await.unwrap();
    relay.vault.guardian.delete(delete.clone()).await.unwrap();
    let replay = DeleteGuardians { request_id: RequestId::random().unwrap(), ..delete };
    assert_eq!(relay.vault.guardian.delete(replay).await, Err(Refusal::Replayed));
    assert_eq!(relay.guardians(&key(1)).await, [b"three"]);
}

#[tokio::test]
async fn what_was_deleted_is_in_no_file_when_the_deletion_is_answered() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"unmistakable entry"]).await.unwrap();
    let log = relay.directory.path().join("relay.db-wal");
    assert!(holds(&log, b"unmistakable") || holds(&relay.database(), b"unmistakable"));
    relay.vault.guardian.delete(relay.delete_request(&key(1))).await.unwrap();
    assert!(!holds(&log, b"unmistakable"));
    assert!(!holds(&relay.database(), b"unmistakable"));
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!(relay.store.gauges.guardian_sets(), 0);
    relay.next_second();
    relay.vault.guardian.delete(relay.delete_request(&key(1))).await.unwrap();
    assert_eq!(relay.store.gauges.guardian_sets(), 0, "there was nothing to delete");
}

#[tokio::test]
async fn an_empty_set_is_none_and_uses_its_signature_up() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.next_second();
    let empty = relay.store_request(&key(1), &[]);
    relay.vault.guardian.store(empty.clone()).await.unwrap();
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!((relay.store.gauges.guardian_sets(), relay.rows("guardian_sets")), (0, 0));
    let replay = StoreGuardians { request_id: RequestId::random().unwrap(), ..empty };
    assert_eq!(relay.vault.guardian.store(replay).await, Err(Refusal::Replayed));
}

#[tokio::test]
async fn a_purge_takes_the_keys_guardian_set_and_nobody_elses() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.designate(&key(2), &[b"two"]).await.unwrap();
    relay.send(MailboxHash::of_public_key(&public(&key(1))), b"mail").await.unwrap();
    let deleted = relay.mailbox.purge(relay.purge_request(&key(1), 1)).await;
    assert_eq!(deleted, Ok(1), "only blobs are counted");
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!(relay.guardians(&key(2)).await, [b"two"]);
    assert_eq!(relay.store.gauges.guardian_sets(), 1);
}

#[tokio::test]
async fn there_are_as_many_sets_as_fit_beside_the_mail() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    for seed in 0..64 {
        relay.designate(&key(seed), &[b"one"]).await.unwrap();
    }
    assert_eq!(relay.designate(&key(64), &[b"one"]).await, Err(Refusal::StorageFull));
    relay.next_second();
    relay.designate(&key(63), &[b"another"]).await.unwrap();
    relay.vault.guardian.delete(relay.delete_request(&key(62))).await.unwrap();
    relay.designate(&key(64), &[b"one"]).await.unwrap();
}

#[tokio::test]
async fn a_full_store_refuses_sets_lets_go_of_them_and_uses_no_signature_up_for_nothing() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.fill_up().await;
    relay.next_second();
    let store = relay.store_request(&key(1), &[b"two"]);
    assert_eq!(relay.vault.guardian.store(store.clone()).await, Err(Refusal::StorageFull));
    assert_eq!(relay.guardians(&key(1)).await, [b"one"]);
    for number in 0..20 {
        let id = BlobId::derive(&mailbox(number), &vec![number; 8000]);
        assert_eq!(relay.ack(mailbox(number), id).await, Ok(true));
    }
    relay.vault.guardian.store(store).await.unwrap();
    relay.fill_up().await;
    relay.vault.guardian.delete(relay.delete_request(&key(1))).await.unwrap();
    assert!(relay.guardians(&key(1)).await.is_empty());
}
