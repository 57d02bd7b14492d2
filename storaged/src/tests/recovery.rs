//! Recovery proofs.

use crate::tests::*;
use relay_proto::messages::recovery_server::Recovery as _;
use relay_proto::messages::{RecoveryQueryRequest, RecoveryStoreReply, RecoveryStoreRequest, StoredProof};
use relay_proto::{RecoveryKeyHash, RecoveryName};

fn name(number: u32) -> RecoveryName {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    RecoveryKeyHash::from_bytes(bytes).name()
}

impl Relay {
    /// Stores a proof under a request id.
    pub(super) async fn store_proof(
        &self,
        caller: Caller,
        id: RequestId,
        key: RecoveryName,
        proof: &[u8],
    ) -> Result<(), StorageError> {
        let request = RecoveryStoreRequest {
            caller: caller.map(Into::into),
            request_id: id.into(),
            key: key.into(),
            proof: Bytes::copy_from_slice(proof),
        };
        replied(self.vault.records.store(Request::new(request)).await).map(|RecoveryStoreReply {}| ())
    }

    pub(super) async fn query_proofs(
        &self,
        caller: Caller,
        keys: &[RecoveryName],
    ) -> Result<Vec<StoredProof>, StorageError> {
        let keys = keys.iter().map(|key| Bytes::from(*key)).collect();
        let request = RecoveryQueryRequest { caller: caller.map(Into::into), keys };
        replied(self.vault.records.query(Request::new(request)).await).map(|reply| reply.proofs)
    }

    pub(super) async fn prove(&self, number: u32, content: &[u8]) -> Result<(), StorageError> {
        self.store_proof(None, RequestId::random().unwrap(), name(number), content).await
    }

    async fn proofs(&self, numbers: &[u32]) -> Vec<StoredProof> {
        let keys: Vec<_> = numbers.iter().copied().map(name).collect();
        self.query_proofs(None, &keys).await.unwrap()
    }

    /// The content under one key.
    async fn proof(&self, number: u32) -> Option<Vec<u8>> {
        let mut found = self.proofs(&[number]).await;
        assert!(found.len() <= 1);
        found.pop().map(|found| found.proof.to_vec())
    }
}

#[tokio::test]
async fn a_query_has_at_most_fifty_keys_and_a_message_no_field_of_a_wrong_length() {
    let relay = Relay::start(&[]);
    let keys = [name(1); 51];
    assert_eq!(relay.query_proofs(None, &keys[..50]).await.map(|found| found.len()), Ok(0));
    assert_eq!(relay.query_proofs(None, &keys).await.err(), Some(StorageError::invalid("keys")));
    for proof in [Vec::new(), vec![0; 4097]] {
        assert_eq!(relay.prove(1, &proof).await, Err(StorageError::invalid("proof")));
    }
    let request = RecoveryStoreRequest {
        caller: None,
        request_id: RequestId::random().unwrap().into(),
        key: Bytes::from_static(&[0; 31]),
        proof: Bytes::from_static(b"proof"),
    };
    let refused = replied(relay.vault.records.store(Request::new(request)).await);
    assert_eq!(refused.err(), Some(StorageError::invalid("key")));
}

#[tokio::test]
async fn a_proof_lives_for_ninety_days_and_not_much_longer() {
    let relay = Relay::start(&[]);
    relay.prove(1, b"proof").await.unwrap();
    relay.clock.advance(90 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.proof(1).await.as_deref(), Some(b"proof".as_slice()));
    relay.clock.advance(HOUR);
    assert_eq!(relay.proof(1).await, None, "expired and unswept");
    assert_eq!(relay.store.gauges.of(Total::named("recovery_proofs")), 1);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(
        (relay.store.gauges.of(Total::named("recovery_proofs")), relay.rows("recovery_proofs")),
        (0, 0)
    );
}

#[tokio::test]
async fn a_new_proof_replaces_the_old_one_and_lives_its_own_life() {
    let relay = Relay::start(&[]);
    relay.prove(1, b"old").await.unwrap();
    relay.clock.advance(89 * DAY);
    relay.prove(1, b"new").await.unwrap();
    relay.clock.advance(89 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.proof(1).await.as_deref(), Some(b"new".as_slice()));
    assert_eq!(relay.store.gauges.of(Total::named("recovery_proofs")), 1);
}

