//! Exchanges: two people meet, one reads six digits to the other, and each gets what the other offers. Nobody
//! else gets anything, and nobody gets it twice.

use relay_tests::deadline;
use relay_tests::fields::{claim_fields, complete_fields, offer_fields, random_bytes};
use relay_tests::reply::limited;
use relay_tests::{Action, Client, Cluster, Reply, Via};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const UNKNOWN: &str = "invalid or expired code";

async fn offer(client: &Client, payload: &str) -> String {
    let code = client.call(Action::ExchangeOffer, &offer_fields(payload)).await.said("code");
    assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code:?}");
    code
}

async fn claim(client: &Client, code: &str, response: &str) -> Reply {
    client.call(Action::ExchangeClaim, &claim_fields(code, response)).await
}

async fn complete(client: &Client, code: &str) -> Reply {
    client.call(Action::ExchangeComplete, &complete_fields(code)).await
}

/// A code that none of these is.
fn wrong_code(taken: &[&str]) -> String {
    (0..).map(|number| format!("{number:06}")).find(|code| !taken.contains(&code.as_str())).unwrap()
}

#[tokio::test]
async fn each_gets_what_the_other_offers() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let [alice, bob] = [relay.client_via(via), relay.client_via(via)];
        let payload = format!("{{\"key\":\"{}\"}} \u{1f511}\n", hex::encode(random_bytes(40)));
        let code = offer(&alice, &payload).await;
        complete(&alice, &code).await.refuses(400, "not yet claimed");
        assert_eq!(claim(&bob, &code, "from Bob").await.said("payload"), payload);
        assert_eq!(complete(&alice, &code).await.said("response"), "from Bob");
    }
}

#[tokio::test]
async fn clients_of_different_doors_and_gateways_meet() {
    let relay = Cluster::builder().gateways(2).separate_ports().start().await;
    for offering in Via::ALL {
        for claiming in Via::ALL {
            let alice = relay.client_of_via(0, offering);
            let bob = relay.client_of_via(1, claiming);
            let code = offer(&alice, "from Alice").await;
            assert_eq!(claim(&bob, &code, "from Bob").await.said("payload"), "from Alice");
            assert_eq!(complete(&relay.client_of_via(1, offering), &code).await.said("response"), "from Bob");
        }
    }
}

#[tokio::test]
async fn an_offer_is_claimed_once_and_completed_once() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let code = offer(&client, "payload").await;
        claim(&client, &code, "first").await.success();
        claim(&client, &code, "second").await.refuses(400, "already claimed");
        claim(&client, &code, "first").await.refuses(400, "already claimed");
        assert_eq!(complete(&client, &code).await.said("response"), "first");
        complete(&client, &code).await.refuses(400, UNKNOWN);
        claim(&client, &code, "third").await.refuses(400, UNKNOWN);
    }
}

#[tokio::test]
async fn of_many_claims_at_once_one_counts() {
    let relay = Cluster::builder().gateways(2).start().await;
    let code = offer(&relay.client(), "payload").await;
    let tasks: Vec<_> = (0..9)
        .map(|index| {
            let (client, code) = (relay.client_via(Via::ALL[index % 3]), code.clone());
            tokio::spawn(async move {
                let response = format!("response {index}");
                let reply = claim(&client, &code, &response).await;
                if reply.status == 200 {
                    assert_eq!(reply.said("payload"), "payload");
                    return Some(response);
                }
                reply.refuses(400, "already claimed");
                None
            })
        })
        .collect();
    let mut counted = Vec::new();
    for task in tasks {
        counted.extend(task.await.unwrap());
    }
    assert_eq!(counted.len(), 1);
    assert_eq!(complete(&relay.client(), &code).await.said("response"), counted[0]);
}

#[tokio::test]
async fn a_code_that_nobody_offered_is_never_told_from_one_that_is_over() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let over = offer(&client, "payload").await;
        claim(&client, &over, "response").await.success();
        complete(&client, &over).await.success();
        let never = wrong_code(&[&over]);
        let answers = [
            claim(&client, &over, "response").await,
            claim(&client, &never, "response").await,
            complete(&client, &over).await,
            complete(&client, &never).await,
        ];
        for answer in &answers {
            answer.refuses(400, UNKNOWN);
            assert_eq!((&answer.body, answer.plaintext), (&answers[0].body, answers[0].plaintext));
        }
    }
}

