//! What a client may ask for, under the names that it has in each form of request.

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave a blob.
    Send,
    /// Read what waits.
    Fetch,
    /// Remove a received blob.
    Ack,
    /// Make mailboxes known.
    Register,
    /// Delete everything of an owner's.
    Purge,
    /// Keep a recovery proof.
    RecoveryStore,
    /// Find recovery proofs.
    RecoveryQuery,
    /// Open an exchange and get its code.
    ExchangeOffer,
    /// Answer an exchange and get what it offers.
    ExchangeClaim,
    /// Get the answer and close the exchange.
    ExchangeComplete,
    /// Replace a guardian set.
    GuardianStore,
    /// Read a guardian set.
    GuardianQuery,
    /// Delete a guardian set.
    GuardianDelete,
    /// Leave or take a blob behind a gate.
    Escrow,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 14] = [
        Self::Send,
        Self::Fetch,
        Self::Ack,
        Self::Register,
        Self::Purge,
        Self::RecoveryStore,
        Self::RecoveryQuery,
        Self::ExchangeOffer,
        Self::ExchangeClaim,
        Self::ExchangeComplete,
        Self::GuardianStore,
        Self::GuardianQuery,
        Self::GuardianDelete,
        Self::Escrow,
    ];

    /// Its path on the main port.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Send => "/v2/send",
            Self::Fetch => "/v2/fetch",
            Self::Ack => "/v2/ack",
            Self::Register => "/v2/register",
            Self::Purge => "/v2/purge",
            Self::RecoveryStore => "/v2/recovery/store",
            Self::RecoveryQuery => "/v2/recovery/query",
            Self::ExchangeOffer => "/v2/exchange/offer",
            Self::ExchangeClaim => "/v2/exchange/claim",
            Self::ExchangeComplete => "/v2/exchange/complete",
            Self::GuardianStore => "/v2/guardian/store",
            Self::GuardianQuery => "/v2/guardian/query",
            Self::GuardianDelete => "/v2/guardian/delete",
            Self::Escrow => "/v2/escrow",
        }
    }

    /// Its name in an envelope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Fetch => "fetch",
            Self::Ack => "ack",
            Self::Register => "register",
            Self::Purge => "purge",
            Self::RecoveryStore => "recovery_store",
            Self::RecoveryQuery => "recovery_query",
            Self::ExchangeOffer => "exchange_offer",
            Self::ExchangeClaim => "exchange_claim",
            Self::ExchangeComplete => "exchange_complete",
            Self::GuardianStore => "guardian_store",
            Self::GuardianQuery => "guardian_query",
            Self::GuardianDelete => "guardian_delete",
            Self::Escrow => "escrow",
        }
    }
}
