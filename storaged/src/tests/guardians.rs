//! Guardian sets.

use crate::tests::*;
use relay_proto::GuardianHash;
use relay_proto::guardian::Designating;
use relay_proto::messages::guardian_server::Guardian as _;
use relay_proto::messages::{
    Designation, GuardianDeleteReply, GuardianDeleteRequest, GuardianQueryReply, GuardianQueryRequest,
    GuardianStoreReply, GuardianStoreRequest,
};

impl Relay {
    /// Signed now.
    pub(super) fn designation(&self, key: &SigningKey, what: Designating) -> Designation {
        let timestamp = self.clock.clock().now();
        let signature = key.sign(&what.message(&public(key), timestamp)).to_bytes();
        Designation {
            public_key: public(key).into(),
            timestamp: timestamp.get(),
            signature: Signature::from_bytes(signature).into(),
        }
    }

    fn store_request(&self, key: &SigningKey, contents: &[&[u8]]) -> GuardianStoreRequest {
        GuardianStoreRequest {
            caller: None,
            request_id: RequestId::random().unwrap().into(),
            designation: Some(self.designation(key, Designating::Store)),
            entries: contents.iter().map(|content| Bytes::copy_from_slice(content)).collect(),
        }
    }

    fn delete_request(&self, key: &SigningKey) -> GuardianDeleteRequest {
        GuardianDeleteRequest {
            caller: None,
            request_id: RequestId::random().unwrap().into(),
            designation: Some(self.designation(key, Designating::Delete)),
        }
    }

    pub(super) async fn store_guardians(&self, request: GuardianStoreRequest) -> Result<(), StorageError> {
        replied(self.vault.records.store(Request::new(request)).await).map(|GuardianStoreReply {}| ())
    }

    pub(super) async fn query_guardians(&self, set: Bytes) -> Result<Vec<Bytes>, StorageError> {
        let request = GuardianQueryRequest { caller: None, set };
        let reply = replied(self.vault.records.query(Request::new(request)).await);
        reply.map(|GuardianQueryReply { entries }| entries)
    }

    async fn delete_guardians(&self, request: GuardianDeleteRequest) -> Result<(), StorageError> {
        replied(self.vault.records.delete(Request::new(request)).await).map(|GuardianDeleteReply {}| ())
    }

    pub(super) async fn designate(&self, key: &SigningKey, contents: &[&[u8]]) -> Result<(), StorageError> {
        self.store_guardians(self.store_request(key, contents)).await
    }

    async fn guardians(&self, key: &SigningKey) -> Vec<Vec<u8>> {
        let set = GuardianHash::of_public_key(&public(key)).name();
        let entries = self.query_guardians(set.into()).await.unwrap();
        entries.iter().map(|entry| entry.to_vec()).collect()
    }

