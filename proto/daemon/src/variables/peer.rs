//! Where a peer is, as operators write it.

use axum::http::Uri;
use relay_proto::{Malformed, NoiseKey};
use std::str::FromStr;

/// A peer's address, and perhaps its key: `wss://relay.example/path#KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    url: String,
    uri: Uri,
    /// The key that the peer must have.
    pub pin: Option<NoiseKey>,
}

impl PeerUrl {
    /// As written, without the key.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// Name or address of the host.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// Host and port, for the `Host` header.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The path of an endpoint of the peer's.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}{endpoint}", self.uri.path().trim_end_matches('/'))
    }

    /// Where clients find the peer, if it does not say so itself.
    pub fn client_url(&self) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path(""))
    }
}

impl FromStr for PeerUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (url, pin) = match text.split_once('#') {
            Some((url, key)) => (url, Some(NoiseKey::from_base64url(key)?)),
            None => (text, None),
        };
        let uri: Uri = url.parse().map_err(|_| Malformed)?;
        let sound = matches!(uri.scheme_str(), Some("ws" | "wss"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port().is_none_or(|port| port.as_u16() != 0)
            && uri.query().is_none()
            && is_host_and_port(&uri);
        if sound { Ok(Self { url: url.to_owned(), uri, pin }) } else { Err(Malformed) }
    }
}

/// Whether there is nothing but a host and perhaps a port: no user, and no number that is read as no port at all.
pub(super) fn is_host_and_port(uri: &Uri) -> bool {
    let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map_or("", |it| it.as_str()));
    match authority.strip_prefix(host) {
        Some("") => true,
        Some(rest) => uri.port().is_some_and(|port| rest.strip_prefix(':') == Some(port.as_str())),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_host_a_port_and_perhaps_a_path_and_a_key() {
        let key = "A".repeat(43);
        let peer: PeerUrl = format!("wss://relay.example/below/#{key}").parse().unwrap();
        assert_eq!(peer.as_str(), "wss://relay.example/below/");
        assert_eq!((peer.host(), peer.port(), peer.is_secure()), ("relay.example", 443, true));
        assert_eq!(peer.path("/federation"), "/below/federation");
        assert_eq!(peer.client_url(), "https://relay.example/below");
        assert_eq!(peer.pin, Some(NoiseKey::from_bytes([0; 32])));
        let peer: PeerUrl = "ws://[::1]:8080".parse().unwrap();
        assert_eq!((peer.host(), peer.port(), peer.is_secure()), ("[::1]", 8080, false));
        assert_eq!((peer.path("/federation").as_str(), peer.pin), ("/federation", None));
        assert_eq!(peer.client_url(), "http://[::1]:8080");
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for text in [
            "relay.example",
            "https://relay.example",
            "ws://",
            "ws://:80",
            "ws://me@relay.example",
            "ws://relay.example?x",
            "ws://relay.example#short",
            "ws://relay.example#",
            "ws://relay.example:0",
            "ws://relay.example:",
            "ws://relay.example:65536",
            "ws://[::1]x:80",
            "ws://relay .example",
        ] {
            assert_eq!(text.parse::<PeerUrl>(), Err(Malformed), "{text:?}");
        }
    }
}
