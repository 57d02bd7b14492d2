//! What this binary was built from.

use relay_proto::UnixSeconds;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit, or `unknown`.
pub const SHA: &str = env!("RELAY_BUILD_SHA");
/// Branch or tag, or `unknown`.
pub const REF: &str = env!("RELAY_BUILD_REF");
/// Time of the commit, or `unknown`.
pub const TIME: &str = env!("RELAY_BUILD_TIME");

/// The body of `/build-info`.
pub(crate) fn json() -> serde_json::Value {
    serde_json::json!({ "version": VERSION, "sha": SHA, "ref": REF, "built_at": TIME })
}

/// [`TIME`], if it is known: no clock that is right is before it.
pub fn time() -> Option<UnixSeconds> {
    parse(TIME)
}

/// A time as git and packagers write it (RFC 3339), since 1970: `2026-03-01T14:05:09+01:00`, or with `Z`.
fn parse(text: &str) -> Option<UnixSeconds> {
    // The parser takes a blank in place of the `T` as well.
    let read = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| !text.contains(' '))?;
    u64::try_from(read.unix_timestamp()).ok().map(UnixSeconds::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("2000-02-29T00:00:00+00:00", 951_782_400),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2100-02-28T23:59:59Z", 4_107_542_399),
            ("2026-11-26T22:30:01-05:30", 1_795_752_001),
        ] {
            assert_eq!(parse(text), Some(UnixSeconds::new(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_known() {
        for text in [
            "unknown",
            "",
            "2026-03-01",
            "2026-03-01T14:05:09",
            "2026-03-01 14:05:09Z",
            "2026-13-01T14:05:09Z",
            "2026-03-01T24:05:09Z",
            "2026-03-01T14:05:09*01:00",
            "2026-03-01T14:05:09+0100",
            "1969-12-31T00:00:00Z",
            "2026-03-\u{e9}1T14:05:09Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn this_program_was_built_before_now() {
        let now = crate::Clock::system().now();
        assert!(time().is_none_or(|built| built <= now.plus(300)), "{TIME}");
    }
}
