//! Taking over what the relay of one process left behind.

use relay_tests::deadline::unix_now as now;
use relay_tests::fields::{guardian_fields, key_fields, random_bytes, random_mailbox, random_name};
use relay_tests::oblivious::Key;
use relay_tests::{Action, Cluster, Via};
use rusqlite::{Connection, params};
use std::fs;
use std::path::{Path, PathBuf};

const DAY: u64 = 86_400;

async fn relay(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let finished = cluster.command(arguments).finish().await;
    (finished.code.unwrap(), finished.stdout + &finished.stderr)
}

/// A directory as the older relay leaves it.
struct Older {
    directory: PathBuf,
    seed: [u8; 32],
    /// Keeps its last commits in its log.
    _blobs: Connection,
}

/// How it lays out its mail.
const BLOBS: &str = "PRAGMA journal_mode=WAL;
    CREATE TABLE blobs (id TEXT PRIMARY KEY, recipient_id TEXT NOT NULL, data BLOB NOT NULL,
                        created_at_secs INTEGER NOT NULL, hop_count INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX idx_blobs_created ON blobs(created_at_secs);
    CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT NOT NULL);";

impl Older {
    fn make(directory: &Path) -> Self {
        fs::create_dir(directory).unwrap();
        let blobs = Connection::open(directory.join("blobs.db")).unwrap();
        blobs.execute_batch(BLOBS).unwrap();
        let seed: [u8; 32] = random_bytes(32).try_into().unwrap();
        let mut seeds = b"VOW1\x04".to_vec();
        for window in [now() / DAY - 2, now() / DAY - 1, now() / DAY, now() / DAY + 1] {
            seeds.extend(window.to_be_bytes());
            seeds.extend(if window == now() / DAY { seed.to_vec() } else { random_bytes(32) });
        }
        fs::write(directory.join("ohttp.bin"), seeds).unwrap();
        fs::write(directory.join("ohttp-anchor.key"), [7; 32]).unwrap();
        let secret: [u8; 32] = [9; 32];
        let public = snow::resolvers::DefaultResolver;
        let public = {
            use snow::params::DHChoice;
            use snow::resolvers::CryptoResolver as _;
            let mut dh = public.resolve_dh(&DHChoice::Curve25519).unwrap();
            dh.set(&secret);
            dh.pubkey().to_vec()
        };
        fs::write(directory.join("relay_noise_key.bin"), [secret.to_vec(), public].concat()).unwrap();
        fs::write(directory.join("relay_id"), "6f1c0de0").unwrap();
        fs::write(directory.join("notes.txt"), "buy milk").unwrap();
        Self { directory: directory.to_owned(), seed, _blobs: blobs }
    }

    fn blob(&self, recipient: &str, data: &[u8], created: u64) {
        let insert = "INSERT INTO blobs (id, recipient_id, data, created_at_secs) VALUES (?1, ?2, ?3, ?4)";
        self._blobs
            .execute(insert, params![hex::encode(random_bytes(16)), recipient, data, created])
            .unwrap();
    }

    fn vault(&self, file: &str, table: &str, columns: [&str; 2], rows: &[(&[u8], &[u8], u64)]) {
        let sql = Connection::open(self.directory.join(file)).unwrap();
        let [name, content] = columns;
        sql.execute_batch(&format!(
            "CREATE TABLE {table} ({name} BLOB PRIMARY KEY, {content} BLOB NOT NULL,
                                   created_at_secs INTEGER NOT NULL, expires_at_secs INTEGER NOT NULL)"
        ))
        .unwrap();
        for (name, content, expires) in rows {
            let insert = format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4)");
            sql.execute(&insert, params![name, content, now() - DAY, expires]).unwrap();
        }
    }
}

