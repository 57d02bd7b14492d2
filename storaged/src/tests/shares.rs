//! Fair shares: what one payer may add, and that nobody else is the worse for it.

use crate::db::Space;
use crate::limits::FairShare;
use crate::limits::shares::Shares;
use crate::tests::exchange::{claim_request, complete_request, offer_request};
use crate::tests::*;
use relay_proto::guardian::Designating;
use relay_proto::messages::{
    ClaimRequest, CompleteRequest, EscrowDeposit, EscrowPutRequest, GuardianStoreRequest, OfferRequest,
};
use relay_proto::{GateName, RecoveryName, SlotName};

const MIB: u64 = 1 << 20;

/// A named relay.
fn named(number: u8) -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::KnownObliviousRelay, AddressHash::from_bytes([number; 16])))
}

/// A client that seals.
fn sealing(number: u8) -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::ObliviousRelay, AddressHash::from_bytes([number; 16])))
}

fn request_id() -> RequestId {
    RequestId::random().unwrap()
}

fn numbered(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[track_caller]
fn wait_of<T: std::fmt::Debug>(refused: Result<T, StorageError>) -> Duration {
    match refused {
        Err(StorageError::AddressRateLimited { retry_after }) => retry_after,
        other => panic!("not refused for its payer: {other:?}"),
    }
}

impl Relay {
    async fn send_for(
        &self,
        caller: Caller,
        to: MailboxHash,
        content: &[u8],
    ) -> Result<Outcome, StorageError> {
        self.write_for(caller, Command::Send(blob(to, content))).await
    }

    async fn register_for(&self, caller: Caller, names: std::ops::Range<u64>) -> Result<u32, StorageError> {
        let mailboxes: Vec<_> = names.map(|name| MailboxHash::from_bytes(numbered(name))).collect();
        self.registered(registration(caller, &mailboxes, None)).await.map(|registered| registered.registered)
    }

    async fn offer_by(&self, caller: Caller) -> Result<relay_proto::ExchangeCode, StorageError> {
        self.ask_offer(OfferRequest { caller: caller.map(Into::into), ..offer_request("offered") }).await
    }

    async fn prove_for(&self, caller: Caller, number: u64) -> Result<(), StorageError> {
        self.store_proof(caller, request_id(), RecoveryName::from_bytes(numbered(number)), b"proof").await
    }

    async fn deposit_for(&self, caller: Caller, gate: u64, slot: u8) -> Result<EscrowDeposit, StorageError> {
        let request = EscrowPutRequest {
            caller: caller.map(Into::into),
            request_id: request_id().into(),
            gate: GateName::from_bytes(numbered(gate)).into(),
            slot: SlotName::from_bytes([slot; 32]).into(),
            blob: Bytes::from_static(b"sealed"),
            ttl_secs: 600,
        };
        self.deposit(request).await
    }

    async fn designate_for(&self, caller: Caller, seed: u8) -> Result<(), StorageError> {
        let request = GuardianStoreRequest {
            caller: caller.map(Into::into),
            request_id: request_id().into(),
            designation: Some(self.designation(&key(seed), Designating::Store)),
            entries: vec![Bytes::from_static(b"guardian")],
        };
        self.store_guardians(request).await
    }
}

#[tokio::test]
async fn a_client_adds_so_many_bytes_an_hour_sealed_or_not_and_the_next_one_as_many() {
    let relay =
        Relay::start(&[("RELAY_ADDR_BYTES_PER_HOUR", "4194304"), ("RELAY_MAX_MESSAGE_SIZE", "1048576")]);
    let content = vec![1; 1_000_000];
    for number in 0..4 {
        let caller = if number % 2 == 0 { client(1) } else { sealing(1) };
        relay.send_for(caller, mailbox(number), &content).await.unwrap();
    }
    let wait = wait_of(relay.send_for(client(1), mailbox(9), &content).await);
    assert!(wait > Duration::from_secs(600) && wait < Duration::from_secs(900), "{wait:?}");
    wait_of(relay.send_for(sealing(1), mailbox(9), &content).await);
    relay.send_for(client(1), mailbox(0), &content).await.unwrap();
    relay.send_for(client(2), mailbox(9), &content).await.unwrap();
    relay.clock.advance(wait + Duration::from_millis(1));
    relay.send_for(client(1), mailbox(10), &content).await.unwrap();
    let rendered = relay_daemon::metrics::render(&relay.metrics.gather(&relay.store.gauges));
    assert!(rendered.contains("relay_rate_limited_total{scope=\"bytes\"} 2"), "{rendered}");
}

#[tokio::test]
async fn what_is_sent_again_costs_nothing() {
    let relay = Relay::start(&[("RELAY_ADDR_BYTES_PER_HOUR", "4194304")]);
    let content = vec![1; 1_000_000];
    for _ in 0..20 {
        relay.send_for(client(1), mailbox(1), &content).await.unwrap();
    }
    for number in 2..5 {
        relay.send_for(client(1), mailbox(number), &content).await.unwrap();
    }
    wait_of(relay.send_for(client(1), mailbox(5), &content).await);
}

#[tokio::test]
async fn small_mail_pays_for_the_room_that_it_takes() {
    let relay = Relay::start(&[("RELAY_ADDR_BYTES_PER_HOUR", "65536"), ("RELAY_MAX_MESSAGE_SIZE", "1024")]);
    let mut sent = 0_u64;
    while relay.send_for(client(1), mailbox(1), &sent.to_be_bytes()).await.is_ok() {
        sent += 1;
    }
    assert!((200..260).contains(&sent), "{sent} blobs of eight bytes in 64 KiB");
}

#[tokio::test]
async fn a_client_adds_two_thousand_new_names_an_hour_and_known_ones_are_free() {
    let relay = Relay::start(&[]);
    assert_eq!(relay.register_for(client(1), 0..1900).await, Ok(1900));
    for _ in 0..3 {
        assert_eq!(relay.register_for(sealing(1), 0..1900).await, Ok(1900), "renewed");
    }
    let wait = wait_of(relay.register_for(client(1), 1000..2001).await);
    assert_eq!(wait, Duration::from_millis(1800), "one more than there is: two thousand an hour");
    assert_eq!(relay.rows("registrations"), 1900, "all or none");
    assert_eq!(relay.register_for(client(1), 100..2000).await, Ok(1900), "a hundred of these are new");
    wait_of(relay.register_for(client(1), 5000..5001).await);
    wait_of(relay.prove_for(client(1), 1).await);
    wait_of(relay.offer_by(client(1)).await);
    wait_of(relay.deposit_for(client(1), 1, 1).await);
    wait_of(relay.designate_for(client(1), 1).await);
    assert_eq!(relay.register_for(client(2), 5000..5001).await, Ok(1));
    relay.prove_for(client(2), 1).await.unwrap();
    relay.offer_by(client(2)).await.unwrap();
    relay.designate_for(client(2), 1).await.unwrap();
    relay.prove_for(client(1), 1).await.unwrap();
    assert_eq!(relay.register_for(None, 6000..6001).await, Ok(1));
}

#[tokio::test]
async fn every_kind_of_name_counts_and_storing_it_again_does_not() {
    let relay = Relay::start(&[("RELAY_ADDR_NAMES_PER_HOUR", "5")]);
    let caller = client(1);
    assert_eq!(relay.register_for(caller, 0..1).await, Ok(1));
    relay.offer_by(caller).await.unwrap();
    relay.prove_for(caller, 1).await.unwrap();
    relay.designate_for(caller, 1).await.unwrap();
    assert_eq!(relay.deposit_for(caller, 1, 1).await, Ok(EscrowDeposit::Stored));
    relay.prove_for(caller, 1).await.unwrap();
    relay.clock.advance(Duration::from_secs(1));
    relay.designate_for(caller, 1).await.unwrap();
    assert_eq!(relay.register_for(caller, 0..1).await, Ok(1));
    assert_eq!(relay.deposit_for(caller, 1, 1).await, Ok(EscrowDeposit::AlreadyExists));
    wait_of(relay.deposit_for(caller, 1, 2).await);
    assert_eq!((relay.rows("escrow_gates"), relay.rows("escrow_slots")), (1, 1));
    wait_of(relay.deposit_for(caller, 2, 1).await);
    assert_eq!(relay.rows("escrow_gates"), 1, "a gate without a slot is not left behind");
}

#[tokio::test]
async fn a_retry_of_an_offer_is_the_offer_and_is_not_paid_twice() {
    let relay = Relay::start(&[("RELAY_ADDR_NAMES_PER_HOUR", "1")]);
    let offer = OfferRequest { caller: client(1).map(Into::into), ..offer_request("x") };
    let code = relay.ask_offer(offer.clone()).await.unwrap();
    assert_eq!(relay.ask_offer(offer).await, Ok(code));
    wait_of(relay.offer_by(client(1)).await);
}

#[tokio::test]
async fn a_named_relay_takes_at_most_half_of_what_is_free_and_the_rest_is_for_others() {
    let relay =
        Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "16777216"), ("RELAY_MAX_BLOBS_PER_USER", "100000")]);
    let mut sent = 0_u32;
    let refused = loop {
        let content = [&sent.to_be_bytes()[..], &[7; 3000]].concat();
        match relay.send_for(named(1), mailbox(1), &content).await {
            Ok(_) => sent += 1,
            refused => break refused,
        }
    };
    wait_of(refused);
    let space = relay.store.gauges.byte_space();
    assert!(space.free > space.whole / 2, "{space:?}");
    assert!(sent > 1000, "{sent}");
    relay.send_for(client(2), mailbox(2), b"others have room").await.unwrap();
    relay.send_for(named(3), mailbox(3), b"and so has another relay").await.unwrap();
    // Whoever takes mail away makes room for more.
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    for blob in &page.blobs {
        assert_eq!(relay.ack_for(named(1), mailbox(1), blob.blob_id.clone()).await, Ok(true));
    }
    for number in 0..page.blobs.len() / 2 {
        relay.send_for(named(1), mailbox(4), &number.to_be_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_named_relay_fills_no_table() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "4194304")]);
    // 64 gates, 256 proofs, 256 sets, 4096 registrations.
    let mut proofs = 0;
    while relay.prove_for(named(1), proofs).await.is_ok() {
        proofs += 1;
    }
    assert!((64..=128).contains(&proofs), "{proofs}");
    let mut gates = 0;
    while relay.deposit_for(named(1), gates, 1).await.is_ok() {
        gates += 1;
    }
    assert!((16..=32).contains(&gates), "{gates}");
    assert_eq!(relay.register_for(named(1), 0..1500).await, Ok(1500));
    wait_of(relay.register_for(named(1), 2000..3900).await);
    relay.prove_for(client(2), 9999).await.unwrap();
    assert_eq!(relay.deposit_for(client(2), 9999, 1).await, Ok(EscrowDeposit::Stored));
}

