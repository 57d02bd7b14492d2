//! `relay selftest`: does what a client does, step by step, against any relay.

pub(crate) mod as_client;
pub(crate) mod probe;
mod reply;
mod steps;
mod transport;

use crate::display::output::unwritable;
use as_client::base_url;
use clap::{Args, ValueEnum};
use relay_client::Url;
use relay_daemon::{Clock, Exit, Failure};
use relay_proto::PublicKey;
use reply::{Passed, StepError};
use std::io::Write;
use std::time::Duration;
use steps::Trial;
use transport::Transport;
pub(crate) use transport::{INSTALL_AUTHORITIES, NO_AUTHORITIES, is_this_machine, relay_url};

/// No request takes nearly as long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Which relay to try, and which way.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selftest {
    /// Where it serves clients, for example <http://127.0.0.1:8080>
    #[arg(value_parser = example(relay_url))]
    pub(crate) url: Url,
    /// How clients' requests travel
    #[arg(long, value_enum, default_value_t = Via::Plain)]
    pub(crate) via: Via,
    /// An oblivious relay in front, to whose URL the sealed requests go; the key still comes from the relay itself
    #[arg(long, value_name = "OUTER_URL", value_parser = example(str::parse))]
    pub(crate) relay: Option<Url>,
    /// The anchor that clients pin, in 64 hexadecimal digits; without it nobody tells whose the signed key record is
    #[arg(long, value_name = "HEX", value_parser = anchor)]
    pub(crate) anchor: Option<PublicKey>,
    /// Do and check what today's clients do: everything goes through an oblivious relay at another origin
    #[arg(long, conflicts_with_all = ["via", "relay"])]
    pub(crate) as_client: bool,
    /// With --as-client: the oblivious relay as a client's configuration has it, with or without /v2/ohttp
    #[arg(long, value_name = "URL", requires = "as_client", value_parser = example(base_url))]
    pub(crate) oblivious: Option<Url>,
}

pub(crate) type ParseUrl = fn(&str) -> Result<Url, &'static str>;

/// A parser that says more of what it expects.
pub(crate) fn example(parse: ParseUrl) -> impl Fn(&str) -> Result<Url, String> + Clone {
    move |text| parse(text).map_err(|problem| format!("{problem}; give for example http://127.0.0.1:8080"))
}

pub(crate) fn anchor(text: &str) -> Result<PublicKey, &'static str> {
    PublicKey::from_hex(text)
        .map_err(|_| "--anchor takes 64 hexadecimal digits, as `relay status` shows them")
}

/// How clients' requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// As they are
    Plain,
    /// Sealed to the relay's key, as envelopes and as Binary HTTP
    Ohttp,
}

/// Tries a relay. What it sends is random. It takes back what it can; a recovery proof and an escrow of a few
/// bytes stay until they expire.
///
/// # Errors
/// When plain requests are to go by another relay, or this machine has no CA certificates. A relay that fails is no
/// error: the answer says so.
pub(crate) fn selftest(how: &Selftest, clock: &Clock, out: &mut impl Write) -> Result<Exit, Failure> {
    let (url, outer) = (how.url.clone(), how.relay.clone());
    let transport = match how.via {
        Via::Ohttp => Transport::oblivious(url, outer, DEADLINE)?,
        Via::Plain if outer.is_none() => Transport::plain(url, DEADLINE)?,
        Via::Plain => {
            return Err(failure!(
                Usage,
                "an oblivious relay in front takes sealed requests only; add --via ohttp to --relay"
            ));
        }
    };
    let randomness = |error| failure!(Internal, "the system has no randomness: {error}");
    let mut trial = Trial::new(transport, how.anchor, clock.clone()).map_err(randomness)?;
    run_steps(&steps::of(how.via), &mut trial, clock, out)
}

