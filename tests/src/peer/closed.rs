//! How a connection ends.

/// What ended a connection, or kept it from coming about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The relay said so in a close frame, and why.
    InOrder(u8),
    /// The relay went away without a word.
    Cut,
    /// The relay answered the upgrade with this HTTP status.
    Refused(u16),
    /// The relay's handshake message does not open: it holds another key for this peer, or another prologue.
    Unreadable,
    /// The relay did what `CHANNEL.md` forbids.
    Violation(String),
}

impl Closed {
    /// Reason of an orderly end: nothing more to say.
    pub const DONE: Self = Self::InOrder(0);
    /// Reason: not accepted.
    pub const NOT_ACCEPTED: Self = Self::InOrder(1);
    /// Reason: this peer did what is not allowed.
    pub const BROKEN: Self = Self::InOrder(2);
    /// Reason: too much.
    pub const TOO_MUCH: Self = Self::InOrder(3);
    /// Reason: the relay stops.
    pub const STOPPING: Self = Self::InOrder(4);

    /// The relay broke a rule.
    pub(crate) fn violation(what: impl Into<String>) -> Self {
        Self::Violation(what.into())
    }

    /// Fails the test if the relay broke a rule; a test accepts no such end.
    ///
    /// # Panics
    /// Then.
    #[must_use]
    pub fn lawful(self) -> Self {
        if let Self::Violation(what) = &self {
            panic!("the relay broke a rule of the channel: {what}");
        }
        self
    }
}
