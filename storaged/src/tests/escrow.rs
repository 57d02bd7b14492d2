//! Escrow gates.

use crate::tests::*;
use relay_proto::escrow::{CountEscrow, Deposit, GetEscrow, PutEscrow, Withdrawal};
use relay_proto::server::EscrowHandler as _;
use relay_proto::{EscrowBlob, GateHash, GateName, SlotHash, SlotName};

const TTL: u32 = 600;

fn gate(number: u8) -> GateName {
    GateHash::from_bytes([number; 32]).name()
}

fn slot(number: u8) -> SlotName {
    SlotHash::from_bytes([number; 32]).name()
}

fn content(bytes: &[u8]) -> EscrowBlob {
    EscrowBlob::try_from(Bytes::copy_from_slice(bytes)).unwrap()
}

fn put_request(gate_number: u8, slot_number: u8, bytes: &[u8]) -> PutEscrow {
    PutEscrow {
        caller: None,
        request_id: RequestId::random().unwrap(),
        gate: gate(gate_number),
        slot: slot(slot_number),
        blob: content(bytes),
        ttl_secs: TTL,
    }
}

impl Relay {
    pub(super) async fn put(&self, gate: u8, slot: u8, bytes: &[u8]) -> Result<Deposit, Refusal> {
        self.vault.escrow.put(put_request(gate, slot, bytes)).await
    }

    async fn get(&self, gate_number: u8, slot_number: u8) -> Withdrawal {
        let get = GetEscrow { caller: None, gate: gate(gate_number), slot: slot(slot_number) };
        self.vault.escrow.get(get).await.unwrap()
    }

    async fn count(&self, number: u8) -> u32 {
        self.vault.escrow.count(CountEscrow { caller: None, gate: gate(number) }).await.unwrap()
    }
}

#[tokio::test]
async fn each_slot_reads_the_other_once_both_are_filled() {
    let relay = Relay::start(&[]);
    assert_eq!((relay.count(1).await, relay.get(1, 1).await), (0, Withdrawal::NotFound));
    assert_eq!(relay.put(1, 1, b"one").await, Ok(Deposit::Stored));
    assert_eq!((relay.count(1).await, relay.get(1, 1).await), (1, Withdrawal::NotReady(1)));
    assert_eq!(relay.get(1, 2).await, Withdrawal::NotReady(1));
    assert_eq!(relay.put(1, 2, b"").await, Ok(Deposit::Stored));
    assert_eq!(relay.count(1).await, 2);
    for _ in 0..2 {
        assert_eq!(relay.get(1, 1).await, Withdrawal::Blob(content(b"")), "nothing is deleted by reading");
        assert_eq!(relay.get(1, 2).await, Withdrawal::Blob(content(b"one")));
    }
    assert_eq!(relay.get(1, 3).await, Withdrawal::NotFound, "a stranger reads neither");
    assert_eq!(relay.get(2, 1).await, Withdrawal::NotFound, "another gate");
}

#[tokio::test]
async fn a_filled_slot_stays_as_it_was_and_there_is_no_third() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    assert_eq!(relay.put(1, 1, b"other").await, Ok(Deposit::AlreadyExists));
    relay.put(1, 2, b"two").await.unwrap();
    assert_eq!(relay.put(1, 3, b"three").await, Ok(Deposit::GateFull));
    assert_eq!(relay.put(1, 2, b"other").await, Ok(Deposit::AlreadyExists));
    assert_eq!(relay.get(1, 2).await, Withdrawal::Blob(content(b"one")));
    assert_eq!(relay.get(1, 1).await, Withdrawal::Blob(content(b"two")));
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (1, 2));
}

#[tokio::test]
async fn gates_survive_a_restart() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, &[7; 65_536]).await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.get(1, 2).await, Withdrawal::Blob(content(&[7; 65_536])));
    assert_eq!(relay.store.gauges.escrow_gates(), 1);
}

