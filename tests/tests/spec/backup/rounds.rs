//! Rounds of mail and backups: mail with and without origin hints comes, goes and moves to a peer, while backups are made
//! and processes are killed. Every backup that is said to have succeeded can be restored, and holds what it must.

use super::relay;
use crate::federation::SMALL;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::deadline;
use relay_tests::federation::Federation;
use relay_tests::fields::{ack_fields, random_bytes, send_fields};
use relay_tests::{Action, Client, Cluster, Owner};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Mailboxes, each of an owner who may purge it.
const MAILBOXES: usize = 8;
/// Blobs that are kept at most: some two MiB of them, of which less than one may lie here.
const MOST: usize = 140;
/// What clients ask for while a backup is made.
const STEPS: u64 = 40;
/// Backups that are kept.
const KEEP: usize = 3;

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

#[derive(Debug, Clone)]
struct Blob {
    mailbox: usize,
    ciphertext: Vec<u8>,
    origin_hint: Option<Vec<u8>>,
}

impl Blob {
    fn fields(&self, owners: &[Owner]) -> Value {
        let mut fields = send_fields(&owners[self.mailbox].mailbox(), &self.ciphertext);
        if let Some(hint) = &self.origin_hint {
            fields["origin_hint"] = json!(STANDARD.encode(hint));
        }
        fields
    }
}

/// What clients were answered. What had no answer is in neither list.
#[derive(Debug, Clone, Default)]
struct Ledger {
    kept: BTreeMap<String, Blob>,
    gone: BTreeMap<String, Blob>,
}

/// Clients of a relay, one after the other.
#[derive(Debug)]
struct Mail {
    owners: Vec<Owner>,
    ledger: Ledger,
    chance: Chance,
}

impl Mail {
    async fn go_on(&mut self, client: &Client, steps: u64) {
        for _ in 0..steps {
            match self.chance.below(100) {
                0..55 if self.ledger.kept.len() < MOST => self.send(client).await,
                0..90 => self.ack(client).await,
                90..93 => self.purge(client).await,
                _ => self.bring_again(client).await,
            }
        }
    }

    async fn send(&mut self, client: &Client) {
        let length = [20, 700, 9000, 30_000][usize::try_from(self.chance.below(4)).unwrap()];
        let blob = Blob {
            mailbox: usize::try_from(self.chance.below(MAILBOXES as u64)).unwrap(),
            ciphertext: random_bytes(length),
            origin_hint: (self.chance.below(2) == 0).then(|| random_bytes(74)),
        };
        let sent = client.try_call(Action::Send, &blob.fields(&self.owners)).await;
        if let Some(reply) = sent.ok().filter(|reply| reply.status == 200) {
            self.ledger.kept.insert(reply.blob_id(), blob);
        }
    }

    async fn ack(&mut self, client: &Client) {
        let which = self.chance.below(self.ledger.kept.len().max(1) as u64);
        let Some(id) = self.ledger.kept.keys().nth(usize::try_from(which).unwrap()).cloned() else { return };
        let blob = self.ledger.kept.remove(&id).unwrap();
        let mailbox = self.owners[blob.mailbox].mailbox();
        let acked = client.try_call(Action::Ack, &ack_fields(&mailbox, &id)).await;
        if acked.is_ok_and(|reply| reply.status == 200) {
            self.ledger.gone.insert(id, blob);
        }
    }

    async fn purge(&mut self, client: &Client) {
        let mailbox = usize::try_from(self.chance.below(MAILBOXES as u64)).unwrap();
        let (theirs, others): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.ledger.kept).into_iter().partition(|(_, blob)| blob.mailbox == mailbox);
        self.ledger.kept = others;
        let owner = &self.owners[mailbox];
        let purged = client.try_call(Action::Purge, &owner.purge(&owner.mailbox())).await;
        if purged.is_ok_and(|reply| reply.status == 200) {
            self.ledger.gone.extend(theirs);
        }
    }

    /// Sends what was acked or purged once more, as a replay or a late retry does.
    async fn bring_again(&mut self, client: &Client) {
        let which = self.chance.below(self.ledger.gone.len().max(1) as u64);
        let Some(blob) = self.ledger.gone.values().nth(usize::try_from(which).unwrap()) else { return };
        drop(client.try_call(Action::Send, &blob.fields(&self.owners)).await);
    }
}

