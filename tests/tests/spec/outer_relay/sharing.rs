//! Limits: what one client may take of the outer relay, and of what the target takes from all.

use super::fake::{Act, FakeTarget, answer, sealed};
use super::{Outer, carry};
use relay_tests::deadline;
use relay_tests::{Client, Reply};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Another address of this machine.
fn from(outer: &Outer, host: u8) -> Client {
    outer.client().with_source(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)))
}

async fn statuses(client: &Client, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(carry(client, "sealed").await.status);
    }
    statuses
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|one| **one == status).count()
}

#[tokio::test]
async fn an_address_has_a_rate_of_its_own() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let url = format!("http://{}", target.address());
    let outer = Outer::start(&url, &[("OBLIVIOUS_ADDR_RATE_LIMIT", "20")]).await;
    let greedy = from(&outer, 2);
    let had = statuses(&greedy, 40).await;
    assert!((20..25).contains(&count(&had, 200)), "{had:?}");
    let refused: Reply = carry(&greedy, "sealed").await;
    refused.refuses(429, "rate limit exceeded");
    assert!((1..=3).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(statuses(&from(&outer, 3), 15).await, [200; 15]);
    assert!(outer.counted("oblivious_rate_limited_total").await >= 15.0);
}

#[tokio::test]
async fn clients_behind_a_proxy_that_is_trusted_are_told_apart_and_others_cannot_say_who_they_are() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let url = format!("http://{}", target.address());
    let variables = [("OBLIVIOUS_ADDR_RATE_LIMIT", "5"), ("RELAY_TRUSTED_PROXIES", "127.0.0.1")];
    let outer = Outer::start(&url, &variables).await;
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        let client = outer.client().with_outer_header("x-forwarded-for", address);
        assert_eq!(statuses(&client, 6).await, [200, 200, 200, 200, 200, 429], "{address}");
    }
    let neighbour = outer.client().with_outer_header("x-forwarded-for", "2001:db8::2");
    assert_eq!(carry(&neighbour, "sealed").await.status, 429, "one customer has a /64");
    for (number, expected) in [200, 200, 200, 200, 200, 429].into_iter().enumerate() {
        let stranger =
            from(&outer, 9).with_outer_header("x-forwarded-for", format!("203.0.113.{}", number + 10));
        assert_eq!(carry(&stranger, "sealed").await.status, expected);
    }
    assert_eq!(outer.counted("oblivious_client_addresses_total").await, 25.0);
    let mut of_network = Vec::new();
    for number in 1..=12 {
        let client = outer.client().with_outer_header("x-forwarded-for", format!("2001:db8:1:{number:x}::1"));
        of_network.extend(statuses(&client, 5).await);
    }
    assert!((40..45).contains(&count(&of_network, 200)), "one /48 has eight times that: {of_network:?}");
    assert_eq!(outer.process.output().matches("not in RELAY_TRUSTED_PROXIES").count(), 1);
}

#[tokio::test]
async fn a_target_that_names_an_absurd_pause_does_no_harm() {
    let lines = "retry-after: 18446744073709551615\r\n";
    let target = FakeTarget::answering(answer("429 Too Many Requests", lines, b"")).await;
    let outer = Outer::of(target.address()).await;
    let reply = carry(&outer.client(), "sealed").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("86400")));
    assert_eq!(outer.client().raw("GET", "/health", &[], "").await.status, 200);
    assert_eq!(outer.counted("relay_panics_total").await, 0.0);
}

#[tokio::test]
async fn a_greedy_address_takes_nobody_elses_share_of_what_the_target_takes() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let url = format!("http://{}", target.address());
    let outer = Outer::start(&url, &[("OBLIVIOUS_TARGET_RATE_LIMIT", "100")]).await;
    assert_eq!(statuses(&from(&outer, 2), 1).await, [200]);
    deadline::pace(Duration::from_millis(1100)).await;
    let had = statuses(&from(&outer, 2), 200).await;
    assert!((45..70).contains(&count(&had, 200)), "{}", count(&had, 200));
    assert_eq!(count(&had, 200) + count(&had, 429), 200);
    assert_eq!(statuses(&from(&outer, 3), 20).await, [200; 20]);
}

/// A target that takes so many requests at once, and so many a second, and says so in the open, as a front would.
async fn small(burst: f64, per_second: f64) -> FakeTarget {
    let bucket = Mutex::new((burst, Instant::now()));
    FakeTarget::start(move |_, _, _| {
        let (tokens, since) = &mut *bucket.lock().unwrap();
        *tokens = (*tokens + since.elapsed().as_secs_f64() * per_second).min(burst);
        *since = Instant::now();
        if *tokens < 1.0 {
            return Act::Answer(answer("429 Too Many Requests", "retry-after: 1\r\n", b""));
        }
        *tokens -= 1.0;
        Act::Answer(sealed(b"answer"))
    })
    .await
}

#[tokio::test]
async fn where_the_target_refuses_all_only_the_greedy_one_is_told() {
    let target = small(80.0, 2.0).await;
    let url = format!("http://{}", target.address());
    let outer = Outer::start(&url, &[("OBLIVIOUS_TARGET_RATE_LIMIT", "150")]).await;
    let had = statuses(&from(&outer, 2), 110).await;
    assert!((70..90).contains(&count(&had, 200)), "{}", count(&had, 200));
    assert!(count(&had, 429) > 10, "{had:?}");
    // A modest one waits for what the target takes meanwhile.
    let greedy = from(&outer, 2);
    let crowding = async {
        loop {
            carry(&greedy, "sealed").await;
        }
    };
    tokio::select! {
        () = crowding => {}
        had = async { statuses(&from(&outer, 3), 12).await } => assert_eq!(had, [200; 12]),
    }
    assert!(outer.process.output().contains("RELAY_OHTTP_RELAYS"), "the operator is told");
}
