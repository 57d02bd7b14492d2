//! A full relay: it refuses new mail clearly, keeps what it has, and everything that makes room goes on.

use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::process::signal_pid;
use relay_tests::{Action, Client, Cluster, Owner, Reply, Via, procfs, volume};

/// A relay that holds four MiB at most.
async fn small() -> Cluster {
    Cluster::builder().variable("RELAY_MAX_STORAGE_BYTES", 4_194_304).start().await
}

#[track_caller]
fn full(reply: &Reply) {
    reply.refuses(507, "quota exceeded: relay storage is full");
}

/// Sends until the relay is full; returns what it took.
async fn fill(client: &Client) -> Vec<(String, String)> {
    let mut taken = Vec::new();
    while taken.len() < 2000 {
        let mailbox = random_mailbox();
        let reply = client.send(&mailbox, &random_bytes(20_000)).await;
        if reply.status != 200 {
            full(&reply);
            return taken;
        }
        taken.push((mailbox, reply.blob_id()));
    }
    panic!("a small relay took 40 MB");
}

async fn takes_mail_again(client: &Client) {
    deadline::until("room", PATIENCE, async || {
        (client.send(&random_mailbox(), &random_bytes(20_000)).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_relay_refuses_mail_and_keeps_what_it_has() {
    for via in Via::ALL {
        let mut relay = small().await;
        let client = relay.client_via(via);
        let taken = fill(&client).await;
        assert!(taken.len() > 50, "only {} blobs of 20 kB", taken.len());
        full(&client.send(&random_mailbox(), &random_bytes(20_000)).await);
        for _ in 0..2 {
            for (mailbox, id) in &taken {
                assert_eq!(client.fetch(&[mailbox]).await.page().ids(), [id]);
            }
            relay.storaged.restart().await;
        }
        let files = std::fs::read_dir(relay.data()).unwrap().flatten();
        let database: u64 = files
            .filter(|file| file.file_name() == "relay.db")
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(database <= 4_194_304, "{database} bytes");
    }
}

#[tokio::test]
async fn acks_make_room_in_a_full_relay() {
    for via in Via::ALL {
        let relay = small().await;
        let client = relay.client_via(via);
        let taken = fill(&client).await;
        for (mailbox, id) in &taken {
            assert!(client.ack(mailbox, id).await.acknowledged());
        }
        takes_mail_again(&client).await;
        let again = fill(&client).await.len() + 1;
        assert!(again * 10 >= taken.len() * 9, "{again} blobs fit where {} did", taken.len());
    }
}

#[tokio::test]
async fn a_purge_makes_room_in_a_full_relay() {
    for via in Via::ALL {
        let relay = small().await;
        let (client, owner) = (relay.client_via(via), Owner::random());
        for _ in 0..20 {
            client.send(&owner.mailbox(), &random_bytes(20_000)).await.blob_id();
        }
        fill(&client).await;
        let reply = client.call(Action::Purge, &owner.purge(&owner.mailbox())).await;
        assert_eq!(reply.success()["blobs_deleted"], 20);
        takes_mail_again(&client).await;
    }
}

#[tokio::test]
async fn a_full_relay_starts_and_makes_room() {
    let mut relay = small().await;
    let client = relay.client();
    let taken = fill(&client).await;
    relay.kill();
    relay.start().await;
    let client = relay.client();
    full(&client.send(&random_mailbox(), &random_bytes(20_000)).await);
    for (mailbox, id) in &taken {
        assert!(client.ack(mailbox, id).await.acknowledged());
    }
    takes_mail_again(&client).await;
}

#[tokio::test]
async fn a_volume_without_a_free_byte_refuses_mail_and_lets_go_of_it() {
    if !volume::is_here() {
        return;
    }
    let mut relay = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 100_000).build();
    let data = relay.data().to_owned();
    std::fs::create_dir(&data).unwrap();
    relay.storaged.launch = volume::mounted(relay.storaged.launch.clone(), &data, 48);
    relay.start().await;
    let client = relay.client();
    let taken = fill(&client).await;
    let hog = volume::seen_by(relay.storaged.pid(), &data).join("hog");
    volume::fill(&hog);
    for (mailbox, id) in &taken {
        assert!(client.ack(mailbox, id).await.acknowledged());
    }
    full(&client.send(&random_mailbox(), &random_bytes(20_000)).await);
    std::fs::remove_file(&hog).unwrap();
    takes_mail_again(&client).await;
}

/// A relay on a small volume of its own, full to the last byte, with what it took and the directory as the test sees it.
/// Its store is started again whenever it ends.
async fn on_a_full_volume() -> (Cluster, Vec<(String, String)>, std::path::PathBuf) {
    let mut relay = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 100_000).build();
    let data = relay.data();
    std::fs::create_dir(&data).unwrap();
    relay.storaged.launch = volume::mounted_for_long(relay.storaged.launch.clone(), &data, 48);
    relay.start().await;
    let taken = fill(&relay.client()).await;
    let seen = volume::seen_by(relay.storaged.pid(), &data);
    volume::fill(&seen.join("hog"));
    (relay, taken, seen)
}

/// Kills the store itself and waits until the next one is ready.
async fn restart(relay: &mut Cluster) {
    let ended = || relay.storaged.output().matches("ended: ").count();
    let before = ended();
    for child in procfs::descendants(relay.storaged.pid()) {
        signal_pid(child, Signal::SIGKILL);
    }
    deadline::until("the end of a store", PATIENCE, async || (ended() > before).then_some(())).await;
    relay.storaged.ready().await;
}

async fn acks(client: &Client, mail: &[(String, String)]) {
    for (mailbox, id) in mail {
        assert!(client.ack(mailbox, id).await.acknowledged());
    }
}

#[tokio::test]
async fn a_full_volume_is_no_obstacle_to_a_start() {
    if !volume::is_here() {
        return;
    }
    let (mut relay, taken, seen) = on_a_full_volume().await;
    restart(&mut relay).await;
    let client = relay.client();
    full(&client.send(&random_mailbox(), &random_bytes(20_000)).await);
    acks(&client, &taken).await;
    std::fs::remove_file(seen.join("hog")).unwrap();
    takes_mail_again(&client).await;
}

#[tokio::test]
async fn acks_and_starts_go_on_when_the_reserve_is_gone_as_well() {
    if !volume::is_here() {
        return;
    }
    let (mut relay, taken, seen) = on_a_full_volume().await;
    let client = relay.client();
    let (first, rest) = taken.split_at(taken.len() / 4);
    acks(&client, first).await;
    std::fs::remove_file(seen.join("ballast")).unwrap_or_default();
    volume::fill(&seen.join("another-hog"));
    let (second, third) = rest.split_at(rest.len() / 3);
    acks(&client, second).await;
    let owner = Owner::random();
    let reply = client.call(Action::Purge, &owner.purge(&owner.mailbox())).await;
    assert_eq!(reply.success()["blobs_deleted"], 0);
    restart(&mut relay).await;
    acks(&relay.client(), third).await;
    full(&client.send(&random_mailbox(), &random_bytes(20_000)).await);
    for hog in ["hog", "another-hog"] {
        std::fs::remove_file(seen.join(hog)).unwrap();
    }
    takes_mail_again(&client).await;
}