#[tokio::test]
async fn clients_of_the_older_relay_go_on_with_the_new_one() {
    let mut cluster = Cluster::builder().build();
    let older = Older::make(&cluster.directory().join("older"));
    let (mailbox, other) = (random_mailbox(), random_mailbox());
    let mail: Vec<Vec<u8>> = (0..3).map(|_| random_bytes(2000)).collect();
    older.blob(&mailbox, &mail[1], now() - 5 * DAY);
    older.blob(&mailbox, &mail[2], now() - 4 * DAY);
    older.blob(&mailbox.to_uppercase(), &mail[0], now() - 6 * DAY);
    older.blob(&other, &mail[0], now() + 400 * DAY);
    older.blob(&other, &mail[0], now() - DAY);
    older.blob(&other, &random_bytes(10), now() - 500 * DAY);
    older.blob("somebody", &random_bytes(10), now());
    older.blob(&other, b"", now());
    let (proof, set, gone) = (random_bytes(32), random_bytes(32), random_bytes(32));
    let columns = ["key_hash", "proof_data"];
    let expires = now() + 30 * DAY;
    let proofs: [(&[u8], &[u8], u64); 3] =
        [(&proof, b"proof", expires), (&gone, b"proof", now() - DAY), (b"short", b"proof", expires)];
    older.vault("recovery_proofs.db", "recovery_proofs", columns, &proofs);
    let columns = ["guardian_hash", "entries_data"];
    let entries = br#"["Zmlyc3Q=","c2Vjb25k"]"#;
    older.vault(
        "guardian_entries.db",
        "guardian_sets",
        columns,
        &[(&set, entries, expires), (&gone, b"?", expires)],
    );
    older.vault("federation.db", "forwarding_hints", ["blob_id", "routing_id"], &[]);

    let import = ["import", "vauchi", older.directory.to_str().unwrap()];
    let (code, said) = relay(&cluster, &import).await;
    assert_eq!(code, 0, "{said}");
    for line in [
        "blobs.db: 4 blobs taken, 1 here before or acknowledged, 1 expired, 2 not understood",
        "recovery_proofs.db: 1 recovery proof taken, 1 expired, 1 not understood",
        "guardian_entries.db: 1 guardian set taken, 1 not understood",
        "ohttp.bin: 3 key windows taken, 1 expired",
        "ohttp-anchor.key: 1 anchor taken",
        "relay_noise_key.bin: 1 Noise key taken",
        "federation.db: left;",
        "relay_id: left;",
        "notes.txt: left; it is not known",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("mailboxes that hold"), "{said}");
    let (code, again) = relay(&cluster, &import).await;
    assert_eq!(code, 0, "{again}");
    assert!(again.contains("blobs.db: 0 blobs taken, 5 here before"), "{again}");
    assert!(again.contains("ohttp.bin: 0 key windows taken, 3 here before"), "{again}");
    assert_eq!(relay(&cluster, &["verify"]).await.0, 0);

    cluster.start().await;
    let client = cluster.client();
    let page = client.fetch(&[&mailbox]).await.page();
    let contents: Vec<&[u8]> = page.blobs.iter().map(|blob| blob.ciphertext.as_slice()).collect();
    assert_eq!(contents, mail.iter().map(Vec::as_slice).collect::<Vec<_>>(), "in the order of arrival");
    assert!(page.blobs[0].created_at.abs_diff(now() - 6 * DAY) <= 3600 + 5);
    let found = client.call(Action::RecoveryQuery, &key_fields(&[hex::encode(&proof)])).await.success();
    assert_eq!(found["proofs"].as_array().unwrap().len(), 1, "{found}");
    let found = client.call(Action::GuardianQuery, &guardian_fields(&hex::encode(&set))).await.success();
    assert_eq!(found["guardians"].as_array().unwrap().len(), 2, "{found}");

    // A client that holds the older relay's key of today.
    let suite = ohttp::SymmetricSuite::new(ohttp::hpke::Kdf::HkdfSha256, ohttp::hpke::Aead::ChaCha20Poly1305);
    let id = u8::try_from(now() / DAY % 256).unwrap();
    let key = ohttp::KeyConfig::derive(id, ohttp::hpke::Kem::X25519Sha256, vec![suite], &older.seed).unwrap();
    let sealed = cluster.client_via(Via::Envelope).with_key(Key::bare(key.encode().unwrap()));
    let page = sealed.fetch(&[&mailbox]).await.page();
    for blob in &page.blobs {
        assert!(sealed.ack(&mailbox, &blob.id).await.acknowledged());
    }
    let anchor = relay(&cluster, &["keys", "--json"]).await.1;
    let public = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    assert!(anchor.contains(&hex::encode(public.as_bytes())), "{anchor}");

    let (code, said) = relay(&cluster, &import).await;
    assert_eq!(code, 75, "the relay runs: {said}");
    cluster.kill();
    let (code, said) = relay(&cluster, &import).await;
    assert!(code == 0 && said.contains("blobs.db: 0 blobs taken, 5 here before or acknowledged"), "{said}");
}

