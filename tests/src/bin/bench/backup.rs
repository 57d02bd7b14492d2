//! A backup of a gigabyte while clients send: how long the whole command takes, its check included, and how many sends
//! are answered meanwhile, beside as many as just before and just after.

use crate::load::Outcome;
use crate::scenarios::{self, Mailboxes};
use crate::stats::Rounds;
use crate::{Fallible, Options, relay};
use relay_tests::Cluster;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is there already, and what is sent.
const STORED: Mailboxes = Mailboxes(21);
const SENT: Mailboxes = Mailboxes(22);
/// Bytes of each blob that is there: a gigabyte together.
const BYTES: usize = 16 << 10;
const BLOBS: u64 = (1 << 30) / BYTES as u64;
const CONNECTIONS: usize = 16;
/// How long sends are looked at in one go.
const LOOK: Duration = Duration::from_secs(1);

/// Backups beside sends.
#[derive(Default, Serialize)]
struct Backups {
    /// For each GiB.
    seconds: Rounds,
    with_per_second: Rounds,
    /// Means of just before and just after.
    alone_per_second: Rounds,
    slowest_ms: Rounds,
}

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let mut relay = relay::start(directory, 1, &[]).await?;
    eprintln!("  storing {BLOBS} blobs of {BYTES} bytes");
    scenarios::fill(relay.address(), (STORED, |number| number / 500), &[BYTES], BLOBS).await?;
    let mut backups = Backups::default();
    for round in 1..=options.rounds() {
        eprintln!("  round {round}: a backup beside sends");
        let before = send(&mut relay, options.window()).await?;
        let target = tempfile::tempdir_in(directory)?;
        let path = target.path().join("backups");
        let began = Instant::now();
        let mut command = relay.command(&["backup", &path.display().to_string()]).start();
        let (mut sends, mut took, mut slowest) = (0, 0.0, 0.0_f64);
        while command.is_running() {
            let outcome = send(&mut relay, LOOK).await?;
            sends += outcome.requests();
            took += outcome.seconds;
            slowest = slowest.max(outcome.slowest_ms);
        }
        let seconds = began.elapsed().as_secs_f64();
        if command.exit_code().await != 0 {
            return Err(format!("the backup failed: {}", command.output()).into());
        }
        let after = send(&mut relay, options.window()).await?;
        // What is sent meanwhile is stored too, and backed up in the next round.
        let mut bytes = 0;
        for made in std::fs::read_dir(path)? {
            bytes += std::fs::metadata(made?.path().join("relay.db"))?.len();
        }
        backups.seconds.push(seconds * (1_u64 << 30) as f64 / bytes as f64);
        backups.with_per_second.push(sends as f64 / took);
        backups.alone_per_second.push(f64::midpoint(before.per_second(), after.per_second()));
        backups.slowest_ms.push(slowest);
    }
    Ok(json!(backups))
}

async fn send(relay: &mut Cluster, window: Duration) -> Fallible<Outcome> {
    let scenario = |client| scenarios::send(client, SENT, 20_000);
    let (outcome, _) = relay::load(relay, CONNECTIONS, window, scenario).await?;
    outcome.flawless("sending beside a backup")
}
