//! Processes that hang: one whose event loop stands still ends itself, `relay up` replaces one that gives no sign of life,
//! and none is ended that only was away for a while.

use nix::sys::signal::Signal;
use relay_tests::cluster::Service;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::process::signal_pid;
use relay_tests::strace::{SYNC_CALLS, Strace};
use relay_tests::{Action, Client, Cluster, Supervised, procfs};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Seconds after which a process hangs, here. The default would make every test half a minute longer.
const LIMIT: u32 = 5;

/// Longer than any of these limits.
const LONGER: Duration = Duration::from_secs(12);

/// An event loop waits in these.
const LOOP: &str = "epoll_wait,epoll_pwait";
/// Ten minutes in each.
const FOR_LONG: &str = "delay_enter=600000000";

async fn processes(relay: &Supervised) -> Option<Vec<Value>> {
    let status = relay.command(&["status", "--json"]).finish().await;
    let json: Value = serde_json::from_str(&status.stdout).ok()?;
    json["processes"].as_array().cloned()
}

/// The processes of a role, when there are as many as there should be.
async fn complete(relay: &Supervised, role: &str, count: usize) -> Vec<u32> {
    deadline::until("a complete relay", PATIENCE, async || {
        let found = processes(relay).await?;
        let pids: Vec<u32> = found
            .iter()
            .filter(|process| process["role"] == role)
            .map(|process| process["pid"].as_u64().unwrap().try_into().unwrap())
            .collect();
        (pids.len() == count).then_some(pids)
    })
    .await
}

/// Stops a process for good, and waits until the kernel has it no more.
async fn stop(victim: u32, limit: Duration) -> Duration {
    let began = Instant::now();
    signal_pid(victim, Signal::SIGSTOP);
    deadline::until("the end of what is stopped", limit, async || (!procfs::is_alive(victim)).then_some(()))
        .await;
    began.elapsed()
}

