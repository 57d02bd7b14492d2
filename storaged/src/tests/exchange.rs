//! Six-digit exchanges, and guessing at them.

use crate::tests::*;
use relay_proto::exchange::{Claim, Complete, Offer};
use relay_proto::limits::GUESS_PATIENCE as PATIENCE;
use relay_proto::server::ExchangeHandler as _;
use relay_proto::{ExchangeCode, ExchangeText, OfferName};
use std::collections::HashSet;
use tokio::time::Instant;

fn text(content: &str) -> ExchangeText {
    ExchangeText::try_from(content.to_owned()).unwrap()
}

fn offer_request(payload: &str) -> Offer {
    let request_id = RequestId::random().unwrap();
    Offer { caller: None, request_id, payload: text(payload), ttl_secs: None }
}

fn claim_request(offer: OfferName, response: &str) -> Claim {
    Claim { caller: None, request_id: RequestId::random().unwrap(), offer, response: text(response) }
}

fn complete_request(offer: OfferName) -> Complete {
    Complete { caller: None, request_id: RequestId::random().unwrap(), offer }
}

/// The name of a code that is not this one's.
fn wrong(code: ExchangeCode) -> OfferName {
    ExchangeCode::try_from((code.get() + 1) % ExchangeCode::COUNT).unwrap().offer()
}

/// Ten wrong guesses a minute.
const TEN: (&str, &str) = ("RELAY_EXCHANGE_GUESS_LIMIT", "10");

impl Relay {
    pub(super) async fn offer(&self, payload: &str) -> Result<ExchangeCode, Refusal> {
        self.vault.exchange.offer(offer_request(payload)).await
    }

    pub(super) async fn claim(&self, offer: OfferName, response: &str) -> Result<ExchangeText, Refusal> {
        self.vault.exchange.claim(claim_request(offer, response)).await
    }

    pub(super) async fn complete(&self, offer: OfferName) -> Result<ExchangeText, Refusal> {
        self.vault.exchange.complete(complete_request(offer)).await
    }

    async fn offer_for(&self, ttl_secs: Option<u64>) -> Result<ExchangeCode, Refusal> {
        self.vault.exchange.offer(Offer { ttl_secs, ..offer_request("payload") }).await
    }

    fn seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Spends the whole budget for wrong guesses, of ten a minute, by means of ten callers.
    async fn spend_guesses(&self, first: u8, wrong: OfferName) {
        for number in first..first + 10 {
            let guess = Complete { caller: client(number), ..complete_request(wrong) };
            assert_eq!(self.vault.exchange.complete(guess).await, Err(Refusal::UnknownCode));
        }
    }
}

#[tokio::test]
async fn an_exchange_is_an_offer_a_claim_and_a_completion() {
    let relay = Relay::start(&[]);
    let offer = relay.offer("payload").await.unwrap().offer();
    assert_eq!(relay.complete(offer).await, Err(Refusal::NotYetClaimed));
    assert_eq!(relay.claim(offer, "response").await, Ok(text("payload")));
    assert_eq!(relay.claim(offer, "another").await, Err(Refusal::AlreadyClaimed));
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.store.gauges.exchange_offers(), 1);
    assert_eq!(relay.claim(offer, "another").await, Err(Refusal::AlreadyClaimed));
    assert_eq!(relay.complete(offer).await, Ok(text("response")));
    assert_eq!(relay.complete(offer).await, Err(Refusal::UnknownCode));
    assert_eq!(relay.claim(offer, "another").await, Err(Refusal::UnknownCode));
    assert_eq!(relay.store.gauges.exchange_offers(), 0);
}

#[tokio::test]
async fn a_retry_of_any_step_is_answered_as_the_first_time() {
    let relay = Relay::start(&[]);
    let offer = offer_request("payload");
    let code = relay.vault.exchange.offer(offer.clone()).await.unwrap();
    let claim = claim_request(code.offer(), "response");
    relay.vault.exchange.claim(claim.clone()).await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(relay.vault.exchange.offer(offer).await, Ok(code));
    assert_eq!(relay.rows("exchanges"), 1, "the retry stored nothing");
    assert_eq!(relay.vault.exchange.claim(claim.clone()).await, Ok(text("payload")));
    let complete = complete_request(code.offer());
    relay.vault.exchange.complete(complete.clone()).await.unwrap();
    let relay = relay.restart(&[]).await;
    relay.seconds(299);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.vault.exchange.complete(complete.clone()).await, Ok(text("response")));
    assert_eq!(relay.vault.exchange.claim(claim).await, Err(Refusal::UnknownCode), "the offer is gone");
    relay.seconds(1);
    assert_eq!(relay.vault.exchange.complete(complete).await, Err(Refusal::UnknownCode));
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!(relay.rows("exchange_answers"), 0);
}

