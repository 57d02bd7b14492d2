//! What was said that nobody may hear.

use crate::scanner::Secret;
use relay_tests::Reply;
use relay_tests::fields::random_bytes;
use sha2::{Digest as _, Sha256};

/// Everything unique that was said, and the answers to what was refused.
#[derive(Default)]
pub(super) struct Said {
    /// May be nowhere but in the store.
    pub(super) secrets: Vec<Secret>,
    /// May not even be in the store.
    pub(super) never_at_rest: Vec<Secret>,
    pub(super) refusals: Vec<Reply>,
    /// Six digits each, and so not unique.
    codes: Vec<String>,
}

impl Said {
    pub(super) fn secret(&mut self, what: &str, hex: &str) {
        self.secrets.push(Secret::hex(what, hex));
    }

    pub(super) fn never_at_rest(&mut self, what: &str, hex: &str) {
        self.secret(what, hex);
        self.never_at_rest.push(Secret::hex(what, hex));
    }

    /// A unique text that is no valid value of anything.
    pub(super) fn nonsense(&mut self, what: &str) -> String {
        let text = format!("zq{}", hex::encode(random_bytes(12)));
        self.secrets.push(Secret::text(what, &text));
        self.never_at_rest.push(Secret::text(what, &text));
        text
    }

    /// A unique text that may rest in the store.
    pub(super) fn text(&mut self, what: &str) -> String {
        let text = format!("tX{}", hex::encode(random_bytes(40)));
        self.secrets.push(Secret::text(what, &text));
        text
    }

    /// A code of an exchange, and the name under which its offer rests.
    pub(super) fn code(&mut self, code: &str) {
        self.secret("an offer's name", &offer_at_rest(code));
        self.codes.push(code.to_owned());
    }

    /// Where codes are told. Six digits may stand somewhere by chance, so a few prove nothing; who tells codes
    /// tells all of them.
    pub(super) fn told_codes(&self, places: &[(String, Vec<u8>)]) -> Vec<String> {
        assert!(self.codes.len() >= 12, "{} codes are too few to be told from chance", self.codes.len());
        let mut told = Vec::new();
        for code in &self.codes {
            let list: Vec<String> = code.bytes().map(|digit| digit.to_string()).collect();
            let list = list.join(", ");
            let place = places
                .iter()
                .find(|(_, bytes)| stands_in(bytes, code.as_bytes()) || stands_in(bytes, list.as_bytes()));
            told.extend(place.map(|(place, _)| format!("{place}: the code {code}")));
        }
        if told.len() <= self.codes.len() / 4 { Vec::new() } else { told }
    }
}

/// Whether digits stand somewhere as a number of their own, and not as the fraction of one.
fn stands_in(haystack: &[u8], digits: &[u8]) -> bool {
    haystack.windows(digits.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).map(|at| haystack[at]);
        let after = haystack.get(at + digits.len());
        window == digits
            && !before.is_some_and(|byte| byte.is_ascii_digit() || byte == b'.')
            && !after.is_some_and(u8::is_ascii_digit)
    })
}

/// The name of a mailbox at rest, and the id of a blob in it. Checked against an answer before it is trusted.
pub(crate) fn names_at_rest(mailbox: &str, ciphertext: &[u8]) -> (String, String) {
    let hash = name_at_rest("mailbox", mailbox);
    let id = Sha256::new_with_prefix("vauchi-relay/blob/v1\0")
        .chain_update(hex::decode(&hash).unwrap())
        .chain_update(ciphertext);
    (hash, hex::encode(&id.finalize()[..16]))
}

/// The name of something at rest that clients name by 32 bytes.
pub(super) fn name_at_rest(kind: &str, hex: &str) -> String {
    let hash = Sha256::new_with_prefix(format!("vauchi-relay/{kind}/v1\0"));
    hex::encode(hash.chain_update(hex::decode(hex).unwrap()).finalize())
}

/// The name of an offer at rest.
pub(super) fn offer_at_rest(code: &str) -> String {
    let code: u32 = code.parse().unwrap();
    name_at_rest("offer", &hex::encode(code.to_be_bytes()))
}

#[test]
fn a_planted_code_is_found_and_a_fraction_is_none() {
    for told in ["123456", "code=123456 ", "\"123456\"", "[123456]", "code: 123456}"] {
        assert!(stands_in(told.as_bytes(), b"123456"), "{told}");
    }
    for other in ["12:00:00.123456Z", "0123456", "1234567", "12345", ""] {
        assert!(!stands_in(other.as_bytes(), b"123456"), "{other}");
    }
}

#[test]
fn planted_codes_are_told_from_chance() {
    let mut said = Said::default();
    for number in 0..12 {
        said.code(&format!("{:06}", 7_919 * number + 100_003));
    }
    let log = |count: usize| {
        let lines = said.codes.iter().take(count).map(|code| format!("INFO claimed code={code}\n"));
        [("a log".to_owned(), lines.collect::<String>().into_bytes())]
    };
    assert!(said.told_codes(&log(3)).is_empty());
    assert_eq!(said.told_codes(&log(12)).len(), 12);
}