    /// A signature carries a second, and each is used once.
    fn next_second(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_set_has_at_most_ten_entries_of_at_most_256_bytes_and_a_message_no_field_of_a_wrong_length() {
    let relay = Relay::start(&[]);
    for contents in [&[b"1".as_slice(); 11][..], &[&[1; 257]]] {
        assert_eq!(relay.designate(&key(1), contents).await, Err(StorageError::invalid("entries")));
    }
    let (good, short) = (relay.store_request(&key(1), &[b"one"]), Bytes::from_static(&[0; 31]));
    let with = |designation| GuardianStoreRequest { designation, ..good.clone() };
    let designation = good.designation.clone().unwrap();
    for (request, field) in [
        (with(None), "designation"),
        (with(Some(Designation { public_key: short.clone(), ..designation.clone() })), "public_key"),
        (with(Some(Designation { signature: short.clone(), ..designation })), "signature"),
        (GuardianStoreRequest { request_id: short.clone(), ..good.clone() }, "request_id"),
    ] {
        assert_eq!(relay.store_guardians(request).await, Err(StorageError::invalid(field)));
    }
    assert_eq!(relay.query_guardians(short).await, Err(StorageError::invalid("set")));
    let delete = GuardianDeleteRequest { designation: None, ..relay.delete_request(&key(1)) };
    assert_eq!(relay.delete_guardians(delete).await, Err(StorageError::invalid("designation")));
    assert_eq!(relay.rows("guardian_sets"), 0);
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
    assert_eq!(relay.store.gauges.of(Total::named("guardian_sets")), 2);
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
    assert_eq!((relay.store.gauges.of(Total::named("guardian_sets")), relay.rows("guardian_sets")), (0, 0));
}

#[tokio::test]
async fn only_the_designator_changes_a_set() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    let forged = |designation| GuardianStoreRequest {
        designation: Some(designation),
        ..relay.store_request(&key(1), &[b"evil"])
    };
    let with_key = |mut designation: Designation| {
        designation.public_key = public(&key(1)).into();
        designation
    };
    let stranger = with_key(relay.designation(&key(2), Designating::Store));
    assert_eq!(relay.store_guardians(forged(stranger)).await, Err(StorageError::BadSignature));
    let for_deletion = relay.designation(&key(1), Designating::Delete);
    assert_eq!(relay.store_guardians(forged(for_deletion)).await, Err(StorageError::BadSignature));
    let stranger = with_key(relay.designation(&key(2), Designating::Delete));
    let delete = GuardianDeleteRequest { designation: Some(stranger), ..relay.delete_request(&key(1)) };
    assert_eq!(relay.delete_guardians(delete).await, Err(StorageError::BadSignature));
    assert_eq!(relay.guardians(&key(1)).await, [b"one"]);
}

#[tokio::test]
async fn a_signature_holds_for_a_minute_both_ways() {
    let relay = Relay::start(&[]);
    for (signed, asked, expected) in [
        (0, 60, Ok(())),
        (1060, 1000, Ok(())),
        (2000, 2061, Err(StorageError::OutsideWindow)),
        (3061, 3000, Err(StorageError::OutsideWindow)),
    ] {
        relay.clock.jump_to(START.plus(signed));
        let store = relay.store_request(&key(1), &[b"one"]);
        relay.clock.jump_to(START.plus(asked));
        assert_eq!(relay.store_guardians(store).await, expected, "{signed} at {asked}");
    }
}

#[tokio::test]
async fn a_signature_is_used_once_and_a_retry_finds_it_done() {
    let relay = Relay::start(&[]);
    let store = relay.store_request(&key(1), &[b"one"]);
    relay.store_guardians(store.clone()).await.unwrap();
    relay.next_second();
    relay.designate(&key(1), &[b"two"]).await.unwrap();
    let relay = relay.restart(&[]).await;
    relay.store_guardians(store.clone()).await.unwrap();
    assert_eq!(relay.guardians(&key(1)).await, [b"two"], "the retry had no second effect");
    let replay = GuardianStoreRequest { request_id: RequestId::random().unwrap().into(), ..store };
    assert_eq!(relay.store_guardians(replay).await, Err(StorageError::Replayed));

    let delete = relay.delete_request(&key(1));
    relay.delete_guardians(delete.clone()).await.unwrap();
    relay.next_second();
    relay.designate(&key(1), &[b"three"]).await.unwrap();
    relay.delete_guardians(delete.clone()).await.unwrap();
    let replay = GuardianDeleteRequest { request_id: RequestId::random().unwrap().into(), ..delete };
    assert_eq!(relay.delete_guardians(replay).await, Err(StorageError::Replayed));
    assert_eq!(relay.guardians(&key(1)).await, [b"three"]);
}

#[tokio::test]
async fn what_was_deleted_is_in_no_file_when_the_deletion_is_answered() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"unmistakable entry"]).await.unwrap();
    let log = relay.directory.path().join("relay.db-wal");
    assert!(holds(&log, b"unmistakable") || holds(&relay.database(), b"unmistakable"));
    relay.delete_guardians(relay.delete_request(&key(1))).await.unwrap();
    assert!(!holds(&log, b"unmistakable"));
    assert!(!holds(&relay.database(), b"unmistakable"));
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!(relay.store.gauges.of(Total::named("guardian_sets")), 0);
    relay.next_second();
    relay.delete_guardians(relay.delete_request(&key(1))).await.unwrap();
    assert_eq!(relay.store.gauges.of(Total::named("guardian_sets")), 0, "there was nothing to delete");
}

#[tokio::test]
async fn an_empty_set_is_none_and_uses_its_signature_up() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.next_second();
    let empty = relay.store_request(&key(1), &[]);
    relay.store_guardians(empty.clone()).await.unwrap();
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!((relay.store.gauges.of(Total::named("guardian_sets")), relay.rows("guardian_sets")), (0, 0));
    let replay = GuardianStoreRequest { request_id: RequestId::random().unwrap().into(), ..empty };
    assert_eq!(relay.store_guardians(replay).await, Err(StorageError::Replayed));
}

#[tokio::test]
async fn a_purge_takes_the_keys_guardian_set_and_nobody_elses() {
    let relay = Relay::start(&[]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.designate(&key(2), &[b"two"]).await.unwrap();
    relay.send(MailboxHash::of_public_key(&public(&key(1))), b"mail").await.unwrap();
    let deleted = relay.purge(relay.purge_request(&key(1), 1)).await;
    assert_eq!(deleted, Ok(1), "only blobs are counted");
    assert!(relay.guardians(&key(1)).await.is_empty());
    assert_eq!(relay.guardians(&key(2)).await, [b"two"]);
    assert_eq!(relay.store.gauges.of(Total::named("guardian_sets")), 1);
}

#[tokio::test]
async fn there_are_as_many_sets_as_fit_beside_the_mail() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    for seed in 0..64 {
        relay.designate(&key(seed), &[b"one"]).await.unwrap();
    }
    assert_eq!(relay.designate(&key(64), &[b"one"]).await, Err(StorageError::StorageFull));
    relay.next_second();
    relay.designate(&key(63), &[b"another"]).await.unwrap();
    relay.delete_guardians(relay.delete_request(&key(62))).await.unwrap();
    relay.designate(&key(64), &[b"one"]).await.unwrap();
}

#[tokio::test]
async fn a_full_store_refuses_sets_lets_go_of_them_and_uses_no_signature_up_for_nothing() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    relay.designate(&key(1), &[b"one"]).await.unwrap();
    relay.fill_up().await;
    relay.next_second();
    let store = relay.store_request(&key(1), &[b"two"]);
    assert_eq!(relay.store_guardians(store.clone()).await, Err(StorageError::StorageFull));
    assert_eq!(relay.guardians(&key(1)).await, [b"one"]);
    for number in 0..20 {
        let id = BlobId::derive(&mailbox(number), &vec![number; 8000]);
        assert_eq!(relay.ack(mailbox(number), id).await, Ok(true));
    }
    relay.store_guardians(store).await.unwrap();
    relay.fill_up().await;
    relay.delete_guardians(relay.delete_request(&key(1))).await.unwrap();
    assert!(relay.guardians(&key(1)).await.is_empty());
}
