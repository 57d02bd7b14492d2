//! URLs as a client's configuration has them.

use crate::selftest::relay_url;
use relay_client::{Url, oblivious};

/// Reads the base URL of a relay or of an oblivious relay. People also copy the URL for sealed requests itself, so its path is
/// understood and cut off.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn base_url(text: &str) -> Result<Url, &'static str> {
    let url = relay_url(text)?;
    let path = url.path_of("");
    let path = path.trim_end_matches('/');
    format!("{}{}", origin(&url), path.strip_suffix(oblivious::PATH).unwrap_or(path)).parse()
}

/// Scheme, host and port, as RFC 6454 compares them.
pub(super) fn origin(url: &Url) -> String {
    let scheme = if url.is_secure() { "https" } else { "http" };
    format!("{scheme}://{}", url.authority().to_ascii_lowercase())
}

/// A URL as people type it: without a default port or a slash at its end.
pub(crate) fn text_of(url: &Url) -> String {
    format!("{}{}", origin(url), url.path_of("").trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_for_sealed_requests_is_understood() {
        for (given, base) in [
            ("https://Outer.Example", "https://outer.example"),
            ("https://outer.example:443/", "https://outer.example"),
            ("https://outer.example/v2/ohttp", "https://outer.example"),
            ("https://outer.example/v2/ohttp/", "https://outer.example"),
            ("https://outer.example:8443/to/a/v2/ohttp", "https://outer.example:8443/to/a"),
            ("http://[::1]:8080/to/a/", "http://[::1]:8080/to/a"),
        ] {
            assert_eq!(text_of(&base_url(given).unwrap()), base, "{given}");
        }
        for wrong in ["outer.example", "ftp://outer.example", "https://outer.example/?to=1"] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| origin(&one.parse().unwrap()) == origin(&other.parse().unwrap());
        assert!(same("https://a.example/x", "https://A.example:443/y"));
        for other in ["http://a.example", "https://a.example:444", "https://b.example"] {
            assert!(!same("https://a.example", other), "{other}");
        }
    }
}
