//! Listeners: made here or handed over, and locked so that no second process takes them over.

pub mod inherited;
mod listen;
mod lock;

pub use listen::{Sharing, listen_tcp, listen_unix, port_is_free, socket_secret};
pub use lock::{SocketLocks, patiently};
