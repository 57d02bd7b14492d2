//! `relay doctor`: a good set-up has nothing wrong, and each thing that is wrong is named by its own code, by that code
//! alone, with the line that mends it.

mod before_start;
mod federation;
mod front;
mod sockets;
mod store;

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::{Cluster, Launch, Supervised};
use serde_json::Value;
use std::path::Path;

/// What the doctor found, with its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Diagnosis {
    codes: Vec<String>,
    exit: i32,
}

/// Lets it look.
async fn look(launch: &Launch) -> Diagnosis {
    let finished = launch.finish().await;
    let said = format!("{}{}", finished.stdout, finished.stderr);
    let json: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"));
    let findings = json["findings"].as_array().unwrap();
    for finding in findings {
        for field in ["severity", "text", "mend"] {
            assert!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{said}");
        }
    }
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
    Diagnosis { codes, exit: finished.code.unwrap() }
}

/// Expects exactly one finding, and an end that says that something is wrong.
async fn finds(code: &str, launch: &Launch) {
    let expected = Diagnosis { codes: vec![code.to_owned()], exit: 1 };
    assert_eq!(look(launch).await, expected);
}

pub(super) async fn finds_nothing(launch: &Launch) {
    assert_eq!(look(launch).await, Diagnosis { codes: Vec::new(), exit: 0 });
}

/// The doctor, beside a relay of separate processes.
fn doctor(relay: &Cluster) -> Launch {
    let ops = match &relay.gateways[0].ops {
        relay_tests::ops::Ops::Port(address) => address.to_string(),
        relay_tests::ops::Ops::Socket(path) => panic!("a gateway has a port, and not {path:?}"),
    };
    relay
        .command(&["doctor", "--json"])
        .variable("RELAY_LISTEN_ADDR", relay.address())
        .variable("RELAY_METRICS_ADDR", ops)
}

/// The same, with a URL to look at and an authority to trust.
pub(super) fn doctor_at(url: &str, authority: Option<&Path>, relay: &Cluster) -> Launch {
    let launch = doctor(relay).arguments(&[url]);
    match authority {
        Some(certificate) => launch.variable("SSL_CERT_FILE", certificate.display()),
        None => launch,
    }
}

/// Waits until it finds something: what processes tell one another takes a moment.
async fn comes_to_find(code: &str, launch: &Launch) {
    let expected = Diagnosis { codes: vec![code.to_owned()], exit: 1 };
    let mut last = None;
    let found = deadline::within(PATIENCE, async || {
        let seen = last.insert(look(launch).await);
        (*seen == expected).then_some(())
    });
    assert!(found.await.is_some(), "not {code}, and at last {last:?}");
}

#[tokio::test]
async fn nothing_is_wrong_with_a_relay_that_was_just_started() {
    let relay = Supervised::build().start().await;
    deadline::until("a relay of which every process reports", PATIENCE, async || {
        let status = relay.command(&["status", "--json"]).finish().await;
        let json: Value = serde_json::from_str(&status.stdout).ok()?;
        (json["processes"].as_array()?.len() == 3).then_some(())
    })
    .await;
    let public = format!("http://{}", relay.address());
    finds_nothing(&relay.command(&["doctor", "--json"])).await;
    finds_nothing(&relay.command(&["doctor", "--json", &public])).await;
    let shown = relay.command(&["doctor", &public]).finish().await;
    assert_eq!(shown.stdout, "nothing is wrong\n");
}

#[tokio::test]
async fn nothing_is_wrong_with_processes_of_their_own() {
    let relay = Cluster::builder().gateways(2).federated().start().await;
    finds_nothing(&doctor(&relay)).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_to_people_with_the_line_that_mends_it() {
    let relay = Supervised::build();
    let shown = relay.command(&["doctor"]).finish().await;
    assert_eq!(shown.code, Some(1));
    assert!(shown.stdout.starts_with("error    data-missing\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("mend: ") && shown.stdout.contains("relay up"), "{}", shown.stdout);
    assert!(shown.stdout.contains("1 error\n"), "{}", shown.stdout);
}
