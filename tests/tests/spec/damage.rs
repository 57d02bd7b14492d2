//! A disk that fails or lies, met by whoever meets it first: the process says so and ends with its code, and does not
//! answer on as if one request had been unlucky.

use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{ack_fields, random_bytes, random_mailbox};
use relay_tests::strace::Strace;
use relay_tests::{Action, Cluster};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::FileExt as _;

const PAGE: u64 = 4096;

/// A relay that was started anew, so that nothing of its mail is in memory.
async fn with_mail() -> (Cluster, Vec<(String, String)>) {
    let mut relay = Cluster::simple().await;
    let mut mail = Vec::new();
    for _ in 0..150 {
        let mailbox = random_mailbox();
        let id = relay.client().send(&mailbox, &random_bytes(3000)).await.blob_id();
        mail.push((mailbox, id));
    }
    // A free page or two.
    for (mailbox, id) in mail.split_off(100) {
        assert!(relay.client().ack(&mailbox, &id).await.acknowledged());
    }
    assert_eq!(relay.storaged.terminate().await, 0);
    (relay, mail)
}

#[tokio::test]
async fn a_read_that_fails_in_a_job_or_for_a_reader_ends_the_store_with_74() {
    if !Strace::is_here() {
        return;
    }
    let (mut relay, mail) = with_mail().await;
    let (mailbox, id) = &mail[0];
    for action in [Action::Ack, Action::Fetch] {
        relay.start().await;
        let fault = Strace::bend(relay.storaged.pid(), "pread64", "error=EIO").await;
        let client = relay.client();
        let (mailbox, id) = (mailbox.clone(), id.clone());
        let request = tokio::spawn(async move {
            match action {
                Action::Ack => client.call(Action::Ack, &ack_fields(&mailbox, &id)).await,
                _ => client.fetch(&[&mailbox]).await,
            }
        });
        assert_eq!(relay.storaged.exit_code().await, 74, "{action:?}: {}", relay.storaged.output());
        drop(fault);
        relay.storaged.spawn();
        request.await.unwrap().success();
        relay.storaged.ready().await;
        assert_eq!(relay.storaged.terminate().await, 0);
    }
}

/// Fills a page with what no page begins with.
fn damage(relay: &Cluster, page: u64) {
    let file = fs::OpenOptions::new().write(true).open(relay.database()).unwrap();
    file.write_all_at(&[0x5a; PAGE as usize], (page - 1) * PAGE).unwrap();
}

/// Lays a whole database in the place of the one that is there, with no log.
fn put_back(relay: &Cluster, sound: &[u8]) {
    fs::write(relay.database(), sound).unwrap();
    fs::remove_file(relay.data().join("relay.db-wal")).unwrap_or_default();
}

/// Pages of a table or index, of one type.
fn pages(relay: &Cluster, name: &str, kind: &str) -> Vec<u64> {
    let sql = Connection::open(relay.database()).unwrap();
    let mut statement =
        sql.prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY pageno").unwrap();
    let found = statement.query_map([name, kind], |row| row.get(0)).unwrap();
    found.map(Result::unwrap).collect()
}

/// The first page of the list of free ones.
fn free_page(relay: &Cluster) -> u64 {
    let bytes = fs::read(relay.database()).unwrap();
    u64::from(u32::from_be_bytes(bytes[32..36].try_into().unwrap()))
}

#[tokio::test]
async fn damaged_pages_are_named_and_end_the_store_with_65_until_they_are_mended() {
    let (mut relay, mail) = with_mail().await;
    let sound = fs::read(relay.database()).unwrap();
    let leaves = pages(&relay, "blobs", "leaf");
    let index = pages(&relay, "blobs_by_mailbox", "leaf");
    let inner = [pages(&relay, "blobs", "internal"), pages(&relay, "blobs_by_mailbox", "internal")];
    let free = free_page(&relay);
    assert!(leaves.len() > 10 && index.len() > 1 && inner.iter().all(|pages| !pages.is_empty()) && free > 0);
    for (name, damaged) in [
        ("table blobs", leaves),
        ("index blobs_by_mailbox", index),
        ("table blobs", inner[0].clone()),
        ("index blobs_by_mailbox", inner[1].clone()),
        ("list of free pages", vec![free]),
    ] {
        put_back(&relay, &sound);
        for page in damaged {
            damage(&relay, page);
        }
        let before = relay.storaged.output().len();
        relay.storaged.spawn();
        let client = relay.client();
        let mail = mail.clone();
        let requests = tokio::spawn(async move {
            loop {
                for (mailbox, _) in &mail {
                    client.fetch(&[mailbox]).await;
                    client.send(mailbox, &random_bytes(9000)).await;
                }
            }
        });
        assert_eq!(relay.storaged.exit_code().await, 65, "{name}: {}", relay.storaged.output());
        requests.abort();
        let said = relay.storaged.output()[before..].to_owned();
        assert!(said.contains(name), "{name} is not named in: {said}");
        // It does not serve what is left, whoever starts it how often.
        let again = relay.storaged.launch.finish().await;
        assert_eq!(again.code, Some(65), "{name}: {}", again.stderr);
        assert!(again.stderr.contains(name) && again.stderr.contains("relay restore"), "{}", again.stderr);
    }
    put_back(&relay, &sound);
    relay.start().await;
    let (mailbox, id) = &mail[0];
    assert_eq!(relay.client().fetch(&[mailbox]).await.page().ids(), [id]);
    assert_eq!(relay.storaged.terminate().await, 0);
    assert!(!relay.data().join("damaged").exists(), "the mark goes with the damage");
}

#[tokio::test]
async fn a_used_up_quota_is_a_full_volume_and_no_broken_disk() {
    if !Strace::is_here() {
        return;
    }
    let mut relay = Cluster::simple().await;
    let client = relay.client();
    let mailbox = random_mailbox();
    let before = client.send(&mailbox, b"before").await.blob_id();
    let fault = Strace::bend(relay.storaged.pid(), "pwrite64", "error=EDQUOT").await;
    let reply = client.send(&mailbox, b"no room").await;
    reply.failure(503);
    assert!(reply.retry_after() >= 1);
    assert!(relay.storaged.is_running(), "{}", relay.storaged.output());
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&before]);
    fault.detach().await;
    let after = client.send(&mailbox, b"no room").await.blob_id();
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [before, after]);
    relay.storaged.signal(Signal::SIGTERM);
    deadline::within(PATIENCE, async || (!relay.storaged.is_running()).then_some(())).await.unwrap();
}
