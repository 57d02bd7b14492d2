//! A relay's peer, written against `CHANNEL.md` alone: it shares no code with the daemon that it talks to. It can
//! dial a relay or be dialled by one, keep every rule or break any, and look closely at what the relay does.
//!
//! From the wire upwards: [`websocket`] (RFC 6455, by hand), [`noise`], [`frame`] and [`assembly`], [`message`],
//! [`greeting`]; then [`channel`], which is all of them; [`dial`] and [`listen`], the two ways to one;
//! [`misdeed`], ways to break it; [`memory`], a whole peer that holds blobs.

pub mod assembly;
pub mod blob;
pub mod channel;
pub mod closed;
pub mod conduct;
pub mod dial;
pub mod frame;
pub mod greeting;
pub mod head;
pub mod keys;
pub mod listen;
pub mod memory;
pub mod message;
pub mod misdeed;
pub mod noise;
pub mod oddity;
pub mod options;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use channel::Channel;
pub use closed::Closed;
pub use conduct::{Conduct, OnForget, OnInventory, OnOffload, OnRecall};
pub use dial::{Dialled, Recording};
pub use greeting::{First, Greeting};
pub use keys::PeerKeys;
pub use listen::Listening;
pub use memory::InMemoryPeer;
pub use message::{About, Blob, BlobName, Body, Capacity, Message, Verdict};
pub use misdeed::Misdeed;
pub use oddity::Oddity;
pub use options::Options;