#[tokio::test]
async fn an_offer_ends_when_its_time_has_passed() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let start = Instant::now();
    let fields = json!({ "payload": "short-lived", "expires_secs": 30 });
    let code = client.call(Action::ExchangeOffer, &fields).await.said("code");
    let lasting = offer(&client, "lives for the default time").await;
    // Asking to complete what is not claimed changes nothing.
    let end = deadline::until("an offer to end", Duration::from_secs(60), async || {
        deadline::pace(Duration::from_millis(200)).await;
        let answer = complete(&client, &code).await;
        (answer.failure(400) != "not yet claimed").then_some(answer)
    })
    .await;
    end.refuses(400, UNKNOWN);
    assert!(start.elapsed() >= Duration::from_secs(29), "after {:?}", start.elapsed());
    claim(&client, &code, "too late").await.refuses(400, UNKNOWN);
    claim(&client, &lasting, "in time").await.success();
}

#[tokio::test]
async fn an_offer_may_live_for_30_to_3600_seconds() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for seconds in [json!(30), json!(3600), json!(null)] {
            let fields = json!({ "payload": "payload", "expires_secs": seconds });
            client.call(Action::ExchangeOffer, &fields).await.said("code");
        }
        for seconds in [0_u64, 29, 3601, u64::MAX] {
            let fields = json!({ "payload": "payload", "expires_secs": seconds });
            let reply = client.call(Action::ExchangeOffer, &fields).await;
            reply.refuses(400, "TTL must be between 30 and 3600 seconds");
        }
    }
}

#[tokio::test]
async fn each_side_may_say_64_kib() {
    let relay = Cluster::simple().await;
    for via in Via::STRAIGHT {
        let client = relay.client_via(via);
        let long = hex::encode(random_bytes(32 << 10));
        let code = offer(&client, &long).await;
        claim(&client, &code, &format!("{long}x")).await.failure(400);
        assert_eq!(claim(&client, &code, &long).await.said("payload"), long);
        assert_eq!(complete(&client, &code).await.said("response"), long);
        let reply = client.call(Action::ExchangeOffer, &offer_fields(&format!("{long}x"))).await;
        reply.refuses(400, "payload too large");
        // Bytes count, not letters.
        let reply = client.call(Action::ExchangeOffer, &offer_fields(&"\u{e9}".repeat(32_769))).await;
        reply.refuses(400, "payload too large");
    }
}

#[tokio::test]
async fn what_no_sealed_answer_has_room_for_is_refused_when_it_is_offered() {
    let relay = Cluster::simple().await;
    // Each of these letters is six in JSON.
    let hostile = "\u{1}".repeat(20_000);
    for via in Via::STRAIGHT {
        let client = relay.client_via(via);
        let reply = client.call(Action::ExchangeOffer, &offer_fields(&hostile)).await;
        reply.refuses(400, "payload too large");
        let code = offer(&client, &hostile[..10_000]).await;
        claim(&client, &code, &hostile).await.refuses(400, "response too large");
        for (claiming, completing) in
            [(Via::OuterEnvelope, Via::OuterBhttp), (Via::OuterBhttp, Via::OuterEnvelope)]
        {
            let code = offer(&client, &hostile[..10_000]).await;
            let claimed = claim(&relay.client_via(claiming), &code, &hostile[..9000]).await;
            assert_eq!(claimed.said("payload"), hostile[..10_000]);
            let completed = complete(&relay.client_via(completing), &code).await;
            assert_eq!(completed.said("response"), hostile[..9000]);
        }
    }
}

#[tokio::test]
async fn codes_are_six_digits_and_all_different() {
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mut codes = BTreeSet::new();
    for _ in 0..300 {
        assert!(codes.insert(offer(&client, "payload").await), "a code of two live offers");
    }
    let leading: BTreeSet<_> = codes.iter().map(|code| &code[..1]).collect();
    assert!(leading.len() >= 8, "codes of all sizes: {leading:?}");
}

