//! The database, its log and its directory belong together: what was laid in their place by hand is refused with words, and
//! nothing is changed by the refusal.

use relay_tests::fields::random_mailbox;
use relay_tests::{Cluster, owner::Owner};
use std::fs;
use std::path::{Path, PathBuf};

fn log(relay: &Cluster) -> PathBuf {
    relay.data().join("relay.db-wal")
}

/// Sends and kills the store before the log is emptied. Returns the mailboxes, each of which holds one blob.
async fn killed_with_a_log(relay: &mut Cluster) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let mailbox = random_mailbox();
        relay.client().send(&mailbox, b"in the log").await.blob_id();
        relay.storaged.kill();
        sent.push(mailbox);
        if fs::metadata(log(relay)).is_ok_and(|log| log.len() > 0) {
            return sent;
        }
        relay.storaged.spawn();
        relay.storaged.ready().await;
    }
}

/// A relay with a copy of its database from before, and with a log that was begun after it.
async fn with_an_older_copy() -> (Cluster, Vec<u8>, Vec<String>) {
    let mut relay = Cluster::simple().await;
    relay.client().send(&random_mailbox(), b"early").await.blob_id();
    assert_eq!(relay.storaged.terminate().await, 0);
    let older = fs::read(relay.database()).unwrap();
    relay.storaged.spawn();
    relay.storaged.ready().await;
    // A purge is answered when the log is empty: what comes after it is of the next generation.
    let owner = Owner::random();
    relay.client().send(&owner.mailbox(), b"purged").await.blob_id();
    let purge = owner.purge(&owner.mailbox());
    relay.client().call(relay_tests::Action::Purge, &purge).await.success();
    let sent = killed_with_a_log(&mut relay).await;
    (relay, older, sent)
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = ["relay.db", "relay.db-wal"]
        .map(|name| (name.to_owned(), fs::read(directory.join(name)).unwrap()))
        .to_vec();
    found.sort();
    found
}

/// The store must refuse, and so must the operator's commands that would replay the log.
async fn refuses(relay: &Cluster) {
    let before = files(&relay.data());
    for _ in 0..2 {
        let refusal = relay.storaged.launch.finish().await;
        assert_eq!(refusal.code, Some(65), "{}", refusal.stderr);
        for word in ["do not belong together", "relay restore", &relay.data().display().to_string()] {
            assert!(refusal.stderr.contains(word), "no {word:?} in: {}", refusal.stderr);
        }
    }
    for command in [&["verify"][..], &["compact"]] {
        let refusal = relay.command(command).finish().await;
        assert_eq!(refusal.code, Some(65), "{command:?}: {}", refusal.stderr);
    }
    assert!(files(&relay.data()) == before, "a refusal changed the files");
}

async fn has_all(relay: &mut Cluster, sent: &[String]) {
    relay.start().await;
    for mailbox in sent {
        assert_eq!(relay.client().fetch(&[mailbox]).await.page().blobs.len(), 1);
    }
}

#[tokio::test]
async fn an_older_copy_beside_a_log_is_refused_and_the_right_file_still_opens() {
    let (mut relay, older, sent) = with_an_older_copy().await;
    let right = fs::read(relay.database()).unwrap();
    // Written over, and moved into its place.
    fs::write(relay.database(), &older).unwrap();
    refuses(&relay).await;
    let beside = relay.data().join("copy");
    fs::write(&beside, &older).unwrap();
    fs::rename(&beside, relay.database()).unwrap();
    refuses(&relay).await;
    fs::write(relay.database(), &right).unwrap();
    has_all(&mut relay, &sent).await;
}

#[tokio::test]
async fn a_file_without_content_beside_a_log_is_refused() {
    let (mut relay, _, sent) = with_an_older_copy().await;
    let right = fs::read(relay.database()).unwrap();
    fs::write(relay.database(), "").unwrap();
    refuses(&relay).await;
    fs::write(relay.database(), &right).unwrap();
    has_all(&mut relay, &sent).await;
}

#[tokio::test]
async fn another_relays_database_or_log_is_refused() {
    let (mut one, _, sent) = with_an_older_copy().await;
    let (other, ..) = with_an_older_copy().await;
    let right = files(&one.data());
    fs::copy(other.database(), one.database()).unwrap();
    refuses(&one).await;
    fs::write(one.database(), &right[0].1).unwrap();
    fs::copy(log(&other), log(&one)).unwrap();
    refuses(&one).await;
    fs::write(log(&one), &right[1].1).unwrap();
    has_all(&mut one, &sent).await;
}

#[tokio::test]
async fn a_directory_that_was_moved_as_a_whole_opens() {
    let (mut relay, _, sent) = with_an_older_copy().await;
    let moved = relay.directory().join("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["relay.db", "relay.db-wal", "initialized"] {
        fs::copy(relay.data().join(name), moved.join(name)).unwrap();
    }
    relay.storaged.launch.set("RELAY_DATA_DIR", moved.display());
    has_all(&mut relay, &sent).await;
}

#[tokio::test]
async fn a_restore_mends_what_does_not_belong_together() {
    let (mut relay, older, _) = with_an_older_copy().await;
    relay.start().await;
    let mailbox = random_mailbox();
    relay.client().send(&mailbox, b"in the backup").await.blob_id();
    let backups = relay.directory().join("backups");
    let backup = relay.command(&["backup", &backups.display().to_string()]).finish().await;
    assert_eq!(backup.code, Some(0), "{}", backup.stderr);
    let made = fs::read_dir(&backups).unwrap().next().unwrap().unwrap().path();
    killed_with_a_log(&mut relay).await;
    fs::write(relay.database(), &older).unwrap();
    refuses(&relay).await;
    let restored = relay.command(&["restore", &made.display().to_string(), "--replace"]).finish().await;
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    has_all(&mut relay, &[mailbox]).await;
}

#[tokio::test]
async fn a_data_directory_behind_a_link_is_followed_and_said() {
    let mut relay = Cluster::builder().build();
    let volume = relay.directory().join("volume");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::symlink(&volume, relay.data()).unwrap();
    relay.start().await;
    relay.client().send(&random_mailbox(), b"there").await.blob_id();
    assert!(volume.join("relay.db").exists());
    assert!(relay.storaged.output().contains(&volume.display().to_string()), "{}", relay.storaged.output());
}

#[tokio::test]
async fn a_link_that_leads_nowhere_says_so_and_nothing_is_made() {
    let relay = Cluster::builder().build();
    let volume = relay.directory().join("volume");
    std::os::unix::fs::symlink(&volume, relay.data()).unwrap();
    let refusal = relay.storaged.launch.finish().await;
    assert_eq!(refusal.code, Some(66), "{}", refusal.stderr);
    for word in ["symbolic link", &volume.display().to_string(), "RELAY_DATA_DIR"] {
        assert!(refusal.stderr.contains(word), "no {word:?} in: {}", refusal.stderr);
    }
    assert!(!refusal.stderr.contains("chown") && !volume.exists());
}

#[tokio::test]
async fn a_store_that_is_made_anew_is_said_once() {
    let mut relay = Cluster::simple().await;
    assert!(relay.storaged.output().contains("a new, empty store is made"), "{}", relay.storaged.output());
    relay.storaged.kill();
    let before = relay.storaged.output().len();
    relay.start().await;
    assert!(!relay.storaged.output()[before..].contains("a new, empty store"));
}
