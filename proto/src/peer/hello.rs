//! The greeting: who a relay is, and what it says of itself.

use crate::field::{identifier, required};
use crate::limits::MAX_CLIENT_URL;
use crate::peer_messages::{self, About, Capacity};
use crate::{PeerId, Signature, StorageError, UnixSeconds};

/// Longest name of a relay, in characters.
const MAX_RELAY_ID: usize = 64;

/// Who a relay is, and the proof: what both greetings say, and what they say about their sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Of what it speaks.
    pub version: u32,
    /// Who.
    pub identity: PeerId,
    /// Over the handshake.
    pub signature: Signature,
    /// A name for people, at most 64 characters.
    pub relay_id: String,
    /// Where it serves clients; may be empty.
    pub client_url: String,
    /// Messages a minute that it takes.
    pub messages_per_minute: u32,
    /// How much it can hold for others.
    pub capacity: Capacity,
    /// Its clock, if it says.
    pub time: Option<UnixSeconds>,
    /// For how long it keeps mail, in seconds; 0 when it does not say.
    pub keeps_secs: u64,
    /// Whether it says what it holds when it is asked.
    pub lists: bool,
}

impl TryFrom<peer_messages::Hello> for Hello {
    type Error = StorageError;

    fn try_from(message: peer_messages::Hello) -> Result<Self, StorageError> {
        let peer_messages::Hello { version, identity, signature, about } = message;
        let About { relay_id, client_url, messages_per_minute, capacity, unix_time, keeps_secs, lists } =
            required("about", about)?;
        // Shown to operators: nothing that a terminal would take for a command.
        if relay_id.len() > MAX_RELAY_ID || !relay_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StorageError::invalid("relay_id"));
        }
        if !is_client_url(&client_url) {
            return Err(StorageError::invalid("client_url"));
        }
        Ok(Self {
            version,
            identity: identifier("identity", &identity)?,
            signature: identifier("signature", &signature)?,
            relay_id,
            client_url,
            messages_per_minute,
            capacity: required("capacity", capacity)?,
            time: (unix_time > 0).then(|| UnixSeconds::new(unix_time)),
            keeps_secs,
            lists,
        })
    }
}

impl From<Hello> for peer_messages::Hello {
    fn from(hello: Hello) -> Self {
        let Hello {
            version,
            identity,
            signature,
            relay_id,
            client_url,
            messages_per_minute,
            capacity,
            time,
            keeps_secs,
            lists,
        } = hello;
        let (capacity, unix_time) = (Some(capacity), time.map_or(0, UnixSeconds::get));
        let about =
            About { relay_id, client_url, messages_per_minute, capacity, unix_time, keeps_secs, lists };
        Self { version, identity: identity.into(), signature: signature.into(), about: Some(about) }
    }
}

/// Empty, or what clients may be sent to.
fn is_client_url(url: &str) -> bool {
    url.is_empty()
        || url.len() <= MAX_CLIENT_URL
            && (url.starts_with("https://") || url.starts_with("http://"))
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn hello() -> Hello {
        Hello {
            version: 1,
            identity: PeerId::from_bytes([5; 32]),
            signature: Signature::from_bytes([6; 64]),
            relay_id: "north".to_owned(),
            client_url: "https://relay.example".to_owned(),
            messages_per_minute: 300,
            capacity: Capacity { free_bytes: 7, accepting: true },
            time: Some(UnixSeconds::new(1_800_000_000)),
            keeps_secs: 86_400,
            lists: true,
        }
    }

    fn reread(hello: Hello) -> Result<Hello, StorageError> {
        Hello::try_from(peer_messages::Hello::from(hello))
    }

    #[test]
    fn a_greeting_survives_the_wire_and_may_not_tell_the_time() {
        for said in [hello(), Hello { time: None, ..hello() }] {
            assert_eq!(reread(said.clone()), Ok(said));
        }
    }

    #[test]
    fn a_greeting_is_whole() {
        let said = peer_messages::Hello::from(hello());
        let about = said.about.clone().unwrap();
        for (wrong, field) in [
            (peer_messages::Hello { identity: Bytes::new(), ..said.clone() }, "identity"),
            (peer_messages::Hello { signature: Bytes::new(), ..said.clone() }, "signature"),
            (peer_messages::Hello { about: None, ..said.clone() }, "about"),
            (peer_messages::Hello { about: Some(About { capacity: None, ..about }), ..said }, "capacity"),
        ] {
            assert_eq!(Hello::try_from(wrong), Err(StorageError::invalid(field)));
        }
    }

    #[test]
    fn names_and_urls_of_peers_are_harmless_or_refused() {
        for (name, url, good) in [
            ("north", "https://relay.example/path", true),
            ("", "", true),
            ("no rth", "", false),
            ("\u{1b}[31m", "", false),
            ("north", "ftp://relay.example", false),
            ("north", "https://relay.example/\"", false),
            ("north", "https://relay .example", false),
        ] {
            let said = Hello { relay_id: name.to_owned(), client_url: url.to_owned(), ..hello() };
            assert_eq!(reread(said).is_ok(), good, "{name:?} {url:?}");
        }
        let long = Hello { client_url: format!("https://{}", "a".repeat(MAX_CLIENT_URL)), ..hello() };
        assert!(reread(long).is_err());
        assert!(reread(Hello { relay_id: "a".repeat(65), ..hello() }).is_err());
    }
}
