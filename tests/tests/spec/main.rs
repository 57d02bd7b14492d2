//! What the relay promises, to clients, to operators, and to both when machines fail. Each test starts a relay
//! of its own from the real programs and speaks to it over sockets.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod anchors;
mod attacks;
mod backup;
mod belonging;
mod clocks;
mod config;
mod crash_points;
mod damage;
mod doctor;
mod edge;
mod errors;
mod escrow;
mod exchange;
mod federation;
mod full_disk;
mod guardians;
mod health;
mod hosts;
mod hung;
mod importing;
mod insiders;
mod interop;
mod invite;
mod limits;
mod mailbox;
mod monitoring;
mod oblivious;
mod ops;
mod outer;
mod outer_relay;
mod perturbed;
mod privacy;
mod proxies;
mod purge;
mod quotas;
mod recovery;
mod register;
mod relay_up;
mod restart;
mod rotation;
mod runbooks;
mod scanner;
mod shutdown;
mod signed_keys;
mod sockets;
mod startup;
mod units;
mod versions;
