//! What the relay promises, to clients, to operators, and to both when machines fail. Each test starts a relay
//! of its own from the real programs and speaks to it over sockets.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod config;
mod crash_points;
mod edge;
mod errors;
mod full_disk;
mod ledger;
mod limits;
mod mailbox;
mod ops;
mod perturbed;
mod privacy;
mod purge;
mod quotas;
mod register;
mod relay_up;
mod restart;
mod scanner;
mod shutdown;
mod startup;
mod versions;