#[tokio::test]
async fn a_finished_exchange_gives_a_named_relay_its_place_back() {
    let relay = Relay::start(&[("RELAY_EXCHANGE_MAX_OFFERS", "20")]);
    for _ in 0..100 {
        let code = relay.offer_by(named(1)).await.unwrap().offer();
        let caller = named(1).map(Into::into);
        relay.ask_claim(ClaimRequest { caller, ..claim_request(code, "taken") }).await.unwrap();
        let caller = named(1).map(Into::into);
        relay.ask_complete(CompleteRequest { caller, ..complete_request(code) }).await.unwrap();
    }
    let mut open = 0;
    while relay.offer_by(named(1)).await.is_ok() {
        open += 1;
    }
    assert!((5..=10).contains(&open), "{open}");
    relay.offer_by(client(2)).await.unwrap();
}

/// What the tables hold by default: what is filled, its whole, how many hours it is kept, and bytes of a row.
fn tables() -> [(FairShare, u64, u64); 6] {
    let ceiling = relay_daemon::variables::MAX_STORAGE_BYTES.default_value();
    [
        (FairShare::rows(Total::REGISTRATIONS), ceiling / 1024, 120 * 24),
        (records::recovery::KIND.share, ceiling / (16 << 10), 90 * 24),
        (records::guardian::KIND.share, ceiling / (16 << 10), 365 * 24),
        (records::escrow::KIND.share, ceiling / (64 << 10), 7 * 24),
        (records::exchange::KIND.share, relay_daemon::variables::EXCHANGE_MAX_OFFERS.default_value(), 1),
        (FairShare::BYTES, ceiling, 120 * 24),
    ]
}

