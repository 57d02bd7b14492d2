//! Six-digit exchanges.

use crate::tests::*;
use relay_proto::messages::exchange_server::Exchange as _;
use relay_proto::messages::{
    ClaimReply, ClaimRequest, CompleteReply, CompleteRequest, OfferReply, OfferRequest,
};
use relay_proto::{ExchangeCode, OfferName};
use std::collections::HashSet;
use tokio::time::Instant;

pub(super) fn text(content: &str) -> String {
    content.to_owned()
}

fn request_id() -> Bytes {
    RequestId::random().unwrap().into()
}

pub(super) fn offer_request(payload: &str) -> OfferRequest {
    OfferRequest { caller: None, request_id: request_id(), payload: text(payload), ttl_secs: None }
}

pub(super) fn claim_request(offer: OfferName, response: &str) -> ClaimRequest {
    let (offer, response) = (offer.into(), text(response));
    ClaimRequest { caller: None, request_id: request_id(), offer, response }
}

pub(super) fn complete_request(offer: OfferName) -> CompleteRequest {
    CompleteRequest { caller: None, request_id: request_id(), offer: offer.into() }
}

impl Relay {
    pub(super) async fn offer(&self, payload: &str) -> Result<ExchangeCode, StorageError> {
        self.ask_offer(offer_request(payload)).await
    }

    pub(super) async fn ask_offer(&self, request: OfferRequest) -> Result<ExchangeCode, StorageError> {
        let OfferReply { code } = replied(self.vault.exchange.offer(Request::new(request)).await)?;
        Ok(ExchangeCode::try_from(code).unwrap())
    }

    pub(super) async fn ask_claim(&self, request: ClaimRequest) -> Result<String, StorageError> {
        let reply = replied(self.vault.exchange.claim(Request::new(request)).await);
        reply.map(|ClaimReply { payload }| payload)
    }

    pub(super) async fn ask_complete(&self, request: CompleteRequest) -> Result<String, StorageError> {
        let reply = replied(self.vault.exchange.complete(Request::new(request)).await);
        reply.map(|CompleteReply { response }| response)
    }

    pub(super) async fn claim(&self, offer: OfferName, response: &str) -> Result<String, StorageError> {
        self.ask_claim(claim_request(offer, response)).await
    }

    pub(super) async fn complete(&self, offer: OfferName) -> Result<String, StorageError> {
        self.ask_complete(complete_request(offer)).await
    }

    async fn offer_for(&self, ttl_secs: Option<u64>) -> Result<ExchangeCode, StorageError> {
        self.ask_offer(OfferRequest { ttl_secs, ..offer_request("payload") }).await
    }

    pub(super) fn seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_message_has_no_text_that_is_too_long_and_no_field_of_a_wrong_length() {
    let relay = Relay::start(&[]);
    let code = relay.offer(&"x".repeat(65_536)).await.unwrap();
    let (long, short) = ("x".repeat(65_537), Bytes::from_static(&[0; 15]));
    let refused = Err(StorageError::invalid("payload"));
    assert_eq!(relay.ask_offer(offer_request(&long)).await, refused);
    let offer = OfferRequest { request_id: short.clone(), ..offer_request("payload") };
    assert_eq!(relay.ask_offer(offer).await, Err(StorageError::invalid("request_id")));
    assert_eq!(relay.claim(code.offer(), &long).await, Err(StorageError::invalid("response")));
    let claim = ClaimRequest { offer: short.clone(), ..claim_request(code.offer(), "response") };
    assert_eq!(relay.ask_claim(claim).await, Err(StorageError::invalid("offer")));
    let complete = CompleteRequest { request_id: short, ..complete_request(code.offer()) };
    assert_eq!(relay.ask_complete(complete).await, Err(StorageError::invalid("request_id")));
    assert_eq!(relay.metrics.exchange_wrong_guesses.get(), 0);
}

#[tokio::test]
async fn an_exchange_is_an_offer_a_claim_and_a_completion() {
    let relay = Relay::start(&[]);
    let offer = relay.offer("payload").await.unwrap().offer();
    assert_eq!(relay.complete(offer).await, Err(StorageError::NotYetClaimed));
    assert_eq!(relay.claim(offer, "response").await, Ok(text("payload")));
    assert_eq!(relay.claim(offer, "another").await, Err(StorageError::AlreadyClaimed));
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.store.gauges.of(Total::named("exchange_offers")), 1);
    assert_eq!(relay.claim(offer, "another").await, Err(StorageError::AlreadyClaimed));
    assert_eq!(relay.complete(offer).await, Ok(text("response")));
    assert_eq!(relay.complete(offer).await, Err(StorageError::UnknownCode));
    assert_eq!(relay.claim(offer, "another").await, Err(StorageError::UnknownCode));
    assert_eq!(relay.store.gauges.of(Total::named("exchange_offers")), 0);
}

