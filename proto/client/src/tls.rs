//! TLS as clients have it.

use rustls_platform_verifier::BuilderVerifierExt as _;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Which certificates are accepted, and which protocols are offered inside TLS.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    /// Accepts the authorities of this system, so that an operator's own authority counts.
    ///
    /// # Errors
    /// When the system's authorities cannot be read.
    pub fn platform() -> io::Result<Self> {
        let config = builder()?.with_platform_verifier().map_err(io::Error::other)?.with_no_client_auth();
        Ok(Self::new(config, &[b"http/1.1"]))
    }

    /// Accepts one authority.
    ///
    /// # Errors
    /// When this is no certificate.
    pub fn authority(certificate: CertificateDer<'_>, protocols: &[&[u8]]) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.into_owned()).map_err(io::Error::other)?;
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::new(config, protocols))
    }

    fn new(mut config: ClientConfig, protocols: &[&[u8]]) -> Self {
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Begins TLS with a host.
    ///
    /// # Errors
    /// When the other side is not that host, or does not speak TLS.
    pub async fn begin(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

/// The certificate that the other side showed for itself.
pub fn certificate(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.peer_certificates()?.first().map(|certificate| &certificate[..])
}

/// Returns true if TLS failed because of the certificate, and for no other reason.
pub fn is_certificate_error(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn builder() -> io::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}
