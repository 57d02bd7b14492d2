//! What fields hold: each kind of value once, with a sentence and an example.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Declares a value by its schema.
macro_rules! scalar {
    ($name:ident, $about:literal, { $($schema:tt)* }) => {
        #[doc = $about]
        pub(super) struct $name;

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

/// Declares a value of so many bytes, written as hexadecimal digits of either case.
macro_rules! hex {
    ($name:ident, $digits:literal, $example:literal, $about:literal) => {
        scalar!($name, $about, {
            "type": "string",
            "pattern": concat!("^[0-9a-fA-F]{", $digits, "}$"),
            "examples": [$example.repeat($digits / $example.len())],
        });
    };
}

hex!(
    MailboxToken,
    64,
    "5eed",
    "A mailbox's token: 32 random bytes. Whoever knows it may fetch from the mailbox."
);
hex!(BlobId, 32, "b10b", "A blob's id: 16 bytes that follow from the mailbox and the ciphertext.");
hex!(PublicKey, 64, "0e", "An Ed25519 public key.");
hex!(Signature, 128, "51", "An Ed25519 signature.");
hex!(PurgeToken, 64, "9a", "32 random bytes that make a purge count once.");
hex!(KeyHash, 64, "4e", "The hash of a recovery key.");
hex!(
    GuardianHash,
    64,
    "6a",
    "The hash by which a guardian set is found; it follows from the designator's key."
);
hex!(GateHash, 64, "7a", "The name of an escrow gate.");
hex!(SlotHash, 64, "3b", "The name of one of the two slots behind a gate.");

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
