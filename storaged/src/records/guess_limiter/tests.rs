use crate::records::guess_limiter::*;
use relay_daemon::ManualClock;
use relay_proto::UnixSeconds;
use relay_proto::caller::RateLimitClass;
use relay_proto::limits::GUESS_PATIENCE as PATIENCE;

fn hash(number: u8) -> AddressHash {
    AddressHash::from_bytes([number; AddressHash::LENGTH])
}

fn caller(number: u8) -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::Client, hash(number)))
}

/// An address of a network that has more of them.
fn in_network(network: u8, number: u8) -> Caller {
    Some(RateLimitSubject {
        network: hash(network),
        ..RateLimitSubject::new(RateLimitClass::Client, hash(number))
    })
}

fn relay() -> Caller {
    Some(RateLimitSubject::new(RateLimitClass::KnownObliviousRelay, hash(200)))
}

fn guesses_of(most: u32, offers: u64) -> (Arc<GuessLimiter>, ManualClock) {
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let gauges = Arc::new(Totals::with(exchange::KIND.total, i64::try_from(offers).unwrap()));
    let guesses = GuessLimiter::new(most, gauges, clock.clock(), Metrics::new([]).unwrap());
    (Arc::new(guesses), clock)
}

/// Ten wrong guesses a minute: one in six seconds.
fn guesses() -> (Arc<GuessLimiter>, ManualClock) {
    guesses_of(10, 1)
}

/// Guesses wrong until nobody listens any more; returns how often somebody did.
fn guess_wrong(guesses: &GuessLimiter, who: Caller) -> usize {
    let mut heard = 0;
    while guesses.hear(who, false).is_ok() {
        guesses.wrong(who);
        heard += 1;
    }
    heard
}

/// Spends the whole budget, the lower half too, by means of many addresses.
fn spend(guesses: &GuessLimiter) -> usize {
    (100..200).map(|who| guess_wrong(guesses, caller(who))).sum()
}

/// Waits for a turn, guesses, and writes down who was heard.
fn attempt_of(
    guesses: &Arc<GuessLimiter>,
    who: Caller,
    name: u8,
    is_right: bool,
    log: &Arc<Mutex<Vec<u8>>>,
) -> tokio::task::JoinHandle<Result<(), StorageError>> {
    let (guesses, log) = (Arc::clone(guesses), Arc::clone(log));
    tokio::spawn(async move {
        let turn = guesses.wait(who, Instant::now() + PATIENCE).await?;
        guesses.hear(who, true).unwrap();
        log.lock().unwrap().push(name);
        if !is_right {
            guesses.wrong(who);
        }
        drop(turn);
        Ok(())
    })
}

fn attempt(
    guesses: &Arc<GuessLimiter>,
    who: u8,
    is_right: bool,
    log: &Arc<Mutex<Vec<u8>>>,
) -> tokio::task::JoinHandle<Result<(), StorageError>> {
    attempt_of(guesses, caller(who), who, is_right, log)
}

async fn until_waiting(guesses: &GuessLimiter, many: usize) {
    while guesses.waiting() < many {
        tokio::task::yield_now().await;
    }
}

/// Lets everybody who waits look again.
async fn settle() {
    sleep(2 * LOOK).await;
}

#[test]
fn the_more_offers_are_live_the_fewer_wrong_guesses_are_heard() {
    for (offers, most, heard) in [
        (0, 300, 300),
        (1, 300, 300),
        (4, 300, 250),
        (10, 300, 100),
        (100, 300, 10),
        (10_000, 300, 10),
        (1, 20, 20),
        (5, 1, 1),
    ] {
        let (guesses, _clock) = guesses_of(most, offers);
        // Each from an address of its own.
        let mut count = 0_u64;
        for number in 0..1000_u16 {
            let mut bytes = [0; AddressHash::LENGTH];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            let who = Some(RateLimitSubject::new(RateLimitClass::Client, AddressHash::from_bytes(bytes)));
            if guesses.hear(who, false).is_ok() {
                guesses.wrong(who);
                count += 1;
            }
        }
        assert_eq!(count, heard, "{offers} offers");
        assert_eq!(guesses.metrics.exchange_wrong_guesses.get(), heard);
    }
}

