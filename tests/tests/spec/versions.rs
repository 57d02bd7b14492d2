//! Client versions: everybody is told the policy, old clients are told a deadline, and after it they are asked
//! to upgrade.

use relay_tests::cluster::Builder;
use relay_tests::deadline::{self, PATIENCE, unix_now};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::oblivious::{self, Key};
use relay_tests::{Client, Cluster, Reply, Via};
use serde_json::json;

const DAY: u64 = 86_400;
const VERSION: &str = "x-app-compat-version";

fn with_policy(minimum: u16, warn: u16) -> Builder {
    Cluster::builder().variable("RELAY_MIN_VERSION", minimum).variable("RELAY_WARN_VERSION", warn)
}

#[track_caller]
fn policy(reply: &Reply) -> (u16, u16) {
    let number = |name| {
        let value = reply.header(name).unwrap_or_else(|| panic!("no {name} in {}", reply.describe()));
        value.parse().unwrap()
    };
    (number("x-min-version"), number("x-warn-version"))
}

fn upgrade_deadline(reply: &Reply) -> Option<u64> {
    reply.header("x-upgrade-deadline").map(|value| value.parse().unwrap())
}

async fn with_version(client: Client, version: u16) -> Option<u64> {
    let reply = client.with_header(VERSION, version).fetch(&[random_mailbox()]).await;
    reply.success();
    upgrade_deadline(&reply)
}

#[tokio::test]
async fn every_v2_answer_carries_the_policy() {
    let relay = with_policy(5, 7).variable("RELAY_RATE_LIMIT", 1).start().await;
    let client = relay.client().with_header(VERSION, 9);
    let mailbox = random_mailbox();
    for (reply, status) in [
        (client.raw("GET", "/v2/health", &[], "").await, 200),
        (client.send(&mailbox, b"one").await, 200),
        (client.send(&mailbox, b"two").await, 429),
        (client.send("short", b"").await, 400),
        (client.send(&random_mailbox(), &random_bytes((1 << 20) + 1)).await, 413),
        (client.raw("GET", "/v2/send", &[], "").await, 405),
        (client.raw("GET", "/v2/nothing", &[], "").await, 404),
    ] {
        assert_eq!(reply.status, status, "{}", reply.describe());
        assert_eq!(policy(&reply), (5, 7));
        assert_eq!(upgrade_deadline(&reply), None);
    }
}

#[tokio::test]
async fn without_a_policy_every_version_is_welcome() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let reply = relay.client_via(via).fetch(&[random_mailbox()]).await;
        reply.success();
        // An envelope has no headers, and an outer relay lets none of those around it through.
        if via != Via::OuterEnvelope {
            assert_eq!(policy(&reply), (0, 0));
        }
        assert_eq!(upgrade_deadline(&reply), None);
    }
}

#[tokio::test]
async fn an_old_client_learns_when_it_must_have_been_upgraded() {
    let before = unix_now();
    let relay = Cluster::builder().variable("RELAY_MIN_VERSION", 5).start().await;
    let after = unix_now();
    let deadline = with_version(relay.client(), 4).await.unwrap();
    assert!((before + 14 * DAY..=after + 14 * DAY).contains(&deadline), "{deadline}");
    assert_eq!(with_version(relay.client(), 0).await, Some(deadline));
    let unversioned = relay.client().fetch(&[random_mailbox()]).await;
    assert_eq!(upgrade_deadline(&unversioned), Some(deadline), "no version counts as 0");
    assert_eq!(with_version(relay.client(), 5).await, None);
    assert_eq!(with_version(relay.client(), u16::MAX).await, None);
}

#[tokio::test]
async fn after_the_deadline_an_old_client_is_asked_to_upgrade() {
    let relay = with_policy(5, 6).variable("RELAY_VERSION_GRACE_DAYS", 0).start().await;
    for client in [relay.client(), relay.client().with_header(VERSION, 4)] {
        let reply = client.send(&random_mailbox(), b"old").await;
        assert_eq!(reply.status, 426, "{}", reply.describe());
        assert_eq!(policy(&reply), (5, 6));
        let json = reply.json();
        assert_eq!((&json["error"], &json["min_version"]), (&json!("upgrade_required"), &json!(5)));
    }
    assert_eq!(with_version(relay.client(), 5).await, None);
    assert_eq!(relay.client().raw("GET", "/health", &[], "").await.status, 200);
}

#[tokio::test]
async fn the_grace_time_starts_when_the_minimum_was_raised() {
    let mut relay = Cluster::builder().variable("RELAY_MIN_VERSION", 5).start().await;
    let first = with_version(relay.client(), 4).await.unwrap();
    let a_moment_passes = async || {
        let now = unix_now();
        deadline::until("the clock to go on", PATIENCE, async || (unix_now() > now + 1).then_some(())).await;
    };

    a_moment_passes().await;
    relay.kill();
    relay.start().await;
    assert_eq!(with_version(relay.client(), 4).await, Some(first), "a restart starts nothing anew");

    a_moment_passes().await;
    for service in relay.services() {
        service.launch.set("RELAY_MIN_VERSION", 6);
    }
    relay.kill();
    relay.start().await;
    let second = with_version(relay.client(), 4).await.unwrap();
    assert!(second > first, "a higher minimum has a grace time of its own");
}

/// The key of a relay that would turn an old client away, fetched by one that is not old.
async fn key(relay: &Cluster) -> Key {
    relay.client().with_header(VERSION, u16::MAX).key().await
}

#[tokio::test]
async fn a_sealed_request_that_says_no_version_is_not_an_old_one() {
    let relay = with_policy(5, 6).variable("RELAY_VERSION_GRACE_DAYS", 0).start().await;
    for via in Via::OBLIVIOUS {
        // Relays on the way strip headers.
        let reply = relay.client_via(via).with_key(key(&relay).await).fetch(&[random_mailbox()]).await;
        reply.page();
        assert_eq!(policy(&reply), (5, 6));
        assert_eq!(upgrade_deadline(&reply), None);
    }
    let broken = relay.client().raw("POST", oblivious::PATH, &[], "").await;
    assert_eq!((broken.status, policy(&broken)), (415, (5, 6)));
}

#[tokio::test]
async fn a_version_in_a_sealed_request_counts() {
    let relay = with_policy(5, 6).variable("RELAY_VERSION_GRACE_DAYS", 0).start().await;
    let key = key(&relay).await;
    let client =
        |version: u16| relay.client_via(Via::Bhttp).with_key(key.clone()).with_header(VERSION, version);
    client(5).fetch(&[random_mailbox()]).await.page();
    let reply = client(4).send(&random_mailbox(), b"old").await;
    assert_eq!((reply.status, policy(&reply)), (426, (5, 6)));
    let json = reply.json();
    assert_eq!((&json["error"], &json["min_version"]), (&json!("upgrade_required"), &json!(5)));
}