/// Asks on connections of their own until all of them are answered.
async fn serves(relay: &Supervised, mailbox: &str, id: &str) {
    deadline::until("a relay that serves", PATIENCE, async || {
        for _ in 0..8 {
            let fetch = serde_json::json!({ "mailbox_tokens": [mailbox] });
            let reply = relay.client().try_call(Action::Fetch, &fetch).await.ok()?;
            (reply.status == 200).then_some(())?;
            assert_eq!(reply.page().ids(), [id]);
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_stopped_is_replaced() {
    for gateways in [1, 3] {
        let mut relay = Supervised::build()
            .variable("RELAY_GATEWAYS", gateways)
            .variable("RELAY_HANG_TIMEOUT", LIMIT)
            .start()
            .await;
        let mailbox = random_mailbox();
        let id = relay.client().send(&mailbox, b"kept").await.blob_id();
        let victim = complete(&relay, "gateway", gateways).await[0];
        stop(victim, PATIENCE).await;
        assert!(!complete(&relay, "gateway", gateways).await.contains(&victim));
        serves(&relay, &mailbox, &id).await;
        assert!(relay.process().output().contains("gateway gives no sign of life"));
        assert_eq!(relay.process().terminate().await, 0);
    }
}

#[tokio::test]
async fn whoever_connects_while_a_gateway_is_stopped_is_served_by_another() {
    let relay = Supervised::build().variable("RELAY_GATEWAYS", 3).start().await;
    let victim = complete(&relay, "gateway", 3).await[0];
    signal_pid(victim, Signal::SIGSTOP);
    let mailbox = random_mailbox();
    for number in 0..30 {
        relay.client().send(&mailbox, format!("blob {number}").as_bytes()).await.blob_id();
    }
    assert!(procfs::is_alive(victim), "it was not replaced meanwhile");
    signal_pid(victim, Signal::SIGKILL);
}

#[tokio::test]
async fn whoever_connects_while_the_only_gateway_is_stopped_is_served_by_the_next() {
    let relay = Supervised::build().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let victim = complete(&relay, "gateway", 1).await[0];
    signal_pid(victim, Signal::SIGSTOP);
    relay.client().send(&random_mailbox(), b"waits").await.blob_id();
    assert!(!procfs::is_alive(victim));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_stopped_is_replaced_and_clients_wait_no_longer_than_for_a_restart() {
    let mut relay = Supervised::build()
        .variable("RELAY_GATEWAYS", 2)
        .variable("RELAY_HANG_TIMEOUT", 20)
        .variable("RELAY_RATE_LIMIT", 1_000_000)
        .variable("RELAY_ADDR_RATE_LIMIT", 1_000_000)
        .start()
        .await;
    let victim = complete(&relay, "storaged", 1).await[0];
    let asking: Vec<_> = (0..4).map(|_| tokio::spawn(ask_until_served(relay.client(), victim))).collect();
    stop(victim, PATIENCE).await;
    assert_ne!(complete(&relay, "storaged", 1).await, [victim]);
    for asked in asking {
        let asked = asked.await.unwrap();
        assert!(asked.refused > 0, "a stopped store was noticed");
        // The gateway gives up after 5 seconds; the rest is for a busy machine.
        assert!(asked.longest < Duration::from_secs(15), "{:?}", asked.longest);
        let mut found = relay.client().fetch(&[&asked.mailbox]).await.page().ids().len();
        let acked = asked.stored.len();
        // What was refused may have been stored all the same.
        assert!(found >= acked && found <= acked + asked.refused, "{found} of {acked}");
        for id in &asked.stored {
            assert!(relay.client().ack(&asked.mailbox, id).await.acknowledged(), "an answered blob is lost");
            found -= 1;
        }
    }
    assert_eq!(relay.process().terminate().await, 0);
}

struct Asked {
    mailbox: String,
    stored: Vec<String>,
    refused: usize,
    longest: Duration,
}

/// Sends, one blob after another, from before a process is stopped until some time after it was replaced. Every answer is a
/// success or a 503.
async fn ask_until_served(client: Client, victim: u32) -> Asked {
    let mut asked =
        Asked { mailbox: random_mailbox(), stored: Vec::new(), refused: 0, longest: Duration::ZERO };
    let mut served_after = 0;
    for number in 0.. {
        let was_alive = procfs::is_alive(victim);
        let body = send_fields(&asked.mailbox, format!("blob {number}").as_bytes());
        let began = Instant::now();
        let reply = client.try_call(Action::Send, &body).await.unwrap();
        asked.longest = asked.longest.max(began.elapsed());
        match reply.status {
            200 => asked.stored.push(reply.blob_id()),
            503 => asked.refused += 1,
            other => panic!("answered with {other}: {}", reply.describe()),
        }
        if !was_alive && reply.status == 200 {
            served_after += 1;
            if served_after == 5 {
                break;
            }
        }
        deadline::pace(Duration::from_millis(50)).await;
    }
    asked
}

#[tokio::test]
async fn a_federated_that_is_stopped_is_replaced_and_mail_goes_on() {
    let mut relay = Supervised::build().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let victim = complete(&relay, "federated", 1).await[0];
    signal_pid(victim, Signal::SIGSTOP);
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"meanwhile").await.blob_id();
    assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    stop(victim, PATIENCE).await;
    assert_ne!(complete(&relay, "federated", 1).await, [victim]);
    assert_eq!(relay.process().terminate().await, 0);
}

/// The promise with the limit that operators have.
#[tokio::test]
async fn unless_told_otherwise_a_stopped_process_is_replaced_after_half_a_minute() {
    let relay = Supervised::build().start().await;
    let victims = [complete(&relay, "gateway", 1).await[0], complete(&relay, "storaged", 1).await[0]];
    let ends = victims.map(|victim| stop(victim, 2 * PATIENCE));
    let [gateway, storaged] = ends;
    let (gateway, storaged) = tokio::join!(gateway, storaged);
    eprintln!("ended after {gateway:?} and {storaged:?}");
    assert!(gateway.min(storaged) > Duration::from_secs(20), "too soon for a machine that is only busy");
    assert!(!complete(&relay, "gateway", 1).await.contains(&victims[0]));
    deadline::until("a ready relay", PATIENCE, async || relay.ops.is_ready().await.then_some(())).await;
}

#[tokio::test]
async fn a_relay_that_is_told_to_stop_does_not_wait_for_a_process_that_is_stopped() {
    let mut relay = Supervised::build().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let victim = complete(&relay, "gateway", 1).await[0];
    signal_pid(victim, Signal::SIGSTOP);
    relay.process().signal(Signal::SIGTERM);
    assert_eq!(relay.process().exit_code().await, 1, "the gateway was killed");
    assert!(relay.process().output().contains("storaged stopped"), "the store ends in order all the same");
}

/// Each is asked to stop when its supervisor is gone, which alone would not reach a process that is stopped.
#[tokio::test]
async fn a_killed_relay_up_leaves_nobody_who_was_stopped() {
    let mut relay = Supervised::build().start().await;
    let children = procfs::descendants(relay.process().pid());
    children.iter().for_each(|child| signal_pid(*child, Signal::SIGSTOP));
    deadline::until("all to be stopped", PATIENCE, async || {
        children.iter().all(|child| procfs::is_stopped(*child)).then_some(())
    })
    .await;
    relay.process().kill();
    let ended = deadline::within(PATIENCE, async || {
        children.iter().all(|child| !procfs::is_alive(*child)).then_some(())
    })
    .await;
    // Nobody else would end them.
    let left: Vec<u32> = children.into_iter().filter(|child| procfs::is_alive(*child)).collect();
    left.iter().for_each(|child| signal_pid(*child, Signal::SIGKILL));
    assert!(ended.is_some(), "{left:?}");
}

#[tokio::test]
async fn whoever_was_away_for_a_while_is_not_taken_for_hung() {
    let mut relay = Supervised::build().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    complete(&relay, "gateway", 1).await;
    let supervisor = relay.process().pid();
    let everybody = procfs::descendants(supervisor);
    // As when a machine sleeps; the supervisor is the last to go on, which is the worst for it.
    for pid in [supervisor].iter().chain(&everybody) {
        signal_pid(*pid, Signal::SIGSTOP);
    }
    deadline::pace(LONGER).await;
    for pid in everybody.iter().chain(&[supervisor]) {
        signal_pid(*pid, Signal::SIGCONT);
    }
    // And as when somebody stops the supervisor alone.
    signal_pid(supervisor, Signal::SIGSTOP);
    deadline::pace(LONGER).await;
    signal_pid(supervisor, Signal::SIGCONT);
    relay.client().send(&random_mailbox(), b"awake").await.blob_id();
    deadline::pace(Duration::from_secs(3)).await;
    assert_eq!(procfs::descendants(supervisor), everybody, "{}", relay.process().output());
    assert_eq!(relay.process().terminate().await, 0);
}

#[tokio::test]
async fn a_daemon_that_was_stopped_for_longer_than_its_limit_goes_on() {
    let mut relay = Cluster::builder().federated().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let all: Vec<u32> = relay.services().map(|service| service.pid()).collect();
    all.iter().for_each(|pid| signal_pid(*pid, Signal::SIGSTOP));
    deadline::pace(LONGER).await;
    all.iter().for_each(|pid| signal_pid(*pid, Signal::SIGCONT));
    deadline::pace(Duration::from_secs(3)).await;
    for service in relay.services() {
        assert!(service.is_running(), "{}", service.output());
    }
    relay.client().send(&random_mailbox(), b"awake").await.blob_id();
}

async fn ends_itself(service: &mut Service) {
    let hung = Strace::bend_thread(service.pid(), LOOP, FOR_LONG).await;
    let last_words = "the event loop has stood still for too long (RELAY_HANG_TIMEOUT)";
    deadline::until("last words", PATIENCE, async || service.output().contains(last_words).then_some(()))
        .await;
    // A process is not gone before its tracer is.
    drop(hung);
    assert_eq!(service.exit_code().await, 71);
}

#[tokio::test]
async fn a_daemon_whose_event_loop_stands_still_ends_itself_with_a_code_of_its_own() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().federated().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let Cluster { storaged, gateways, federated, .. } = &mut relay;
    let federated = federated.as_mut().unwrap();
    tokio::join!(ends_itself(storaged), ends_itself(&mut gateways[0]), ends_itself(federated));
}

#[tokio::test]
async fn a_process_whose_event_loop_stands_still_is_replaced() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Supervised::build().variable("RELAY_HANG_TIMEOUT", LIMIT).start().await;
    let mailbox = random_mailbox();
    let id = relay.client().send(&mailbox, b"kept").await.blob_id();
    let victim = complete(&relay, "storaged", 1).await[0];
    let hung = Strace::bend_thread(victim, LOOP, FOR_LONG).await;
    let last_words = "storaged: the event loop has stood still";
    deadline::until("last words", PATIENCE, async || {
        relay.process().output().contains(last_words).then_some(())
    })
    .await;
    drop(hung);
    assert_ne!(complete(&relay, "storaged", 1).await, [victim]);
    serves(&relay, &mailbox, &id).await;
}

#[tokio::test]
async fn a_store_that_waits_for_its_disk_is_not_ready_and_is_not_ended() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().variable("RELAY_HANG_TIMEOUT", 3).start().await;
    let writer = procfs::thread_named(relay.storaged.pid(), "writer").unwrap();
    let disk = Strace::bend_thread(writer, "fsync,fdatasync", FOR_LONG).await;
    let mailbox = random_mailbox();
    let (client, waits) = (relay.client(), mailbox.clone());
    let send = tokio::spawn(async move { client.send(&waits, b"waits for the disk").await.status });
    deadline::until("a sync", PATIENCE, async || procfs::is_in_call(writer, &SYNC_CALLS).then_some(())).await;
    let not_ready = relay.storaged.ops.get("/ready").await;
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.text().contains("disk"), "{}", not_ready.text());
    assert_eq!(send.await.unwrap(), 503);
    deadline::pace(LONGER).await;
    assert!(relay.storaged.is_running(), "{}", relay.storaged.output());
    disk.detach().await;
    relay.storaged.ready().await;
    relay.client().send(&mailbox, b"when it is back").await.blob_id();
}

