//! Crash points: the store dies, or its disk fails, at the worst moment. A client's request is repeated by its
//! gateway or by itself; in the end there is one copy of everything that was answered, and no trace of a tear.
//!
//! `kill -9` leaves what was written, synced or not, to the next start; what a power cut would take away is
//! bounded by the first test here: no answer leaves before the sync.

use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{
    ack_fields, claim_fields, complete_fields, key_fields, offer_fields, proof_fields, put_fields,
    random_bytes, random_mailbox, random_name, send_fields,
};
use relay_tests::ledger::Ledger;
use relay_tests::strace::{Strace, in_sync};
use relay_tests::{Action, Client, Cluster, Owner, Reply};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Longer than any of these tests takes: the store is dead before it passes.
const BEFORE_SYNC: &str = "delay_enter=60000000";
const AFTER_SYNC: &str = "delay_exit=60000000";

fn in_background(client: &Client, action: Action, fields: Value) -> JoinHandle<Reply> {
    let client = client.another();
    tokio::spawn(async move { client.call(action, &fields).await })
}

/// Lets a request reach a sync of the store, kills the store there, starts it again, and returns the answer that
/// the client gets over the same connection.
async fn crossing(relay: &mut Cluster, how: &str, action: Action, fields: Value) -> Reply {
    let fault = Strace::bend_syncs(relay.storaged.pid(), how).await;
    let request = in_background(&relay.client(), action, fields);
    in_sync(relay.storaged.pid()).await;
    assert!(!request.is_finished(), "an answer left before the sync was over");
    kill_store(relay, fault);
    relay.storaged.spawn();
    request.await.unwrap()
}

/// Kills a store in the hands of a tracer, which would otherwise keep the dead one until the delay has passed.
fn kill_store(relay: &mut Cluster, fault: Strace) {
    relay.storaged.signal(Signal::SIGKILL);
    drop(fault);
    relay.storaged.kill();
}

#[tokio::test]
async fn no_answer_leaves_before_the_sync() {
    if !Strace::is_here() {
        return;
    }
    let relay = Cluster::simple().await;
    let (client, owner) = (relay.client(), Owner::random());
    let id = client.send(&owner.mailbox(), b"first").await.blob_id();
    let fault = Strace::bend_syncs(relay.storaged.pid(), "delay_enter=400000").await;
    let [gate, slot] = [random_name(), random_name()];
    let mut code = String::new();
    for (action, fields) in [
        (Action::Send, send_fields(&owner.mailbox(), b"second")),
        (Action::Ack, ack_fields(&owner.mailbox(), &id)),
        (Action::RecoveryStore, proof_fields(&random_name(), b"proof")),
        (Action::GuardianStore, owner.guardian_store(&[b"guardian"])),
        (Action::GuardianDelete, owner.guardian_delete()),
        (Action::Escrow, put_fields(&gate, &slot, b"blob", 600)),
        (Action::ExchangeOffer, offer_fields("payload")),
        (Action::ExchangeClaim, claim_fields("", "response")),
        (Action::ExchangeComplete, complete_fields("")),
        (Action::Purge, owner.purge(&owner.mailbox())),
    ] {
        let mut fields = fields;
        if fields["code"].is_string() {
            fields["code"] = code.clone().into();
        }
        let start = Instant::now();
        let outcome = client.call(action, &fields).await.outcome();
        assert_ne!(outcome["status"], "error", "{action:?}: {outcome}");
        if let Some(offered) = outcome["code"].as_str() {
            offered.clone_into(&mut code);
        }
        assert!(start.elapsed() >= Duration::from_millis(400), "{action:?} after {:?}", start.elapsed());
    }
    fault.detach().await;
}

#[tokio::test]
async fn a_store_killed_around_the_sync_of_a_send_has_one_copy() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let mailbox = random_mailbox();
        let id = crossing(&mut relay, how, Action::Send, send_fields(&mailbox, b"once")).await.blob_id();
        let page = relay.client().fetch(&[&mailbox]).await.page();
        assert_eq!(
            (page.ids(), page.blobs[0].ciphertext.as_slice()),
            (vec![id.as_str()], b"once".as_slice())
        );
    }
}

#[tokio::test]
async fn a_store_killed_around_the_sync_of_an_ack_never_delivers_again() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let mailbox = random_mailbox();
        let id = relay.client().send(&mailbox, b"read").await.blob_id();
        crossing(&mut relay, how, Action::Ack, ack_fields(&mailbox, &id)).await.success();
        assert!(relay.client().fetch(&[&mailbox]).await.page().blobs.is_empty());
        assert!(!relay.client().ack(&mailbox, &id).await.acknowledged());
    }
}