#[tokio::test]
async fn a_retry_of_an_offer_gets_its_code_even_where_a_code_before_it_has_become_free() {
    let relay = Relay::start(&[]);
    let offer = offer_request("payload");
    let first = relay.vault.exchange.offer(offer.clone()).await.unwrap();
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
    let second = relay.vault.exchange.offer(offer.clone()).await.unwrap();
    assert_ne!(second, first);
    relay.seconds(30);
    assert_eq!(relay.vault.exchange.offer(offer).await, Ok(second));
    assert_eq!(relay.claim(first.offer(), "response").await, Err(Refusal::UnknownCode));
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
    assert_eq!(relay.store.gauges.exchange_offers(), 300);
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
    assert_eq!(relay.complete(unclaimed.offer()).await, Err(Refusal::NotYetClaimed));
    assert_eq!(relay.claim(claimed.offer(), "response").await, Err(Refusal::AlreadyClaimed));
    relay.seconds(1);
    for offer in [unclaimed.offer(), claimed.offer()] {
        assert_eq!(relay.claim(offer, "response").await, Err(Refusal::UnknownCode));
        assert_eq!(relay.complete(offer).await, Err(Refusal::UnknownCode));
    }
    assert_eq!(relay.rows("exchanges"), 2, "expired and unswept");
    relay.sweep.sweep_exchanges().await.unwrap();
    assert_eq!((relay.rows("exchanges"), relay.store.gauges.exchange_offers()), (0, 0));
}

#[tokio::test]
async fn an_offer_lives_from_half_a_minute_to_an_hour() {
    let relay = Relay::start(&[("RELAY_EXCHANGE_DEFAULT_TTL_SECS", "60")]);
    for ttl_secs in [0, 29, 3601, u64::MAX] {
        assert_eq!(relay.offer_for(Some(ttl_secs)).await, Err(Refusal::invalid("ttl_secs")), "{ttl_secs}");
    }
    for (ttl_secs, life) in [(None, 60), (Some(30), 30), (Some(3600), 3600)] {
        let offer = relay.offer_for(ttl_secs).await.unwrap().offer();
        relay.seconds(life - 1);
        assert_eq!(relay.complete(offer).await, Err(Refusal::NotYetClaimed));
        relay.seconds(1);
        assert_eq!(relay.complete(offer).await, Err(Refusal::UnknownCode));
    }
}

#[tokio::test]
async fn only_so_many_offers_are_live_and_what_is_over_does_not_count() {
    let relay = Relay::start(&[("RELAY_EXCHANGE_MAX_OFFERS", "2")]);
    let (first, second) = (offer_request("first"), offer_request("second"));
    let code = relay.vault.exchange.offer(first.clone()).await.unwrap();
    relay.vault.exchange.offer(second).await.unwrap();
    assert_eq!(relay.offer("third").await, Err(Refusal::TooManyOffers));
    assert_eq!(relay.vault.exchange.offer(first).await, Ok(code), "a retry is no further offer");
    relay.claim(code.offer(), "response").await.unwrap();
    assert_eq!(relay.offer("third").await, Err(Refusal::TooManyOffers), "claimed is not completed");
    relay.complete(code.offer()).await.unwrap();
    relay.offer("third").await.unwrap();
    assert_eq!(relay.offer("fourth").await, Err(Refusal::TooManyOffers));
    relay.seconds(300);
    relay.offer("fourth").await.unwrap();
    relay.offer("fifth").await.unwrap();
    assert_eq!(relay.offer("sixth").await, Err(Refusal::TooManyOffers));
    assert_eq!(relay.store.gauges.exchange_offers(), 2);
}