/// Who is killed while a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Nobody,
    Store,
    Command,
    Link,
    PeersStore,
}

const VICTIMS: [Victim; 6] =
    [Victim::Nobody, Victim::Nobody, Victim::Store, Victim::Command, Victim::Link, Victim::PeersStore];

#[derive(Debug, Default)]
struct Figures {
    restored: usize,
    failed: usize,
    blobs: usize,
    moved: usize,
    hinted: usize,
}

struct Rounds {
    federation: Federation,
    mail: Mail,
    chance: Chance,
    figures: Figures,
}

impl Rounds {
    async fn start(seed: u64) -> Self {
        let federation = Federation::pair(&SMALL).await;
        let owners = (0..MAILBOXES).map(|_| Owner::random()).collect();
        let mail = Mail { owners, ledger: Ledger::default(), chance: Chance(seed) };
        // Another stream than that of the mail. A state of zero would stay zero.
        let chance = Chance(seed.rotate_left(32) | 1);
        Self { federation, mail, chance, figures: Figures::default() }
    }

    async fn round(&mut self, round: usize) {
        let client = self.federation.relays[0].client();
        self.mail.go_on(&client, STEPS).await;
        let before = self.mail.ledger.clone();
        let victim = VICTIMS[usize::try_from(self.chance.below(VICTIMS.len() as u64)).unwrap()];
        let keep = KEEP.to_string();
        let backups = self.backups();
        let arguments = ["backup", "--keep", &keep, backups.to_str().unwrap()];
        let mut command = self.federation.relays[0].command(&arguments).start();
        let after = Duration::from_millis(self.chance.below(300));
        let mail = self.mail.go_on(&client, STEPS);
        let [origin, peer] = &mut self.federation.relays[..] else { panic!("two relays") };
        let kill = async {
            deadline::pace(after).await;
            match victim {
                Victim::Nobody => {}
                Victim::Store => origin.storaged.restart().await,
                Victim::Command => command.kill(),
                Victim::Link => origin.peer_link().restart().await,
                Victim::PeersStore => peer.storaged.restart().await,
            }
        };
        tokio::join!(mail, kill);
        let code = command.exit_code().await;
        if code == 0 {
            let said = command.stdout();
            let backup = PathBuf::from(said.lines().next().unwrap());
            self.check(round, &backup, &before).await;
            self.figures.restored += 1;
        } else {
            let is_excused = matches!(victim, Victim::Store | Victim::Command);
            assert!(is_excused, "round {round}, {victim:?}: {}", command.output());
            self.figures.failed += 1;
        }
        self.look_around(code == 0);
    }

    fn backups(&self) -> PathBuf {
        self.federation.relays[0].directory().join("backups")
    }

    /// Looks at what is in the directory of the backups.
    fn look_around(&self, has_just_succeeded: bool) {
        let Ok(entries) = std::fs::read_dir(self.backups()) else {
            assert!(!has_just_succeeded);
            return;
        };
        let names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let finished = names.iter().filter(|name| name.starts_with("relay-")).count();
        assert!(finished <= KEEP + usize::from(!has_just_succeeded), "{names:?}");
        assert!(names.iter().all(|name| !name.ends_with("-damaged")), "{names:?}");
        if has_just_succeeded {
            assert_eq!(finished, names.len(), "nothing else is left: {names:?}");
        }
    }