#[tokio::test]
async fn proofs_survive_a_restart_and_are_answered_in_the_order_of_the_keys() {
    let relay = Relay::start(&[]);
    for number in 1..=3 {
        relay.prove(number, &number.to_be_bytes()).await.unwrap();
    }
    let relay = relay.restart(&[]).await;
    let found = relay.proofs(&[3, 9, 1, 3]).await;
    let answers: Vec<_> = found
        .iter()
        .map(|found| (found.key_index, u32::from_be_bytes(found.proof[..].try_into().unwrap())))
        .collect();
    assert_eq!(answers, [(0, 3), (2, 1), (3, 3)]);
    assert_eq!(relay.store.gauges.of(Total::named("recovery_proofs")), 3);
}

#[tokio::test]
async fn times_of_a_proof_are_whole_hours() {
    let relay = Relay::start(&[]);
    relay.prove(1, b"proof").await.unwrap();
    let found = relay.proofs(&[1]).await.pop().unwrap();
    assert_eq!(found.created_at, START.hour_floor().get());
    assert_eq!(found.expires_at, START.plus(90 * 86_400).hour_ceil().get());
}

#[tokio::test]
async fn there_are_as_many_proofs_as_fit_beside_the_mail() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    for number in 0..64 {
        relay.prove(number, b"proof").await.unwrap();
    }
    assert_eq!(relay.prove(64, b"proof").await, Err(StorageError::StorageFull));
    relay.prove(63, b"another").await.unwrap();
    relay.clock.advance(91 * DAY);
    relay.sweep.sweep().await.unwrap();
    relay.prove(64, b"proof").await.unwrap();
}

#[tokio::test]
async fn a_full_store_keeps_the_proofs_it_has() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    relay.prove(1, b"proof").await.unwrap();
    relay.fill_up().await;
    assert_eq!(relay.prove(1, b"another").await, Err(StorageError::StorageFull));
    assert_eq!(relay.prove(2, b"proof").await, Err(StorageError::StorageFull));
    assert_eq!(relay.proof(1).await.as_deref(), Some(b"proof".as_slice()));
}

#[tokio::test]
async fn queries_are_few_for_one_client_and_ten_times_as_many_for_a_named_relay() {
    let relay = Relay::start(&[("RELAY_RECOVERY_RATE_LIMIT", "2")]);
    let query = |budget, number| {
        let address = AddressHash::from_bytes([number; 16]);
        let (relay, caller) = (&relay, Some(RateLimitSubject::new(budget, address)));
        async move { relay.query_proofs(caller, &[name(1)]).await }
    };
    for (number, budget, most) in [
        (1, RateLimitClass::KnownObliviousRelay, 20),
        (1, RateLimitClass::Client, 2),
        (1, RateLimitClass::ObliviousRelay, 0),
        (2, RateLimitClass::ObliviousRelay, 2),
    ] {
        for _ in 0..most {
            query(budget, number).await.unwrap();
        }
        let refused = query(budget, number).await.unwrap_err();
        assert!(matches!(refused, StorageError::AddressRateLimited { .. }), "{refused:?}");
    }
    relay.store_proof(client(1), RequestId::random().unwrap(), name(1), b"proof").await.unwrap();
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_costs_no_proof() {
    let relay = Arc::new(Relay::start(&[]));
    let stores: Vec<_> = (0..1000)
        .map(|number| {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move { relay.prove(number, b"proof").await })
        })
        .collect();
    for store in stores {
        store.await.unwrap().unwrap();
    }
    relay.clock.jump_to(START.plus(200 * 86_400));
    relay.sweep.sweep().await.unwrap();
    assert!(!relay.time.is_trusted());
    assert_eq!(relay.proofs(&[1, 2]).await.len(), 2, "what looks over is still there");
    relay.clock.jump_to(START.plus(60));
    relay.sweep.sweep().await.unwrap();
    assert!(relay.time.is_trusted());
    assert_eq!(relay.rows("recovery_proofs"), 1000);
}
