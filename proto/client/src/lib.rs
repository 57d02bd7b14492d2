//! A client of the relay: HTTP over TCP or TLS, and Oblivious HTTP (RFC 9458) with both forms of a sealed request. The
//! operator's command, the black-box tests and the bench share it. It links no code of the relay's processes, so a test
//! never checks the relay against itself.

pub mod binary;
mod client;
mod connection;
pub mod envelope;
mod error;
pub mod fields;
pub mod key_record;
pub mod oblivious;
mod owner;
mod response;
mod rollover;
mod tls;
mod url;

pub use client::Client;
pub use connection::{Connection, KeptConnection, get, request};
pub use error::Error;
pub use key_record::{KeyRecordError, ServedKeyRecord};
pub use oblivious::{Key, Opener};
pub use owner::Owner;
pub use response::Response;
pub use rollover::{AnchorRollover, ROLLOVER_PATH, ROLLOVER_TYPE};
pub use tls::{Tls, TlsStream, certificate, is_certificate_error};
pub use url::Url;
