//! The bodies of requests and replies, as a generator of clients should know them. Tests hold every reply of a gateway to
//! these.

use super::scalars::{
    AtLeastOne, BlobId, Count, ExchangeCode, ExchangedText, GateHash, GuardianHash, KeyHash, MailboxToken,
    PublicKey, PurgeToken, Sealed, SealedUrlSafe, Signature, SlotHash, Timestamp,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Declares models that nothing makes or reads: their fields are for the schema alone.
macro_rules! models {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(JsonSchema)]
        $(#[$meta])*
        #[expect(dead_code, reason = "for its schema")]
        pub(super) struct $name {
            $($(#[$field_meta])* $field: $type,)*
        }
    )*};
}

/// The word of every reply that is no error.
pub(super) struct Ok;

impl JsonSchema for Ok {
    fn schema_name() -> Cow<'static, str> {
        "Ok".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": "ok", "description": "The request was carried out." })
    }
}

models! {
    /// The request was carried out, and there is nothing to tell.
    #[schemars(deny_unknown_fields)]
    Done {
        status: Ok,
    }

    /// A blob for a mailbox.
    SendRequest {
        recipient_id: MailboxToken,
        ciphertext: Sealed,
        /// 74 bytes that the sender sealed, by which the receiver learns who sent it.
        origin_hint: Option<Sealed>,
    }

    /// The blob is on disk under this id.
    #[schemars(deny_unknown_fields)]
    SendReply {
        status: Ok,
        blob_id: BlobId,
    }

    /// Mailboxes to look into.
    FetchRequest {
        #[schemars(length(min = 1, max = 1900))]
        mailbox_tokens: Vec<MailboxToken>,
    }

    /// What waits in the mailboxes, oldest first.
    #[schemars(deny_unknown_fields)]
    FetchReply {
        status: Ok,
        #[schemars(length(max = 1024))]
        blobs: Vec<Blob>,
        /// Whether more is there once these blobs are acknowledged.
        truncated: bool,
        /// Only in replies to sealed requests: how many blobs wait that are too large for one, which ends at 96 KiB. They
        /// are not among the blobs and do not make the page truncated; a direct request shows each alone, after the rest.
        #[schemars(skip_serializing_if = "Option::is_none")]
        oversized: Option<AtLeastOne>,
        #[schemars(skip_serializing_if = "Option::is_none")]
        forwarding_hints: Option<ForwardingHints>,
    }

    /// A blob that waits.
    #[schemars(deny_unknown_fields)]
    Blob {
        blob_id: BlobId,
        ciphertext: Sealed,
        /// The hour of its arrival.
        created_at: Timestamp,
        mailbox_token: MailboxToken,
        /// As it was sent.
        #[schemars(skip_serializing_if = "Option::is_none")]
        origin_hint: Option<Sealed>,
    }

    /// Where mail is that lies with other relays and did not come back in time. Signed over the hints in their order, each
    /// as the bytes of `blob_id`, `relay_url`, and `expires_at_secs` as 8 bytes, big-endian.
    #[schemars(deny_unknown_fields)]
    ForwardingHints {
        #[schemars(length(min = 1, max = 32))]
        hints: Vec<ForwardingHint>,
        relay_signing_key: PublicKey,
        signature: Signature,
    }

    /// Where one blob is.
    #[schemars(deny_unknown_fields)]
    ForwardingHint {
        blob_id: BlobId,
        /// The relay to fetch it from.
        #[schemars(url, length(max = 200), example = "https://peer.example")]
        relay_url: String,
        expires_at_secs: Timestamp,
    }

    /// A blob that was received and is to be removed.
    AckRequest {
        recipient_id: MailboxToken,
        blob_id: BlobId,
    }

    /// The blob is not there any more.
    #[schemars(deny_unknown_fields)]
    AckReply {
        status: Ok,
        /// Whether this request removed it; false where it was not there.
        acknowledged: bool,
    }

    /// Mailboxes that the relay is to know. With `public_key`, `timestamp` and `signature`, all three of them, they belong
    /// to the key.
    RegisterRequest {
        #[schemars(length(min = 1, max = 1900))]
        mailbox_tokens: Vec<MailboxToken>,
        public_key: Option<PublicKey>,
        timestamp: Option<Timestamp>,
        signature: Option<Signature>,
    }

    /// The mailboxes are known.
    #[schemars(deny_unknown_fields)]
    RegisterReply {
        status: Ok,
        registered: Count,
        /// How many of the mailboxes a key other than the caller's has or asks for. Without a key, any key is another one.
        /// Registering without a key has just ended what such a key asked for or had for the time being; a mailbox that it
        /// has for good is better given up for a new token.
        #[schemars(skip_serializing_if = "Option::is_none")]
        bound_to_other_key: Option<AtLeastOne>,
        /// How many of the mailboxes were in use without a key, so that the caller's key may purge them after 30 days in
        /// which nobody registers them without one.
        #[schemars(skip_serializing_if = "Option::is_none")]
        waiting_for_objection: Option<AtLeastOne>,
    }

    /// Proof that the owner of a key wants everything deleted that belongs to it.
    PurgeRequest {
        recipient_id: MailboxToken,
        public_key: PublicKey,
        purge_token: PurgeToken,
        signature: Signature,
        timestamp: Timestamp,
    }

    /// Everything is deleted.
    #[schemars(deny_unknown_fields)]
    PurgeReply {
        status: Ok,
        blobs_deleted: Count,
    }

    /// A recovery proof to be kept for 90 days, in place of the one before.
    RecoveryStoreRequest {
        key_hash: KeyHash,
        /// 1 to 4,096 bytes.
        proof_data: Sealed,
    }

    /// Keys whose proofs are wanted.
    RecoveryQueryRequest {
        #[schemars(length(min = 1, max = 50))]
        key_hashes: Vec<KeyHash>,
    }

    /// The proofs that are there, in the order of their keys.
    #[schemars(deny_unknown_fields)]
    RecoveryQueryReply {
        status: Ok,
        #[schemars(length(max = 50))]
        proofs: Vec<RecoveryProof>,
        /// Only in replies to sealed requests, and only where it is true: the proofs did not all fit. The keys behind that
        /// of the last proof are to be asked for again; those before it without a proof are unknown.
        #[schemars(skip_serializing_if = "Option::is_none", extend("const" = true))]
        truncated: Option<bool>,
    }

    /// A proof and its times.
    #[schemars(deny_unknown_fields)]
    RecoveryProof {
        key_hash: KeyHash,
        proof_data: Sealed,
        created_at: Timestamp,
        expires_at: Timestamp,
    }

    /// Something to offer to whoever is told the code.
    ExchangeOfferRequest {
        payload: ExchangedText,
        /// Seconds until the offer ends.
        #[schemars(range(min = 30, max = 3600), example = 300)]
        expires_secs: Option<u32>,
    }

    /// The code to tell.
    #[schemars(deny_unknown_fields)]
    ExchangeOfferReply {
        status: Ok,
        code: ExchangeCode,
    }

    /// A code, and what is left for whoever offered.
    ExchangeClaimRequest {
        code: ExchangeCode,
        response: ExchangedText,
    }

    /// What was offered.
    #[schemars(deny_unknown_fields)]
    ExchangeClaimReply {
        status: Ok,
        payload: ExchangedText,
    }

    /// The code of an exchange to be ended.
    ExchangeCompleteRequest {
        code: ExchangeCode,
    }

    /// What was left.
    #[schemars(deny_unknown_fields)]
    ExchangeCompleteReply {
        status: Ok,
        response: ExchangedText,
    }

    /// A guardian set, signed by its designator, in place of the one before.
    GuardianStoreRequest {
        guardian_hash: GuardianHash,
        designator_pk: PublicKey,
        timestamp: Timestamp,
        signature: Signature,
        #[schemars(length(max = 10))]
        entries: Vec<Guardian>,
    }

    /// A guardian set to be deleted, signed by its designator.
    GuardianDeleteRequest {
        guardian_hash: GuardianHash,
        designator_pk: PublicKey,
        timestamp: Timestamp,
        signature: Signature,
    }

    /// A guardian set to be read.
    GuardianQueryRequest {
        guardian_hash: GuardianHash,
    }

    /// A guardian set; an unknown one is empty.
    #[schemars(deny_unknown_fields)]
    GuardianQueryReply {
        status: Ok,
        #[schemars(length(max = 10))]
        guardians: Vec<Guardian>,
    }

    /// One entry of a guardian set.
    Guardian {
        data: Sealed,
    }

    /// What to do with an escrow gate: fill a slot, read the other one, or count those that are filled.
    EscrowRequest {
        escrow_action: EscrowAction,
        gate_hash: GateHash,
        /// For `Put` and `Get`.
        slot_hash: Option<SlotHash>,
        /// For `Put`.
        blob: Option<SealedUrlSafe>,
        /// Seconds until the gate ends, for `Put`.
        #[schemars(range(min = 1, max = 604_800), example = 86_400)]
        ttl_seconds: Option<u32>,
    }
}

/// What to do with an escrow gate.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
pub(super) enum EscrowAction {
    Put,
    Get,
    Count,
}

/// How an escrow gate stands.
#[derive(JsonSchema)]
#[schemars(tag = "status")]
#[expect(dead_code, reason = "for its schema")]
pub(super) enum EscrowReply {
    /// The slot is filled.
    Stored,
    /// The slot was filled before.
    AlreadyExists,
    /// Both slots are filled by others.
    GateFull,
    /// The blob is too large.
    BlobTooLarge,
    /// What the other slot holds.
    Blob { blob: SealedUrlSafe },
    /// Not both slots are filled yet.
    NotReady { count: Count },
    /// How many slots are filled.
    Count { count: Count },
    /// No such gate, or no such slot behind it.
    NotFound,
}
