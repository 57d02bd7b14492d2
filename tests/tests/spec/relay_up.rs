//! `relay up`: one command runs a whole relay, watches it, and tells how it is.

use nix::sys::signal::Signal;
use relay_tests::binaries::Program;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::front::{Front, Habits};
use relay_tests::outer_relay::{Habits as OuterHabits, OuterRelay};
use relay_tests::process::{Launch, signal_pid};
use relay_tests::wire::{self, Wire, post_head};
use relay_tests::{Client, Owner, Supervised, Via, procfs};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

/// The processes of a relay by role, as `relay status` tells them.
async fn processes(relay: &Supervised) -> BTreeMap<String, Vec<u32>> {
    let status = relay.command(&["status", "--json"]).finish().await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    let json: Value = serde_json::from_str(&status.stdout).unwrap();
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for process in json["processes"].as_array().unwrap() {
        let pid = process["pid"].as_u64().unwrap().try_into().unwrap();
        found.entry(process["role"].as_str().unwrap().to_owned()).or_default().push(pid);
    }
    found
}

/// Waits until every role has its number of processes.
async fn complete(relay: &Supervised, gateways: usize) -> BTreeMap<String, Vec<u32>> {
    deadline::until("a complete relay", PATIENCE, async || {
        let found = processes(relay).await;
        let count = |role: &str| found.get(role).map_or(0, Vec::len);
        (count("storaged") == 1 && count("gateway") == gateways && count("federated") == 1).then_some(found)
    })
    .await
}

#[tokio::test]
async fn one_command_serves_mail_with_data_beside_it() {
    let relay = Supervised::build().start().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let id = client.send(&mailbox, b"hello").await.blob_id();
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
    assert!(client.ack(&mailbox, &id).await.acknowledged());
    assert!(relay.directory().join("data/relay.db").exists());
    assert!(relay.directory().join("data/run/gateway/storage.sock").exists());
}

#[tokio::test]
async fn a_killed_child_is_replaced_and_nothing_is_lost() {
    let mut relay = Supervised::build().variable("RELAY_GATEWAYS", 2).start().await;
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"kept").await.blob_id();
    let mut running = complete(&relay, 2).await;
    for role in ["storaged", "gateway", "federated"] {
        let victim = running[role][0];
        signal_pid(victim, Signal::SIGKILL);
        deadline::until("a replacement", PATIENCE, async || {
            let found = processes_if_up(&relay).await?;
            (found.get(role)?.len() == running[role].len() && !found[role].contains(&victim)).then_some(())
        })
        .await;
        running = complete(&relay, 2).await;
        deadline::until("a ready relay", PATIENCE, async || relay.ops.is_ready().await.then_some(())).await;
        assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    }
    assert!(relay.process().is_running());
}

/// As `processes`, or nothing while the store is away.
async fn processes_if_up(relay: &Supervised) -> Option<BTreeMap<String, Vec<u32>>> {
    let status = relay.command(&["status", "--json"]).finish().await;
    if status.code != Some(0) {
        return None;
    }
    Some(processes(relay).await)
}

#[tokio::test]
async fn every_signal_that_stops_it_finishes_the_upload_in_flight_and_leaves_nobody() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        let mut relay = Supervised::build().variable("RELAY_GATEWAYS", 2);
        relay.launch = relay.launch.outliving_nothing();
        let mut relay = relay.start().await;
        let children = procfs::descendants(relay.process().pid());
        assert!(children.len() >= 4, "a store, two gateways and federation: {children:?}");
        let mailbox = random_mailbox();
        let body = send_fields(&mailbox, b"on its way").to_string();
        let mut upload = Wire::open(relay.address()).await;
        assert!(upload.write(post_head("/v2/send", body.len(), "expect: 100-continue\r\n")).await);
        assert_eq!(upload.reply().await.status, 100);
        relay.process().signal(signal);
        wire::closed(relay.address()).await;
        assert!(upload.write(&body).await);
        let id = upload.reply().await.blob_id();
        assert_eq!(relay.process().exit_code().await, 0, "{signal}");
        let left: Vec<_> = children.into_iter().filter(|child| procfs::is_alive(*child)).collect();
        assert!(left.is_empty(), "{left:?}");
        let relay = relay.start().await;
        assert_eq!(relay.client().fetch(&[mailbox]).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn a_relay_that_is_to_outlive_its_terminal_does() {
    let mut relay = Supervised::build();
    relay.launch = relay.launch.wrapped("nohup", &[]);
    let mut relay = relay.start().await;
    let everybody = procfs::descendants(relay.process().pid());
    relay.process().signal(Signal::SIGHUP);
    deadline::pace(Duration::from_secs(1)).await;
    relay.client().send(&random_mailbox(), b"nobody is at home").await.blob_id();
    assert_eq!(procfs::descendants(relay.process().pid()), everybody);
    assert_eq!(relay.process().terminate().await, 0);
}

/// As when the terminal has closed, or whatever collects the log has ended.
#[tokio::test]
async fn a_log_that_nobody_takes_any_more_ends_no_process() {
    let mut relay = Supervised::build();
    let plain = relay.launch.clone();
    relay.launch = plain.clone().wrapped("bash", &["-c", "exec \"$@\" 2> >(:)", "bash"]);
    let mut relay = relay.start().await;
    relay.launch = plain;
    relay.client().send(&random_mailbox(), b"unheard").await.blob_id();
    let victim = complete(&relay, 1).await["gateway"][0];
    signal_pid(victim, Signal::SIGKILL);
    deadline::until("a replacement", PATIENCE, async || {
        (!processes_if_up(&relay).await?.get("gateway")?.contains(&victim)).then_some(())
    })
    .await;
    assert_eq!(relay.process().terminate().await, 0);
}

#[tokio::test]
async fn a_killed_relay_up_leaves_nobody_behind_and_starts_again() {
    let mut relay = Supervised::build().start().await;
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"kept").await.blob_id();
    let children = procfs::descendants(relay.process().pid());
    signal_pid(relay.process().pid(), Signal::SIGKILL);
    relay.process().ended().await;
    deadline::until("the children to end", PATIENCE, async || {
        children.iter().all(|child| !procfs::is_alive(*child)).then_some(())
    })
    .await;
    let relay = relay.start().await;
    assert_eq!(relay.client().fetch(&[mailbox]).await.page().ids(), [&id]);
}

