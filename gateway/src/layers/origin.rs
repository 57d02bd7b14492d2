//! Where a request came from, as far as the inside may know.

use relay_proto::RequestId;
use relay_proto::caller::Caller;
use std::net::IpAddr;
use std::time::Duration;

/// How a request came in, and what is known of its sender. Whoever hands it to the router says it explicitly; nothing
/// behind the router looks at connections or headers to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Straight from a client, or from a trusted proxy that named one.
    Direct(IpAddr),
    /// Out of a sealed request. Who sent it, nobody knows.
    Oblivious {
        /// The relay that brought it, which pays.
        caller: Caller,
        /// Of the sealed message itself, so that bringing it again asks for nothing more.
        request_id: RequestId,
        /// How long who brought it has to wait, where its budget is spent. That is said inside: an outer relay makes a
        /// failure of every other status than 200, and clients take that for a stale key.
        refused: Option<Duration>,
    },
}

impl Origin {
    /// Whether the reply will be sealed.
    pub(crate) const fn is_sealed(self) -> bool {
        matches!(self, Self::Oblivious { .. })
    }
}