#[tokio::test]
async fn a_full_store_takes_no_offer_and_no_claim_and_completes_what_is_claimed() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let [open, claimed] = [relay.offer("open").await.unwrap(), relay.offer("claimed").await.unwrap()];
    let claim = claim_request(claimed.offer(), "response");
    relay.vault.exchange.claim(claim.clone()).await.unwrap();
    relay.fill_up().await;
    assert_eq!(relay.offer("another").await, Err(Refusal::StorageFull));
    assert_eq!(relay.claim(open.offer(), "response").await, Err(Refusal::StorageFull));
    assert_eq!(relay.vault.exchange.claim(claim).await, Ok(text("claimed")), "a retry needs no room");
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
        while relay.store.gauges.exchange_offers() > 0 {
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
    let code = relay.vault.exchange.offer(offer.clone()).await.unwrap();
    let claim = claim_request(code.offer(), "response");
    relay.vault.exchange.claim(claim.clone()).await.unwrap();
    for file in std::fs::read_dir(relay.directory.path()).unwrap() {
        let path = file.unwrap().path();
        for secret in [offer.request_id.as_bytes(), claim.request_id.as_bytes()] {
            assert!(!holds(&path, secret), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn right_guesses_are_free_however_many_go_side_by_side() {
    let relay = Arc::new(Relay::start(&[("RELAY_EXCHANGE_GUESS_LIMIT", "1")]));
    let exchanges: Vec<_> = (0..100)
        .map(|_| {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move {
                let offer = relay.offer("payload").await?.offer();
                assert_eq!(relay.complete(offer).await, Err(Refusal::NotYetClaimed));
                relay.claim(offer, "response").await?;
                assert_eq!(relay.claim(offer, "another").await, Err(Refusal::AlreadyClaimed));
                relay.complete(offer).await
            })
        })
        .collect();
    for exchange in exchanges {
        assert_eq!(exchange.await.unwrap(), Ok(text("response")));
    }
    assert_eq!(relay.metrics.exchange_wrong_guesses.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn wrong_guesses_spend_the_budget_and_then_even_right_ones_wait_five_seconds_at_most() {
    let relay = Relay::start(&[TEN]);
    let code = relay.offer("payload").await.unwrap();
    relay.spend_guesses(1, wrong(code)).await;
    assert_eq!(relay.metrics.exchange_wrong_guesses.get(), 10);
    let before = Instant::now();
    let refused = relay.claim(code.offer(), "response").await;
    assert_eq!(refused, Err(Refusal::GuessesSpent { retry_after: Duration::from_secs(6) }));
    assert_eq!(before.elapsed(), PATIENCE);
    relay.seconds(6);
    assert_eq!(relay.claim(code.offer(), "response").await, Ok(text("payload")));
    assert_eq!(relay.complete(code.offer()).await, Ok(text("response")));
}

#[tokio::test]
async fn a_retry_is_answered_even_while_nobody_is_listened_to() {
    let relay = Relay::start(&[TEN]);
    let [claimed, completed] = [relay.offer("one").await.unwrap(), relay.offer("two").await.unwrap()];
    let claim = claim_request(claimed.offer(), "response");
    relay.vault.exchange.claim(claim.clone()).await.unwrap();
    relay.claim(completed.offer(), "response").await.unwrap();
    let complete = complete_request(completed.offer());
    relay.vault.exchange.complete(complete.clone()).await.unwrap();
    relay.spend_guesses(1, completed.offer()).await;
    assert_eq!(relay.vault.exchange.claim(claim).await, Ok(text("one")));
    assert_eq!(relay.vault.exchange.complete(complete).await, Ok(text("response")));
}

#[tokio::test]
async fn an_honest_caller_gets_through_while_another_floods() {
    let relay = Arc::new(Relay::start(&[TEN]));
    let code = relay.offer("payload").await.unwrap();
    relay.spend_guesses(1, wrong(code)).await;
    let guess = |caller, offer| {
        let relay = Arc::clone(&relay);
        let claim = Claim { caller, ..claim_request(offer, "response") };
        tokio::spawn(async move { relay.vault.exchange.claim(claim).await })
    };
    let flood: Vec<_> = (0..4).map(|_| guess(client(1), wrong(code))).collect();
    until_waiting(&relay, 4).await;
    let refused = guess(client(1), wrong(code)).await.unwrap().unwrap_err();
    assert!(matches!(refused, Refusal::GuessesSpent { .. }), "{refused:?}");
    let honest = guess(client(99), code.offer());
    until_waiting(&relay, 5).await;
    relay.seconds(6);
    assert_eq!(honest.await.unwrap(), Ok(text("payload")), "before everybody who came earlier and was wrong");
    for guess in flood {
        guess.abort();
    }
}

#[tokio::test]
async fn who_hangs_up_pays_all_the_same() {
    let relay = Relay::start(&[]);
    let code = relay.offer("payload").await.unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    relay.store.writer.chore(move |_| {
        held.recv().unwrap_err();
        Ok(())
    });
    for _ in 0..10 {
        let guess = relay.claim(wrong(code), "response");
        // Polled once, which hands the guess to the writer, and dropped.
        tokio::select! {
            biased;
            _ = guess => panic!("the writer is held up"),
            () = std::future::ready(()) => {}
        }
    }
    drop(release);
    // The queue is first in, first out.
    relay.store.check().await.unwrap();
    assert_eq!(relay.metrics.exchange_wrong_guesses.get(), 10);
}

/// Waits until so many guesses stand in line.
async fn until_waiting(relay: &Relay, many: usize) {
    let wait = async {
        while relay.vault.exchange.guesses.waiting() < many {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), wait).await.unwrap();
}
