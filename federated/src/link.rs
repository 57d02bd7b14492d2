//! The channel to one peer: WebSocket, then Noise, then frames, then messages. `proto/relay/federation/v1/CHANNEL.md`
//! is its specification. What the messages mean is nobody's business here.

pub(crate) mod channel;
pub(crate) mod frame;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod noise;
pub(crate) mod stream;

use relay_proto::StorageError;

/// Why a side ends a connection, as it says in its close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing more to say.
    Ended,
    /// The initiator is not known here.
    NotAccepted,
    /// The other side did what is not allowed.
    Broken,
    /// Too many connections or messages.
    TooMuch,
    /// The relay stops.
    Stopping,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ended, Self::NotAccepted, Self::Broken, Self::TooMuch, Self::Stopping];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::NotAccepted => 1,
            Self::Broken => 2,
            Self::TooMuch => 3,
            Self::Stopping => 4,
        }
    }

    /// What a peer's number means; one that is not known is a reason like any other.
    pub(crate) fn read(code: u8) -> Self {
        Self::ALL.into_iter().find(|reason| reason.code() == code).unwrap_or(Self::Ended)
    }
}

/// The other side did what the channel does not allow. What it was is told to nobody: the peer may have chosen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke the rules of the channel")]
pub(crate) struct Broken;

/// A field of a peer's message is absent or wrong.
impl From<StorageError> for Broken {
    fn from(_: StorageError) -> Self {
        Self
    }
}
