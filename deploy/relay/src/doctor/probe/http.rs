//! One short HTTP question to the relay's own people: on a socket, or on the operator's port.

use std::io::{self, Read, Write};

/// Bytes of an answer that are looked at.
const ENOUGH: u64 = 4096;

/// An answer's status and body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks, over a stream that has its deadlines already.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] where the other side says nothing and ends, and [`io::ErrorKind::InvalidData`] where
/// it does not speak HTTP.
pub(super) fn get(mut stream: impl Read + Write, path: &str, token: Option<&str>) -> io::Result<Answer> {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status = status(head).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// The status in the first line of an answer.
pub(super) fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

impl Answer {
    /// Why the process is not ready; `None` when it is.
    pub(super) fn not_ready(&self) -> Option<String> {
        if self.status == 200 {
            return None;
        }
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        Some(body["reason"].as_str().map_or_else(|| format!("status {}", self.status), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn answered(answer: &'static str) -> io::Result<Answer> {
        let (near, mut far) = UnixStream::pair().unwrap();
        let answering = std::thread::spawn(move || {
            let mut asked = [0; 1024];
            assert!(far.read(&mut asked).unwrap() > 0);
            far.write_all(answer.as_bytes()).unwrap();
        });
        let outcome = get(near, "/ready", Some("secret"));
        answering.join().unwrap();
        outcome
    }

    #[test]
    fn an_answer_is_read_and_a_broken_one_is_told() {
        let ready = answered("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ready\"}").unwrap();
        assert_eq!((ready.status, ready.not_ready()), (200, None));
        let busy = answered("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"stopping\"}").unwrap();
        assert_eq!(busy.not_ready().as_deref(), Some("stopping"));
        assert_eq!(answered("").err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
        assert_eq!(answered("SSH-2.0").err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        assert_eq!(answered("SSH\r\n\r\n").err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
    }
}
