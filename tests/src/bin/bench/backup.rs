//! A backup of a gigabyte while clients send: how long the whole command takes, its check included, and how many sends
//! are answered meanwhile, beside as many as just before and just after.

use crate::Fallible;
use crate::load::{self, Outcome, Pace};
use crate::options::Plan;
use crate::relay::Site;
use crate::requests::Mailboxes;
use crate::scripts::Sender;
use crate::stats::Rounds;
use crate::stock::Stock;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is there already, and what is sent.
const STORED: Mailboxes = Mailboxes(21);
const SENT: Mailboxes = Mailboxes(22);

/// Bytes of each blob that is there: a gigabyte together.
const BYTES: usize = 16 << 10;
const BLOBS: u64 = (1 << 30) / BYTES as u64;

const CONNECTIONS: usize = 16;
const MAILBOXES: u64 = 20_000;

/// How long sends are looked at in one go.
const LOOK: Duration = Duration::from_secs(1);

/// Backups beside sends.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Backups {
    /// For each GiB.
    pub(crate) seconds: Rounds,
    pub(crate) with_per_second: Rounds,
    /// Means of just before and just after.
    pub(crate) alone_per_second: Rounds,
    pub(crate) slowest_ms: Rounds,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Backups> {
    let site = Site::new(directory)?;
    let mut relay = site.apart().await?;
    eprintln!("  storing {BLOBS} blobs of {BYTES} bytes");
    Stock { mailboxes: STORED, place: |number| number / 500, sizes: vec![BYTES] }
        .fill(site.address(), 0..BLOBS)
        .await?;
    let mut backups = Backups::default();
    for round in 1..=plan.rounds {
        eprintln!("  round {round}: a backup beside sends");
        let before = send(&site, plan.window).await?;
        let began = Instant::now();
        let mut command = site.backup(&directory.join(format!("backups-{round}")));
        let (mut sends, mut took, mut slowest) = (0, 0.0, Duration::ZERO);
        while command.is_running() {
            let outcome = send(&site, LOOK).await?;
            sends += outcome.requests();
            took += outcome.seconds();
            slowest = slowest.max(outcome.slowest);
        }
        let seconds = began.elapsed().as_secs_f64();
        if command.exit_code().await != 0 {
            return Err(format!("the backup failed: {}", command.output()).into());
        }
        let after = send(&site, plan.window).await?;
        // What is sent meanwhile is stored too, and backed up in the next round.
        let made = std::fs::read_dir(directory.join(format!("backups-{round}")))?;
        let size: u64 = made
            .map(|made| Ok(std::fs::metadata(made?.path().join("relay.db"))?.len()))
            .sum::<Fallible<u64>>()?;
        backups.seconds.push(seconds * (1_u64 << 30) as f64 / size as f64);
        backups.with_per_second.push(sends as f64 / took);
        backups.alone_per_second.push(f64::midpoint(before.per_second(), after.per_second()));
        backups.slowest_ms.push(slowest.as_secs_f64() * 1000.0);
        std::fs::remove_dir_all(directory.join(format!("backups-{round}")))?;
    }
    relay.still_runs()?;
    Ok(backups)
}

async fn send(site: &Site, window: Duration) -> Fallible<Outcome> {
    let senders = (0..CONNECTIONS).map(|_| Sender::new(SENT, MAILBOXES)).collect();
    let (outcome, _) = load::drive(site.address(), senders, Pace::measured(window), &[]).await?;
    outcome.flawless("sending beside a backup")
}
