//! The harness of the relay's black-box tests: it builds the real programs, starts them on free ports and in
//! temporary directories, speaks the wire contract to them, and breaks them on purpose.
//!
//! Nothing here links a daemon. What a test knows, a client, an operator or a broken machine could know.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on fails the test that called it, with a message"
)]

pub mod action;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod compose;
pub mod deadline;
pub mod fault_proxy;
pub mod federation;
pub mod fields;
pub mod frames;
pub mod front;
pub mod grpc;
pub mod honest;
pub mod hostile;
pub mod interop;
pub mod ledger;
pub mod metrics;
pub mod namespace;
pub mod oblivious;
pub mod ops;
pub mod outer_relay;
pub mod owner;
pub mod peer;
pub mod ports;
pub mod previous;
pub mod process;
pub mod procfs;
pub mod reply;
pub mod runbook;
pub mod signed_key;
pub mod strace;
pub mod strict;
pub mod supervised;
pub mod tls_front;
pub mod trust;
pub mod volume;
pub mod wire;

pub use action::Action;
pub use client::{Client, Via};
pub use cluster::Cluster;
pub use owner::Owner;
pub use process::{Launch, Process};
pub use reply::Reply;
pub use supervised::Supervised;
pub use wire::Wire;
