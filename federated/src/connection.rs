//! Connections with peers: how one is dialled or accepted, to which addresses, and the loop that moves a session along it.

pub(crate) mod accept;
mod arrivals;
pub(crate) mod connector;
pub(crate) mod dial;
mod event_loop;

use event_loop::{Connection, End, Keys};