#[tokio::test]
async fn the_first_put_fixes_the_end_to_the_second() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    relay.clock.advance(Duration::from_secs(u64::from(TTL) - 1));
    assert_eq!(relay.put(1, 2, b"two").await, Ok(Deposit::Stored));
    assert_eq!(relay.get(1, 1).await, Withdrawal::Blob(content(b"two")));
    relay.clock.advance(Duration::from_secs(1));
    assert_eq!(
        (relay.count(1).await, relay.get(1, 1).await),
        (0, Withdrawal::NotFound),
        "expired and unswept"
    );
    relay.sweep.sweep().await.unwrap();
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (0, 0));
    assert_eq!(relay.store.gauges.escrow_gates(), 0);
}

#[tokio::test]
async fn an_expired_gate_starts_anew() {
    let relay = Relay::start(&[]);
    relay.put(1, 1, b"one").await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    relay.clock.advance(Duration::from_secs(u64::from(TTL)));
    assert_eq!(relay.put(1, 3, b"three").await, Ok(Deposit::Stored));
    assert_eq!((relay.count(1).await, relay.store.gauges.escrow_gates()), (1, 1));
    assert_eq!(relay.put(1, 1, b"new").await, Ok(Deposit::Stored));
    assert_eq!(relay.get(1, 3).await, Withdrawal::Blob(content(b"new")));
}

#[tokio::test]
async fn a_retry_gets_the_first_answer() {
    let relay = Relay::start(&[]);
    let first = put_request(1, 1, b"one");
    let again = put_request(1, 1, b"again");
    let third = put_request(1, 3, b"three");
    assert_eq!(relay.vault.escrow.put(first.clone()).await, Ok(Deposit::Stored));
    assert_eq!(relay.vault.escrow.put(again.clone()).await, Ok(Deposit::AlreadyExists));
    relay.put(1, 2, b"two").await.unwrap();
    assert_eq!(relay.vault.escrow.put(third.clone()).await, Ok(Deposit::GateFull));
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.vault.escrow.put(first).await, Ok(Deposit::Stored));
    assert_eq!(relay.vault.escrow.put(again).await, Ok(Deposit::AlreadyExists));
    assert_eq!(relay.vault.escrow.put(third).await, Ok(Deposit::GateFull));
    assert_eq!(relay.count(1).await, 2);
}

#[tokio::test]
async fn a_gate_for_no_time_is_refused() {
    let relay = Relay::start(&[]);
    let put = PutEscrow { ttl_secs: 0, ..put_request(1, 1, b"one") };
    assert_eq!(relay.vault.escrow.put(put).await, Err(Refusal::invalid("ttl_secs")));
    assert_eq!(relay.rows("escrow_gates"), 0);
}

#[tokio::test]
async fn there_are_as_many_gates_as_fit_beside_the_mail() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    for number in 0..16 {
        relay.put(number, 1, b"one").await.unwrap();
    }
    assert_eq!(relay.put(16, 1, b"one").await, Err(Refusal::StorageFull));
    assert_eq!(relay.put(15, 2, b"two").await, Ok(Deposit::Stored), "the gate is there already");
    relay.clock.advance(Duration::from_secs(u64::from(TTL)));
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.put(16, 1, b"one").await, Ok(Deposit::Stored));
}

#[tokio::test]
async fn a_full_store_takes_nothing_in_escrow_and_hands_out_what_it_has() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let first = put_request(1, 1, b"one");
    relay.vault.escrow.put(first.clone()).await.unwrap();
    relay.put(1, 2, b"two").await.unwrap();
    relay.put(2, 1, b"alone").await.unwrap();
    relay.fill_up().await;
    assert_eq!(relay.put(2, 2, b"two").await, Err(Refusal::StorageFull));
    assert_eq!(relay.put(3, 1, b"one").await, Err(Refusal::StorageFull));
    assert_eq!(relay.get(1, 1).await, Withdrawal::Blob(content(b"two")));
    assert_eq!(relay.vault.escrow.put(first).await, Ok(Deposit::Stored), "a retry needs no room");
}
