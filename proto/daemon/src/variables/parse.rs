//! Parsers of values. Each says what it expected, never what it was given.

use super::peer::PeerUrl;
use super::target::ObliviousTarget;
use axum::http::Uri;
use ipnet::IpNet;
use relay_proto::PeerId;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Where mail rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In the data directory.
    Sqlite,
    /// In the process.
    Memory,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn whole<T, const MIN: u64, const MAX: u64>(text: &str) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    text.parse::<u64>()
        .ok()
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("a whole number from {MIN} to {MAX}"))
}

/// A whole number, or nothing.
pub(super) fn optional_whole<const MIN: u64, const MAX: u64>(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() { Ok(None) } else { whole::<u64, MIN, MAX>(text).map(Some) }
}

/// The length of a key's window in seconds: a day, written in hours, or for tests a number of seconds with an `s`.
pub(super) fn day_or_seconds(text: &str) -> Result<u64, String> {
    let seconds = match text.strip_suffix('s') {
        Some(seconds) => whole::<u64, 1, 86_400>(seconds),
        None => whole::<u64, 24, 24>(text).map(|hours| hours * 3600),
    };
    seconds.map_err(|_| {
        "24, because clients refuse a key whose window is not one day, or for tests a number of seconds, as in 10s"
            .to_owned()
    })
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// A part of a whole, above 0 and at most 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1.0);
    ratio.ok_or_else(|| "a number above 0 and at most 1".to_owned())
}

pub(super) fn peers(text: &str) -> Result<Vec<PeerUrl>, String> {
    let expected =
        "URLs that begin with ws:// or wss://, each with #KEY behind it where the peer's key is known";
    list(text, expected, |item| item.parse().ok())
}

pub(super) fn targets(text: &str) -> Result<Vec<ObliviousTarget>, String> {
    let expected = "URLs that begin with https:// or http:// and end with the host or its port, each of several with a \
                    path prefix (/north=) or a host name (north.example=) before it";
    list(text, expected, |item| item.parse().ok())
}

pub(super) fn identities(text: &str) -> Result<Vec<PeerId>, String> {
    let expected = "relay identities, 43 characters each, as `relay peers` shows them";
    list(text, expected, |item| PeerId::from_base64url(item).ok())
}

/// A name that other operators are shown.
pub(super) fn relay_id(text: &str) -> Result<Option<String>, String> {
    match text {
        "" => Ok(None),
        _ if text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err("at most 64 printable ASCII characters without blanks".to_owned()),
    }
}

pub(super) fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { address(text).map(Some) }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an IP address and a port".to_owned())
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') { Err("a directory".to_owned()) } else { Ok(text.into()) }
}

/// The address of a web server: scheme, host and perhaps a port and path.
pub(super) fn url(text: &str) -> Result<Option<Uri>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_web = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
    };
    let url = text.parse().ok().filter(is_web);
    url.map(Some).ok_or_else(|| "a URL that begins with http:// or https://, without a query".to_owned())
}

pub(super) fn optional_directory(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { directory(text).map(Some) }
}

/// Items between commas; blanks around them and empty lists are fine, empty items are not.
fn list<T>(text: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let items = text.split(',').map(|item| read(item.trim())).collect::<Option<_>>();
    items.ok_or_else(|| format!("a comma-separated list of {expected}"))
}

pub(super) fn users(text: &str) -> Result<Vec<u32>, String> {
    list(text, "numeric user ids", |item| item.parse().ok())
}

/// Networks, or addresses that stand for themselves.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let address = |item: &str| item.parse::<IpAddr>().ok().map(IpNet::from);
    list(text, "networks in CIDR notation", |item| item.parse().ok().or_else(|| address(item)))
}

pub(super) fn token(text: &str) -> Result<Option<String>, String> {
    match text {
        "" => Ok(None),
        _ if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.to_owned())),
        _ => Err("printable ASCII without blanks".to_owned()),
    }
}

fn choice<T: Copy>(text: &str, [one, other]: [(&str, T); 2]) -> Result<T, String> {
    let chosen = [one, other].into_iter().find(|(name, _)| *name == text);
    chosen.map(|(_, value)| value).ok_or_else(|| format!("{} or {}", one.0, other.0))
}

