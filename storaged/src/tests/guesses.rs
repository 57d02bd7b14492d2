//! Guessing at the codes of exchanges.

use crate::tests::exchange::{claim_request, complete_request, text};
use crate::tests::*;
use relay_proto::limits::GUESS_PATIENCE as PATIENCE;
use relay_proto::messages::{ClaimRequest, CompleteRequest};
use relay_proto::{ExchangeCode, OfferName};
use tokio::time::Instant;

/// The name of a code that is not this one's.
fn wrong(code: ExchangeCode) -> OfferName {
    ExchangeCode::try_from((code.get() + 1) % ExchangeCode::COUNT).unwrap().offer()
}

/// Ten wrong guesses a minute.
const TEN: (&str, &str) = ("RELAY_EXCHANGE_GUESS_LIMIT", "10");

impl Relay {
    /// Spends the whole budget for wrong guesses, of ten a minute, by means of ten callers.
    async fn spend_guesses(&self, first: u8, wrong: OfferName) {
        for number in first..first + 10 {
            let guess = CompleteRequest { caller: client(number).map(Into::into), ..complete_request(wrong) };
            assert_eq!(self.ask_complete(guess).await, Err(StorageError::UnknownCode));
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
                assert_eq!(relay.complete(offer).await, Err(StorageError::NotYetClaimed));
                relay.claim(offer, "response").await?;
                assert_eq!(relay.claim(offer, "another").await, Err(StorageError::AlreadyClaimed));
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
    assert_eq!(refused, Err(StorageError::GuessesSpent { retry_after: Duration::from_secs(6) }));
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
    relay.ask_claim(claim.clone()).await.unwrap();
    relay.claim(completed.offer(), "response").await.unwrap();
    let complete = complete_request(completed.offer());
    relay.ask_complete(complete.clone()).await.unwrap();
    relay.spend_guesses(1, completed.offer()).await;
    assert_eq!(relay.ask_claim(claim).await, Ok(text("one")));
    assert_eq!(relay.ask_complete(complete).await, Ok(text("response")));
}

#[tokio::test]
async fn an_honest_caller_gets_through_while_another_floods() {
    let relay = Arc::new(Relay::start(&[TEN]));
    let code = relay.offer("payload").await.unwrap();
    relay.spend_guesses(1, wrong(code)).await;
    let guess = |caller: Caller, offer| {
        let relay = Arc::clone(&relay);
        let claim = ClaimRequest { caller: caller.map(Into::into), ..claim_request(offer, "response") };
        tokio::spawn(async move { relay.ask_claim(claim).await })
    };
    let flood: Vec<_> = (0..4).map(|_| guess(client(1), wrong(code))).collect();
    until_waiting(&relay, 4).await;
    let refused = guess(client(1), wrong(code)).await.unwrap().unwrap_err();
    assert!(matches!(refused, StorageError::GuessesSpent { .. }), "{refused:?}");
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