#[tokio::test]
async fn a_retry_of_any_step_is_answered_as_the_first_time() {
    let relay = Relay::start(&[]);
    let offer = offer_request("payload");
    let code = relay.ask_offer(offer.clone()).await.unwrap();
    let claim = claim_request(code.offer(), "response");
    relay.ask_claim(claim.clone()).await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.ask_offer(offer).await, Ok(code));
    assert_eq!(relay.rows("exchanges"), 1, "the retry stored nothing");
    assert_eq!(relay.ask_claim(claim.clone()).await, Ok(text("payload")));
    let complete = complete_request(code.offer());
    relay.ask_complete(complete.clone()).await.unwrap();
    let relay = relay.restart(&[]).await;
    relay.seconds(299);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.ask_complete(complete.clone()).await, Ok(text("response")));
    assert_eq!(relay.ask_claim(claim).await, Err(StorageError::UnknownCode), "the offer is gone");
    relay.seconds(1);
    assert_eq!(relay.ask_complete(complete).await, Err(StorageError::UnknownCode));
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!(relay.rows("exchange_answers"), 0);
}

#[tokio::test]
async fn a_retry_of_an_offer_gets_its_code_even_where_a_code_before_it_has_become_free() {
    let relay = Relay::start(&[]);
    let offer = offer_request("payload");
    let first = relay.ask_offer(offer.clone()).await.unwrap();
    relay.seconds(300);
    relay.sweep.sweep().await.unwrap();
    // Somebody else has the code that this request draws first, for a while.
    let (name, expires) = (first.offer(), i64::try_from(START.plus(330).get()).unwrap());
    relay
        .sql()
        .execute(
            "INSERT INTO exchanges (name, expires, offered_by, payload) VALUES (?1, ?2, x'00', '')",
            rusqlite::params![name.as_bytes(), expires],
        )
        .unwrap();
    let second = relay.ask_offer(offer.clone()).await.unwrap();
    assert_ne!(second, first);
    relay.seconds(30);
    assert_eq!(relay.ask_offer(offer).await, Ok(second));
    assert_eq!(relay.claim(first.offer(), "response").await, Err(StorageError::UnknownCode));
}

#[tokio::test]
async fn no_two_live_offers_have_one_code() {
    let relay = Arc::new(Relay::start(&[]));
    let offers: Vec<_> = (0..300)
        .map(|number| {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move { relay.offer(&format!("payload {number}")).await })
        })
        .collect();
    let mut codes = Vec::new();
    for offer in offers {
        codes.push(offer.await.unwrap().unwrap());
    }
    assert_eq!(codes.iter().copied().collect::<HashSet<_>>().len(), 300);
    assert_eq!(relay.store.gauges.of(Total::named("exchange_offers")), 300);
    for number in [0, 150, 299] {
        let payload = relay.claim(codes[number].offer(), "response").await;
        assert_eq!(payload, Ok(text(&format!("payload {number}"))));
    }
}

#[tokio::test]
async fn an_offer_ends_to_the_second_at_every_step() {
    let relay = Relay::start(&[]);
    let [unclaimed, claimed] =
        [relay.offer_for(None).await.unwrap(), relay.offer_for(Some(300)).await.unwrap()];
    relay.claim(claimed.offer(), "response").await.unwrap();
    relay.seconds(299);
    assert_eq!(relay.complete(unclaimed.offer()).await, Err(StorageError::NotYetClaimed));
    assert_eq!(relay.claim(claimed.offer(), "response").await, Err(StorageError::AlreadyClaimed));
    relay.seconds(1);
    for offer in [unclaimed.offer(), claimed.offer()] {
        assert_eq!(relay.claim(offer, "response").await, Err(StorageError::UnknownCode));
        assert_eq!(relay.complete(offer).await, Err(StorageError::UnknownCode));
    }
    assert_eq!(relay.rows("exchanges"), 2, "expired and unswept");
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!((relay.rows("exchanges"), relay.store.gauges.of(Total::named("exchange_offers"))), (0, 0));
}

#[tokio::test]
async fn an_offer_lives_from_half_a_minute_to_an_hour() {
    let relay = Relay::start(&[("RELAY_EXCHANGE_DEFAULT_TTL_SECS", "60")]);
    for ttl_secs in [0, 29, 3601, u64::MAX] {
        assert_eq!(
            relay.offer_for(Some(ttl_secs)).await,
            Err(StorageError::invalid("ttl_secs")),
            "{ttl_secs}"
        );
    }
    for (ttl_secs, life) in [(None, 60), (Some(30), 30), (Some(3600), 3600)] {
        let offer = relay.offer_for(ttl_secs).await.unwrap().offer();
        relay.seconds(life - 1);
        assert_eq!(relay.complete(offer).await, Err(StorageError::NotYetClaimed));
        relay.seconds(1);
        assert_eq!(relay.complete(offer).await, Err(StorageError::UnknownCode));
    }
}