pub(super) fn backend(text: &str) -> Result<Backend, String> {
    choice(text, [("sqlite", Backend::Sqlite), ("memory", Backend::Memory)])
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    choice(text, [("text", LogFormat::Text), ("json", LogFormat::Json)])
}

pub(super) fn filter(text: &str) -> Result<String, String> {
    // Beyond ASCII the filter's own parser can panic.
    let sound = text.is_ascii() && EnvFilter::try_new(text).is_ok();
    if sound {
        Ok(text.to_owned())
    } else {
        Err("a level (error, warn, info, debug, trace) or target=level pairs".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_keep_their_bounds() {
        let parse = whole::<u16, 2, 300>;
        assert_eq!(parse("2"), Ok(2));
        assert_eq!(parse("300"), Ok(300));
        for text in ["1", "301", "-2", "2.0", "2 ", "", "0x2", "99999999999999999999"] {
            assert_eq!(parse(text), Err("a whole number from 2 to 300".to_owned()), "{text:?}");
        }
    }

    #[test]
    fn lists_take_blanks_and_single_addresses() {
        assert_eq!(users(" 1 , 2"), Ok(vec![1, 2]));
        assert!(users("1,,2").is_err());
        assert!(users("root").is_err());
        let parsed = networks("10.0.0.0/8, ::1").unwrap();
        assert_eq!(parsed, ["10.0.0.0/8".parse::<IpNet>().unwrap(), "::1/128".parse().unwrap()]);
        assert!(networks("10.0.0.0/33").is_err());
    }

    #[test]
    fn choices_take_their_words_only() {
        assert_eq!(backend("memory"), Ok(Backend::Memory));
        assert!(backend("Memory").is_err());
        assert_eq!(log_format("json"), Ok(LogFormat::Json));
        assert!(log_format("").is_err());
        assert!(boolean("1").is_err());
        assert!(address("localhost:80").is_err());
        assert!(directory("").is_err());
        assert!(filter("relay=loud").is_err());
        assert_eq!(token(""), Ok(None));
        assert!(token("a b").is_err());
    }

    #[test]
    fn a_window_is_a_day_or_with_an_s_seconds() {
        assert_eq!(day_or_seconds("24"), Ok(86_400));
        assert_eq!(day_or_seconds("10s"), Ok(10));
        for text in ["0", "1", "12", "23", "25", "48", "0s", "86401s", "24h", "s", "", "-1", "24.0"] {
            assert!(day_or_seconds(text).unwrap_err().contains("clients refuse"), "{text:?}");
        }
    }

    #[test]
    fn ratios_lie_above_nothing_and_up_to_the_whole() {
        assert_eq!((ratio("0.8"), ratio("1")), (Ok(0.8), Ok(1.0)));
        for text in ["0", "-0.5", "1.01", "80", "80%", "", "NaN", "inf"] {
            assert!(ratio(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn relays_have_identities_and_harmless_names() {
        let text = "A".repeat(43);
        assert_eq!(identities(&text), Ok(vec![PeerId::from_bytes([0; 32])]));
        assert!(identities("A").is_err() && identities(&format!("{text},")).is_err());
        assert_eq!(relay_id("north-1"), Ok(Some("north-1".to_owned())));
        assert!(relay_id("two words").is_err() && relay_id(&"a".repeat(65)).is_err());
    }

    #[test]
    fn addresses_of_web_servers_have_a_scheme_and_a_host() {
        assert_eq!(url(""), Ok(None));
        for text in ["https://relay.example", "http://127.0.0.1:8080/path", "https://[::1]:8443"] {
            assert_eq!(url(text).unwrap().unwrap().to_string().trim_end_matches('/'), text);
        }
        for text in [
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://a/?q",
            "https://me@a",
            "https://a b",
        ] {
            assert!(url(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics_a_parser(text in ".{0,60}") {
            let outcomes = [
                users(&text).is_ok(), networks(&text).is_ok(), token(&text).is_ok(), filter(&text).is_ok(),
                address(&text).is_ok(), whole::<u64, 0, 9>(&text).is_ok(), optional_directory(&text).is_ok(),
                day_or_seconds(&text).is_ok(), url(&text).is_ok(), ratio(&text).is_ok(), peers(&text).is_ok(),
                identities(&text).is_ok(), relay_id(&text).is_ok(), optional_address(&text).is_ok(),
                targets(&text).is_ok(),
            ];
            prop_assert_eq!(outcomes.len(), 15);
        }
    }
}