#[tokio::test]
async fn a_store_killed_around_the_sync_of_a_purge_gives_one_answer_and_one_effect() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let owner = Owner::random();
        for round in 0..3_u8 {
            relay.client().send(&owner.mailbox(), &[round]).await.blob_id();
        }
        let fields = owner.purge(&owner.mailbox());
        let reply = crossing(&mut relay, how, Action::Purge, fields.clone()).await;
        assert_eq!(reply.success()["blobs_deleted"], 3);
        assert!(relay.client().fetch(&[owner.mailbox()]).await.page().blobs.is_empty());
        relay.client().call(Action::Purge, &fields).await.refuses(401, "purge token replay detected");
    }
}

#[tokio::test]
async fn a_store_killed_in_the_middle_of_a_long_purge_finishes_it() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 100_000).start().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let owner = Owner::random();
        // More than one transaction deletes.
        for round in 0..300_u16 {
            relay.client().send(&owner.mailbox(), &round.to_be_bytes()).await.blob_id();
        }
        let fields = owner.purge(&owner.mailbox());
        let reply = crossing(&mut relay, how, Action::Purge, fields.clone()).await;
        assert_eq!(reply.success()["blobs_deleted"], 300);
        assert!(relay.client().fetch(&[owner.mailbox()]).await.page().blobs.is_empty());
        relay.client().call(Action::Purge, &fields).await.refuses(401, "purge token replay detected");
        relay.client().send(&owner.mailbox(), b"came later").await.blob_id();
        assert_eq!(relay.client().fetch(&[owner.mailbox()]).await.page().blobs.len(), 1);
    }
}

#[tokio::test]
async fn a_store_killed_around_the_sync_of_any_other_step_takes_it_once() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let key = random_name();
        crossing(&mut relay, how, Action::RecoveryStore, proof_fields(&key, b"proof")).await.success();
        let found = relay.client().call(Action::RecoveryQuery, &key_fields(&[key])).await.success();
        assert_eq!(found["proofs"].as_array().unwrap().len(), 1);

        let offer = crossing(&mut relay, how, Action::ExchangeOffer, offer_fields("payload")).await;
        let code = offer.said("code");
        let claim = claim_fields(&code, "response");
        let claimed = crossing(&mut relay, how, Action::ExchangeClaim, claim.clone()).await;
        assert_eq!(claimed.said("payload"), "payload", "a step repeated by its gateway is the same step");
        relay.client().call(Action::ExchangeClaim, &claim).await.refuses(400, "already claimed");
        let complete = complete_fields(&code);
        let completed = crossing(&mut relay, how, Action::ExchangeComplete, complete.clone()).await;
        assert_eq!(completed.said("response"), "response");
        let again = relay.client().call(Action::ExchangeComplete, &complete).await;
        again.refuses(400, "invalid or expired code");

        let owner = Owner::random();
        let fields = owner.guardian_store(&[b"guardian"]);
        crossing(&mut relay, how, Action::GuardianStore, fields.clone()).await.success();
        let again = relay.client().call(Action::GuardianStore, &fields).await;
        again.refuses(401, "guardian signature replay detected");
        let fields = owner.guardian_delete();
        crossing(&mut relay, how, Action::GuardianDelete, fields).await.success();

        let put = put_fields(&random_name(), &random_name(), b"blob", 600);
        let stored = crossing(&mut relay, how, Action::Escrow, put.clone()).await;
        assert_eq!(stored.outcome()["status"], "Stored");
        assert_eq!(relay.client().call(Action::Escrow, &put).await.outcome()["status"], "AlreadyExists");
    }
}

#[tokio::test]
async fn a_client_that_gave_up_may_send_again() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    for how in [BEFORE_SYNC, AFTER_SYNC] {
        let mailbox = random_mailbox();
        let blob = random_bytes(50_000);
        let fault = Strace::bend_syncs(relay.storaged.pid(), how).await;
        let request = in_background(&relay.client(), Action::Send, send_fields(&mailbox, &blob));
        in_sync(relay.storaged.pid()).await;
        request.abort();
        kill_store(&mut relay, fault);
        relay.kill();
        relay.start().await;
        let before = relay.client().fetch(&[&mailbox]).await.page().blobs;
        assert!(before.iter().all(|found| found.ciphertext == blob), "torn");
        let id = relay.client().send(&mailbox, &blob).await.blob_id();
        assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [id]);
    }
}

#[tokio::test]
async fn a_gateway_killed_between_commit_and_reply_costs_a_retry_and_no_copy() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    let mailbox = random_mailbox();
    let fields = send_fields(&mailbox, b"committed");
    let fault = Strace::bend_syncs(relay.storaged.pid(), "delay_exit=500000").await;
    let client = relay.client_of(0);
    let request = tokio::spawn({
        let fields = fields.clone();
        async move { client.try_call(Action::Send, &fields).await }
    });
    in_sync(relay.storaged.pid()).await;
    relay.gateways[0].kill();
    assert!(request.await.unwrap().is_err(), "a killed gateway answers nobody");
    fault.detach().await;
    let id = relay.client_of(1).call(Action::Send, &fields).await.blob_id();
    assert_eq!(relay.client_of(1).fetch(&[&mailbox]).await.page().ids(), [id]);
}