/// A step and its name.
type Step<T, P> = (&'static str, fn(&mut T) -> Result<P, StepError>);

/// Runs each step and prints its line, until the last one or the first that gets no answer at all.
fn run_steps<T, P: Into<Passed>>(
    steps: &[Step<T, P>],
    trial: &mut T,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let began = clock.monotonic();
    let (mut failed, mut skipped) = (0_usize, 0_usize);
    for (name, step) in steps {
        let before = clock.monotonic();
        let outcome = step(trial).map(Into::into);
        let line = line(name, clock.monotonic().saturating_sub(before), &outcome);
        out.write_all(line.as_bytes()).map_err(unwritable)?;
        match outcome {
            Ok(Passed::Plainly | Passed::Noting(_)) => {}
            Ok(Passed::Skipped(_)) => skipped += 1,
            Err(StepError::Unreachable(_)) => {
                say!(out, "there is no way to this relay; is it up, and is this its address for clients?")?;
                return Ok(Exit::Forced);
            }
            Err(StepError::Wrong(_)) => failed += 1,
        }
    }
    let elapsed = milliseconds(clock.monotonic().saturating_sub(began));
    let (count, exit) = (steps.len(), if failed == 0 { Exit::Success } else { Exit::Forced });
    let verdict = match (failed, skipped) {
        (0, 0) => format!("all {count} steps ok in {elapsed:.0} ms"),
        (0, _) => format!("{} steps ok and {skipped} skipped in {elapsed:.0} ms", count - skipped),
        _ => format!("{failed} of {count} steps FAILED"),
    };
    say!(out, "{}", verdict)?;
    Ok(exit)
}

fn line(name: &str, took: Duration, outcome: &Result<Passed, StepError>) -> String {
    let verdict = match outcome {
        Ok(Passed::Plainly) => "ok".to_owned(),
        Ok(Passed::Noting(note)) => format!("ok: {note}"),
        Ok(Passed::Skipped(reason)) => format!("skipped: {reason}"),
        Err(error) => format!("FAILED: {error}"),
    };
    format!("{name:<46}{:>9.1} ms  {verdict}\n", milliseconds(took))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(url: &str, via: Via, relay: Option<&str>) -> Selftest {
        let relay = relay.map(|relay| relay.parse().unwrap());
        Selftest { url: url.parse().unwrap(), via, relay, anchor: None, as_client: false, oblivious: None }
    }

    #[test]
    fn a_step_shows_its_time_and_its_reason() {
        let took = Duration::from_micros(1250);
        assert_eq!(
            line("health", took, &Ok(Passed::Plainly)),
            "health                                              1.2 ms  ok\n"
        );
        let failed = line("health", took, &Err(StepError::Wrong("status 503".to_owned())));
        assert!(failed.ends_with("FAILED: status 503\n"), "{failed}");
        let noted = line("health", took, &Ok(Passed::Noting("over http".to_owned())));
        assert!(noted.ends_with(" ok: over http\n"), "{noted}");
    }

    #[test]
    fn a_step_that_is_skipped_fails_nothing_and_is_counted() {
        let verdict = |steps: &[Step<(), Passed>]| {
            let mut out = Vec::new();
            let exit = run_steps(steps, &mut (), &Clock::system(), &mut out).unwrap();
            (exit, String::from_utf8(out).unwrap().lines().last().unwrap().to_owned())
        };
        let good: Step<(), Passed> = ("good", |()| Ok(Passed::Plainly));
        let skipped: Step<(), Passed> = ("skipped", |()| Ok(Passed::Skipped("why".to_owned())));
        let bad: Step<(), Passed> = ("bad", |()| Err(StepError::Wrong("why".to_owned())));
        let (exit, text) = verdict(&[good, good]);
        assert!(exit == Exit::Success && text.starts_with("all 2 steps ok in "), "{text}");
        let (exit, text) = verdict(&[good, skipped]);
        assert!(exit == Exit::Success && text.starts_with("1 steps ok and 1 skipped in "), "{text}");
        let (exit, text) = verdict(&[good, skipped, bad]);
        assert_eq!((exit, text.as_str()), (Exit::Forced, "1 of 3 steps FAILED"));
    }

    #[test]
    fn where_nobody_serves_the_walk_ends_at_its_first_step() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", held.local_addr().unwrap());
        drop(held);
        for via in [Via::Plain, Via::Ohttp] {
            let mut out = Vec::new();
            let exit = selftest(&how(&url, via, None), &Clock::system(), &mut out).unwrap();
            assert_eq!(exit, Exit::Forced);
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().count() == 2 && text.contains("is it up"), "{text}");
        }
    }

    #[test]
    fn only_sealed_requests_go_by_another_relay() {
        let how = how("http://host", Via::Plain, Some("http://outer"));
        let refused = selftest(&how, &Clock::system(), &mut Vec::new()).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.text.contains("--via ohttp"), "{refused}");
    }
}
