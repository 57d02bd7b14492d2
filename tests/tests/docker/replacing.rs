//! Services come and go; clients do not notice.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use relay_tests::compose::{Compose, docker};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::ledger::{self, Load};
use relay_tests::trust::Trust;
use relay_tests::{Client, Via};
use std::time::Duration;

/// Answers between two blows: a second's worth.
const BETWEEN: usize = 120;

/// How often each of six clients asks.
const EVERY: Duration = Duration::from_millis(50);

/// A relay whose limits are out of the way.
async fn relay(number: u8, more: &str) -> (Compose, Trust) {
    let relay = Compose::lay_out(number)
        .variable("RELAY_MAX_BLOBS_PER_USER", 100_000)
        .variable("RELAY_RATE_LIMIT", 1_000_000)
        .variable("RELAY_ADDR_RATE_LIMIT", 1_000_000)
        .variable("RELAY_OHTTP_RATE_LIMIT", 1_000_000);
    let trust = relay.up(more).await;
    (relay, trust)
}

fn clients(relay: &Compose, trust: &Trust) -> Vec<Client> {
    let ways = [Via::Plain, Via::Plain, Via::Plain, Via::Plain, Via::Envelope, Via::Bhttp];
    ways.into_iter().map(|via| relay.client(via, trust)).collect()
}

/// Waits until so many containers of a service are healthy.
async fn healthy(relay: &Compose, service: &str, count: usize) {
    deadline::until(service, PATIENCE, async || {
        let format = "--format {{.Health}}";
        let health = relay.compose(&format!("ps {format} {service}"));
        (health.lines().filter(|line| *line == "healthy").count() == count).then_some(())
    })
    .await;
}

/// Kills the process of a container, and leaves it to Docker to start it again.
async fn crash(relay: &Compose, service: &str, container: &str) {
    let number = || docker(&["inspect", "-f", "{{.State.Pid}} {{.RestartCount}}", container]);
    let before = number();
    let pid = before.split_whitespace().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    deadline::until(service, PATIENCE, async || {
        let now = number();
        (now != before && !now.starts_with("0 ")).then_some(())
    })
    .await;
    healthy(relay, service, relay.containers(service).len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants Docker; .ci/run runs it"]
async fn clients_do_not_notice_that_services_are_scaled_killed_and_replaced() {
    let (relay, trust) = relay(3, "").await;
    let load = Load::paced(clients(&relay, &trust), EVERY);
    load.more(BETWEEN).await;
    relay.compose("up -d --scale gateway=3");
    healthy(&relay, "gateway", 3).await;
    load.more(BETWEEN).await;
    crash(&relay, "storaged", &relay.containers("storaged")[0]).await;
    load.more(BETWEEN).await;
    relay.compose("restart storaged");
    load.more(BETWEEN).await;
    for gateway in relay.containers("gateway") {
        docker(&["restart", &gateway]);
        healthy(&relay, "gateway", 3).await;
        load.more(BETWEEN).await;
    }
    // As an upgrade does: first the store, then each gateway, with a new one there before an old one goes.
    relay.compose("up -d --no-deps --force-recreate storaged");
    for old in relay.containers("gateway") {
        relay.compose("up -d --no-deps --no-recreate --scale gateway=4 gateway");
        healthy(&relay, "gateway", 4).await;
        docker(&["stop", &old]);
        docker(&["rm", &old]);
    }
    load.more(BETWEEN).await;
    relay.compose("up -d --no-deps --no-recreate --scale gateway=1 gateway");
    load.more(BETWEEN).await;
    ledger::verify(&relay.client(Via::Plain, &trust), &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants Docker; .ci/run runs it"]
async fn a_gateway_or_a_front_that_crashes_loses_nothing_that_was_answered() {
    let (relay, trust) = relay(4, "--scale gateway=2").await;
    for service in ["gateway", "front"] {
        let load = Load::until_cut(clients(&relay, &trust));
        load.more(BETWEEN).await;
        crash(&relay, service, &relay.containers(service)[0]).await;
        let ledgers = load.stop().await;
        deadline::until("the front again", PATIENCE, async || {
            relay.client(Via::Plain, &trust).attempt("GET", "/health", &[], "").await.ok().map(drop)
        })
        .await;
        ledger::verify(&relay.client(Via::Plain, &trust), &ledgers).await;
    }
}
