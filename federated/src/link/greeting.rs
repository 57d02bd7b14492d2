//! Who is at the other end. Noise proves the responder's key and nothing of the initiator; here each side signs the
//! handshake with the key that is its identity, so that neither can be spoken for on another channel, and a first
//! message that is played again proves nothing.

use super::Broken;
use ed25519_dalek::{Signature as Ed25519Signature, Signer as _, VerifyingKey};
use relay_proto::peer::{Hello, VERSION};
use relay_proto::peer_messages::Capacity;
use relay_proto::{NoiseKey, PeerId, PeerSeed, Signature, UnixSeconds};

/// Which side of a handshake somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It dialled.
    Initiator,
    /// It was dialled.
    Responder,
}

/// What a relay says of itself besides who it is.
#[derive(Debug, Clone)]
pub(crate) struct HelloInfo {
    pub(crate) relay_id: String,
    pub(crate) client_url: String,
    pub(crate) messages_per_minute: u32,
    /// For how long it keeps mail.
    pub(crate) keeps_secs: u64,
}

/// The bytes that are signed.
fn message(role: Role, identity: &PeerId, responder: &NoiseKey, hash: &[u8; 32]) -> Vec<u8> {
    let mut message = b"vauchi-federation-hello-v1".to_vec();
    message.push(match role {
        Role::Initiator => 1,
        Role::Responder => 2,
    });
    message.extend_from_slice(identity.as_bytes());
    message.extend_from_slice(responder.as_bytes());
    message.extend_from_slice(hash);
    message
}

/// Introduces this relay on a channel.
pub(crate) fn sign(
    role: Role,
    seed: &PeerSeed,
    responder: &NoiseKey,
    hash: &[u8; 32],
    about: &HelloInfo,
    (capacity, now): (Capacity, UnixSeconds),
) -> Hello {
    let identity = seed.id();
    let signature = seed.signing_key().sign(&message(role, &identity, responder, hash));
    Hello {
        version: VERSION,
        identity,
        signature: Signature::from_bytes(signature.to_bytes()),
        relay_id: about.relay_id.clone(),
        client_url: about.client_url.clone(),
        messages_per_minute: about.messages_per_minute,
        capacity,
        time: Some(now),
        keeps_secs: about.keeps_secs,
        lists: true,
    }
}

/// Whether the other side is who it says, on this channel.
pub(crate) fn check(role: Role, hello: &Hello, responder: &NoiseKey, hash: &[u8; 32]) -> Result<(), Broken> {
    if hello.version < VERSION {
        return Err(Broken);
    }
    let key = VerifyingKey::from_bytes(hello.identity.as_bytes()).map_err(|_| Broken)?;
    let signature = Ed25519Signature::from_bytes(hello.signature.as_bytes());
    key.verify_strict(&message(role, &hello.identity, responder, hash), &signature).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: PeerSeed = PeerSeed::from_bytes([1; 32]);
    const KEY: NoiseKey = NoiseKey::from_bytes([2; 32]);
    const HASH: [u8; 32] = [3; 32];

    fn hello(role: Role) -> Hello {
        let about = HelloInfo {
            relay_id: "north".to_owned(),
            client_url: String::new(),
            messages_per_minute: 300,
            keeps_secs: 7,
        };
        sign(role, &SEED, &KEY, &HASH, &about, (Capacity::default(), UnixSeconds::new(7)))
    }

    #[test]
    fn what_is_signed_is_these_bytes() {
        let id = PeerId::from_bytes([1; 32]);
        let expected = [&b"vauchi-federation-hello-v1"[..], &[2], &[1; 32], &[2; 32], &[3; 32]].concat();
        assert_eq!(message(Role::Responder, &id, &KEY, &HASH), expected);
        assert_eq!(message(Role::Initiator, &id, &KEY, &HASH)[26], 1);
    }

    #[test]
    fn a_greeting_holds_for_its_role_its_key_and_its_channel_only() {
        for (role, other) in [(Role::Initiator, Role::Responder), (Role::Responder, Role::Initiator)] {
            let good = hello(role);
            assert_eq!(check(role, &good, &KEY, &HASH), Ok(()));
            assert_eq!(check(other, &good, &KEY, &HASH), Err(Broken), "played back to its sender");
            assert_eq!(check(role, &good, &NoiseKey::from_bytes([9; 32]), &HASH), Err(Broken));
            assert_eq!(check(role, &good, &KEY, &[9; 32]), Err(Broken), "played on another channel");
            let foreign = Hello { identity: PeerSeed::from_bytes([5; 32]).id(), ..good.clone() };
            assert_eq!(check(role, &foreign, &KEY, &HASH), Err(Broken));
            assert_eq!(check(role, &Hello { version: 0, ..good.clone() }, &KEY, &HASH), Err(Broken));
            assert_eq!(check(role, &Hello { version: 2, ..good }, &KEY, &HASH), Ok(()), "a newer one");
        }
    }

    #[test]
    fn a_key_that_is_none_proves_nothing() {
        // The identity of the group: under it, every signature by "nobody" would hold if checked loosely.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let forged = Hello {
            identity: PeerId::from_bytes(neutral),
            signature: Signature::from_bytes(signature),
            ..hello(Role::Initiator)
        };
        assert_eq!(check(Role::Initiator, &forged, &KEY, &HASH), Err(Broken));
    }
}
