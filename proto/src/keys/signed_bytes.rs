//! The bytes under the signatures of mail: what owners sign and storage checks, and what storage signs for clients.

use crate::messages::Hint;
use crate::{PublicKey, PurgeToken, TokensDigest, UnixSeconds};

/// What an owner signs to register mailboxes: a label, the key, the digest of the tokens as they were sent, and the time.
#[must_use]
pub fn registration(public_key: &PublicKey, tokens: &TokensDigest, timestamp: UnixSeconds) -> Vec<u8> {
    let mut signed = b"vauchi-register-v1".to_vec();
    signed.extend_from_slice(public_key.as_bytes());
    signed.extend_from_slice(tokens.as_bytes());
    signed.extend_from_slice(&timestamp.get().to_be_bytes());
    signed
}

/// What an owner signs to delete everything: the key, the purge token, and the time.
#[must_use]
pub fn purge(public_key: &PublicKey, token: &PurgeToken, timestamp: UnixSeconds) -> Vec<u8> {
    let mut signed = public_key.as_bytes().to_vec();
    signed.extend_from_slice(token.as_bytes());
    signed.extend_from_slice(&timestamp.get().to_be_bytes());
    signed
}

/// What a relay signs with its hints: for each the name of the blob, the address of the relay that has it, and the end of
/// its time.
#[must_use]
pub fn hints(hints: &[Hint]) -> Vec<u8> {
    let mut signed = Vec::new();
    for Hint { blob_id, relay_url, expires_at } in hints {
        signed.extend_from_slice(blob_id);
        signed.extend_from_slice(relay_url.as_bytes());
        signed.extend_from_slice(&expires_at.to_be_bytes());
    }
    signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const KEY: PublicKey = PublicKey::from_bytes([3; 32]);
    const TIME: UnixSeconds = UnixSeconds::new(258);

    #[test]
    fn hints_are_signed_as_agreed() {
        let hint = Hint {
            blob_id: Bytes::from_static(&[4; 16]),
            relay_url: "https://relay.example".to_owned(),
            expires_at: 258,
        };
        let mut signed = vec![4; 16];
        signed.extend_from_slice(b"https://relay.example\0\0\0\0\0\0\x01\x02");
        assert_eq!(hints(std::slice::from_ref(&hint)), signed);
        assert_eq!(hints(&[hint.clone(), hint]), [signed.clone(), signed].concat());
    }

    #[test]
    fn what_owners_sign_is_laid_out_as_agreed() {
        let tail = [[3; 32], [4; 32]].concat().into_iter().chain([0, 0, 0, 0, 0, 0, 1, 2]);
        let tail: Vec<u8> = tail.collect();
        assert_eq!(purge(&KEY, &PurgeToken::from_bytes([4; 32]), TIME), tail);
        let registered = [b"vauchi-register-v1".as_slice(), &tail].concat();
        assert_eq!(registration(&KEY, &TokensDigest::from_bytes([4; 32]), TIME), registered);
    }
}
