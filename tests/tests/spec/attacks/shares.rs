//! One stranger takes what all share: requests, rows, bytes, the mailbox of somebody whose token he knows, and guesses at
//! codes. With the limits that a relay has by default, nobody else may notice.

use relay_tests::deadline;
use relay_tests::fields::{
    claim_fields, complete_fields, offer_fields, put_fields, random_bytes, random_mailbox, random_name,
};
use relay_tests::metrics::Series;
use relay_tests::{Action, Client, Cluster, Reply, Via};
use std::time::Duration;

/// A relay as it is by default, behind a proxy that says who its clients are.
async fn relay() -> Cluster {
    Cluster::builder()
        .with_default_limits()
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.0/8")
        .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
        .start()
        .await
}

fn client(relay: &Cluster, via: Via, address: &str) -> Client {
    relay.client_via(via).with_outer_header("x-forwarded-for", address)
}

fn stranger(relay: &Cluster) -> Client {
    client(relay, Via::Plain, "203.0.113.1")
}

fn honest(relay: &Cluster) -> Client {
    client(relay, Via::Plain, "198.51.100.1")
}

/// How many of some requests are answered with success. The others must be refused for who asks.
async fn served(requests: usize, mut ask: impl AsyncFnMut(usize) -> Reply) -> usize {
    let mut served = 0;
    for number in 0..requests {
        let reply = ask(number).await;
        match reply.status {
            200 => served += 1,
            _ => reply.refuses(429, "rate limit exceeded"),
        }
    }
    served
}

/// Asks while somebody attacks, ten times a second, and counts the successes of fifty.
async fn served_meanwhile(attack: impl Future<Output = ()>, mut ask: impl AsyncFnMut() -> bool) -> usize {
    let asking = async {
        let mut served = 0;
        let mut beats = deadline::beats(Duration::from_millis(100));
        for _ in 0..50 {
            beats.tick().await;
            served += usize::from(ask().await);
        }
        served
    };
    tokio::pin!(attack);
    tokio::select! {
        served = asking => served,
        () = &mut attack => panic!("an attack ends when the test does"),
    }
}

#[tokio::test]
async fn a_stranger_who_knows_a_token_keeps_nobody_from_reading() {
    let relay = relay().await;
    let (stranger, owner) = (stranger(&relay), honest(&relay));
    let mailbox = random_mailbox();
    owner.send(&mailbox, b"mail").await.blob_id();
    let wrong = "ab".repeat(16);
    let attack = async {
        let mut beats = deadline::beats(Duration::from_millis(50));
        loop {
            beats.tick().await;
            // As fast as an address may, and whatever it is answered.
            drop(stranger.ack(&mailbox, &wrong).await);
            drop(stranger.fetch(&[&mailbox]).await);
        }
    };
    let served = served_meanwhile(attack, async || owner.fetch(&[&mailbox]).await.status == 200).await;
    assert_eq!(served, 50, "of fifty fetches of the owner's");
    client(&relay, Via::Plain, "198.51.100.2").send(&mailbox, b"more").await.blob_id();
}

#[tokio::test]
async fn sealing_to_oneself_multiplies_nothing() {
    let relay = relay().await;
    let mailbox = random_mailbox();
    let sealing = client(&relay, Via::Envelope, "203.0.113.1");
    // 600 a minute, of which some come back meanwhile; one of them was the key.
    let sealed = served(700, async |_| sealing.fetch(&[&mailbox]).await).await;
    let direct = served(100, async |_| stranger(&relay).fetch(&[&mailbox]).await).await;
    assert!((590..700).contains(&(sealed + direct)), "{sealed} sealed and {direct} direct requests");
    assert!(direct < 50, "{direct}");
    honest(&relay).fetch(&[&mailbox]).await.success();
}