#[test]
fn one_guesser_leaves_half_of_the_budget_to_who_was_not_wrong() {
    let (guesses, clock) = guesses();
    assert_eq!(guess_wrong(&guesses, caller(1)), 5);
    let wait = Duration::from_secs(6);
    assert_eq!(guesses.hear(caller(1), false), Err(StorageError::GuessesSpent { retry_after: wait }));
    assert_eq!(guess_wrong(&guesses, in_network(1, 2)), 0, "another address of the same network");
    assert_eq!(guess_wrong(&guesses, caller(3)), 1, "and then that one was wrong lately too");
    assert_eq!(guesses.hear(caller(4), false), Ok(()));
    clock.advance(Duration::from_secs(60));
    assert_eq!(guess_wrong(&guesses, caller(1)), 5, "a minute later");
}

#[test]
fn a_named_relay_may_be_wrong_ten_times_before_its_clients_are_taken_for_guessers() {
    let (guesses, _clock) = guesses_of(300, 1);
    assert_eq!(guess_wrong(&guesses, relay()), 150);
    assert_eq!(guesses.hear(caller(1), false), Ok(()));
    let (guesses, _clock) = guesses_of(12, 1);
    assert_eq!(guess_wrong(&guesses, relay()), 10, "which is less than the whole");
}

