//! Backups: made while the relay serves, put in elsewhere, and never half.

mod cuts;
mod meanwhile;
mod peers;
mod retention;
mod rounds;

use nix::sys::signal::Signal;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::ledger::{self, Load};
use relay_tests::{Action, Cluster, Owner, Via};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The one backup in a directory.
fn only(directory: &Path) -> PathBuf {
    let found: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Every row of every table of a database at rest.
fn rows(database: &Path) -> BTreeMap<String, Vec<Vec<Value>>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let sql = Connection::open_with_flags(format!("file:{}?immutable=1", database.display()), flags).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let mut names = sql.prepare(names).unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names
        .into_iter()
        .map(|name| {
            let mut statement = sql.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
            let mut rows: Vec<Vec<Value>> = rows.unwrap().map(Result::unwrap).collect();
            rows.sort_by_key(|row| format!("{row:?}"));
            (name, rows)
        })
        .collect()
}

/// Runs the operator's command; answers its exit code and all it says.
async fn relay(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let finished = cluster.command(arguments).finish().await;
    (finished.code.unwrap(), finished.stdout + &finished.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_lost_with_its_disk_goes_on_elsewhere_from_a_backup() {
    let mut old = Cluster::simple().await;
    let mailboxes: Vec<String> = (0..20).map(|_| random_mailbox()).collect();
    for mailbox in &mailboxes {
        for size in [1, 3000, 70_000] {
            old.client().send(mailbox, &random_bytes(size)).await.blob_id();
        }
    }
    let sealed = old.client_via(Via::Envelope);
    let key = sealed.key().await;
    let sent = old.client().fetch(&[&mailboxes[0]]).await.page();

    let backups = old.directory().join("backups");
    let load = Load::steady((0..4).map(|_| old.client()).collect());
    load.more(50).await;
    let (code, said) = relay(&old, &["backup", backups.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    for word in ["blobs in", "expires on", "stays in it", "keys", "open what is sealed", "1 backup in"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    load.more(50).await;
    ledger::verify(&old.client(), &load.stop().await).await;
    assert!(!old.data().join("backup.partial").exists());
    let backup = only(&backups);
    old.kill();

    let mut new = Cluster::builder().build();
    let (code, said) = relay(&new, &["restore", backup.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    let (mut before, mut after) = (rows(&backup.join("relay.db")), rows(&new.database()));
    let added = after.get_mut("meta").unwrap();
    let count = added.len();
    added.retain(|row| row[0] != Value::Text("restored_floor".to_owned()));
    assert_eq!(added.len() + 1, count, "the floor of signatures is raised");
    // Numbers of deletions are passed over: somebody may remember some from after the backup.
    let numbers = [before.remove("sqlite_sequence"), after.remove("sqlite_sequence")];
    assert_ne!(numbers[0], numbers[1]);
    assert!(before == after, "every row is as it was");

    new.start().await;
    let page = new.client().fetch(&[&mailboxes[0]]).await.page();
    assert_eq!(page.blobs.len(), sent.blobs.len());
    let client = new.client_via(Via::Envelope).with_key(key);
    let another = random_mailbox();
    let id = client.send(&another, b"with the key of before").await.blob_id();
    assert_eq!(client.fetch(&[&another]).await.page().ids(), [&id]);
}

#[tokio::test]
async fn what_was_signed_before_a_restore_is_used_up() {
    let mut relay_ = Cluster::simple().await;
    let backups = relay_.directory().join("backups");
    assert_eq!(relay(&relay_, &["backup", backups.to_str().unwrap()]).await.0, 0);
    let owner = Owner::random();
    let used = [
        (Action::Register, owner.register(&[&random_mailbox()])),
        (Action::Purge, owner.purge(&owner.mailbox())),
        (Action::GuardianStore, owner.guardian_store(&[b"a guardian"])),
        (Action::GuardianDelete, owner.guardian_delete()),
    ];
    for (action, fields) in &used {
        relay_.client().call(*action, fields).await.success();
    }
    relay_.kill();
    let backup = only(&backups);
    let (code, said) = relay(&relay_, &["restore", backup.to_str().unwrap()]).await;
    assert_eq!(code, 64, "a database that is there is not replaced unasked: {said}");
    assert_eq!(relay(&relay_, &["restore", "--replace", backup.to_str().unwrap()]).await.0, 0);
    let aside = fs::read_dir(relay_.data()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("relay.db.before-")
    });
    assert!(aside.count() >= 1, "what was there is laid aside");
    relay_.start().await;
    for (action, fields) in &used {
        relay_.client().call(*action, fields).await.failure(401);
    }
}

#[tokio::test]
async fn a_backup_that_was_changed_is_not_put_in() {
    let mut cluster = Cluster::simple().await;
    cluster.client().send(&random_mailbox(), &random_bytes(5000)).await.blob_id();
    let backups = cluster.directory().join("backups");
    assert_eq!(relay(&cluster, &["backup", backups.to_str().unwrap()]).await.0, 0);
    let backup = only(&backups);
    let path = backup.to_str().unwrap().to_owned();
    assert_eq!(relay(&cluster, &["verify", &path]).await.0, 0);
    let (code, said) = relay(&cluster, &["restore", &path]).await;
    assert_eq!(code, 75, "the relay runs: {said}");
    let (code, said) = relay(&cluster, &["verify"]).await;
    assert_eq!(code, 75, "the relay runs: {said}");
    cluster.kill();
    let database = backup.join("relay.db");
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&database, bytes).unwrap();
    for command in [&["verify", path.as_str()][..], &["restore", "--replace", &path]] {
        let (code, said) = relay(&cluster, command).await;
        assert_eq!(code, 65, "{said}");
    }
    fs::write(backup.join("manifest.json"), "{}").unwrap();
    assert_eq!(relay(&cluster, &["verify", &path]).await.0, 65);
    fs::remove_file(backup.join("manifest.json")).unwrap();
    assert_eq!(relay(&cluster, &["restore", "--replace", &path]).await.0, 66);
    cluster.start().await;
}

#[tokio::test]
async fn a_stopped_relay_is_backed_up_verified_and_compacted_too() {
    let mut cluster = Cluster::simple().await;
    let client = cluster.client();
    let mailbox = random_mailbox();
    for _ in 0..30 {
        client.send(&mailbox, &random_bytes(50_000)).await.blob_id();
    }
    ledger::drain(&client, &mailbox).await;
    let kept = client.send(&mailbox, b"kept").await.blob_id();
    let (code, said) = relay(&cluster, &["compact"]).await;
    assert!(code == 0 && said.contains("0 B of them free"), "{said}");
    assert_eq!(cluster.storaged.terminate().await, 0);
    let (code, said) = relay(&cluster, &["verify"]).await;
    assert!(code == 0 && said.contains("1 blob with") && said.contains("all is well"), "{said}");
    let before = fs::read(cluster.database()).unwrap();
    assert_eq!(relay(&cluster, &["verify"]).await.0, 0);
    assert!(before == fs::read(cluster.database()).unwrap(), "looking changes nothing");
    let (code, said) = relay(&cluster, &["compact"]).await;
    assert!(code == 0 && said.contains("0 B of them free"), "{said}");
    let backups = cluster.directory().join("backups");
    for _ in 0..3 {
        let (code, said) = relay(&cluster, &["backup", "--keep", "2", backups.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(fs::read_dir(&backups).unwrap().count(), 2);
    cluster.storaged.spawn();
    cluster.storaged.ready().await;
    cluster.gateways[0].ready().await;
    assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&kept]);
}

#[tokio::test]
async fn damage_is_found_and_told_without_a_name() {
    let mut cluster = Cluster::simple().await;
    let id = cluster.client().send(&random_mailbox(), b"sound").await.blob_id();
    assert_eq!(cluster.storaged.terminate().await, 0);
    let sql = Connection::open(cluster.database()).unwrap();
    sql.execute("UPDATE blobs SET ciphertext = x'00'", []).unwrap();
    sql.execute("UPDATE totals SET blobs = 7", []).unwrap();
    drop(sql);
    let (code, said) = relay(&cluster, &["verify"]).await;
    assert_eq!(code, 65, "{said}");
    assert!(
        said.contains("1 blobs are not what their names say")
            && said.contains("the sum of blobs is kept as 7"),
        "{said}"
    );
    assert!(!said.contains(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cut_short_leaves_nothing_behind_and_costs_no_answer() {
    let mut cluster = Cluster::builder().variable("RELAY_MAX_BLOBS_PER_USER", 100_000).start().await;
    // Large enough that there is a middle to be cut in.
    for _ in 0..3 {
        let mailbox = random_mailbox();
        for _ in 0..30 {
            cluster.client().send(&mailbox, &random_bytes(900_000)).await.blob_id();
        }
    }
    let filling = Load::steady((0..4).map(|_| cluster.client()).collect());
    filling.more(50).await;
    let backups = cluster.directory().join("backups");
    for killed in ["command", "storaged", "command asked to stop"] {
        let mut command = cluster.command(&["backup", backups.to_str().unwrap()]).start();
        let partial = cluster.data().join("backup.partial");
        deadline::until("a copy in the making", PATIENCE, async || partial.exists().then_some(())).await;
        match killed {
            "command" => command.kill(),
            "storaged" => {
                cluster.storaged.restart().await;
                assert_ne!(command.exit_code().await, 0, "{}", command.output());
            }
            _ => {
                command.signal(Signal::SIGTERM);
                command.ended().await;
            }
        }
        deadline::until("a copy that is gone", PATIENCE, async || (!partial.exists()).then_some(())).await;
        filling.more(50).await;
    }
    ledger::verify(&cluster.client(), &filling.stop().await).await;
    let (code, said) = relay(&cluster, &["backup", backups.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    let names: Vec<String> = fs::read_dir(&backups)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| name.starts_with("relay-")), "{names:?}");
}

#[tokio::test]
async fn a_relay_in_memory_says_that_there_is_nothing_to_back_up() {
    let cluster = Cluster::builder().variable("RELAY_STORAGE_BACKEND", "memory").start().await;
    let backups = cluster.directory().join("backups");
    let (code, said) = relay(&cluster, &["backup", backups.to_str().unwrap()]).await;
    assert!(code == 64 && said.contains("memory"), "{code}: {said}");
    assert!(!backups.exists(), "a backup that failed leaves no directory");
}
