//! What fields hold: each kind of value once, with a sentence, an example, and how it is read.

use super::fields::{Described, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Declares a value by its schema.
macro_rules! scalar {
    ($name:ident, $about:literal, { $($schema:tt)* }) => {
        #[doc = $about]
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $about, $($schema)* })
            }
        }
    };
}

/// Says how text becomes a value of a type.
macro_rules! text {
    ($($type:ty as $name:ident by $parse:expr),*) => {$(
        impl Described for $type {
            type Schema = $name;
        }

        impl<'de> Value<'de> for $type {
            fn of_text(text: Cow<'de, str>) -> Option<Self> {
                ($parse)(&text).ok()
            }
        }
    )*};
}

/// Declares an identifier, written as so many hexadecimal digits of either case.
macro_rules! hex {
    ($name:ident as $type:ty, $digits:literal, $example:literal, $about:literal) => {
        text!($type as $name by <$type>::from_hex);
        scalar!($name, $about, {
            "type": "string",
            "pattern": concat!("^[0-9a-fA-F]{", $digits, "}$"),
            "examples": [$example.repeat($digits / $example.len())],
        });
    };
}

hex!(
    MailboxToken as relay_proto::MailboxToken,
    64,
    "5eed",
    "A mailbox's token: 32 random bytes. Whoever knows it may fetch from the mailbox."
);
hex!(
    BlobId as relay_proto::BlobId,
    32,
    "b10b",
    "A blob's id: 16 bytes that follow from the mailbox and the ciphertext."
);
hex!(PublicKey as relay_proto::PublicKey, 64, "0e", "An Ed25519 public key.");
hex!(Signature as relay_proto::Signature, 128, "51", "An Ed25519 signature.");
hex!(PurgeToken as relay_proto::PurgeToken, 64, "9a", "32 random bytes that make a purge count once.");
hex!(KeyHash as relay_proto::RecoveryKeyHash, 64, "4e", "The hash of a recovery key.");
hex!(
    GuardianHash as relay_proto::GuardianHash,
    64,
    "6a",
    "The hash by which a guardian set is found; it follows from the designator's key."
);
hex!(GateHash as relay_proto::GateHash, 64, "7a", "The name of an escrow gate.");
hex!(SlotHash as relay_proto::SlotHash, 64, "3b", "The name of one of the two slots behind a gate.");

scalar!(Sealed, "Bytes that the client sealed, in base64 with padding. The relay does not look into them.", {
    "type": "string", "contentEncoding": "base64", "examples": ["SGVsbG8sIG1haWxib3guCg=="],
});
scalar!(SealedUrlSafe, "Bytes that the client sealed, in base64url without padding.", {
    "type": "string", "contentEncoding": "base64url", "pattern": "^[A-Za-z0-9_-]*$", "examples": ["SGVsbG8"],
});
scalar!(ExchangedText, "Text that two people exchange, of at most 64 KiB.", {
    "type": "string", "maxLength": 65_536, "examples": ["sealed by the client"],
});
scalar!(ExchangeCode, "Six digits that one person tells another.", {
    "type": "string", "pattern": "^[0-9]{6}$", "examples": ["042137"],
});
scalar!(Timestamp, "Seconds since 1970, UTC.", {
    "type": "integer", "minimum": 0, "examples": [1_800_000_000],
});
scalar!(Count, "A number of things.", { "type": "integer", "minimum": 0, "examples": [1] });
scalar!(AtLeastOne, "A number of things. Absent where there are none.", { "type": "integer", "minimum": 1, "examples": [2] });

text!(
    relay_proto::Ciphertext as Sealed by relay_proto::Ciphertext::from_base64,
    relay_proto::OriginHint as Sealed by relay_proto::OriginHint::from_base64,
    relay_proto::RecoveryProof as Sealed by relay_proto::RecoveryProof::from_base64,
    relay_proto::GuardianEntry as Sealed by relay_proto::GuardianEntry::from_base64,
    // `None` is one that is too long.
    Option<relay_proto::EscrowBlob> as SealedUrlSafe by relay_proto::EscrowBlob::from_base64url,
    relay_proto::ExchangeCode as ExchangeCode by relay_proto::ExchangeCode::from_digits
);

impl Described for Cow<'_, str> {
    type Schema = ExchangedText;
}

impl<'de: 'a, 'a> Value<'de> for Cow<'a, str> {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl Described for u64 {
    type Schema = Timestamp;
}

impl Value<'_> for u64 {
    fn of_number(number: u64) -> Option<Self> {
        Some(number)
    }
}

/// The status of every reply that is no error, unless it says more by its status.
pub(crate) struct StatusOk;

impl Serialize for StatusOk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("ok")
    }
}

impl JsonSchema for StatusOk {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ok".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": "ok", "description": "The request was carried out." })
    }
}