#[tokio::test]
async fn an_exchange_survives_that_everything_is_killed() {
    let mut relay = Cluster::simple().await;
    for via in Via::ALL {
        let code = offer(&relay.client_via(via), "payload").await;
        relay.kill();
        relay.start().await;
        complete(&relay.client_via(via), &code).await.refuses(400, "not yet claimed");
        assert_eq!(claim(&relay.client_via(via), &code, "response").await.said("payload"), "payload");
        relay.kill();
        relay.start().await;
        claim(&relay.client_via(via), &code, "response").await.refuses(400, "already claimed");
        assert_eq!(complete(&relay.client_via(via), &code).await.said("response"), "response");
        relay.kill();
        relay.start().await;
        complete(&relay.client_via(via), &code).await.refuses(400, UNKNOWN);
    }
}

#[tokio::test]
async fn only_so_many_offers_are_open_at_once() {
    let mut relay = Cluster::builder().variable("RELAY_EXCHANGE_MAX_OFFERS", 2).start().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let first = offer(&client, "first").await;
        let second = offer(&client, "second").await;
        client.call(Action::ExchangeOffer, &offer_fields("third")).await.refuses(503, "too many offers");
        relay.storaged.restart().await;
        client.call(Action::ExchangeOffer, &offer_fields("third")).await.refuses(503, "too many offers");
        claim(&client, &first, "response").await.success();
        complete(&client, &first).await.success();
        let third = offer(&client, "third").await;
        for code in [second, third] {
            claim(&client, &code, "response").await.success();
            complete(&client, &code).await.success();
        }
    }
}

#[tokio::test]
async fn guessing_is_limited_over_all_gateways_and_doors() {
    for via in Via::ALL {
        let relay = Cluster::builder()
            .gateways(2)
            .separate_ports()
            .variable("RELAY_EXCHANGE_GUESS_LIMIT", 6)
            .start()
            .await;
        let code = offer(&relay.client_of(0), "payload").await;
        let wrong = wrong_code(&[&code]);
        claim(&relay.client_of_via(0, via), &wrong, "guess").await.refuses(400, UNKNOWN);
        claim(&relay.client_of_via(1, via), &wrong, "guess").await.refuses(400, UNKNOWN);
        complete(&relay.client_of_via(0, via), &wrong).await.refuses(400, UNKNOWN);
        // Six a minute, half of them for who was not wrong lately: the next one in a sixth of a minute, which is too
        // long to wait for.
        let [first, second] = [0, 1].map(|gateway| relay.client_of_via(gateway, via));
        let third = second.another();
        let (one, two, three) = tokio::join!(
            claim(&first, &wrong, "guess"),
            claim(&second, &wrong, "guess"),
            complete(&third, &wrong)
        );
        for reply in [one, two, three] {
            limited(&reply, 10);
        }
    }
}

#[tokio::test]
async fn right_codes_are_free() {
    let relay = Cluster::builder().variable("RELAY_EXCHANGE_GUESS_LIMIT", 1).start().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for _ in 0..5 {
            let code = offer(&client, "payload").await;
            complete(&client, &code).await.refuses(400, "not yet claimed");
            claim(&client, &code, "response").await.success();
            claim(&client, &code, "response").await.refuses(400, "already claimed");
            complete(&client, &code).await.success();
        }
    }
}

#[tokio::test]
async fn guessers_slow_honest_people_down_and_do_not_shut_them_out() {
    // One guess every three seconds, which is less than a claim waits for.
    let relay = Cluster::builder()
        .variable("RELAY_EXCHANGE_GUESS_LIMIT", 20)
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.0/8")
        .start()
        .await;
    let from = |address: &str| relay.client().with_outer_header("x-forwarded-for", address);
    let (guesser, honest) = (from("203.0.113.1"), from("203.0.113.2"));
    let code = offer(&honest, "payload").await;
    let wrong = wrong_code(&[&code]);
    for _ in 0..10 {
        claim(&guesser, &wrong, "guess").await.refuses(400, UNKNOWN);
    }
    let guesses: Vec<_> = (0..4)
        .map(|_| {
            let (guesser, wrong) = (guesser.another(), wrong.clone());
            tokio::spawn(async move { claim(&guesser, &wrong, "guess").await })
        })
        .collect();
    assert_eq!(claim(&honest, &code, "response").await.said("payload"), "payload");
    for guess in guesses {
        guess.abort();
    }
}
