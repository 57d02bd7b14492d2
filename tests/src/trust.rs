//! Whose certificates a client takes.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// One authority, and nobody else.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl Trust {
    /// Reads the authority's certificate.
    ///
    /// # Panics
    /// When there is none.
    pub fn in_authority(certificate: &Path) -> Self {
        Self::speaking(certificate, &[])
    }

    /// The same for a client that speaks HTTP/2 where it is offered.
    ///
    /// # Panics
    /// When there is no certificate.
    pub fn preferring_http2(certificate: &Path) -> Self {
        Self::speaking(certificate, &[b"h2", b"http/1.1"])
    }

    fn speaking(certificate: &Path, protocols: &[&[u8]]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("a sound one");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Begins TLS with `localhost`.
    ///
    /// # Errors
    /// When the other side is not it, or goes away.
    pub async fn begin(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trust")
    }
}