#[tokio::test]
async fn a_relay_with_keys_of_its_own_keeps_them() {
    let mut cluster = Cluster::simple().await;
    let before = relay(&cluster, &["keys", "--json"]).await.1;
    let sealed = cluster.client_via(Via::Envelope);
    let key = sealed.key().await;
    cluster.kill();
    let older = Older::make(&cluster.directory().join("older"));
    let (code, said) = relay(&cluster, &["import", "vauchi", older.directory.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    for line in ["ohttp.bin: left; this relay has keys", "ohttp-anchor.key: left; this relay has an anchor"] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    cluster.start().await;
    let after = relay(&cluster, &["keys", "--json"]).await.1;
    let anchor = |text: &str| text.lines().find(|line| line.contains("\"anchor\"")).unwrap().to_owned();
    assert_eq!(anchor(&before), anchor(&after));
    let sealed = cluster.client_via(Via::Envelope).with_key(key);
    assert!(sealed.fetch(&[random_mailbox()]).await.page().blobs.is_empty());
}

#[tokio::test]
async fn what_is_no_store_is_refused_or_left() {
    let cluster = Cluster::builder().build();
    let directory = cluster.directory().join("older");
    let import = ["import", "vauchi", directory.to_str().unwrap()];
    assert_eq!(relay(&cluster, &import).await.0, 66, "there is no such directory");
    fs::create_dir(&directory).unwrap();
    let (code, said) = relay(&cluster, &import).await;
    assert!(code == 66 && said.contains("nothing to take over"), "{said}");
    fs::write(directory.join("blobs.db"), "no database at all, whatever its name may be").unwrap();
    let (code, said) = relay(&cluster, &import).await;
    assert_eq!(code, 65, "{said}");
    fs::remove_file(directory.join("blobs.db")).unwrap();
    let sql = Connection::open(directory.join("blobs.db")).unwrap();
    sql.execute_batch("CREATE TABLE blobs (id, secret_of_ours)").unwrap();
    drop(sql);
    let (code, said) = relay(&cluster, &import).await;
    assert!(code == 0 && said.contains("blobs.db: left;"), "{said}");
    let memory = cluster.command(&import).variable("RELAY_STORAGE_BACKEND", "memory").finish().await;
    assert_eq!(memory.code, Some(64), "{}", memory.stderr);
}

#[tokio::test]
async fn a_relay_that_is_too_small_says_so_and_goes_on_when_it_is_not() {
    let cluster = Cluster::builder().build();
    let older = Older::make(&cluster.directory().join("older"));
    for _ in 0..100 {
        older.blob(&random_name(), &random_bytes(50_000), now());
    }
    let import = ["import", "vauchi", older.directory.to_str().unwrap()];
    let small = cluster.command(&import).variable("RELAY_MAX_STORAGE_BYTES", 3_000_000).finish().await;
    assert_eq!(small.code, Some(74), "{}", small.stderr);
    assert!(small.stderr.contains("RELAY_MAX_STORAGE_BYTES"), "{}", small.stderr);
    let (code, said) = relay(&cluster, &import).await;
    assert_eq!(code, 0, "{said}");
    let taken: u64 = said.split("blobs.db: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(taken > 20 && taken < 100 && said.contains(&format!("{} here before", 100 - taken)), "{said}");
}
