//! An operator's anchor, kept where no relay is: clients that pinned it are served by whichever relay its operator
//! certified, and follow it when it changes.

use crate::signed_keys::{record, shown};
use relay_tests::Cluster;
use relay_tests::binaries::Program;
use relay_tests::outer_relay::{Habits, OuterRelay};
use relay_tests::process::Launch;
use relay_tests::signed_key::{PATH, ROLLOVER_PATH, ROLLOVER_TYPE, Rollover, SignedKey};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An operator's machine without a network.
struct Offline {
    directory: TempDir,
}

impl Offline {
    /// With an anchor and a certificate.
    async fn new() -> Self {
        let offline = Self { directory: tempfile::tempdir().unwrap() };
        offline.run("new", &[]).await;
        offline.run("certify", &[]).await;
        offline
    }

    fn anchor(&self) -> PathBuf {
        self.directory.path().join("anchor")
    }

    /// `relay anchor` with no variable set and no relay near.
    async fn run(&self, what: &str, options: &[&str]) -> String {
        let path = self.anchor().display().to_string();
        let launch = Launch::new(Program::Relay, self.directory.path()).arguments(&["anchor", what, &path]);
        let finished = launch.arguments(options).finish().await;
        assert_eq!(finished.code, Some(0), "{what}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    /// Its public key and what it commits to, in hex.
    async fn pinned(&self) -> (String, String) {
        let json: Value = serde_json::from_str(&self.run("show", &["--json"]).await).unwrap();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        (text("anchor"), text("commitment"))
    }

    /// Copies what a relay may have.
    fn copy_to(&self, relay: &Path) {
        fs::create_dir_all(relay).unwrap();
        for name in ["anchor.json", "intermediate.key"] {
            fs::copy(self.anchor().join(name), relay.join(name)).unwrap();
        }
    }
}

/// A relay that was given the files of an anchor.
async fn certified(offline: &Offline) -> (Cluster, PathBuf) {
    // Outside of the relay's own directory, which comes later.
    let files = offline.directory.path().join("copied");
    offline.copy_to(&files);
    let relay = Cluster::builder().variable("RELAY_ANCHOR_DIR", files.display()).start().await;
    (relay, files)
}

#[tokio::test]
async fn an_offline_anchor_vouches_for_a_relay_that_never_had_it() {
    let offline = Offline::new().await;
    let (pinned, commitment) = offline.pinned().await;
    let (mut relay, _) = certified(&offline).await;
    let before = record(&relay.client()).await.body;
    assert!(SignedKey::parse(&before).is_vouched_for_by(&pinned));
    let shown = shown(&relay).await;
    assert_eq!((&shown["anchor"], &shown["commitment"]), (&pinned.into(), &commitment.into()));
    assert_eq!(shown["self_anchored"], false);
    relay.client().raw("GET", ROLLOVER_PATH, &[], "").await.failure(404);
    relay.kill();
    relay.start().await;
    assert_eq!(record(&relay.client()).await.body, before);
}

#[tokio::test]
async fn clients_follow_an_anchor_that_changed() {
    let offline = Offline::new().await;
    let (mut pinned, mut promised) = offline.pinned().await;
    let (mut relay, files) = certified(&offline).await;
    for changes in 1..=3 {
        offline.run("rollover", &[]).await;
        offline.copy_to(&files);
        relay.storaged.restart().await;
        relay.gateways[0].restart().await;
        let signed = SignedKey::parse(&record(&relay.client()).await.body);
        assert!(!signed.is_vouched_for_by(&pinned), "the old anchor vouches for nothing new");
        let reply = relay.client().raw("GET", ROLLOVER_PATH, &[], "").await;
        assert_eq!(reply.header("content-type"), Some(ROLLOVER_TYPE), "{}", reply.describe());
        let records = Rollover::parse_all(&reply.body);
        assert_eq!(records.len(), changes);
        let last = &records[changes - 1];
        assert!(last.keeps(&promised), "what the old anchor promised");
        (pinned, promised) = (last.anchor(), last.commitment());
        assert!(signed.is_vouched_for_by(&pinned));
        assert_eq!(offline.pinned().await, (pinned.clone(), promised.clone()));
    }
}

#[tokio::test]
async fn no_changed_rollover_is_believed() {
    let offline = Offline::new().await;
    let (_, promised) = offline.pinned().await;
    offline.run("rollover", &[]).await;
    let (relay, _) = certified(&offline).await;
    let list = relay.client().raw("GET", ROLLOVER_PATH, &[], "").await.body;
    assert!(Rollover::parse_all(&list)[0].keeps(&promised));
    for at in 2..list.len() {
        let mut changed = list.to_vec();
        changed[at] ^= 1;
        assert!(!Rollover::parse_all(&changed)[0].keeps(&promised), "byte {at}");
    }
}

#[tokio::test]
async fn selftest_as_client_checks_the_rollovers_and_follows_none_from_an_old_anchor() {
    let offline = Offline::new().await;
    let (old, _) = offline.pinned().await;
    offline.run("rollover", &[]).await;
    let (new, _) = offline.pinned().await;
    let (relay, _) = certified(&offline).await;
    let url = format!("http://{}", relay.address());
    let walk = async |habits: Habits, anchor: &str| {
        let outer = OuterRelay::start(relay.address(), habits).await;
        let oblivious = format!("http://{}", outer.address());
        let arguments = ["selftest", &url, "--as-client", "--oblivious", &oblivious, "--anchor", anchor];
        relay.command(&arguments).finish().await
    };
    let rollovers = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("anchor rollovers"));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let good = walk(Habits::default(), &new).await;
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(rollovers(&good.stdout).ends_with(" ok"), "{}", good.stdout);
    let late = walk(Habits::default(), &old).await;
    assert_eq!(late.code, Some(1), "{}", late.stdout);
    let spoilt = walk(Habits { spoils_rollovers: true, ..Habits::default() }, &new).await;
    assert_eq!(spoilt.code, Some(1), "{}", spoilt.stdout);
    assert!(rollovers(&spoilt.stdout).contains("FAILED: the rollovers do not follow"), "{}", spoilt.stdout);
}

#[tokio::test]
async fn a_relay_without_the_files_that_it_was_promised_does_not_start() {
    let offline = Offline::new().await;
    let (mut relay, files) = certified(&offline).await;
    relay.kill();
    for missing in ["anchor.json", "intermediate.key"] {
        fs::remove_file(files.join(missing)).unwrap();
        let refusal = relay.storaged.launch.finish().await;
        assert_eq!(refusal.code, Some(78), "{}", refusal.stderr);
        for word in ["RELAY_ANCHOR_DIR", missing] {
            assert!(refusal.stderr.contains(word), "no {word:?} in: {}", refusal.stderr);
        }
        offline.copy_to(&files);
    }
    // A certificate for another key is as bad as none.
    let other = Offline::new().await;
    fs::copy(other.anchor().join("intermediate.key"), files.join("intermediate.key")).unwrap();
    assert_eq!(relay.storaged.launch.finish().await.code, Some(78));
    offline.copy_to(&files);
    relay.start().await;
    assert_eq!(relay.client().raw("GET", PATH, &[], "").await.status, 200);
}
