//! Sealed messages that somebody brings again: nothing comes back that is over.

use crate::tests::exchange::{claim_request, complete_request, offer_request};
use crate::tests::*;
use relay_proto::messages::{EscrowDeposit, EscrowPutRequest, OfferRequest};
use relay_proto::{GateName, RecoveryName, SlotName};

/// Somebody who brings sealed messages of many clients.
fn oblivious_relay() -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::KnownObliviousRelay, AddressHash::from_bytes([1; 16])))
}

fn id(number: u8) -> RequestId {
    RequestId::from_bytes([number; 16])
}

/// An offer that the relay above brings, under a request id.
fn sealed_offer(number: u8) -> OfferRequest {
    let (caller, request_id) = (oblivious_relay().map(Into::into), id(number).into());
    OfferRequest { caller, request_id, ..offer_request("offered") }
}

#[tokio::test]
async fn an_older_proof_does_not_come_back() {
    let relay = Relay::start(&[]);
    let key = RecoveryName::from_bytes([1; 32]);
    let store = |caller, number, content: &'static [u8]| relay.store_proof(caller, id(number), key, content);
    let proof = async || relay.query_proofs(None, &[key]).await.unwrap()[0].proof.to_vec();
    store(oblivious_relay(), 1, b"old").await.unwrap();
    store(oblivious_relay(), 2, b"new").await.unwrap();
    for _ in 0..3 {
        store(oblivious_relay(), 1, b"old").await.unwrap();
        assert_eq!(proof().await, b"new");
        relay.clock.advance(DAY - HOUR);
    }
    store(None, 1, b"old").await.unwrap();
    assert_eq!(proof().await, b"old", "who comes by himself means it");
}

#[tokio::test]
async fn an_offer_is_made_once_whatever_became_of_it() {
    let relay = Relay::start(&[]);
    let offer = |number| relay.ask_offer(sealed_offer(number));
    let code = offer(1).await.unwrap();
    for _ in 0..1000 {
        assert_eq!(offer(1).await, Ok(code));
    }
    assert_eq!(relay.store.gauges.of(Total::named("exchange_offers")), 1);
    relay.ask_claim(claim_request(code.offer(), "taken")).await.unwrap();
    relay.ask_complete(complete_request(code.offer())).await.unwrap();
    assert_eq!(offer(1).await, Err(StorageError::UnknownCode), "completed");
    offer(2).await.unwrap();
    relay.clock.advance(HOUR);
    assert_eq!(offer(2).await, Err(StorageError::UnknownCode), "expired");
    assert_eq!(relay.rows("exchanges"), 1, "which waits for the sweep");
    let relay = relay.restart(&[]).await;
    relay.clock.advance(2 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.ask_offer(sealed_offer(1)).await, Err(StorageError::UnknownCode));
}

#[tokio::test]
async fn a_gate_that_is_over_stays_closed() {
    let relay = Relay::start(&[]);
    let put = || {
        relay.deposit(EscrowPutRequest {
            caller: oblivious_relay().map(Into::into),
            request_id: id(1).into(),
            gate: GateName::from_bytes([1; 32]).into(),
            slot: SlotName::from_bytes([1; 32]).into(),
            blob: Bytes::from_static(b"sealed"),
            ttl_secs: 60,
        })
    };
    for _ in 0..3 {
        assert_eq!(put().await, Ok(EscrowDeposit::Stored), "the same answer for a while");
    }
    relay.clock.advance(HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(put().await, Ok(EscrowDeposit::AlreadyExists));
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (0, 0));
}
