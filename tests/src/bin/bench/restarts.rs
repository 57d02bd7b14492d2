//! How long the relay takes to be ready, from nothing and after everything was killed under load; and kill -9 of storaged
//! again and again under load, which clients may see as time, never as an error or a loss.

use crate::load;
use crate::processes::{self, Memories};
use crate::scenarios::{self, BLOB, Mailboxes};
use crate::stats::Rounds;
use crate::{Fallible, Options, relay};
use nix::sys::signal::Signal;
use relay_tests::{Supervised, deadline, process};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Ten of the stored blobs lie in each of these.
const STOCKED: Mailboxes = Mailboxes(7);
/// Sent to while processes are killed.
const UNDER_FIRE: Mailboxes = Mailboxes(8);
const CONNECTIONS: usize = 64;
/// Between two kills of storaged.
const PULSE: Duration = Duration::from_secs(1);

pub(crate) async fn starts(options: &Options, directory: &Path) -> Fallible<Value> {
    let (mut fresh_ms, mut after_kill_ms) = (Rounds::default(), Rounds::default());
    let (mut memory, stored) = (Memories::new(), options.amount(100_000, 20_000));
    for _ in 0..options.amount(9, 3) {
        let (mut relay, took) = started(relay::supervised(directory)?).await;
        fresh_ms.push(took);
        if memory.is_empty() {
            deadline::pace(Duration::from_secs(1)).await;
            memory = processes::memories(&relay::watched_family(relay.process().pid()))?;
        }
        relay.process().terminate().await;
    }

    eprintln!("  storing {stored} blobs");
    let (mut relay, _) = started(relay::supervised(directory)?).await;
    let address = relay.address();
    let stocked = scenarios::fill(address, (STOCKED, |number| number / 10), &[BLOB], stored).await?;
    let mut under_fire = Vec::new();
    for round in 1..=options.rounds() {
        eprintln!("  round {round}: kill -9 of everything under load");
        // Past the kill and the start after it.
        let window = Duration::from_secs(3);
        let scenario = |client| scenarios::send(client, UNDER_FIRE, 10_000);
        let sending = load::run(address, CONNECTIONS, window, Vec::new(), scenario);
        let killing = async {
            deadline::pace(Duration::from_secs(1)).await;
            relay::kill_everything(&mut relay).await?;
            Ok(started(relay).await)
        };
        let ((_, sent), (again, took)) = tokio::try_join!(sending, killing)?;
        relay = again;
        after_kill_ms.push(took);
        under_fire.extend(sent.into_iter().flatten());
    }
    eprintln!("  looking for {} blobs", stocked.len() + under_fire.len());
    let lost = scenarios::missing(address, STOCKED, stocked).await?
        + scenarios::missing(address, UNDER_FIRE, under_fire).await?;
    relay.process().terminate().await;
    Ok(json!({
        "fresh_ms": fresh_ms, "after_kill_ms": after_kill_ms, "stored": stored, "lost": lost, "memory": memory,
    }))
}

/// Starts `relay up` and returns how many milliseconds it took to be ready.
async fn started(relay: Supervised) -> (Supervised, f64) {
    let began = Instant::now();
    let relay = relay.start().await;
    (relay, began.elapsed().as_secs_f64() * 1000.0)
}

pub(crate) async fn kills(options: &Options, directory: &Path) -> Fallible<Value> {
    let kills = options.amount(20, 5) as u32;
    let mut relay = relay::supervised(directory)?.start().await;
    let (address, supervisor) = (relay.address(), relay.process().pid());
    let window = PULSE * (kills + 3);
    let scenario = |client| scenarios::send(client, UNDER_FIRE, 20_000);
    let sending = load::run(address, CONNECTIONS, window, Vec::new(), scenario);
    let killing = async {
        let mut pulse = deadline::beats(PULSE);
        pulse.tick().await;
        for kill in 1..=kills {
            pulse.tick().await;
            let storaged =
                async || relay::watched_family(supervisor).into_iter().find(|it| it.0 == "storaged");
            let found = deadline::within(PULSE * 5, storaged).await;
            let (_, storaged) = found.ok_or("nobody restarted storaged")?;
            process::signal_pid(storaged, Signal::SIGKILL);
            eprintln!("  kill {kill} of {kills}: process {storaged}");
        }
        Ok(())
    };
    let ((outcome, sent), ()) = tokio::try_join!(sending, killing)?;
    outcome.show_errors();
    let sent = sent.concat();
    eprintln!("  looking for {} blobs", sent.len());
    let answered = sent.len() as u64;
    let missing = scenarios::missing(address, UNDER_FIRE, sent).await?;
    relay.process().terminate().await;
    Ok(json!({
        "kills": kills, "answered": answered, "per_second": outcome.per_second(),
        "p50_ms": outcome.quantile_ms(0.5), "p99_ms": outcome.quantile_ms(0.99),
        "slowest_ms": outcome.slowest_ms, "errors": outcome.errors, "samples": outcome.samples,
        "missing": missing,
    }))
}