#[tokio::test]
async fn one_address_fills_no_table_and_not_the_store() {
    let relay = relay().await;
    let (stranger, honest) = (stranger(&relay), honest(&relay));
    let registered = served(30, async |_| {
        let names: Vec<_> = (0..1900).map(|_| random_mailbox()).collect();
        stranger.register(&names).await
    });
    assert_eq!(registered.await, 1, "nineteen hundred of two thousand an hour");
    let stored = relay.storaged.ops.metrics().await.sum("relay_registrations_stored");
    assert_eq!(stored, 1900.0);
    for _ in 0..2 {
        honest.register(&[random_mailbox()]).await.success();
    }
    let blob = random_bytes(1 << 20);
    let sent = served(40, async |_| stranger.send(&random_mailbox(), &blob).await).await;
    assert!((30..=32).contains(&sent), "{sent} of forty mebibytes, at 32 an hour");
    honest.send(&random_mailbox(), &blob).await.blob_id();
}

#[tokio::test]
async fn escrow_is_not_filled_from_one_address_nor_offers_and_proofs() {
    let relay = relay().await;
    let honest = honest(&relay);
    let sealing = client(&relay, Via::Envelope, "203.0.113.3");
    let deposits = served(590, async |_| {
        let put = put_fields(&random_name(), &random_name(), b"sealed", 604_800);
        sealing.call(Action::Escrow, &put).await
    });
    let deposits = deposits.await;
    assert!((512..525).contains(&deposits), "{deposits} deposits, at 512 an hour");
    let put = put_fields(&random_name(), &random_name(), b"sealed", 604_800);
    assert_eq!(honest.call(Action::Escrow, &put).await.outcome()["status"], "Stored");
}

async fn exchange(alice: &Client, bob: &Client) -> bool {
    let offered = alice.call(Action::ExchangeOffer, &offer_fields("from Alice")).await;
    if offered.status != 200 {
        return false;
    }
    let code = offered.said("code");
    let claimed = bob.call(Action::ExchangeClaim, &claim_fields(&code, "from Bob")).await;
    claimed.status == 200 && alice.call(Action::ExchangeComplete, &complete_fields(&code)).await.status == 200
}

/// A guess that is wrong but for one chance in a hundred thousand.
async fn guess(client: &Client) -> Reply {
    let number = u32::from_le_bytes(random_bytes(4).try_into().unwrap()) % 1_000_000;
    client.call(Action::ExchangeClaim, &claim_fields(&format!("{number:06}"), "guess")).await
}

#[tokio::test]
async fn right_codes_get_through_an_outer_relay_whose_other_clients_guess() {
    let relay = relay().await;
    let guesser = relay.client_via(Via::OuterEnvelope);
    let [alice, bob] = [guesser.another(), guesser.another()];
    for _ in 0..14 {
        guess(&guesser).await.refuses(400, "invalid or expired code");
    }
    for number in 0..6 {
        assert!(exchange(&alice, &bob).await, "exchange {number}");
    }
    let attack = async {
        loop {
            drop(guess(&guesser).await);
            deadline::pace(Duration::from_millis(250)).await;
        }
    };
    let served = served_meanwhile(attack, async || exchange(&alice, &bob).await).await;
    assert_eq!(served, 50, "of fifty exchanges while somebody guesses four times a second");
}

#[tokio::test]
async fn twenty_networks_that_guess_fill_no_line() {
    let relay = relay().await;
    let [alice, bob] = ["198.51.100.1", "198.51.100.2"].map(|address| client(&relay, Via::Plain, address));
    let guessing: Vec<_> = (0..80)
        .map(|number| {
            let guesser = client(&relay, Via::Plain, &format!("2001:db8:{:x}::1", number % 20));
            tokio::spawn(async move {
                let mut beats = deadline::beats(Duration::from_millis(200));
                loop {
                    beats.tick().await;
                    drop(guess(&guesser).await);
                }
            })
        })
        .collect();
    deadline::until("guesses that are refused", deadline::PATIENCE, async || {
        let metrics = relay.storaged.ops.metrics().await;
        let refused = |series: &&Series| {
            series.name == "relay_rate_limited_total" && series.labels.contains("guess") && series.value > 0.0
        };
        metrics.series().iter().find(refused).map(drop)
    })
    .await;
    let mut served = 0;
    for _ in 0..20 {
        served += usize::from(deadline::soon("an exchange", exchange(&alice, &bob)).await);
    }
    for guess in guessing {
        guess.abort();
    }
    assert_eq!(served, 20, "of twenty exchanges");
}
