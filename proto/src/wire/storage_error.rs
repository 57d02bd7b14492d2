//! Why storage says no: the one vocabulary between the processes.

use std::borrow::Cow;
use std::time::Duration;

/// A refusal by storage, or by the way to it. Texts name no mailbox, id or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// A field of the message is absent or out of range. The caller is at fault.
    #[error("invalid field {field}")]
    Invalid {
        /// The field's name in the message.
        field: Cow<'static, str>,
    },
    /// The mailbox has been busy.
    #[error("mailbox rate limit exceeded")]
    MailboxRateLimited {
        /// When the next request is allowed.
        retry_after: Duration,
    },
    /// The client's address has been busy.
    #[error("address rate limit exceeded")]
    AddressRateLimited {
        /// When the next request is allowed.
        retry_after: Duration,
    },
    /// The relay has heard too many wrong exchange codes.
    #[error("too many wrong guesses")]
    GuessesSpent {
        /// When the next guess is allowed.
        retry_after: Duration,
    },
    /// The mailbox holds as much as one may.
    #[error("mailbox quota exceeded")]
    QuotaExceeded,
    /// The relay holds as much as its operator allows, or its volume does.
    #[error("storage is full")]
    StorageFull,
    /// Nobody registered the mailbox, and the operator asks for that.
    #[error("mailbox is not registered")]
    NotRegistered,
    /// The blob is larger than the operator allows.
    #[error("blob is too large")]
    TooLarge,
    /// A signed timestamp is too far from the relay's clock.
    #[error("timestamp outside the acceptable window")]
    OutsideWindow,
    /// A signature does not hold, or its key does not own the mailbox.
    #[error("invalid signature")]
    BadSignature,
    /// A single-use value was used before.
    #[error("replay detected")]
    Replayed,
    /// No live offer has this code.
    #[error("unknown or expired code")]
    UnknownCode,
    /// Somebody else claimed the offer.
    #[error("offer already claimed")]
    AlreadyClaimed,
    /// Nobody claimed the offer yet.
    #[error("offer not yet claimed")]
    NotYetClaimed,
    /// As many offers are live as may be.
    #[error("too many offers")]
    TooManyOffers,
    /// The clock of the relay's machine is behind: what is stored under it would end too early.
    #[error("the relay's clock is wrong")]
    ClockWrong,
    /// A queue is full.
    #[error("storage is busy")]
    Busy,
    /// The commit failed in a way that leaves its outcome open. Asking again settles it.
    #[error("outcome unknown, ask again")]
    OutcomeUnknown,
    /// Storage cannot be reached or is shutting down.
    #[error("storage is not reachable")]
    Unavailable,
    /// A fault of the relay's own.
    #[error("internal fault")]
    Internal,
}

impl StorageError {
    /// A field of a message was absent or wrong.
    pub const fn invalid(field: &'static str) -> Self {
        Self::Invalid { field: Cow::Borrowed(field) }
    }

    /// Whether the same request may succeed if it is simply sent again: storage was away, restarting or
    /// busy. Every request is made so that sending it again is harmless.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::OutcomeUnknown | Self::Unavailable)
    }
}
