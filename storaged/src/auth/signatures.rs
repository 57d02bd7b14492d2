//! Signatures and the time they were made at. Storage checks them itself and trusts no gateway's word.

use relay_proto::anchor::is_signed;
use relay_proto::limits::SIGNATURE_WINDOW_SECS;
use relay_proto::{PublicKey, Signature, StorageError, UnixSeconds};

/// Checks a signature and that it is of now.
///
/// # Errors
/// [`StorageError::OutsideWindow`] where the timestamp is more than a minute off, [`StorageError::BadSignature`].
pub(crate) fn check(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
    timestamp: UnixSeconds,
    now: UnixSeconds,
) -> Result<(), StorageError> {
    if now.distance(timestamp) > SIGNATURE_WINDOW_SECS {
        return Err(StorageError::OutsideWindow);
    }
    if is_signed(key, message, signature) { Ok(()) } else { Err(StorageError::BadSignature) }
}

/// Checks a signature where the request may be the retry of one that was answered, which may be late. Returns whether it
/// is of now; where it is not, the signature was not looked at.
///
/// # Errors
/// [`StorageError::BadSignature`].
pub(crate) fn is_timely(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
    timestamp: UnixSeconds,
    now: UnixSeconds,
) -> Result<bool, StorageError> {
    match check(key, message, signature, timestamp, now) {
        Ok(()) => Ok(true),
        Err(StorageError::OutsideWindow) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    const NOW: UnixSeconds = UnixSeconds::new(1_000_000);

    #[test]
    fn a_signature_holds_for_a_minute_both_ways() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
        let signature = Signature::from_bytes(key.sign(b"message").to_bytes());
        for (timestamp, expected) in [
            (999_940, Ok(())),
            (1_000_060, Ok(())),
            (999_939, Err(StorageError::OutsideWindow)),
            (1_000_061, Err(StorageError::OutsideWindow)),
            (u64::MAX, Err(StorageError::OutsideWindow)),
        ] {
            let outcome = check(&public, b"message", &signature, UnixSeconds::new(timestamp), NOW);
            assert_eq!(outcome, expected, "{timestamp}");
        }
        assert_eq!(check(&public, b"other", &signature, NOW, NOW), Err(StorageError::BadSignature));
    }

    #[test]
    fn weak_keys_and_garbage_prove_nothing() {
        for key in [[0; 32], [1; 32], [0xff; 32]] {
            let outcome = check(&PublicKey::from_bytes(key), b"m", &Signature::from_bytes([0; 64]), NOW, NOW);
            assert_eq!(outcome, Err(StorageError::BadSignature));
        }
    }
}