#[tokio::test(start_paused = true)]
async fn wrong_guesses_spend_the_budget_and_time_brings_it_back() {
    let (guesses, clock) = guesses();
    assert_eq!(spend(&guesses), 10);
    let wait = Duration::from_secs(6);
    assert_eq!(guesses.hear(caller(1), false), Err(StorageError::GuessesSpent { retry_after: wait }));
    clock.advance(wait);
    assert_eq!(guesses.hear(caller(1), false), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn whoever_gets_no_turn_in_five_seconds_is_told_when_to_come_again() {
    let (guesses, clock) = guesses();
    spend(&guesses);
    clock.advance(Duration::from_secs(1));
    let before = Instant::now();
    let refused = guesses.wait(caller(2), before + PATIENCE).await.map(drop);
    assert_eq!(refused, Err(StorageError::GuessesSpent { retry_after: Duration::from_secs(5) }));
    assert_eq!(before.elapsed(), PATIENCE);
    assert_eq!(guesses.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn turns_go_round_among_callers_and_in_order_within_one() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    for (waiting, who) in [1, 1, 1, 2, 2, 3].into_iter().enumerate() {
        drop(attempt(&guesses, who, true, &log));
        until_waiting(&guesses, waiting + 1).await;
    }
    clock.advance(Duration::from_secs(6));
    settle().await;
    assert_eq!(*log.lock().unwrap(), [1, 2, 3, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_named_relay_has_ten_turns_in_a_round() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    let mut waiting = 0;
    let mut wait = async |who, name| {
        drop(attempt_of(&guesses, who, name, true, &log));
        waiting += 1;
        until_waiting(&guesses, waiting).await;
    };
    for _ in 0..12 {
        wait(relay(), 9).await;
    }
    for _ in 0..2 {
        wait(caller(1), 1).await;
    }
    clock.advance(Duration::from_secs(6));
    settle().await;
    assert_eq!(*log.lock().unwrap(), [9, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 9]);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_wrong_lately_waits_behind_whoever_was_not() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    guess_wrong(&guesses, caller(1));
    spend(&guesses);
    for waiting in 0..MOST_EACH {
        drop(attempt(&guesses, 1, false, &log));
        until_waiting(&guesses, waiting + 1).await;
    }
    drop(attempt(&guesses, 2, true, &log));
    drop(attempt(&guesses, 3, true, &log));
    until_waiting(&guesses, MOST_EACH + 2).await;
    clock.advance(Duration::from_secs(6));
    settle().await;
    assert_eq!(
        *log.lock().unwrap(),
        [2, 3],
        "right guesses are free, and the half that is left is not for 1"
    );
    assert_eq!(guesses.waiting(), MOST_EACH);
}

#[tokio::test(start_paused = true)]
async fn the_line_is_short_for_an_address_a_network_and_a_relay() {
    let (guesses, _clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    let mut waiting = 0;
    for (callers, most) in [
        (vec![caller(1)], MOST_EACH),
        (vec![in_network(50, 2), in_network(50, 3), in_network(50, 4)], MOST_OF_NETWORK),
        (vec![relay()], MOST_OF_RELAY),
    ] {
        for number in 0..most {
            drop(attempt_of(&guesses, callers[number / MOST_EACH % callers.len()], 0, false, &log));
            waiting += 1;
            until_waiting(&guesses, waiting).await;
        }
        for who in callers {
            let before = Instant::now();
            assert!(attempt_of(&guesses, who, 0, false, &log).await.unwrap().is_err(), "one more");
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
    }
    sleep(PATIENCE).await;
    settle().await;
    assert_eq!(guesses.waiting(), 0);
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn twenty_networks_do_not_fill_the_line() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    let flood: Vec<_> = (0..20)
        .flat_map(|who| (0..MOST_EACH).map(move |_| who))
        .map(|who| attempt(&guesses, who, false, &log))
        .collect();
    until_waiting(&guesses, MOST).await;
    settle().await;
    let honest: Vec<_> = (50..60).map(|who| attempt(&guesses, who, true, &log)).collect();
    settle().await;
    assert_eq!(guesses.waiting(), MOST, "each took a place of somebody who had several");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(60));
        settle().await;
    }
    for guess in honest {
        assert_eq!(guess.await.unwrap(), Ok(()));
    }
    for guess in flood {
        guess.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_wrong_lately_leaves_a_full_line_to_whoever_was_not() {
    let (guesses, _clock) = guesses_of(300, 1);
    let log = Arc::default();
    // Each of them once, and then the rest of the budget.
    let wrong: Vec<u8> = (0..64).collect();
    for who in &wrong {
        guesses.wrong(caller(*who));
    }
    guess_wrong(&guesses, caller(0));
    let first: Vec<_> = wrong.iter().map(|who| attempt(&guesses, *who, false, &log)).collect();
    until_waiting(&guesses, MOST).await;
    assert!(attempt(&guesses, 63, false, &log).await.unwrap().is_err(), "no better than who waits");
    drop(guesses.join(caller(100)).unwrap());
    let mut gone = 0;
    settle().await;
    for guess in first {
        if guess.is_finished() {
            gone += 1;
        }
        guess.abort();
    }
    assert_eq!(gone, 1);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_those_who_wait() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    let waiting = attempt(&guesses, 1, true, &log);
    until_waiting(&guesses, 1).await;
    clock.advance(Duration::from_secs(6));
    assert_eq!(guesses.hear(caller(2), false), Err(StorageError::GuessesSpent { retry_after: LATER }));
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(guesses.hear(caller(2), false), Ok(()), "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_leaves_the_line_and_the_turn() {
    let (guesses, clock) = guesses();
    let log = Arc::default();
    spend(&guesses);
    let gone = attempt(&guesses, 1, true, &log);
    until_waiting(&guesses, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(guesses.waiting(), 0);
    clock.advance(Duration::from_secs(6));
    let turn = guesses.wait(caller(1), Instant::now() + PATIENCE).await.unwrap();
    assert!(guesses.hear(caller(2), false).is_err());
    drop(turn);
    assert_eq!(guesses.hear(caller(2), false), Ok(()));
}
