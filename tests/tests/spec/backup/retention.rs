//! Which backups stay, which go, and what a backup that fails leaves behind.

use super::relay;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::fields::{random_bytes, random_mailbox, send_fields};
use relay_tests::strace::Strace;
use relay_tests::{Action, Cluster, volume};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A relay at rest with some mail, and a place for backups of it.
async fn at_rest() -> (Cluster, String) {
    let mut cluster = Cluster::simple().await;
    for _ in 0..3 {
        cluster.client().send(&random_mailbox(), &random_bytes(3000)).await.blob_id();
    }
    assert_eq!(cluster.storaged.terminate().await, 0);
    let backups = cluster.directory().join("backups").to_str().unwrap().to_owned();
    (cluster, backups)
}

#[tokio::test]
async fn a_backup_with_an_origin_hint_is_as_good_as_any() {
    let mut cluster = Cluster::simple().await;
    let mailbox = random_mailbox();
    let (content, hint) = (random_bytes(500), STANDARD.encode(random_bytes(74)));
    let mut fields = send_fields(&mailbox, &content);
    fields["origin_hint"] = json!(hint);
    let id = cluster.client().call(Action::Send, &fields).await.blob_id();
    let backups = cluster.directory().join("backups");
    let (code, said) = relay(&cluster, &["backup", backups.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    let backup = super::only(&backups);
    // Versions that took it for damaged did not write either whether it is sound.
    let manifest = backup.join("manifest.json");
    let mut fields: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(fields.as_object_mut().unwrap().remove("sound"), Some(json!(true)));
    fs::write(&manifest, fields.to_string()).unwrap();
    let (code, said) = relay(&cluster, &["verify", backup.to_str().unwrap()]).await;
    assert!(code == 0 && said.contains("1 blob with 574 B"), "{code}: {said}");
    cluster.kill();
    let (code, said) = relay(&cluster, &["verify"]).await;
    assert_eq!(code, 0, "{said}");
    let mut new = Cluster::builder().build();
    let (code, said) = relay(&new, &["restore", backup.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    new.start().await;
    let page = new.client().fetch(&[&mailbox]).await.page();
    assert_eq!(page.ids(), [&id]);
    assert!(page.blobs[0].ciphertext == content && page.blobs[0].origin_hint.as_ref() == Some(&hint));
}

#[tokio::test]
async fn a_backup_in_which_damage_was_found_says_so_and_removes_no_other() {
    let (cluster, backups) = at_rest().await;
    let backup = ["backup", "--keep", "3", backups.as_str()];
    for _ in 0..3 {
        let (code, said) = relay(&cluster, &backup).await;
        assert_eq!(code, 0, "{said}");
    }
    let good = names(Path::new(&backups));
    assert_eq!(good.len(), 3, "{good:?}");
    let sql = Connection::open(cluster.database()).unwrap();
    sql.execute("UPDATE blobs SET ciphertext = zeroblob(size) WHERE seq != (SELECT max(seq) FROM blobs)", [])
        .unwrap();
    drop(sql);
    for run in 1..=3 {
        let (code, said) = relay(&cluster, &backup).await;
        assert_eq!(code, 65, "{said}");
        for words in ["DAMAGED", "2 blobs are not what their names say", "-damaged", "was removed"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let found = names(Path::new(&backups));
        assert!(good.iter().all(|name| found.contains(name)), "{found:?}");
        let damaged = found.iter().filter(|name| name.ends_with("-damaged")).count();
        assert_eq!((found.len(), damaged), (3 + run, run), "{found:?}");
    }
    for name in names(Path::new(&backups)) {
        let path = Path::new(&backups).join(&name);
        let (code, said) = relay(&cluster, &["verify", path.to_str().unwrap()]).await;
        assert_eq!(code, if good.contains(&name) { 0 } else { 65 }, "{name}: {said}");
    }
    // The damage is over: good ones push out good ones, and nothing else.
    let sql = Connection::open(cluster.database()).unwrap();
    sql.execute_batch(
        "DELETE FROM blobs WHERE ciphertext = zeroblob(size); UPDATE totals SET blobs = 1, bytes = 3000",
    )
    .unwrap();
    drop(sql);
    let (code, said) = relay(&cluster, &backup).await;
    assert!(code == 0 && said.contains("3 backups in") && said.contains("1 older removed"), "{code}: {said}");
    let found = names(Path::new(&backups));
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(!found.contains(&good[0]) && found.contains(&good[1]) && found.contains(&good[2]), "{found:?}");
}

#[tokio::test]
async fn only_good_backups_count_among_those_that_are_kept() {
    let (cluster, backups) = at_rest().await;
    let backup = ["backup", "--keep", "2", backups.as_str()];
    for _ in 0..2 {
        assert_eq!(relay(&cluster, &backup).await.0, 0);
    }
    let directory = Path::new(&backups);
    let [oldest, second] = &names(directory)[..] else { panic!("two backups") };
    let rotten = directory.join(second).join("relay.db");
    let mut bytes = fs::read(&rotten).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&rotten, bytes).unwrap();
    // What others laid there looks like backups, more or less.
    for (name, manifest) in [("relay-20200101-000000", "{}"), ("relay-20200102-000000", "no JSON")] {
        fs::create_dir(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("manifest.json"), manifest).unwrap();
    }
    fs::create_dir(directory.join("relay-20200103-000000")).unwrap();
    fs::create_dir_all(directory.join(".unfinished-things/of-mine")).unwrap();
    let (code, said) = relay(&cluster, &backup).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("an older backup is damaged") && said.contains(second), "{said}");
    let found = names(directory);
    assert!(found.contains(oldest) && found.contains(second), "the oldest is the second good one: {found:?}");
    let (code, said) = relay(&cluster, &backup).await;
    assert!(code == 0 && said.contains("2 older removed"), "{code}: {said}");
    let found = names(directory);
    assert!(!found.contains(oldest) && !found.contains(second), "{found:?}");
    assert_eq!(found.len(), 6, "what others laid there is left alone: {found:?}");
}

#[tokio::test]
async fn a_backup_that_fails_leaves_no_directory_behind() {
    let (cluster, backups) = at_rest().await;
    let backup = ["backup", "--keep", "3", backups.as_str()];
    let bytes = fs::read(cluster.database()).unwrap();
    fs::write(cluster.database(), vec![b'x'; 8192]).unwrap();
    let (code, said) = relay(&cluster, &backup).await;
    assert_eq!(code, 65, "{said}");
    assert!(!Path::new(&backups).exists());
    // One that was there stays.
    fs::create_dir(&backups).unwrap();
    assert_eq!(relay(&cluster, &backup).await.0, 65);
    assert!(names(Path::new(&backups)).is_empty());
    fs::write(cluster.database(), bytes).unwrap();
    assert_eq!(relay(&cluster, &backup).await.0, 0);
    assert_eq!(names(Path::new(&backups)).len(), 1);
}

#[tokio::test]
async fn a_backup_onto_a_volume_that_fills_up_fails_clearly_and_leaves_nothing() {
    if !(volume::is_here() && Strace::is_here()) {
        return;
    }
    let mut cluster = Cluster::simple().await;
    for _ in 0..4 {
        cluster.client().send(&random_mailbox(), &random_bytes(900_000)).await.blob_id();
    }
    let place = cluster.directory().join("place");
    fs::create_dir(&place).unwrap();
    let backups = place.join("backups");
    // The small volume ends with its process, so that one looks before it ends.
    let look = format!("\"$@\"; code=$?; find {} -mindepth 1; exit $code", place.display());
    for serves in [true, false] {
        if !serves {
            assert_eq!(cluster.storaged.terminate().await, 0);
        }
        let command = cluster.command(&["backup", backups.to_str().unwrap()]);
        let command = volume::mounted(command.wrapped("sh", &["-c", &look, "sh"]), &place, 2);
        let finished = command.finish().await;
        let said = finished.stdout + &finished.stderr;
        assert_eq!(finished.code, Some(74), "{said}");
        assert!(said.contains("cannot write the backup"), "{said}");
        assert!(!said.contains("/backups\n") && !said.contains("unfinished"), "{said}");
    }
}
