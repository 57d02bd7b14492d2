//! What is wrong with a peer, in words for its operator. None of them quotes the peer.

use crate::connection::End;
use crate::connection::connector::Unreachable;
use crate::link::Reason;
use crate::link::handshake::Failed;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialError {
    Unreachable,
    NoKey,
    NotARelay,
    PinChanged,
    Unproved,
    NotAccepted,
    Itself,
    Crowded,
    NoStorage,
    Stopping,
    Broken,
    Lost,
}

impl DialError {
    /// What a connection's end means.
    pub(super) const fn of(end: End) -> Self {
        match end {
            End::Closed(Reason::NotAccepted) => Self::NotAccepted,
            End::Closed(Reason::TooMuch) => Self::Crowded,
            End::Closed(Reason::Stopping) => Self::Stopping,
            End::Broken | End::Closed(Reason::Broken) => Self::Broken,
            End::Closed(Reason::Ended) | End::Closing | End::Lost => Self::Lost,
        }
    }

    /// Whether the peer is likely to be back soon: it was there and willing.
    pub(super) const fn is_accident(self) -> bool {
        matches!(self, Self::Lost | Self::Stopping)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "cannot be reached",
            Self::NoKey => "shows no key",
            Self::NotARelay => "is no relay that peers, or not the one meant",
            Self::PinChanged => "its key is not the one it is pinned to",
            Self::Unproved => "does not prove itself",
            Self::NotAccepted => "does not accept this relay yet",
            Self::Itself => "is this relay itself",
            Self::Crowded => "has too many connections with this relay",
            Self::NoStorage => "storage is away",
            Self::Stopping => "is stopping",
            Self::Broken => "broke the rules of the channel, or says so of this relay",
            Self::Lost => "the connection was lost",
        }
    }
}

impl From<Unreachable> for DialError {
    fn from(_: Unreachable) -> Self {
        Self::Unreachable
    }
}

impl From<Failed> for DialError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Handshake => Self::NotARelay,
            Failed::Unproved => Self::Unproved,
            Failed::NotAccepted => Self::NotAccepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_willing_is_dialled_soon_again_and_others_are_not() {
        for (end, trouble, soon) in [
            (End::Closed(Reason::NotAccepted), DialError::NotAccepted, false),
            (End::Closed(Reason::TooMuch), DialError::Crowded, false),
            (End::Closed(Reason::Stopping), DialError::Stopping, true),
            (End::Closed(Reason::Broken), DialError::Broken, false),
            (End::Closed(Reason::Ended), DialError::Lost, true),
            (End::Broken, DialError::Broken, false),
            (End::Closing, DialError::Lost, true),
            (End::Lost, DialError::Lost, true),
        ] {
            assert_eq!((DialError::of(end), DialError::of(end).is_accident()), (trouble, soon));
        }
    }
}
