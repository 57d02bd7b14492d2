//! The Noise channel (`Noise_NK_25519_ChaChaPoly_BLAKE2s`, Noise Protocol Framework revision 34): it hides what
//! relays say from everybody between them, and proves the responder's key to the initiator. The initiator proves
//! itself inside, see [`super::greeting`].

use super::Broken;
use super::frame::MAX_PLAINTEXT;
use relay_proto::limits::MAX_PEER_MESSAGE;
use relay_proto::{NoiseKey, NoiseSecret};
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState};

/// Largest Noise message, in bytes (Noise Protocol Framework, section 3).
pub(crate) const MAX_NOISE: usize = 65_535;

/// Length of both handshake messages: an ephemeral key and the tag of an empty payload.
pub(crate) const HANDSHAKE: usize = 48;

const PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// What both sides must agree on before the first byte.
fn prologue() -> Vec<u8> {
    let mut prologue = b"vauchi-federation-v1".to_vec();
    for cap in [MAX_NOISE, MAX_PEER_MESSAGE] {
        prologue.extend_from_slice(&u32::try_from(cap).unwrap_or(u32::MAX).to_be_bytes());
    }
    prologue
}

/// A handshake on its way.
pub(crate) struct Handshake(HandshakeState);

impl Handshake {
    /// The dialling side, which knows whose key it wants to meet.
    pub(crate) fn initiator(responder: &NoiseKey) -> Result<Self, Broken> {
        let (params, prologue) = (params()?, prologue());
        let builder = Builder::new(params)
            .prologue(&prologue)
            .and_then(|builder| builder.remote_public_key(responder.as_bytes()));
        let state = builder.and_then(Builder::build_initiator).map_err(|_| Broken)?;
        Ok(Self(state))
    }

    /// The side that was dialled.
    pub(crate) fn responder(secret: &NoiseSecret) -> Result<Self, Broken> {
        let (params, prologue) = (params()?, prologue());
        let builder = Builder::new(params)
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(secret.as_bytes()));
        let state = builder.and_then(Builder::build_responder).map_err(|_| Broken)?;
        Ok(Self(state))
    }

    /// This side's next handshake message.
    pub(crate) fn write(&mut self) -> Result<Vec<u8>, Broken> {
        let mut message = vec![0; HANDSHAKE];
        let length = self.0.write_message(&[], &mut message).map_err(|_| Broken)?;
        message.truncate(length);
        Ok(message)
    }

    /// Takes the other side's. A payload is refused: nothing is to be said before both are sure of one another.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), Broken> {
        if message.len() != HANDSHAKE {
            return Err(Broken);
        }
        let mut payload = [0; HANDSHAKE];
        match self.0.read_message(message, &mut payload) {
            Ok(0) => Ok(()),
            _ => Err(Broken),
        }
    }

    /// The channel, and the hash that stands for this one handshake.
    pub(crate) fn finish(self) -> Result<(Transport, [u8; 32]), Broken> {
        // Read before the state becomes a transport, which does not have it any more.
        let hash = self.0.get_handshake_hash().try_into().map_err(|_| Broken)?;
        let state = self.0.into_stateless_transport_mode().map_err(|_| Broken)?;
        Ok((Transport { state, sent: 0, received: 0 }, hash))
    }
}

fn params() -> Result<NoiseParams, Broken> {
    PATTERN.parse().map_err(|_| Broken)
}

/// The channel after the handshake. Messages come in order or not at all.
pub(crate) struct Transport {
    state: StatelessTransportState,
    sent: u64,
    received: u64,
}

