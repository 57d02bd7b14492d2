//! Where an outer relay brings sealed requests, as its operator writes it.

use super::peer::is_host_and_port;
use axum::http::Uri;
use relay_proto::Malformed;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest name of a target.
const LONGEST_NAME: usize = 253;

/// A relay that an outer relay serves: `https://relay.example`, perhaps with a name before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObliviousTarget {
    /// By what clients say that they mean it.
    pub name: TargetName,
    uri: Uri,
}

/// By what clients say which target they mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetName {
    /// By nothing: there is one.
    Only,
    /// By the first segment of the path, with its slash.
    Prefix(String),
    /// By the host that they ask for, in lower case.
    Host(String),
}

impl ObliviousTarget {
    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Name or address of the host.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        port(&self.uri)
    }

    /// Host and port, for the `Host` header.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The origin, in the one form that all spellings of it have.
    pub fn origin(&self) -> String {
        origin(&self.uri)
    }
}

/// The origin of an `http` or `https` URL (RFC 6454): scheme, host and port, in the one form that all spellings have.
pub fn origin(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
    let host = address.map_or_else(|| host.to_owned(), |address| format!("[{address}]"));
    format!("{}://{host}:{}", uri.scheme_str().unwrap_or_default(), port(uri))
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

impl FromStr for ObliviousTarget {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) => (name.trim().parse()?, url.trim()),
            None => (TargetName::Only, text),
        };
        let uri: Uri = url.parse().map_err(|_| Malformed)?;
        let is_sound = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port().is_none_or(|port| port.as_u16() != 0)
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !url.contains('#')
            && is_host_and_port(&uri);
        if is_sound { Ok(Self { name, uri }) } else { Err(Malformed) }
    }
}

impl FromStr for TargetName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if let Some(segment) = text.strip_prefix('/') {
            // These are the relay's own paths.
            let is_taken = matches!(segment, "v2" | "health");
            let is_sound = (1..=64).contains(&segment.len()) && segment.bytes().all(is_plain) && !is_taken;
            return if is_sound { Ok(Self::Prefix(text.to_owned())) } else { Err(Malformed) };
        }
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_plain);
        let is_sound = text.len() <= LONGEST_NAME && text.split('.').all(is_label);
        if is_sound { Ok(Self::Host(text.to_ascii_lowercase())) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_origin_and_perhaps_has_a_name() {
        let target: ObliviousTarget = "https://relay.example".parse().unwrap();
        assert_eq!((&target.name, target.is_secure()), (&TargetName::Only, true));
        assert_eq!(
            (target.host(), target.port(), target.authority()),
            ("relay.example", 443, "relay.example")
        );
        let target: ObliviousTarget = "/north=http://[::1]:8080/".parse().unwrap();
        assert_eq!(target.name, TargetName::Prefix("/north".to_owned()));
        assert_eq!((target.host(), target.port(), target.is_secure()), ("[::1]", 8080, false));
        let target: ObliviousTarget = "North.Outer.Example = https://relay.example:8443".parse().unwrap();
        assert_eq!(target.name, TargetName::Host("north.outer.example".to_owned()));
        assert_eq!(target.authority(), "relay.example:8443");
    }

    #[test]
    fn one_origin_has_many_spellings() {
        for spelling in ["https://relay.example", "https://Relay.Example:443/", "https://relay.example."] {
            let target: ObliviousTarget = spelling.parse().unwrap();
            assert_eq!(target.origin(), "https://relay.example:443", "{spelling}");
        }
        let origin = |url: &str| origin(&url.parse().unwrap());
        assert_eq!(origin("HTTPS://relay.example/path"), "https://relay.example:443");
        assert_ne!(origin("https://relay.example:444"), origin("https://relay.example"));
        assert_ne!(origin("http://relay.example"), origin("https://relay.example"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "relay.example",
            "https://",
            "https://:443",
            "ftp://relay.example",
            "https://me@relay.example",
            "https://relay.example/below",
            "https://relay.example?x",
            "https://relay.example#x",
            "https://relay.example:0",
            "https://relay.example:",
            "https://relay.example:65536",
            "https://relay .example",
            "=https://relay.example",
            "/=https://relay.example",
            "/v2=https://relay.example",
            "/health=https://relay.example",
            "/a/b=https://relay.example",
            "/..=https://relay.example",
            "//a=https://relay.example",
            "/a%2f=https://relay.example",
            "north:80=https://relay.example",
            "north..example=https://relay.example",
            "north=",
        ] {
            assert_eq!(text.parse::<ObliviousTarget>(), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn an_origin_has_one_form_however_its_address_is_spelled() {
        let origin = |text: &str| text.parse::<ObliviousTarget>().unwrap().origin();
        for text in ["https://[2001:DB8:0:0::1]", "https://[2001:db8::0001]:443/"] {
            assert_eq!(origin(text), "https://[2001:db8::1]:443", "{text}");
        }
    }
}
