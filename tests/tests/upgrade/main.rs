//! From the version before to this one and back, again and again, while clients ask two hundred times a second: nobody
//! is refused, nothing is lost, and nothing comes twice.
//!
//! The version before is built from this repository's history, so the test wants a clone that has one, and no other test
//! beside it: `cargo test --test upgrade -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use relay_tests::cluster::Service;
use relay_tests::ledger::{self, Load};
use relay_tests::{Cluster, Via, binaries, previous};
use std::path::Path;
use std::time::{Duration, Instant};

/// Times that every process is replaced, by a newer one and an older one in turn.
const ROUNDS: usize = 20;

/// Twenty clients, each ten times a second.
const EVERY: Duration = Duration::from_millis(100);
const PLAIN: usize = 14;
const SEALED: usize = 3;

/// Answers between two rounds: a second's worth.
const BETWEEN: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the version before; .ci/run runs it"]
async fn twenty_upgrades_and_ways_back_under_load_cost_nobody_an_answer() {
    let (older, newer) = (previous::directory(), binaries::directory());
    // The version before does not know these, and the load is far below what they are by default.
    let builder =
        Cluster::builder().without("RELAY_ADDR_BYTES_PER_HOUR").without("RELAY_ADDR_NAMES_PER_HOUR");
    let mut relay = builder.gateways(2).federated().build();
    for service in relay.services() {
        service.launch.take_from(&older);
    }
    relay.start().await;
    let plain = (0..PLAIN).map(|_| relay.client());
    let sealed =
        Via::OBLIVIOUS.into_iter().flat_map(|via| vec![via; SEALED]).map(|via| relay.client_via(via));
    let load = Load::paced(plain.chain(sealed).collect(), EVERY);
    load.more(BETWEEN).await;
    let mut versions = vec![schema(&relay).await];
    let begin = Instant::now();
    let before = load.answers();
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            upgrade(&mut relay, newer).await
        } else {
            go_back(&mut relay, &older).await
        }
        versions.push(schema(&relay).await);
        load.more(BETWEEN).await;
    }
    let (answers, took) = (load.answers() - before, begin.elapsed());
    println!(
        "{ROUNDS} rounds, {answers} answers in {took:?}, {:.0} a second",
        answers as f64 / took.as_secs_f64()
    );
    ledger::verify(&relay.client(), &load.stop().await).await;
    let both = [versions[0], versions[1]];
    assert!(both[0] < both[1] && versions.iter().eq(both.iter().cycle().take(ROUNDS + 1)), "{versions:?}");
}

/// Which version of the schema the running store speaks.
async fn schema(relay: &Cluster) -> u64 {
    let mut status = relay.command(&["status", "--json"]).start();
    assert_eq!(status.exit_code().await, 0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    status["schema_version"].as_u64().unwrap()
}

/// The store first: gateways of either version get on with a newer one.
async fn upgrade(relay: &mut Cluster, to: &Path) {
    replace(&mut relay.storaged, to).await;
    for gateway in &mut relay.gateways {
        replace(gateway, to).await;
    }
    replace(relay.federated.as_mut().unwrap(), to).await;
}

/// The store last, and its database is taken back in between.
async fn go_back(relay: &mut Cluster, to: &Path) {
    replace(relay.federated.as_mut().unwrap(), to).await;
    for gateway in &mut relay.gateways {
        replace(gateway, to).await;
    }
    assert_eq!(relay.storaged.terminate().await, 0);
    let mut back = relay.command(&["downgrade"]);
    back.take_from(binaries::directory());
    assert_eq!(back.start().exit_code().await, 0);
    relay.storaged.launch.take_from(to);
    relay.storaged.spawn();
    relay.storaged.ready().await;
}

async fn replace(service: &mut Service, with: &Path) {
    assert_eq!(service.terminate().await, 0);
    service.launch.take_from(with);
    service.spawn();
    service.ready().await;
}
