//! Escrow gates.

use crate::tests::*;
use relay_proto::messages::escrow_get_reply::Outcome;
use relay_proto::messages::escrow_server::Escrow as _;
use relay_proto::messages::{
    EscrowCountReply, EscrowCountRequest, EscrowDeposit, EscrowGetReply, EscrowGetRequest, EscrowNotFound,
    EscrowPutReply, EscrowPutRequest,
};
use relay_proto::{GateHash, GateName, SlotHash, SlotName};

const TTL: u32 = 600;

fn gate(number: u8) -> GateName {
    GateHash::from_bytes([number; 32]).name()
}

fn slot(number: u8) -> SlotName {
    SlotHash::from_bytes([number; 32]).name()
}

fn put_request(gate_number: u8, slot_number: u8, bytes: &[u8]) -> EscrowPutRequest {
    EscrowPutRequest {
        caller: None,
        request_id: RequestId::random().unwrap().into(),
        gate: gate(gate_number).into(),
        slot: slot(slot_number).into(),
        blob: Bytes::copy_from_slice(bytes),
        ttl_secs: TTL,
    }
}

fn found(outcome: Outcome) -> EscrowGetReply {
    EscrowGetReply { outcome: Some(outcome) }
}

fn blob(bytes: &[u8]) -> EscrowGetReply {
    found(Outcome::Blob(Bytes::copy_from_slice(bytes)))
}

fn not_ready(count: u32) -> EscrowGetReply {
    found(Outcome::NotReady(count))
}

fn not_found() -> EscrowGetReply {
    found(Outcome::NotFound(EscrowNotFound {}))
}

impl Relay {
    /// Fills a slot as a gateway asks for it.
    pub(super) async fn deposit(&self, request: EscrowPutRequest) -> Result<EscrowDeposit, StorageError> {
        let EscrowPutReply { deposit } = replied(self.vault.records.put(Request::new(request)).await)?;
        Ok(EscrowDeposit::try_from(deposit).unwrap())
    }

    pub(super) async fn put(&self, gate: u8, slot: u8, bytes: &[u8]) -> Result<EscrowDeposit, StorageError> {
        self.deposit(put_request(gate, slot, bytes)).await
    }

    async fn get(&self, gate_number: u8, slot_number: u8) -> EscrowGetReply {
        let (gate, slot) = (gate(gate_number).into(), slot(slot_number).into());
        let request = EscrowGetRequest { caller: None, gate, slot };
        replied(self.vault.records.get(Request::new(request)).await).unwrap()
    }

    async fn count(&self, number: u8) -> u32 {
        let request = EscrowCountRequest { caller: None, gate: gate(number).into() };
        let EscrowCountReply { count } =
            replied(self.vault.records.count(Request::new(request)).await).unwrap();
        count
    }
}

#[tokio::test]
async fn a_message_has_no_field_of_a_wrong_length() {
    let relay = Relay::start(&[]);
    let good = || put_request(1, 1, b"one");
    let short = || Bytes::from_static(&[0; 31]);
    for (request, field) in [
        (EscrowPutRequest { request_id: short(), ..good() }, "request_id"),
        (EscrowPutRequest { gate: short(), ..good() }, "gate"),
        (EscrowPutRequest { slot: short(), ..good() }, "slot"),
        (EscrowPutRequest { blob: Bytes::from_static(&[0; 65_537]), ..good() }, "blob"),
        (EscrowPutRequest { ttl_secs: 604_801, ..good() }, "ttl_secs"),
    ] {
        assert_eq!(relay.deposit(request).await, Err(StorageError::invalid(field)));
    }
    let get = EscrowGetRequest { caller: None, gate: gate(1).into(), slot: short() };
    let refused = replied(relay.vault.records.get(Request::new(get)).await);
    assert_eq!(refused.err(), Some(StorageError::invalid("slot")));
    let count = EscrowCountRequest { caller: None, gate: short() };
    let refused = replied(relay.vault.records.count(Request::new(count)).await);
    assert_eq!(refused.err(), Some(StorageError::invalid("gate")));
    assert_eq!(relay.rows("escrow_gates"), 0);
}

#[tokio::test]
async fn each_slot_reads_the_other_once_both_are_filled() {
    let relay = Relay::start(&[]);
    assert_eq!((relay.count(1).await, relay.get(1, 1).await), (0, not_found()));
    assert_eq!(relay.put(1, 1, b"one").await, Ok(EscrowDeposit::Stored));
    assert_eq!((relay.count(1).await, relay.get(1, 1).await), (1, not_ready(1)));
    assert_eq!(relay.get(1, 2).await, not_ready(1));
    assert_eq!(relay.put(1, 2, b"").await, Ok(EscrowDeposit::Stored));
    assert_eq!(relay.count(1).await, 2);
    for _ in 0..2 {
        assert_eq!(relay.get(1, 1).await, blob(b""), "nothing is deleted by reading");
        assert_eq!(relay.get(1, 2).await, blob(b"one"));
    }
    assert_eq!(relay.get(1, 3).await, not_found(), "a stranger reads neither");
    assert_eq!(relay.get(2, 1).await, not_found(), "another gate");
}

