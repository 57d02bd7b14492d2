//! Which client versions are served, and how clients learn of it.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use relay_proto::UnixSeconds;

const CLAIMED: HeaderName = HeaderName::from_static("x-app-compat-version");
const MINIMUM: HeaderName = HeaderName::from_static("x-min-version");
const WARN: HeaderName = HeaderName::from_static("x-warn-version");
const DEADLINE: HeaderName = HeaderName::from_static("x-upgrade-deadline");

/// Which client versions are served, with the headers that say so written once and not for every reply.
#[derive(Debug, Clone)]
pub(crate) struct Versions {
    minimum: u16,
    deadline: UnixSeconds,
    minimum_header: HeaderValue,
    warn_header: HeaderValue,
    deadline_header: HeaderValue,
}

/// How a client's version stands to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionSupport {
    /// Served.
    Current,
    /// Served until the deadline.
    Expiring,
    /// Not served any more.
    Expired,
}

impl Versions {
    /// Clients below the minimum are refused once the deadline has passed; those below `warn` should tell their users.
    pub(crate) fn new(minimum: u16, warn: u16, deadline: UnixSeconds) -> Self {
        let (minimum_header, warn_header) = (minimum.into(), warn.into());
        Self { minimum, deadline, minimum_header, warn_header, deadline_header: deadline.get().into() }
    }

    /// The oldest version that is served.
    pub(crate) const fn minimum(&self) -> u16 {
        self.minimum
    }

    /// Judges a version.
    pub(crate) fn judge(&self, claimed: u16, now: UnixSeconds) -> VersionSupport {
        if claimed >= self.minimum {
            VersionSupport::Current
        } else if now < self.deadline {
            VersionSupport::Expiring
        } else {
            VersionSupport::Expired
        }
    }

    /// Writes the policy onto a reply.
    pub(crate) fn stamp(&self, headers: &mut HeaderMap, verdict: VersionSupport) {
        headers.insert(MINIMUM, self.minimum_header.clone());
        headers.insert(WARN, self.warn_header.clone());
        if verdict == VersionSupport::Expiring {
            headers.insert(DEADLINE, self.deadline_header.clone());
        }
    }
}

impl Default for Versions {
    /// What is told while storage has not yet told anything: nobody is refused or warned.
    fn default() -> Self {
        Self::new(0, 0, UnixSeconds::new(0))
    }
}

/// The version that a client says it has; one that says something unreadable has version 0, and one that says
/// nothing has `silent`.
pub(crate) fn claimed(headers: &HeaderMap, silent: u16) -> u16 {
    let read = |value: &HeaderValue| value.to_str().ok()?.trim().parse().ok();
    headers.get(CLAIMED).map_or(silent, |value| read(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions() -> Versions {
        Versions::new(3, 5, UnixSeconds::new(100))
    }

    #[test]
    fn a_version_below_the_minimum_is_served_until_the_deadline() {
        let judge = |claimed, now| versions().judge(claimed, UnixSeconds::new(now));
        assert_eq!(judge(3, 1000), VersionSupport::Current);
        assert_eq!(judge(2, 99), VersionSupport::Expiring);
        assert_eq!(judge(2, 100), VersionSupport::Expired);
        assert_eq!(Versions::default().judge(0, UnixSeconds::new(5)), VersionSupport::Current);
    }

    #[test]
    fn a_missing_or_unreadable_version_is_zero() {
        assert_eq!(claimed(&HeaderMap::new(), 0), 0);
        assert_eq!(claimed(&HeaderMap::new(), u16::MAX), u16::MAX);
        for (value, expected) in
            [("7", 7), ("65535", 65_535), ("65536", 0), ("-1", 0), ("seven", 0), ("", 0), ("1.2", 0)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CLAIMED, HeaderValue::from_static(value));
            assert_eq!(claimed(&headers, u16::MAX), expected, "{value:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CLAIMED, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(claimed(&headers, u16::MAX), 0);
    }

    #[test]
    fn the_deadline_is_told_to_whom_it_concerns() {
        for (verdict, told) in [
            (VersionSupport::Current, false),
            (VersionSupport::Expiring, true),
            (VersionSupport::Expired, false),
        ] {
            let mut headers = HeaderMap::new();
            versions().stamp(&mut headers, verdict);
            assert_eq!(headers["x-min-version"], "3");
            assert_eq!(headers["x-warn-version"], "5");
            assert_eq!(headers.get("x-upgrade-deadline").is_some(), told, "{verdict:?}");
        }
    }
}