    /// Restores a backup into a new place and compares it with what clients were answered: before it began, and since.
    async fn check(&mut self, round: usize, backup: &Path, before: &Ledger) {
        let mut new = Cluster::builder().build();
        for command in ["verify", "restore"] {
            let (code, said) = relay(&new, &[command, backup.to_str().unwrap()]).await;
            assert_eq!(code, 0, "round {round}: {command}: {said}");
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let uri = format!("file:{}?immutable=1", new.database().display());
        let sql = Connection::open_with_flags(uri, flags).unwrap();
        let mut here = Vec::new();
        for (id, blob) in before.kept.iter().filter(|(id, _)| self.mail.ledger.kept.contains_key(*id)) {
            let row = "SELECT ciphertext, origin_hint FROM blobs WHERE id = ?1";
            let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sql
                .query_row(row, [hex::decode(id).unwrap()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .unwrap();
            if let Some((ciphertext, origin_hint)) = row {
                assert!(
                    ciphertext == blob.ciphertext && origin_hint == blob.origin_hint,
                    "round {round}: torn"
                );
                self.figures.hinted += usize::from(origin_hint.is_some());
                here.push((id, blob));
            } else {
                let size = moved_size(&sql, id);
                let expected = blob.ciphertext.len() + blob.origin_hint.as_ref().map_or(0, Vec::len);
                assert_eq!(size, Some(expected), "round {round}: a blob is in no row");
                self.figures.moved += 1;
            }
        }
        self.figures.blobs += here.len();
        for id in before.gone.keys() {
            let rows = "SELECT count(*) FROM blobs WHERE id = ?1";
            let rows: u64 = sql.query_row(rows, [hex::decode(id).unwrap()], |row| row.get(0)).unwrap();
            assert!(
                rows == 0 && moved_size(&sql, id).is_none(),
                "round {round}: what was over is in a backup"
            );
        }
        // Now and then a client looks, too.
        if round.is_multiple_of(20) {
            new.start().await;
            let client = new.client();
            for (id, blob) in here {
                let mailbox = self.mail.owners[blob.mailbox].mailbox();
                assert!(client.ack(&mailbox, id).await.acknowledged(), "round {round}: a blob is not there");
            }
        }
    }

    /// Everything that was kept through all of this is delivered in the end, wherever it lies.
    async fn finish(self) -> Figures {
        let Self { federation, mail, figures, .. } = self;
        federation.connected().await;
        let client = federation.relays[0].client();
        let mut awaited = mail.ledger.kept;
        for (index, owner) in mail.owners.iter().enumerate() {
            let mailbox = owner.mailbox();
            deadline::until("the whole of a mailbox", deadline::PATIENCE, async || {
                for blob in client.fetch(&[&mailbox]).await.page().blobs {
                    assert!(!mail.ledger.gone.contains_key(&blob.id), "what was over came again");
                    if let Some(sent) = awaited.remove(&blob.id) {
                        assert!(sent.ciphertext == blob.ciphertext, "a blob came torn");
                    }
                    client.ack(&mailbox, &blob.id).await.success();
                }
                (!awaited.values().any(|blob| blob.mailbox == index)).then_some(())
            })
            .await;
        }
        figures
    }
}

/// The size of a blob that lies at a peer.
fn moved_size(sql: &Connection, id: &str) -> Option<usize> {
    let size = "SELECT size FROM hints WHERE id = ?1";
    sql.query_row(size, [hex::decode(id).unwrap()], |row| row.get(0)).optional().unwrap()
}

async fn run(seed: u64, rounds: usize) -> Figures {
    let mut all = Rounds::start(seed).await;
    for round in 1..=rounds {
        if round.is_multiple_of(25) {
            eprintln!("round {round}: {} blobs kept, {:?}", all.mail.ledger.kept.len(), all.figures);
        }
        all.round(round).await;
    }
    all.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_backup_that_is_said_to_have_succeeded_is_restored_row_by_row() {
    let figures = run(1, 10).await;
    assert!(figures.restored >= 4 && figures.hinted > 0, "{figures:?}");
}

/// The long run: `cargo test --test spec -- --ignored three_hundred`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some ten minutes"]
async fn three_hundred_rounds_of_backup_and_restore_lose_no_row() {
    let figures = run(0x5eed, 300).await;
    eprintln!("{figures:?}");
    assert!(figures.restored >= 150 && figures.failed > 0 && figures.moved > 0, "{figures:?}");
}