#[tokio::test]
async fn a_store_whose_disk_fails_stops_and_recovers_from_disk() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let before = relay.client().send(&mailbox, b"before the fault").await.blob_id();
    let fault = Strace::bend_syncs(relay.storaged.pid(), "error=EIO").await;
    let request = in_background(&relay.client(), Action::Send, send_fields(&mailbox, b"into the fault"));
    assert_eq!(relay.storaged.exit_code().await, 74);
    assert!(!request.is_finished(), "a failed commit was answered");
    drop(fault);
    relay.storaged.spawn();
    let after = request.await.unwrap().blob_id();
    assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [before, after]);
}

#[tokio::test]
async fn a_store_whose_writes_fail_stops_and_recovers_from_disk() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    let mailbox = random_mailbox();
    let before = relay.client().send(&mailbox, b"before the fault").await.blob_id();
    let fault = Strace::bend(relay.storaged.pid(), "pwrite64", "error=EIO").await;
    let request = in_background(&relay.client(), Action::Send, send_fields(&mailbox, b"into the fault"));
    assert_eq!(relay.storaged.exit_code().await, 74);
    assert!(!request.is_finished(), "a failed write was answered");
    drop(fault);
    relay.storaged.spawn();
    let after = request.await.unwrap().blob_id();
    assert_eq!(relay.client().fetch(&[&mailbox]).await.page().ids(), [before, after]);
}

#[tokio::test]
async fn a_volume_without_room_refuses_mail_and_takes_it_again_later() {
    if !Strace::is_here() {
        return;
    }
    let relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let before = client.send(&mailbox, b"before").await.blob_id();
    let fault = Strace::bend(relay.storaged.pid(), "pwrite64", "error=ENOSPC").await;
    // A commit that failed may have happened; only asking again settles it, and clients are told when.
    let reply = client.send(&mailbox, b"no room").await;
    reply.failure(503);
    assert!(reply.retry_after() >= 1);
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&before]);
    fault.detach().await;
    let after = client.send(&mailbox, b"no room").await.blob_id();
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [before, after]);
}

/// Does a little of everything and checks each answer and the end.
async fn script(client: &Client) {
    let owner = Owner::random();
    let mailbox = random_mailbox();
    client.call(Action::Register, &owner.register(&[&mailbox])).await.success();
    let first = client.send(&mailbox, b"first").await.blob_id();
    let second = client.send(&mailbox, b"second").await.blob_id();
    client.ack(&mailbox, &first).await.success();
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&second]);
    client.send(&owner.mailbox(), b"third").await.blob_id();
    assert_eq!(client.call(Action::Purge, &owner.purge(&mailbox)).await.success()["blobs_deleted"], 2);
    assert!(client.fetch(&[mailbox, owner.mailbox()]).await.page().blobs.is_empty());
}

#[tokio::test]
async fn a_store_killed_at_any_of_its_syncs_changes_no_story() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    script(&relay.client()).await;
    for nth in 1..=6 {
        let how = format!("signal=SIGKILL:when={nth}");
        let fault = Strace::bend_syncs(relay.storaged.pid(), &how).await;
        let client = relay.client();
        let story = tokio::spawn(async move { script(&client).await });
        assert_eq!(relay.storaged.exit_code().await, -(Signal::SIGKILL as i32), "sync {nth}");
        drop(fault);
        relay.storaged.spawn();
        story.await.unwrap();
        relay.storaged.ready().await;
    }
}

/// A small generator with a seed, so that a failure can be played again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_whenever_nothing_answered_is_lost() {
    for seed in [1, 0x5eed, 0xfeed_f00d] {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
        let mut ledgers: Vec<Ledger> = (0..4).map(|_| Ledger::open()).collect();
        for _ in 0..6 {
            let clients: Vec<Client> = (0..4).map(|index| relay.client_of(index % 2)).collect();
            let plans: Vec<Vec<bool>> =
                (0..4).map(|_| (0..200).map(|_| dice.roll(3) == 0).collect()).collect();
            let tasks: Vec<_> = ledgers
                .drain(..)
                .zip(clients)
                .zip(plans)
                .map(|((mut ledger, client), plan)| {
                    tokio::spawn(async move {
                        for acks in plan {
                            let answered =
                                if acks { ledger.ack(&client).await } else { ledger.send(&client).await };
                            if !answered {
                                break;
                            }
                        }
                        ledger
                    })
                })
                .collect();
            deadline::pace(Duration::from_millis(dice.roll(300))).await;
            match dice.roll(4) {
                0 => relay.gateways[0].restart().await,
                1 => relay.kill(),
                _ => relay.storaged.restart().await,
            }
            for task in tasks {
                ledgers.push(deadline::soon("a client", task).await.unwrap());
            }
            relay.start().await;
            for ledger in &mut ledgers {
                ledger.settle(&relay.client_of(1)).await;
            }
        }
        for ledger in &ledgers {
            tokio::time::timeout(PATIENCE, ledger.verify(&relay.client_of(0))).await.unwrap();
        }
    }
}
