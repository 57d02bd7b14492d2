//! What goes on while a backup is made, and what ends it.

use super::{only, relay, rows};
use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::strace::Strace;
use relay_tests::{Action, Cluster, Owner, volume};
use std::fs;
use std::path::Path;

/// Makes every page that is written take its time, so that there is a middle of a backup.
const SLOWLY: &str = "delay_enter=2000";

/// A relay with some MiB of mail.
async fn filled(cluster: &Cluster) {
    for _ in 0..8 {
        cluster.client().send(&random_mailbox(), &random_bytes(700_000)).await.blob_id();
    }
}

async fn appears(path: &Path) {
    deadline::until("a copy in the making", PATIENCE, async || {
        fs::metadata(path).is_ok_and(|file| file.len() > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_purge_is_answered_while_a_backup_is_made_and_leaves_nothing_in_it() {
    if !Strace::is_here() {
        return;
    }
    let cluster = Cluster::simple().await;
    let (owner, needle) = (Owner::random(), random_bytes(3000));
    cluster.client().send(&owner.mailbox(), &needle).await.blob_id();
    filled(&cluster).await;
    let slow = Strace::bend(cluster.storaged.pid(), "pwrite64", SLOWLY).await;
    let backups = cluster.directory().join("backups");
    let mut command = cluster.command(&["backup", backups.to_str().unwrap()]).start();
    let partial = cluster.data().join("backup.partial");
    appears(&partial).await;
    let purged = cluster.client().call(Action::Purge, &owner.purge(&owner.mailbox())).await.success();
    assert_eq!(purged["blobs_deleted"], 1);
    let id = cluster.client().send(&random_mailbox(), b"meanwhile").await.blob_id();

    let (code, said) = relay(&cluster, &["backup", backups.to_str().unwrap()]).await;
    assert!(code == 75 && said.contains("another backup"), "{code}: {said}");
    let elsewhere = cluster.directory().join("elsewhere");
    let (code, said) = relay(&cluster, &["backup", elsewhere.to_str().unwrap()]).await;
    assert!(code == 69 && said.contains("another backup"), "{code}: {said}");
    assert!(partial.exists() && command.is_running(), "all that was in the middle of it");

    slow.detach().await;
    assert_eq!(command.exit_code().await, 0, "{}", command.output());
    let database = only(&backups).join("relay.db");
    let rows = rows(&database);
    assert_eq!(rows["blobs"].len(), 9, "with what came meanwhile, without what was purged");
    assert!(rows["blobs"].iter().any(|row| row.contains(&hex::decode(&id).unwrap().into())));
    let bytes = fs::read(&database).unwrap();
    // A blob's pages have room for this much in one piece.
    assert!(!bytes.windows(500).any(|part| part == &needle[..500]), "purged mail is in the copy");
}

#[tokio::test]
async fn a_copy_that_is_being_handed_out_is_the_only_one() {
    let cluster = Cluster::simple().await;
    // More than fits into the sockets on the way.
    for _ in 0..3 {
        let mailbox = random_mailbox();
        for _ in 0..30 {
            cluster.client().send(&mailbox, &random_bytes(900_000)).await.blob_id();
        }
    }
    let backups = cluster.directory().join("backups");
    let mut command = cluster.command(&["backup", backups.to_str().unwrap()]).start();
    let unfinished = cluster.directory().join("backups");
    deadline::until("the first bytes", PATIENCE, async || {
        let begun = fs::read_dir(&unfinished)
            .ok()?
            .flatten()
            .any(|entry| fs::metadata(entry.path().join("relay.db")).is_ok_and(|file| file.len() > 0));
        begun.then_some(())
    })
    .await;
    command.signal(Signal::SIGSTOP);
    assert!(cluster.data().join("backup.partial").exists());
    let elsewhere = cluster.directory().join("elsewhere");
    let (code, said) = relay(&cluster, &["backup", elsewhere.to_str().unwrap()]).await;
    assert!(code == 69 && said.contains("another backup"), "{code}: {said}");
    command.signal(Signal::SIGCONT);
    assert_eq!(command.exit_code().await, 0, "{}", command.output());
    assert!(!cluster.data().join("backup.partial").exists());
}

#[tokio::test]
async fn a_volume_that_fills_up_ends_the_backup_and_not_the_relay() {
    if !(volume::is_here() && Strace::is_here()) {
        return;
    }
    let mut cluster = Cluster::builder().build();
    let data = cluster.data();
    fs::create_dir(&data).unwrap();
    cluster.storaged.launch = volume::mounted(cluster.storaged.launch.clone(), &data, 64);
    cluster.start().await;
    filled(&cluster).await;
    let inside = volume::seen_by(cluster.storaged.pid(), &data);
    let (hog, partial) = (inside.join("hog"), inside.join("backup.partial"));
    let backups = cluster.directory().join("backups");
    let arguments = ["backup", backups.to_str().unwrap()];

    let slow = Strace::bend(cluster.storaged.pid(), "pwrite64", SLOWLY).await;
    let mut command = cluster.command(&arguments).start();
    appears(&partial).await;
    volume::fill(&hog);
    assert_eq!(command.exit_code().await, 74, "{}", command.output());
    assert!(command.output().contains("make room"), "{}", command.output());
    slow.detach().await;
    assert!(!partial.exists(), "what it took is given back");

    // Where there is no room to begin with, nothing begins.
    let (code, said) = relay(&cluster, &arguments).await;
    assert!(code == 74 && said.contains("make room"), "{code}: {said}");
    assert!(!backups.exists(), "a backup that failed leaves no directory");
    fs::remove_file(&hog).unwrap();
    let mailbox = random_mailbox();
    let id = deadline::until("room for mail", PATIENCE, async || {
        let reply = cluster.client().send(&mailbox, b"goes on").await;
        (reply.status == 200).then(|| reply.blob_id())
    })
    .await;
    assert_eq!(cluster.client().fetch(&[&mailbox]).await.page().ids(), [&id]);
    let (code, said) = relay(&cluster, &arguments).await;
    assert_eq!(code, 0, "{said}");
}
