//! Room, and what is kept where and for how long.

use super::{comes_to_find, doctor, finds, finds_nothing};
use crate::clocks;
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::{Cluster, Launch, volume};
use std::fs;

#[tokio::test]
async fn a_store_that_is_full() {
    let relay = Cluster::builder().variable("RELAY_MAX_STORAGE_BYTES", 2 << 20).start().await;
    let client = relay.client();
    let mut sent = 200;
    while sent == 200 {
        sent = client.send(&random_mailbox(), &random_bytes(20_000)).await.status;
    }
    assert_eq!(sent, 507);
    finds("store-full", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_store_that_is_nearly_full() {
    let relay = Cluster::builder().variable("RELAY_MAX_STORAGE_BYTES", 2 << 20).start().await;
    let client = relay.client();
    while relay.stored("relay_storage_live_bytes").await * 100 < (2 << 20) * 91 {
        client.send(&random_mailbox(), &random_bytes(8_000)).await.blob_id();
    }
    finds("store-nearly-full", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_store_in_memory() {
    let relay = Cluster::builder().variable("RELAY_STORAGE_BACKEND", "memory").start().await;
    finds("store-memory", &doctor(&relay)).await;
}

/// A relay with its data on a volume of 64 MiB, and the doctor looking at that volume.
async fn on_a_small_volume(ceiling: u64) -> (Cluster, Launch) {
    let mut relay = Cluster::builder().variable("RELAY_MAX_STORAGE_BYTES", ceiling).build();
    fs::create_dir_all(relay.data()).unwrap();
    let (launch, data) = (relay.storaged.launch.clone(), relay.data());
    relay.storaged.launch = volume::mounted(launch, &data, 64);
    relay.start().await;
    let seen = volume::seen_by(relay.storaged.pid(), &data);
    let launch = doctor(&relay).variable("RELAY_DATA_DIR", seen.display());
    (relay, launch)
}

#[tokio::test]
async fn a_volume_that_is_smaller_than_the_store_may_be() {
    if !volume::is_here() {
        return;
    }
    let (_relay, doctor) = on_a_small_volume(1 << 30).await;
    finds("disk-room", &doctor).await;
}

#[tokio::test]
async fn a_volume_that_is_nearly_full() {
    if !volume::is_here() {
        return;
    }
    let (relay, doctor) = on_a_small_volume(8 << 20).await;
    finds_nothing(&doctor).await;
    volume::fill(&volume::seen_by(relay.storaged.pid(), &relay.data()).join("filling"));
    comes_to_find("disk-low", &doctor).await;
}

/// An offline anchor, and a relay that has a copy of it.
async fn anchored(certify: &[&str]) -> Cluster {
    let mut relay = Cluster::builder().build();
    let anchor = relay.directory().join("anchor").display().to_string();
    for arguments in
        [&["anchor", "new", &anchor][..], &[&["anchor", "certify", &anchor][..], certify].concat()]
    {
        let made = relay.command(arguments).finish().await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    }
    relay.storaged.launch.set("RELAY_ANCHOR_DIR", anchor);
    relay.start().await;
    relay
}

#[tokio::test]
async fn a_certificate_of_the_anchor_that_ends_soon() {
    finds_nothing(&doctor(&anchored(&[]).await)).await;
    finds("certificate-ends", &doctor(&anchored(&["--days", "5"]).await)).await;
}

#[tokio::test]
async fn a_clock_that_jumped_ahead() {
    let mut relay = Cluster::simple().await;
    clocks::moved(&mut relay, 130).await;
    comes_to_find("sweep-suspended", &doctor(&relay)).await;
}

#[tokio::test]
async fn a_clock_that_is_behind() {
    let mut relay = Cluster::simple().await;
    clocks::moved(&mut relay, -1).await;
    comes_to_find("clock-behind", &doctor(&relay)).await;
}