#[tokio::test]
async fn a_port_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["RELAY_LISTEN_ADDR", "RELAY_METRICS_ADDR"] {
        let relay = Supervised::build().variable(variable, &address);
        let refusal = relay.launch.finish().await;
        assert_eq!(refusal.code, Some(69), "{}", refusal.stderr);
        assert!(refusal.stderr.contains(&address) && refusal.stderr.contains(variable), "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn status_tells_the_same_to_people_and_to_machines() {
    let relay = Supervised::build().start().await;
    relay.client().send(&random_mailbox(), b"counted").await.blob_id();
    complete(&relay, 1).await;
    let json = relay.command(&["status", "--json"]).finish().await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["blobs"], 1, "{json}");
    let text = relay.command(&["status"]).finish().await;
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for word in ["storaged", "gateway", "federated", "blobs"] {
        assert!(text.stdout.contains(word), "no {word:?} in: {}", text.stdout);
    }
    for process in json["processes"].as_array().unwrap() {
        assert!(text.stdout.contains(&process["pid"].to_string()), "{}", text.stdout);
    }
}

#[tokio::test]
async fn status_without_a_relay_says_what_to_do() {
    let relay = Supervised::build();
    for arguments in [&["status"][..], &["status", "--json"]] {
        let refusal = relay.command(arguments).finish().await;
        assert_eq!(refusal.code, Some(69), "{}", refusal.stderr);
        assert!(refusal.stderr.contains("relay up"), "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn selftest_proves_a_relay_step_by_step() {
    let relay = Supervised::build().start().await;
    let url = format!("http://{}", relay.address());
    let proof = relay.command(&["selftest", &url]).finish().await;
    assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
    for step in ["send", "fetch", "ack", "register", "purge"] {
        assert!(proof.stdout.contains(step), "no {step:?} in: {}", proof.stdout);
    }
}

#[tokio::test]
async fn selftest_checks_the_signed_key_record_as_clients_do() {
    let relay = Supervised::build().start().await;
    let url = format!("http://{}", relay.address());
    let shown = relay.command(&["keys", "--json"]).finish().await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let anchor = shown["anchor"].as_str().unwrap().to_owned();
    let walk =
        async |url: &str, anchor: &str| relay.command(&["selftest", url, "--anchor", anchor]).finish().await;
    let proof = walk(&url, &anchor).await;
    assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
    let other = Owner::random().mailbox();
    let proof = walk(&url, &other).await;
    assert_eq!(proof.code, Some(1));
    assert!(proof.stdout.contains("FAILED: the anchor did not sign the certificate"), "{}", proof.stdout);
    assert_eq!(walk(&url, "no anchor").await.code, Some(64));
    let front = Front::start(relay.address(), Habits { spoils_records: true, ..Habits::default() }).await;
    let proof = walk(&front.url(), &anchor).await;
    assert_eq!(proof.code, Some(1), "{}", proof.stdout);
}

/// Every line of a step's that has these words.
fn lines<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(words)).collect()
}

#[tokio::test]
async fn selftest_does_what_todays_client_does_through_an_outer_relay() {
    let relay = Supervised::build().start().await;
    let outer = OuterRelay::start(relay.address(), OuterHabits::default()).await;
    let url = format!("http://{}", relay.address());
    for oblivious in ["", "/", "/v2/ohttp"] {
        let oblivious = format!("http://{}{oblivious}", outer.address());
        let walk = ["selftest", &url, "--as-client", "--oblivious", &oblivious];
        let proof = relay.command(&walk).finish().await;
        assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
        assert!(proof.stdout.lines().last().unwrap().starts_with("all 14 steps ok"), "{}", proof.stdout);
        assert_eq!(lines(&proof.stdout, "ok: plain http").len(), 2, "{}", proof.stdout);
        assert_eq!(lines(&proof.stdout, "ok: none was given; this is the one").len(), 1, "{}", proof.stdout);
    }
    assert_eq!(outer.failures(), 3, "one stale key in each");
    let json = relay.command(&["status", "--json"]).finish().await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["blobs"], 0, "{json}");
}

