//! Frames of HTTP/2 (RFC 9113), written by hand: what a client can say that no library would.

/// The beginning of a connection on which answers have room for `window` bytes.
pub fn preface(window: u32) -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE is 4.
    let setting = [&[0, 4], &window.to_be_bytes()[..]].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &setting)].concat()
}

/// The acknowledgement of the other side's settings.
pub fn settings_ack() -> Vec<u8> {
    frame(4, 1, 0, &[])
}

/// The head of a request; `ends` where nothing follows.
pub fn head(stream: u32, method: &str, path: &str, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    let mut block = Vec::new();
    for (name, value) in pseudo.iter().chain(headers) {
        // RFC 7541 §6.2.2: a literal that is not indexed, with a new name, neither of them compressed.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    // END_HEADERS is 4, END_STREAM is 1.
    frame(1, 4 | u8::from(ends), stream, &block)
}

/// A piece of a body, at most 16 KiB long.
pub fn data(stream: u32, bytes: &[u8], ends: bool) -> Vec<u8> {
    frame(0, u8::from(ends), stream, bytes)
}

/// A whole POST of JSON.
pub fn post(stream: u32, path: &str, json: &str) -> Vec<u8> {
    let head = head(stream, "POST", path, &[("content-type", "application/json")], false);
    [head, data(stream, json.as_bytes(), true)].concat()
}

/// The end of a request that is not wanted any more.
pub fn reset(stream: u32) -> Vec<u8> {
    // CANCEL is 8.
    frame(3, 0, stream, &8_u32.to_be_bytes())
}

/// A sign of life.
pub fn ping() -> Vec<u8> {
    frame(6, 0, 0, b"are you?")
}

/// The answer to a sign of life.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(6, 1, 0, payload)
}

/// The number of the client's request with this index.
pub const fn stream(index: u32) -> u32 {
    2 * index + 1
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_these_very_bytes() {
        assert_eq!(ping(), b"\0\0\x08\x06\0\0\0\0\0are you?");
        assert_eq!(reset(stream(1)), [0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8]);
        assert_eq!(preface(0)[24..], [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(data(1, b"x", true), [0, 0, 1, 0, 1, 0, 0, 0, 1, b'x']);
        let head = head(1, "GET", "/", &[], true);
        assert_eq!(head[3..9], [1, 5, 0, 0, 0, 1]);
        assert_eq!(head[9..22], *b"\0\x07:method\x03GET");
    }
}
