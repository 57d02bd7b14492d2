//! How a peer makes a connection: as it should by default, or with something wrong.

use super::greeting::{First, Greeting};
use super::keys::PeerKeys;
use super::message::{About, Body, Capacity, Message};
use super::noise;
use std::net::IpAddr;

/// How to get to a channel.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path of the base URL, empty or `/something`.
    pub path: String,
    /// For a peer that dials: holds this for the relay's X25519 key instead of asking for it.
    pub relay_key: Option<[u8; 32]>,
    /// Noise's prologue.
    pub prologue: Vec<u8>,
    /// Payload of this peer's handshake message.
    pub payload: Vec<u8>,
    /// Turns this bit of this peer's handshake message.
    pub flipped_bit: Option<usize>,
    /// Bytes that this peer's kernel takes in before the relay has to wait, where a test needs few.
    pub receive_buffer: Option<u32>,
    /// The address of this machine that a peer that dials comes from, where it matters.
    pub source: Option<IpAddr>,
    /// What is said first.
    pub greeting: Greeting,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: String::new(),
            relay_key: None,
            prologue: noise::prologue(),
            payload: Vec::new(),
            flipped_bit: None,
            receive_buffer: None,
            source: None,
            greeting: Greeting::default(),
        }
    }
}

impl Options {
    /// The usual, with a path.
    pub fn at(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// The usual, with a greeting.
    pub fn greeting(greeting: Greeting) -> Self {
        Self { greeting, ..Self::default() }
    }

    /// The usual, and so much room.
    pub fn room(free_bytes: u64, accepting: bool) -> Self {
        let capacity = Some(Capacity { free_bytes, accepting });
        let about = Some(About { capacity, ..About::default_of_a_peer() });
        Self::greeting(Greeting { about, ..Greeting::default() })
    }

    /// The usual, of a peer that says what it holds when it is asked.
    pub fn listing() -> Self {
        let about = Some(About { lists: true, ..About::default_of_a_peer() });
        Self::greeting(Greeting { about, ..Greeting::default() })
    }

    /// Every handshake that a relay must refuse, in either role, each with its name. None of them leads to a
    /// channel; how it ends is for the relay to say, by a close frame or a cut.
    pub fn wrong() -> Vec<(&'static str, Self)> {
        let usual = Self::default;
        let mut wrong = vec![
            ("another prologue", Self { prologue: b"vauchi-federation-v2".to_vec(), ..usual() }),
            ("a payload in the handshake", Self { payload: b"early".to_vec(), ..usual() }),
            ("a turned bit in the key", Self { flipped_bit: Some(3), ..usual() }),
            (
                "a turned bit in the tag",
                Self { flipped_bit: Some(8 * noise::HANDSHAKE_MESSAGE - 1), ..usual() },
            ),
        ];
        wrong.extend(Self::wrong_greetings().into_iter().map(|(name, said)| (name, Self::greeting(said))));
        wrong
    }

    /// Those whose fault lies in the greeting.
    fn wrong_greetings() -> Vec<(&'static str, Greeting)> {
        let usual = Greeting::default;
        // The neutral element signs anything under itself, unless the check is strict.
        let mut neutral = vec![0; 32];
        neutral[0] = 1;
        let signature = Some([neutral.clone(), vec![0; 32]].concat());
        let loud = About { relay_id: "x".repeat(5000), ..About::default_of_a_peer() };
        let early = Message::new(1, Body::Capacity(Capacity { free_bytes: 1, accepting: true }));
        vec![
            ("version 0", Greeting { version: 0, ..usual() }),
            ("a foreign signature", Greeting { signer: Some(PeerKeys::generate()), ..usual() }),
            ("a signature over another hash", Greeting { hash: Some([7; 32]), ..usual() }),
            ("a signature over another key", Greeting { responder_key: Some([9; 32]), ..usual() }),
            ("role 0", Greeting { role: Some(0), ..usual() }),
            ("role 3", Greeting { role: Some(3), ..usual() }),
            ("the greeting of the other role", Greeting { first: First::OtherRole, ..usual() }),
            ("no identity", Greeting { identity: Some(Vec::new()), ..usual() }),
            ("an identity of small order", Greeting { identity: Some(neutral), signature, ..usual() }),
            ("no signature", Greeting { signature: Some(Vec::new()), ..usual() }),
            ("a greeting that is too large", Greeting { about: Some(loud), ..usual() }),
            ("another message first", Greeting { first: First::Other(early), ..usual() }),
        ]
    }
}