#[tokio::test]
async fn only_so_many_offers_are_live_and_what_is_over_does_not_count() {
    let relay = Relay::start(&[("RELAY_EXCHANGE_MAX_OFFERS", "2")]);
    let (first, second) = (offer_request("first"), offer_request("second"));
    let code = relay.ask_offer(first.clone()).await.unwrap();
    relay.ask_offer(second).await.unwrap();
    assert_eq!(relay.offer("third").await, Err(StorageError::TooManyOffers));
    assert_eq!(relay.ask_offer(first).await, Ok(code), "a retry is no further offer");
    relay.claim(code.offer(), "response").await.unwrap();
    assert_eq!(relay.offer("third").await, Err(StorageError::TooManyOffers), "claimed is not completed");
    relay.complete(code.offer()).await.unwrap();
    relay.offer("third").await.unwrap();
    assert_eq!(relay.offer("fourth").await, Err(StorageError::TooManyOffers));
    relay.seconds(300);
    relay.offer("fourth").await.unwrap();
    relay.offer("fifth").await.unwrap();
    assert_eq!(relay.offer("sixth").await, Err(StorageError::TooManyOffers));
    assert_eq!(relay.store.gauges.of(Total::named("exchange_offers")), 2);
}

#[tokio::test]
async fn a_full_store_takes_no_offer_and_no_claim_and_completes_what_is_claimed() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let [open, claimed] = [relay.offer("open").await.unwrap(), relay.offer("claimed").await.unwrap()];
    let claim = claim_request(claimed.offer(), "response");
    relay.ask_claim(claim.clone()).await.unwrap();
    relay.fill_up().await;
    assert_eq!(relay.offer("another").await, Err(StorageError::StorageFull));
    assert_eq!(relay.claim(open.offer(), "response").await, Err(StorageError::StorageFull));
    assert_eq!(relay.ask_claim(claim).await, Ok(text("claimed")), "a retry needs no room");
    assert_eq!(relay.complete(claimed.offer()).await, Ok(text("response")));
}

#[tokio::test]
async fn what_is_over_is_in_no_file_after_the_sweep() {
    let relay = Relay::start(&[]);
    let offer = relay.offer("unmistakable payload").await.unwrap().offer();
    relay.claim(offer, "unmistakable response").await.unwrap();
    relay.complete(offer).await.unwrap();
    relay.offer("unmistakable too").await.unwrap();
    let log = relay.directory.path().join("relay.db-wal");
    assert!(holds(&log, b"unmistakable") || holds(&relay.database(), b"unmistakable"));
    relay.seconds(300);
    relay.sweep.sweep_exchanges().await.unwrap();
    assert!(!holds(&log, b"unmistakable"));
    assert!(!holds(&relay.database(), b"unmistakable"));
}

#[tokio::test(start_paused = true)]
async fn exchanges_are_swept_every_minute_whatever_the_interval_of_the_others() {
    // Time flies while the writer works: a second a turn with this in the way, and the other interval is out
    // of reach.
    let never = 600 * DAY;
    let brake = tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let relay = Arc::new(Relay::start(&[]));
    let shutdown = relay_daemon::Shutdown::default();
    let running = tokio::spawn({
        let (relay, shutdown) = (Arc::clone(&relay), shutdown.clone());
        async move { relay.sweep.run(never, shutdown).await }
    });
    let before = Instant::now();
    // Both kinds of sweep begin at once, and that may cost two of these. The third is left to the minute's.
    for _ in 0..3 {
        relay.offer("payload").await.unwrap();
        relay.seconds(300);
        while relay.store.gauges.of(Total::named("exchange_offers")) > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert!(before.elapsed() < never);
    brake.abort();
    shutdown.begin();
    running.await.unwrap();
}

#[tokio::test]
async fn no_code_and_no_request_id_rests_on_disk() {
    let relay = Relay::start(&[]);
    let offer = offer_request("payload");
    let code = relay.ask_offer(offer.clone()).await.unwrap();
    let claim = claim_request(code.offer(), "response");
    relay.ask_claim(claim.clone()).await.unwrap();
    for file in std::fs::read_dir(relay.directory.path()).unwrap() {
        let path = file.unwrap().path();
        for secret in [&offer.request_id, &claim.request_id] {
            assert!(!holds(&path, secret), "{}", path.display());
        }
    }
}
