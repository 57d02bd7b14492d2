//! How TLS begins with a proxy, and how long its certificate is valid.

use super::DEADLINE;
use crate::doctor::facts;
use relay_client::{Tls, TlsStream, Url, certificate, is_certificate_error};
use relay_proto::UnixSeconds;
use std::io;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection in TLS, or why there is none.
pub(super) async fn begin(url: &Url) -> Result<TlsStream<TcpStream>, facts::Tls> {
    let silent = |error: io::Error| facts::Tls::Silent(error.to_string());
    let late = |_| facts::Tls::Silent(format!("not within {} seconds", DEADLINE.as_secs()));
    let tls = Tls::platform().map_err(|_| facts::Tls::NoAuthorities)?;
    let connecting = TcpStream::connect((url.host(), url.port()));
    let stream = timeout(DEADLINE, connecting).await.map_err(late)?.map_err(silent)?;
    let begun = timeout(DEADLINE, tls.begin(url.host(), stream)).await.map_err(late)?;
    begun.map_err(|error| match is_certificate_error(&error) {
        true => facts::Tls::Certificate(error.to_string()),
        false => facts::Tls::Broken(error.to_string()),
    })
}

/// From when to when the certificate is valid that was shown.
pub(super) fn validity(stream: &TlsStream<TcpStream>) -> facts::Tls {
    let parsed = certificate(stream).and_then(|certificate| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let time = |seconds: i64| UnixSeconds::new(u64::try_from(seconds).unwrap_or(0));
        let validity = certificate.validity();
        Some((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
    });
    match parsed {
        Some((from, to)) => facts::Tls::Good { from, to },
        None => facts::Tls::Certificate("its certificate cannot be read".to_owned()),
    }
}
