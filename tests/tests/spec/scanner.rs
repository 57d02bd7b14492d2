//! Looks for secrets in bytes, in every form in which a program is likely to spill them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;

/// Bytes of a secret that are enough to recognise it: logs like to shorten what they leak.
const PREFIX: usize = 6;

/// A secret and what it is.
#[derive(Debug)]
pub(crate) struct Secret {
    what: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Secret {
    /// At least eight bytes that nobody else uses.
    pub(crate) fn new(what: &str, bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 8, "{what} is too short to be told from chance");
        let short = &bytes[..PREFIX];
        let hex = hex::encode(short);
        let mut forms = vec![
            ("raw", short.to_vec()),
            ("upper-case hex", hex.to_uppercase().into_bytes()),
            ("byte list", list(short, ", ").into_bytes()),
            ("JSON byte list", list(short, ",").into_bytes()),
            (
                "hex byte list",
                short.iter().map(|byte| format!("{byte:#x}")).collect::<Vec<_>>().join(", ").into(),
            ),
            ("hex list", short.iter().map(|byte| format!("{byte:x}")).collect::<Vec<_>>().join(", ").into()),
            ("URL encoding", short.iter().map(|byte| format!("%{byte:02X}")).collect::<String>().into()),
            ("escapes", short.escape_ascii().to_string().into_bytes()),
            ("hex", hex.into_bytes()),
        ];
        // Inside other data, base64 may begin at any of three places; the characters at the seams depend on the
        // neighbours and are left out.
        for offset in 0..3 {
            let shifted = [&vec![0; offset], &bytes[..8.min(bytes.len())]].concat();
            for (name, text) in [
                ("base64", STANDARD_NO_PAD.encode(&shifted)),
                ("base64url", URL_SAFE_NO_PAD.encode(&shifted)),
            ] {
                let skip = [0, 2, 3][offset];
                forms.push((name, text.as_bytes()[skip..text.len() - 1].to_vec()));
            }
        }
        Self { what: what.to_owned(), forms }
    }

    /// Text that nobody else uses.
    pub(crate) fn text(what: &str, text: &str) -> Self {
        Self::new(what, text.as_bytes())
    }

    /// A value that the client writes in hex.
    pub(crate) fn hex(what: &str, text: &str) -> Self {
        Self::new(what, &hex::decode(text).unwrap())
    }
}

/// Many secrets, made ready to be looked for together.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// What a form is called, and its bytes.
    forms: Vec<(String, Vec<u8>)>,
    /// Positions in `forms`, by the first two bytes of a form.
    by_start: Vec<Vec<usize>>,
}

impl Scanner {
    pub(crate) fn new(secrets: &[Secret]) -> Self {
        let mut scanner = Self { forms: Vec::new(), by_start: vec![Vec::new(); 1 << 16] };
        for secret in secrets {
            for (form, bytes) in &secret.forms {
                scanner.by_start[start(bytes)].push(scanner.forms.len());
                scanner.forms.push((format!("{} as {form}", secret.what), bytes.clone()));
            }
        }
        scanner
    }

    /// Everything that is found in a place.
    pub(crate) fn leaks(&self, place: &str, haystack: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for at in 0..haystack.len().saturating_sub(1) {
            for &form in &self.by_start[start(&haystack[at..])] {
                let (what, bytes) = &self.forms[form];
                if haystack[at..].starts_with(bytes) {
                    found.insert(format!("{place}: {what}"));
                }
            }
        }
        found
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn list(bytes: &[u8], comma: &str) -> String {
    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(comma)
}

#[test]
fn the_scanner_finds_what_is_planted() {
    const BYTES: &[u8] = b"\x07\xfe\xdc\xba\x98\x76\x54\x32\x10";
    let secret = Secret::new("a secret", BYTES);
    let scanner =
        Scanner::new(&[Secret::text("another secret", "another secret"), Secret::new("a secret", BYTES)]);
    assert!(scanner.leaks("here", b"nothing of the kind").is_empty());
    for (form, bytes) in &secret.forms {
        let planted = [b"some line before [".as_slice(), bytes, b"] and after"].concat();
        assert!(scanner.leaks("here", &planted).contains(&format!("here: a secret as {form}")));
    }
    for padding in 0..5 {
        let data = [&vec![0x55; padding], BYTES, b"tail"].concat();
        for text in [
            STANDARD_NO_PAD.encode(&data),
            URL_SAFE_NO_PAD.encode(&data),
            hex::encode(&data),
            format!("{data:?}"),
            format!("{data:x?}"),
            data.escape_ascii().to_string(),
        ] {
            assert!(!scanner.leaks("here", text.as_bytes()).is_empty(), "at {padding} in {text}");
        }
    }
}