impl Transport {
    /// Seals a plaintext of at most [`MAX_PLAINTEXT`] bytes.
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Broken> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Broken);
        }
        let mut message = vec![0; plaintext.len() + (MAX_NOISE - MAX_PLAINTEXT)];
        let length = self.state.write_message(self.sent, plaintext, &mut message).map_err(|_| Broken)?;
        message.truncate(length);
        self.sent += 1;
        Ok(message)
    }

    /// Opens what the other side sealed.
    pub(crate) fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, Broken> {
        if message.len() > MAX_NOISE {
            return Err(Broken);
        }
        let mut plaintext = vec![0; message.len()];
        let length = self.state.read_message(self.received, message, &mut plaintext).map_err(|_| Broken)?;
        plaintext.truncate(length);
        self.received += 1;
        Ok(plaintext)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const SECRET: NoiseSecret = NoiseSecret::from_bytes([7; 32]);

    /// Both ends of a channel, and the hash both have.
    pub(crate) fn pair() -> (Transport, Transport, [u8; 32]) {
        let mut initiator = Handshake::initiator(&SECRET.public()).unwrap();
        let mut responder = Handshake::responder(&SECRET).unwrap();
        responder.read(&initiator.write().unwrap()).unwrap();
        initiator.read(&responder.write().unwrap()).unwrap();
        let ((near, hash), (far, same)) = (initiator.finish().unwrap(), responder.finish().unwrap());
        assert_eq!(hash, same);
        (near, far, hash)
    }

    #[test]
    fn what_one_side_seals_the_other_opens_once_and_in_order() {
        let (mut near, mut far, _) = pair();
        let (first, second) = (near.seal(b"first").unwrap(), near.seal(b"second").unwrap());
        assert_eq!(first.len(), 5 + 16);
        assert!(far.open(&second).is_err(), "out of order");
        assert_eq!(far.open(&first).unwrap(), b"first");
        assert!(far.open(&first).is_err(), "again");
        assert_eq!(far.open(&second).unwrap(), b"second");
        assert_eq!(near.open(&far.seal(b"back").unwrap()).unwrap(), b"back");
        let full = near.seal(&[1; MAX_PLAINTEXT]).unwrap();
        assert_eq!(full.len(), MAX_NOISE);
        assert_eq!(far.open(&full).unwrap().len(), MAX_PLAINTEXT);
        assert!(near.seal(&[1; MAX_PLAINTEXT + 1]).is_err());
    }

    #[test]
    fn only_the_key_that_was_meant_can_answer() {
        let mut initiator = Handshake::initiator(&NoiseSecret::from_bytes([8; 32]).public()).unwrap();
        let mut responder = Handshake::responder(&SECRET).unwrap();
        assert!(responder.read(&initiator.write().unwrap()).is_err());
    }

    #[test]
    fn two_handshakes_with_one_first_message_have_two_hashes() {
        let mut initiator = Handshake::initiator(&SECRET.public()).unwrap();
        let first = initiator.write().unwrap();
        let hashes = [(); 2].map(|()| {
            let mut responder = Handshake::responder(&SECRET).unwrap();
            responder.read(&first).unwrap();
            responder.write().unwrap();
            responder.finish().unwrap().1
        });
        assert_ne!(hashes[0], hashes[1]);
    }

    #[test]
    fn a_handshake_carries_nothing_and_has_one_length() {
        let mut initiator = Handshake::initiator(&SECRET.public()).unwrap();
        assert_eq!(initiator.write().unwrap().len(), HANDSHAKE);
        let prologue = prologue();
        let talkative = Builder::new(PATTERN.parse().unwrap()).prologue(&prologue).unwrap();
        let mut talkative =
            talkative.remote_public_key(SECRET.public().as_bytes()).unwrap().build_initiator().unwrap();
        let mut message = [0; 100];
        let length = talkative.write_message(b"hi", &mut message).unwrap();
        assert!(Handshake::responder(&SECRET).unwrap().read(&message[..length]).is_err());
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_opened(position in 0_usize..21, mask in 1_u8..=255) {
            let (mut near, mut far, _) = pair();
            let mut sealed = near.seal(b"hello").unwrap();
            sealed[position] ^= mask;
            prop_assert!(far.open(&sealed).is_err());
        }

        #[test]
        fn no_bytes_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let (_, mut far, _) = pair();
            prop_assert!(far.open(&message).is_err());
            prop_assert!(Handshake::responder(&SECRET).unwrap().read(&message).is_err());
        }
    }
}
