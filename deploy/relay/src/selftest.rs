//! `relay selftest`: one client's walk through the contract, against any relay.

mod client;
mod steps;

use crate::unwritable;
use client::{Base, Client, Trouble};
use relay_daemon::{Clock, Exit, Failure};
use std::io::Write;
use std::time::Duration;
use steps::{STEPS, Trial};

/// Tries the relay at `url`. What it sends is random, and it takes back what it sent.
///
/// # Errors
/// When the URL names no relay. A relay that fails is no error: the answer says so.
pub(crate) fn selftest(url: &str, clock: &Clock, out: &mut impl Write) -> Result<Exit, Failure> {
    let base: Base = url.parse().map_err(|problem| {
        Failure::new(Exit::Usage, format_args!("{problem}; give for example http://127.0.0.1:8080"))
    })?;
    let randomness =
        |error| Failure::new(Exit::Internal, format_args!("the system has no randomness: {error}"));
    let mut trial = Trial::new(Client::new(base), clock.clone()).map_err(randomness)?;
    let began = clock.monotonic();
    let mut failed = 0_usize;
    for (name, step) in STEPS {
        let before = clock.monotonic();
        let outcome = step(&mut trial);
        let line = line(name, clock.monotonic().saturating_sub(before), &outcome);
        out.write_all(line.as_bytes()).map_err(unwritable)?;
        match outcome {
            Ok(()) => {}
            Err(Trouble::Unreachable(_)) => {
                writeln!(
                    out,
                    "there is no way to this relay; is it up, and is this its address for clients?"
                )
                .map_err(unwritable)?;
                return Ok(Exit::Forced);
            }
            Err(Trouble::Wrong(_)) => failed += 1,
        }
    }
    let elapsed = milliseconds(clock.monotonic().saturating_sub(began));
    let (count, exit) = (STEPS.len(), if failed == 0 { Exit::Success } else { Exit::Forced });
    let verdict = match failed {
        0 => format!("all {count} steps ok in {elapsed:.0} ms"),
        _ => format!("{failed} of {count} steps FAILED"),
    };
    writeln!(out, "{verdict}").map_err(unwritable)?;
    Ok(exit)
}

fn line(name: &str, took: Duration, outcome: &Result<(), Trouble>) -> String {
    let verdict = match outcome {
        Ok(()) => "ok".to_owned(),
        Err(trouble) => format!("FAILED: {trouble}"),
    };
    format!("{name:<42}{:>9.1} ms  {verdict}\n", milliseconds(took))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shows_its_time_and_its_reason() {
        let took = Duration::from_micros(1250);
        assert_eq!(
            line("health", took, &Ok(())),
            "health                                          1.2 ms  ok\n"
        );
        let failed = line("health", took, &Err(Trouble::Wrong("status 503".to_owned())));
        assert!(failed.ends_with("FAILED: status 503\n"), "{failed}");
    }

    #[test]
    fn where_nobody_serves_the_walk_ends_at_its_first_step() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", held.local_addr().unwrap());
        drop(held);
        let mut out = Vec::new();
        assert_eq!(selftest(&url, &Clock::system(), &mut out).unwrap(), Exit::Forced);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() == 2 && text.contains("is it up"), "{text}");
    }

    #[test]
    fn a_bad_url_is_a_usage_error() {
        for url in ["", "127.0.0.1:8080", "ftp://host", "http://", "http://host?q=1"] {
            let refused = selftest(url, &Clock::system(), &mut Vec::new()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{url}");
        }
    }
}
