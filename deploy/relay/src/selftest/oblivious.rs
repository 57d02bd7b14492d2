//! Sealing to a relay's key (RFC 9458), and the sizes that sealed messages have.

pub(super) mod binary;
pub(super) mod envelope;

use super::client::{Trouble, expect, wrong};
use ohttp::{ClientRequest, ClientResponse};

/// Plaintexts of answers have these sizes, or a multiple of the last.
const LADDER: [usize; 3] = [4096, 32_768, 98_304];

/// Plaintexts of requests are at least this long, and a multiple of [`STEP`] beyond.
const LEAST: usize = 4096;
const STEP: usize = 256;

/// Where the list of suites begins in a key configuration: behind id, KEM, an X25519 key and the list's length.
const SUITES: usize = 1 + 2 + 32 + 2;
/// Bytes of a suite.
const SUITE: usize = 4;

/// Seals a request to a key configuration.
pub(super) fn seal(key: &[u8], plaintext: &[u8]) -> Result<(Vec<u8>, ClientResponse), Trouble> {
    ClientRequest::from_encoded_config(key)
        .and_then(|request| request.encapsulate(plaintext))
        .map_err(|error| wrong(format_args!("the relay's key cannot be sealed to: {error}")))
}

/// The same key with the last of its suites alone, so that more than the first one is tried.
pub(super) fn last_suite_only(key: &[u8]) -> Result<Vec<u8>, Trouble> {
    let (head, suites) =
        key.split_at_checked(SUITES).ok_or_else(|| wrong("the key configuration is too short"))?;
    let last = suites.last_chunk::<SUITE>().ok_or_else(|| wrong("the key configuration has no suite"))?;
    let mut only = head[..SUITES - 2].to_vec();
    only.extend_from_slice(&[0, 4]);
    only.extend_from_slice(last);
    Ok(only)
}

/// The same key under an id that no accepted window has.
pub(super) fn under_a_foreign_id(key: &[u8]) -> Vec<u8> {
    let mut foreign = key.to_vec();
    if let Some(id) = foreign.first_mut() {
        *id = id.wrapping_add(128);
    }
    foreign
}

/// The size that a request's plaintext of at least `length` bytes has.
pub(super) const fn padded(length: usize) -> usize {
    if length <= LEAST { LEAST } else { length.next_multiple_of(STEP) }
}

/// Checks the size of an answer's plaintext.
pub(super) fn on_the_ladder(length: usize) -> Result<(), Trouble> {
    let [_, _, last] = LADDER;
    let holds = LADDER.contains(&length) || (length > 0 && length.is_multiple_of(last));
    expect(holds, "the sealed answer's size tells something: it is not on the ladder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ohttp::Server;
    use relay_proto::WindowSeed;
    use relay_proto::keys::KeyWindow;

    fn window() -> KeyWindow {
        KeyWindow { number: 7, seed: WindowSeed::from_bytes([7; 32]) }
    }

    #[test]
    fn what_is_sealed_opens_with_either_suite_and_comes_back() {
        let key = window().encoded_config().unwrap();
        let server = Server::new(window().config().unwrap()).unwrap();
        for key in [key.clone(), last_suite_only(&key).unwrap()] {
            let (sealed, opener) = seal(&key, b"request").unwrap();
            let (opened, answer) = server.decapsulate(&sealed).unwrap();
            assert_eq!(opened, b"request");
            assert_eq!(opener.decapsulate(&answer.encapsulate(b"answer").unwrap()).unwrap(), b"answer");
        }
        assert_eq!(last_suite_only(&key).unwrap()[35..], [0, 4, 0, 1, 0, 1], "AES-128-GCM");
    }

    #[test]
    fn a_foreign_id_is_far_from_every_accepted_one() {
        let foreign = under_a_foreign_id(&window().encoded_config().unwrap());
        assert_eq!(foreign[0], 135);
        assert!(seal(&foreign, b"request").is_ok());
    }

    #[test]
    fn what_is_no_key_is_told() {
        for key in [&[][..], &[0; 10], &[0; 45]] {
            assert!(seal(key, b"").is_err());
        }
        assert!(last_suite_only(&[0; 36]).is_err());
    }

    #[test]
    fn requests_and_answers_have_few_sizes() {
        assert_eq!([0, 4096, 4097, 4353].map(padded), [4096, 4096, 4352, 4608]);
        for length in [4096, 32_768, 98_304, 196_608] {
            assert!(on_the_ladder(length).is_ok(), "{length}");
        }
        for length in [0, 4095, 8192, 98_305, 131_072] {
            assert!(on_the_ladder(length).is_err(), "{length}");
        }
    }
}
