//! The JSON of requests. Signed requests are made by an [`Owner`](crate::Owner).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The fields of a send.
pub fn send_fields(mailbox: &str, ciphertext: &[u8]) -> Value {
    json!({ "recipient_id": mailbox, "ciphertext": STANDARD.encode(ciphertext) })
}

/// The fields of a fetch, or of a register without an owner.
pub fn mailbox_fields<M: AsRef<str>>(mailboxes: &[M]) -> Value {
    let mailboxes: Vec<&str> = mailboxes.iter().map(AsRef::as_ref).collect();
    json!({ "mailbox_tokens": mailboxes })
}

/// The fields of an ack.
pub fn ack_fields(mailbox: &str, blob_id: &str) -> Value {
    json!({ "recipient_id": mailbox, "blob_id": blob_id })
}

/// The fields that keep a recovery proof.
pub fn proof_fields(key_hash: &str, proof: &[u8]) -> Value {
    json!({ "key_hash": key_hash, "proof_data": STANDARD.encode(proof) })
}

/// The fields that ask for recovery proofs.
pub fn key_fields<K: AsRef<str>>(key_hashes: &[K]) -> Value {
    let key_hashes: Vec<&str> = key_hashes.iter().map(AsRef::as_ref).collect();
    json!({ "key_hashes": key_hashes })
}

/// The fields that open an exchange.
pub fn offer_fields(payload: &str) -> Value {
    json!({ "payload": payload })
}

/// The fields that answer an exchange.
pub fn claim_fields(code: &str, response: &str) -> Value {
    json!({ "code": code, "response": response })
}

/// The fields that close an exchange.
pub fn complete_fields(code: &str) -> Value {
    json!({ "code": code })
}

/// The fields that ask for a guardian set.
pub fn guardian_fields(guardian_hash: &str) -> Value {
    json!({ "guardian_hash": guardian_hash })
}

/// The fields that leave a blob behind a gate.
pub fn put_fields(gate: &str, slot: &str, blob: &[u8], ttl_seconds: u64) -> Value {
    json!({
        "escrow_action": "Put",
        "gate_hash": gate,
        "slot_hash": slot,
        "blob": URL_SAFE_NO_PAD.encode(blob),
        "ttl_seconds": ttl_seconds,
    })
}

/// The fields that take the other blob behind a gate.
pub fn get_fields(gate: &str, slot: &str) -> Value {
    json!({ "escrow_action": "Get", "gate_hash": gate, "slot_hash": slot })
}

/// The fields that ask how many blobs lie behind a gate.
pub fn count_fields(gate: &str) -> Value {
    json!({ "escrow_action": "Count", "gate_hash": gate })
}