#[tokio::test]
async fn a_filled_slot_stays_as_it_was_and_there_is_no_third() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    assert_eq!(relay.put(1, 1, b"other").await, Ok(EscrowDeposit::AlreadyExists));
    relay.put(1, 2, b"two").await.unwrap();
    assert_eq!(relay.put(1, 3, b"three").await, Ok(EscrowDeposit::GateFull));
    assert_eq!(relay.put(1, 2, b"other").await, Ok(EscrowDeposit::AlreadyExists));
    assert_eq!(relay.get(1, 2).await, blob(b"one"));
    assert_eq!(relay.get(1, 1).await, blob(b"two"));
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (1, 2));
}

#[tokio::test]
async fn gates_survive_a_restart() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, &[7; 65_536]).await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.get(1, 2).await, blob(&[7; 65_536]));
    assert_eq!(relay.store.gauges.of(Total::named("escrow_gates")), 1);
}

#[tokio::test]
async fn the_first_put_fixes_the_end_to_the_second() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    relay.clock.advance(Duration::from_secs(u64::from(TTL) - 1));
    assert_eq!(relay.put(1, 2, b"two").await, Ok(EscrowDeposit::Stored));
    assert_eq!(relay.get(1, 1).await, blob(b"two"));
    relay.clock.advance(Duration::from_secs(1));
    assert_eq!((relay.count(1).await, relay.get(1, 1).await), (0, not_found()), "expired and unswept");
    relay.sweep.sweep().await.unwrap();
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (0, 0));
    assert_eq!(relay.store.gauges.of(Total::named("escrow_gates")), 0);
}

#[tokio::test]
async fn an_expired_gate_starts_anew() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    relay.clock.advance(Duration::from_secs(u64::from(TTL)));
    assert_eq!(relay.put(1, 3, b"three").await, Ok(EscrowDeposit::Stored));
    assert_eq!((relay.count(1).await, relay.store.gauges.of(Total::named("escrow_gates"))), (1, 1));
    assert_eq!(relay.put(1, 1, b"new").await, Ok(EscrowDeposit::Stored));
    assert_eq!(relay.get(1, 3).await, blob(b"new"));
}

#[tokio::test]
async fn a_retry_gets_the_first_answer() {
    let relay = Relay::start(&[]);
    let first = put_request(1, 1, b"one");
    let again = put_request(1, 1, b"again");
    let third = put_request(1, 3, b"three");
    assert_eq!(relay.deposit(first.clone()).await, Ok(EscrowDeposit::Stored));
    assert_eq!(relay.deposit(again.clone()).await, Ok(EscrowDeposit::AlreadyExists));
    relay.put(1, 2, b"two").await.unwrap();
    assert_eq!(relay.deposit(third.clone()).await, Ok(EscrowDeposit::GateFull));
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.deposit(first).await, Ok(EscrowDeposit::Stored));
    assert_eq!(relay.deposit(again).await, Ok(EscrowDeposit::AlreadyExists));
    assert_eq!(relay.deposit(third).await, Ok(EscrowDeposit::GateFull));
    assert_eq!(relay.count(1).await, 2);
}

#[tokio::test]
async fn a_gate_for_no_time_is_refused() {
    let relay = Relay::start(&[]);
    let put = EscrowPutRequest { ttl_secs: 0, ..put_request(1, 1, b"one") };
    assert_eq!(relay.deposit(put).await, Err(StorageError::invalid("ttl_secs")));
    assert_eq!(relay.rows("escrow_gates"), 0);
}

#[tokio::test]
async fn there_are_as_many_gates_as_fit_beside_the_mail() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    for number in 0..16 {
        relay.put(number, 1, b"one").await.unwrap();
    }
    assert_eq!(relay.put(16, 1, b"one").await, Err(StorageError::StorageFull));
    assert_eq!(relay.put(15, 2, b"two").await, Ok(EscrowDeposit::Stored), "the gate is there already");
    relay.clock.advance(Duration::from_secs(u64::from(TTL)));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.put(16, 1, b"one").await, Ok(EscrowDeposit::Stored));
}

#[tokio::test]
async fn a_full_store_takes_nothing_in_escrow_and_hands_out_what_it_has() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let first = put_request(1, 1, b"one");
    relay.deposit(first.clone()).await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    relay.put(2, 1, b"alone").await.unwrap();
    relay.fill_up().await;
    assert_eq!(relay.put(2, 2, b"two").await, Err(StorageError::StorageFull));
    assert_eq!(relay.put(3, 1, b"one").await, Err(StorageError::StorageFull));
    assert_eq!(relay.get(1, 1).await, blob(b"two"));
    assert_eq!(relay.deposit(first).await, Ok(EscrowDeposit::Stored), "a retry needs no room");
}
