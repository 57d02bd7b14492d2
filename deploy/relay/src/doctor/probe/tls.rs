//! How TLS begins with a front, and until when its certificate holds.

use super::PATIENCE;
use crate::doctor::facts::Tls;
use relay_proto::UnixSeconds;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection in TLS, or why there is none.
pub(super) async fn begin(host: &str, port: u16) -> Result<TlsStream<TcpStream>, Tls> {
    let silent = |error: io::Error| Tls::Silent(error.to_string());
    let late = |_| Tls::Silent(format!("not within {} seconds", PATIENCE.as_secs()));
    let config = config().map_err(|error| Tls::Broken(error.to_string()))?;
    // A literal IPv6 address has brackets in a URL and nowhere else.
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare.clone()).map_err(|error| Tls::Broken(error.to_string()))?;
    let stream = timeout(PATIENCE, TcpStream::connect((bare, port))).await.map_err(late)?.map_err(silent)?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(PATIENCE, connecting).await.map_err(late)?.map_err(|error| fault(&error))
}

/// Whether TLS fails for the certificate or for something else.
fn fault(error: &io::Error) -> Tls {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Tls::Certificate(error.to_string()),
        _ => Tls::Broken(error.to_string()),
    }
}

/// From when to when the certificate holds that was shown.
pub(super) fn validity(stream: &TlsStream<TcpStream>) -> Tls {
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let parsed = certificate.and_then(|certificate| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let moment = |seconds: i64| UnixSeconds::new(u64::try_from(seconds).unwrap_or(0));
        let validity = certificate.validity();
        Some((moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp())))
    });
    match parsed {
        Some((from, to)) => Tls::Good { from, to },
        None => Tls::Certificate("its certificate cannot be read".to_owned()),
    }
}

/// As clients have it: the system's authorities, and HTTP/1.1, in which a WebSocket begins.
fn config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
