//! Clocks: this machine's, storage's and the proxy's.

use crate::display::time::span;
use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, StorageReport};
use crate::doctor::finding::Findings;
use crate::operate::clock;
use relay_proto::messages::{ClockStanding, StatusReply};

/// How far two clocks may be apart, in seconds: as far as a signed request may be from the relay's time.
const TOLERANCE: u64 = 60;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    if let Some(report) = &facts.report {
        check_trust(&report.status, findings);
        if let Some(how) = strange(facts, report) {
            off(how, findings);
        }
    }
    if let Some((proxy, skew)) = facts.proxy.as_ref().and_then(|proxy| Some((proxy, proxy.seen.skew?)))
        && skew > TOLERANCE
        && !findings.has(Code::ClockOff)
    {
        off(format!("the clock at {} and this machine's are {} apart", proxy.url, span(skew)), findings);
    }
}

/// Whether storage believes its machine's clock.
fn check_trust(status: &StatusReply, findings: &mut Findings) {
    let wrong = status.clock.as_ref().and_then(|clock| Some((clock.standing(), clock::wrong(clock)?)));
    match wrong {
        Some((ClockStanding::Behind, wrong)) => {
            findings.add(Code::ClockBehind, format!("storaged does not trust its machine's clock: {wrong}"))
        }
        Some((ClockStanding::BeforeBuild, wrong)) => findings.add_with(
            Code::ClockBehind,
            format!("storaged does not trust its machine's clock: {wrong}"),
            "set the clock right",
        ),
        Some((_, wrong)) => findings
            .add(Code::SweepSuspended, format!("storaged does not trust its machine's clock: {wrong}")),
        None if status.sweep_suspended => {
            findings.add(Code::SweepSuspended, "expiry waits: storaged does not trust its machine's clock")
        }
        None => {}
    }
}

fn off(how: String, findings: &mut Findings) {
    findings.add(Code::ClockOff, how);
}

/// What storage reports and what this machine's clock rules out.
fn strange(facts: &Facts, report: &StorageReport) -> Option<String> {
    let now = facts.now.get();
    let begun = report.status.processes.iter().map(|process| process.started_at).max()?;
    if begun > now + TOLERANCE {
        return Some(format!(
            "a process began {} in the future: this machine's clock was set back",
            span(begun - now)
        ));
    }
    let keys = report.keys.as_ref()?;
    let number = |seconds: u64| seconds / keys.window_secs.max(1);
    let accepted = |seconds: u64| keys.windows.iter().any(|window| window.number == number(seconds));
    let known = keys.windows.is_empty() || accepted(now) || accepted(now + TOLERANCE);
    (!known).then(|| "storage's keys are not for this machine's time".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{NOW, codes, codes_met, codes_reported};
    use crate::fixture::TRUSTED;
    use relay_proto::UnixSeconds;
    use relay_proto::messages::{ClockStanding, ClockStatus};

    #[test]
    fn clocks_that_are_apart_are_told_once() {
        assert!(codes_met(|proxy| proxy.seen.skew = Some(60)).is_empty());
        assert_eq!(codes_met(|proxy| proxy.seen.skew = Some(61)), ["clock-off"]);
        let future = NOW + 100;
        assert_eq!(codes_reported(|report| report.status.processes[1].started_at = future), ["clock-off"]);
        let set_back = codes(|facts| {
            facts.now = UnixSeconds::new(NOW - 3 * 86_400);
            facts.proxy.as_mut().unwrap().seen.skew = Some(3 * 86_400);
        });
        assert_eq!(set_back, ["clock-off"]);
    }

    #[test]
    fn keys_of_another_time_are_told() {
        let other = codes(|facts| {
            let keys = facts.report.as_mut().unwrap().keys.as_mut().unwrap();
            keys.windows.truncate(1);
            facts.proxy.as_mut().unwrap().seen.key = keys.windows[0].fingerprint[..].try_into().ok();
        });
        assert_eq!(other, ["clock-off"]);
    }

    #[test]
    fn a_clock_that_storage_does_not_trust_is_told_and_what_that_means() {
        assert_eq!(codes_reported(|report| report.status.sweep_suspended = true), ["sweep-suspended"]);
        for (standing, code) in [
            (ClockStanding::Ahead, "sweep-suspended"),
            (ClockStanding::Behind, "clock-behind"),
            (ClockStanding::BeforeBuild, "clock-behind"),
        ] {
            let clock = ClockStatus { standing: standing.into(), ..TRUSTED };
            let codes = codes_reported(|report| {
                report.status.sweep_suspended = true;
                report.status.clock = Some(clock);
            });
            assert_eq!(codes, [code]);
        }
    }
}