#[tokio::test]
async fn selftest_as_client_skips_a_limit_that_is_far_away() {
    let relay = Supervised::build().variable("RELAY_RATE_LIMIT", 10_000).start().await;
    let outer = OuterRelay::start(relay.address(), OuterHabits::default()).await;
    let [url, oblivious] = [relay.address(), outer.address()].map(|address| format!("http://{address}"));
    let walk = ["selftest", &url, "--as-client", "--oblivious", &oblivious];
    let proof = relay.command(&walk).finish().await;
    assert_eq!(proof.code, Some(0), "{}{}", proof.stdout, proof.stderr);
    assert!(proof.stdout.contains("13 steps ok and 1 skipped in"), "{}", proof.stdout);
}

#[tokio::test]
async fn selftest_as_client_names_what_a_client_refuses() {
    let relay = Supervised::build().start().await;
    let url = format!("http://{}", relay.address());
    let walk = async |more: &[&str]| {
        let proof = relay.command(&[&["selftest", &url, "--as-client"], more].concat()).finish().await;
        assert_eq!(proof.code, Some(1), "{}{}", proof.stdout, proof.stderr);
        proof.stdout
    };
    let alone = walk(&[]).await;
    assert_eq!(lines(&alone, "FAILED: none was given, and clients never call").len(), 1, "{alone}");
    let same = walk(&["--oblivious", &url]).await;
    assert_eq!(lines(&same, "FAILED: clients want the oblivious relay at another").len(), 1, "{same}");
    assert!(same.ends_with("1 of 14 steps FAILED\n"), "{same}");
    let outer = OuterRelay::start(relay.address(), OuterHabits::default()).await;
    let oblivious = format!("http://{}", outer.address());
    let foreign = walk(&["--oblivious", &oblivious, "--anchor", &Owner::random().mailbox()]).await;
    assert!(!lines(&foreign, "FAILED: the anchor did not sign the certificate").is_empty(), "{foreign}");
    let redirecting =
        OuterRelay::start(relay.address(), OuterHabits { redirects: true, ..OuterHabits::default() }).await;
    let redirected = walk(&["--oblivious", &format!("http://{}", redirecting.address())]).await;
    assert!(
        !lines(&redirected, "FAILED: the oblivious relay redirects (status 307)").is_empty(),
        "{redirected}"
    );
    drop(outer);
    let down = walk(&["--oblivious", &oblivious]).await;
    assert_eq!(lines(&down, "FAILED: the oblivious relay does not answer").len(), 1, "{down}");
    assert!(down.lines().last().unwrap().starts_with("there is no way to this relay"), "{down}");
}

#[tokio::test]
async fn selftest_fails_where_there_is_no_relay() {
    let relay = Supervised::build();
    let url = format!("http://{}", relay.address());
    let proof = relay.command(&["selftest", &url]).finish().await;
    assert_ne!(proof.code, Some(0));
    assert!(!(proof.stdout + &proof.stderr).is_empty());
}

#[tokio::test]
async fn selftest_leaves_nothing_behind() {
    let relay = Supervised::build().start().await;
    let url = format!("http://{}", relay.address());
    assert_eq!(relay.command(&["selftest", &url]).finish().await.code, Some(0));
    let json = relay.command(&["status", "--json"]).finish().await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["blobs"], 0, "{json}");
}

#[tokio::test]
async fn the_command_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    let help = Launch::new(Program::Relay, directory.path()).arguments(&["--help"]).finish().await;
    assert_eq!(help.code, Some(0));
    for word in ["up", "status", "selftest"] {
        assert!(help.stdout.contains(word), "{}", help.stdout);
    }
}

#[tokio::test]
async fn without_a_variable_it_serves_on_loopback_8080() {
    let ports = ["127.0.0.1:8080", "127.0.0.1:8081"];
    if ports.iter().any(|port| TcpListener::bind(port).is_err()) {
        eprintln!("SKIPPED: this machine uses port 8080 or 8081 for something else");
        return;
    }
    let mut relay = Supervised::build();
    relay.launch.unset("RELAY_LISTEN_ADDR");
    relay.launch.unset("RELAY_METRICS_ADDR");
    relay.ops = relay_tests::ops::Ops::Port("127.0.0.1:8081".parse().unwrap());
    let relay = relay.start().await;
    let client = Client::new("127.0.0.1:8080".parse().unwrap(), Via::Plain);
    client.send(&random_mailbox(), b"hello").await.blob_id();
    drop(relay);
}