#[test]
fn to_fill_any_table_or_the_store_takes_one_address_more_than_a_day() {
    let vars = Vars::default();
    let allowance = Config::from_vars(&vars).unwrap().rates().allowance;
    for (kind, whole, kept_hours) in tables() {
        let clock = ManualClock::at(START);
        let shares = Shares::new(allowance, clock.clock(), Metrics::new([]).unwrap());
        let full = if kind == FairShare::BYTES { whole - whole / 20 } else { whole };
        let unit = if kind == FairShare::BYTES { MIB } else { 1 };
        let mut added = Vec::new();
        for minute in 0..24 * 60_u64 {
            let mut now = 0_u64;
            // A row at a time, or a mebibyte: as much as there is.
            while shares.payment(client(1)).rows(kind, Space { whole, free: whole }, unit).is_ok() {
                now += unit;
            }
            added.push(now);
            let oldest = (minute + 1).saturating_sub(kept_hours * 60);
            let live: u64 = added[usize::try_from(oldest).unwrap()..].iter().sum();
            assert!(live < full, "{kind:?} is full after {minute} minutes");
            clock.advance(Duration::from_secs(60));
        }
    }
    // What is remembered of requests besides: three days of ids of 80 bytes, at ten requests a second.
    let (rate, ceiling) = (600, relay_daemon::variables::MAX_STORAGE_BYTES.default_value());
    assert!(25 * (ceiling / 32) + 24 * 2000 * 512 + rate * 60 * 24 * 80 < ceiling - ceiling / 20);
}

#[test]
fn the_share_of_a_relay_leaves_half_and_comes_back_in_a_day() {
    let clock = ManualClock::at(START);
    let allowance = Config::from_vars(&Vars::default()).unwrap().rates().allowance;
    let shares = Shares::new(allowance, clock.clock(), Metrics::new([]).unwrap());
    let mut free = 100_000_u64;
    for day in 1..5 {
        let before = free;
        while shares
            .payment(named(1))
            .rows(records::recovery::KIND.share, Space { whole: 100_000, free }, 1)
            .is_ok()
        {
            free -= 1;
        }
        assert!(free >= before / 2, "day {day}: {free} of {before} are left");
        clock.advance(DAY);
    }
}
