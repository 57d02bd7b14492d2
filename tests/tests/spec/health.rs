//! A program that asks its own process: what containers, supervisors and scripts have for a health check.

use nix::sys::signal::Signal;
use relay_tests::cluster::Service;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::ops::Ops;
use relay_tests::process::{Finished, Launch, signal_pid};
use relay_tests::{Cluster, namespace, procfs};

/// The daemon's program with the variables of the one that runs, and with these words.
async fn said(launch: &Launch, words: &[&str]) -> Finished {
    launch.clone().named("asked").only_arguments(words).finish().await
}

/// Asserts that a service is not well, and that it is said in one line which names it.
async fn is_ill(service: &Service) -> String {
    let answer = said(&service.launch, &["health"]).await;
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(69), ""), "{}", answer.stderr);
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    answer.stderr
}

#[tokio::test]
async fn a_daemon_says_of_itself_whether_it_is_ready() {
    let mut relay = Cluster::builder().gateways(2).federated().build();
    for service in relay.services() {
        assert!(is_ill(service).await.contains("no answer at "), "nothing runs yet");
    }
    relay.start().await;
    for service in relay.services() {
        let answer = said(&service.launch, &["health"]).await;
        assert_eq!((answer.code, answer.stdout.trim_end()), (Some(0), "ready"), "{}", answer.stderr);
        assert_eq!(answer.stderr, "");
    }
    relay.storaged.kill();
    deadline::until("a gateway that misses its store", PATIENCE, async || {
        (said(&relay.gateways[0].launch, &["health"]).await.code == Some(69)).then_some(())
    })
    .await;
    let reason = is_ill(&relay.gateways[0]).await;
    assert!(!reason.contains("no answer"), "the gateway answers, and says what it misses: {reason}");
}

#[tokio::test]
async fn a_gateway_that_listens_everywhere_is_asked_on_this_machine() {
    let mut relay = Cluster::builder().build();
    let Ops::Port(address) = relay.gateways[0].ops.clone() else { panic!("a gateway answers on a port") };
    relay.gateways[0].launch.set("RELAY_METRICS_ADDR", format!("0.0.0.0:{}", address.port()));
    relay.start().await;
    assert_eq!(said(&relay.gateways[0].launch, &["health"]).await.code, Some(0));
}

#[tokio::test]
async fn a_daemon_tells_its_version_and_takes_no_other_word() {
    let mut relay = Cluster::builder().federated().build();
    for service in relay.services() {
        let name = service.launch.name().trim_end_matches("-0").to_owned();
        let answer = said(&service.launch, &["--version"]).await;
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
        assert!(answer.stdout.starts_with(&format!("{name} 0.")), "{}", answer.stdout);
        for words in [&["run"][..], &["health", "now"], &["--healthy"]] {
            let answer = said(&service.launch, words).await;
            assert_eq!((answer.code, answer.stdout.as_str()), (Some(64), ""), "{words:?}");
            assert!(answer.stderr.contains(&format!("usage: {name} ")), "{}", answer.stderr);
        }
    }
}

/// As in a container: nobody inside of it may end its first process, and the engine does not.
#[tokio::test]
async fn asking_lets_a_stopped_daemon_of_a_container_go_on() {
    if !namespace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().build();
    let gateway = &mut relay.gateways[0];
    let asking = gateway.launch.clone();
    gateway.launch =
        gateway.launch.clone().wrapped("unshare", &["-rpf", "--mount-proc", "--kill-child", "--"]);
    gateway.spawn();
    let answers = async |gateway: &Service| {
        gateway.ops.attempt("/health", &[]).await.is_ok_and(|reply| reply.status == 200).then_some(())
    };
    deadline::until("a gateway", PATIENCE, async || answers(gateway).await).await;
    let first = procfs::descendants(gateway.pid()).pop_first().unwrap().to_string();
    let inside = asking.named("asked").only_arguments(&["health"]);
    let inside = inside.wrapped("nsenter", &["-t", &first, "-U", "-p", "-m", "--preserve-credentials", "--"]);
    assert!(!inside.finish().await.stderr.contains("goes on now"), "it misses its store, and is not stopped");
    signal_pid(first.parse().unwrap(), Signal::SIGSTOP);
    let answer = inside.finish().await;
    assert_eq!(answer.code, Some(69));
    assert!(
        answer.stderr.contains("no answer at ") && answer.stderr.contains("goes on now"),
        "{}",
        answer.stderr
    );
    deadline::until("a gateway that goes on", PATIENCE, async || answers(gateway).await).await;
    gateway.kill();
}
