//! Times and lengths of time, as people read them.

use ::time::UtcDateTime;
use relay_proto::UnixSeconds;

const DAY: u64 = 86_400;

/// A time, to the minute: `2026-03-01 14:05 UTC`.
pub(crate) fn utc(time: UnixSeconds) -> String {
    let parts = civil(time);
    format!("{} {:02}:{:02} UTC", parts.date(), parts.hour(), parts.minute())
}

/// The day of a time: `2026-03-01`.
pub(crate) fn day(time: UnixSeconds) -> String {
    civil(time).date().to_string()
}

/// A time as part of a file's name, in the order of time: `20260301-140559`.
pub(crate) fn stamp(time: UnixSeconds) -> String {
    let parts = civil(time);
    let day = day(time).replace('-', "");
    format!("{day}-{:02}{:02}{:02}", parts.hour(), parts.minute(), parts.second())
}

/// A time in the Gregorian calendar, or the last that this calendar has a name for.
fn civil(time: UnixSeconds) -> UtcDateTime {
    let seconds = i64::try_from(time.get()).unwrap_or(i64::MAX);
    UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX)
}

/// A length of time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / DAY);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// From when to when something holds, and how that stands now.
pub(crate) fn validity(now: UnixSeconds, from: UnixSeconds, to: UnixSeconds) -> String {
    let standing = match () {
        () if now >= to => "ENDED".to_owned(),
        () if now < from => format!("begins in {}", span(now.distance(from))),
        () => format!("{} left", span(now.distance(to))),
    };
    format!("{} to {} ({standing})", utc(from), utc(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(utc(UnixSeconds::new(seconds)), expected);
        }
        assert!(utc(UnixSeconds::new(u64::MAX)).ends_with("UTC"), "the end of time has a name too");
    }

    #[test]
    fn days_and_stamps_are_of_the_same_calendar() {
        let time = UnixSeconds::new(1_772_374_567);
        assert!(utc(time).starts_with(&day(time)));
        assert_eq!(stamp(time), "20260301-141607");
        assert!(stamp(UnixSeconds::new(0)) < stamp(time));
    }

    #[test]
    fn spans_are_short() {
        let spans = [0, 59, 61, 3_599, 90_061].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "1 d 1 h"]);
    }

    #[test]
    fn what_holds_is_told_with_what_is_left_of_it() {
        let at = |now| validity(UnixSeconds::new(now), UnixSeconds::new(3600), UnixSeconds::new(2 * DAY));
        assert_eq!(at(0), "1970-01-01 01:00 UTC to 1970-01-03 00:00 UTC (begins in 1 h 0 min)");
        assert!(at(3600).ends_with("(1 d 23 h left)"));
        assert!(at(2 * DAY - 1).ends_with("(1 s left)"));
        assert!(at(2 * DAY).ends_with("(ENDED)"));
    }
}
