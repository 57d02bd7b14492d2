//! Why a request brought no usable answer.

use std::io;

/// Why a request brought no usable answer. No variant repeats bytes of the answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection could not be made, or ended before an answer began.
    #[error("{0}")]
    Unreachable(#[from] io::Error),
    /// The body ended early or is too long.
    #[error("the answer broke off: {0}")]
    Cut(io::Error),
    /// The request is not one that HTTP can carry.
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    /// The request does not fit into its form.
    #[error("the request is too long")]
    TooLong,
    /// Padding needs random bytes.
    #[error("this system has no randomness")]
    NoRandomness,
    /// Not one bare key configuration for X25519.
    #[error("the body is not one bare key configuration")]
    NotAKey,
    /// A key configuration with suites that are not supported, or a public key that is none.
    #[error("the relay's key cannot be sealed to: {0}")]
    UnusableKey(ohttp::Error),
    /// The answer to a sealed request came unsealed.
    #[error("status {0} outside of the seal")]
    Outside(u16),
    /// The answer has another content type than sealed answers.
    #[error("its content type is not message/ohttp-res")]
    NotSealed,
    /// The answer was sealed for another request, or changed on the way.
    #[error("the answer does not open with this request")]
    Unopened,
    /// A sealed answer of a size that identifies it.
    #[error("the sealed answer's size tells something: {0} bytes is no padded size")]
    Unpadded(usize),
    /// Binary HTTP that cannot be read or written.
    #[error("this is not Binary HTTP: {0}")]
    NotBinaryHttp(#[from] bhttp::Error),
    /// Bytes other than zero behind a Binary HTTP message.
    #[error("there is something in the padding of the answer")]
    Padding,
    /// A Binary HTTP request in place of an answer.
    #[error("the answer is a request")]
    NotAResponse,
    /// A plaintext shorter than its length prefix says.
    #[error("the answer is not framed as an envelope")]
    NotFramed,
    /// An envelope that holds no JSON object.
    #[error("the envelope holds no JSON object")]
    NotAnObject,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable(error) | Error::Cut(error) => error,
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Keeps the kind of the I/O error that hyper wraps, so that callers can tell a refused connection from silence.
pub(crate) fn io_error(error: hyper::Error) -> io::Error {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let kind = match source {
        Some(source) => source.kind(),
        None if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            io::ErrorKind::UnexpectedEof
        }
        None if error.is_parse() => io::ErrorKind::InvalidData,
        None => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