/// Ten times as long as an event loop: then even a slow disk is no reason any more.
#[tokio::test]
async fn a_store_whose_writer_stands_still_for_very_long_ends_itself() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().variable("RELAY_HANG_TIMEOUT", 3).start().await;
    let writer = procfs::thread_named(relay.storaged.pid(), "writer").unwrap();
    let disk = Strace::bend_thread(writer, "fsync,fdatasync", FOR_LONG).await;
    let (client, began) = (relay.client(), Instant::now());
    tokio::spawn(async move { drop(client.send(&random_mailbox(), b"waits for the disk").await) });
    deadline::until("last words", 3 * PATIENCE, async || {
        relay.storaged.output().contains("the writer of the store has stood still").then_some(())
    })
    .await;
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
    drop(disk);
    assert_eq!(relay.storaged.exit_code().await, 71);
}

#[tokio::test]
async fn a_process_that_hangs_is_seen_before_it_is_replaced() {
    let relay = Supervised::build().variable("RELAY_GATEWAYS", 2).start().await;
    let victim = complete(&relay, "gateway", 2).await[0];
    signal_pid(victim, Signal::SIGSTOP);
    let seen = deadline::until("a status that shows it", PATIENCE, async || {
        let all = processes(&relay).await?;
        let seen = all.iter().find(|process| process["pid"] == victim)?;
        (seen["answers"] == false).then(|| seen["last_report_seconds"].as_u64().unwrap())
    })
    .await;
    let shown = relay.command(&["status"]).finish().await.stdout;
    let doctor = relay.command(&["doctor", "--json"]).finish().await;
    assert!(procfs::is_alive(victim), "it has not been replaced yet");
    assert!(seen >= 10, "{seen}");
    assert!(shown.contains("NOT ANSWERING for "), "{shown}");
    let found: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let codes: Vec<_> = found["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert!(codes.contains(&"process-silent".into()), "{found}");
    signal_pid(victim, Signal::SIGKILL);
}
