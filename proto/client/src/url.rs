//! Where a relay serves clients.

use hyper::Uri;
use std::str::FromStr;

/// An `http` or `https` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    is_secure: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
    query: String,
}

impl Url {
    /// Returns true for `https`.
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host as name servers and certificates have it: a literal IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where the URL names none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as HTTP names them: without the scheme's default port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns true if a query follows the path. The address of a relay has none.
    pub const fn has_query(&self) -> bool {
        !self.query.is_empty()
    }

    /// The path of a resource: below this URL's own path, or this URL itself where `path` is empty.
    pub fn path_of(&self, path: &str) -> String {
        match path {
            "" => format!("{}{}", self.path, self.query),
            path => format!("{}{path}", self.path.trim_end_matches('/')),
        }
    }
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "that is not a URL")?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the URL must begin with http:// or https://"),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("the URL must have a host")?;
        let default = if is_secure { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let authority = if port == default { host.to_owned() } else { format!("{host}:{port}") };
        Ok(Self {
            is_secure,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority,
            path: uri.path().to_owned(),
            query: uri.query().map(|query| format!("?{query}")).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_goes_without_saying() {
        for (url, authority, port) in [
            ("https://host:444/", "host:444", 444),
            ("http://host:80", "host", 80),
            ("https://host:443/x", "host", 443),
            ("https://[::1]:80", "[::1]:80", 80),
            ("http://somebody@host", "host", 80),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!((url.authority(), url.port()), (authority, port));
        }
        assert_eq!("https://[::1]:80".parse::<Url>().unwrap().host(), "::1");
    }

    #[test]
    fn a_path_is_below_the_url_and_no_path_is_the_url_itself() {
        let path = |url: &str, path: &str| url.parse::<Url>().unwrap().path_of(path);
        assert_eq!(path("https://host", "/health"), "/health");
        assert_eq!(path("https://host/below/", "/health"), "/below/health");
        assert_eq!(path("https://outer/?to=1", ""), "/?to=1");
        assert_eq!(path("https://outer", ""), "/");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["", "127.0.0.1:8080", "ftp://host", "http://", "host"] {
            assert!(url.parse::<Url>().is_err(), "{url}");
        }
    }
}
