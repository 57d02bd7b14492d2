//! Headers that are lists of words.

use axum::http::header::{HeaderMap, HeaderName};

/// Whether a header that is a comma-separated list has a word in it, in whatever case and however often it comes
/// (RFC 9110, section 5.6.1).
pub fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::{CONNECTION, HeaderValue, UPGRADE};

    #[test]
    fn a_word_is_found_wherever_it_stands_and_nothing_like_it_is() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive , Upgrade"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
        headers.append(UPGRADE, HeaderValue::from_bytes(b"websocket\xff").unwrap());
        for (word, there) in [("upgrade", true), ("TE", true), ("up", false), ("", false)] {
            assert_eq!(says(&headers, &CONNECTION, word), there, "{word}");
        }
        assert!(!says(&headers, &UPGRADE, "websocket"), "what is no text says nothing");
    }
}
