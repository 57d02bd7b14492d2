//! The authority whose certificates a client accepts.

use relay_client::{Tls, TlsStream};
use std::io;
use std::path::Path;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// One authority, and nobody else.
#[derive(Debug, Clone)]
pub struct Trust(Tls);

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
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        Self(Tls::authority(certificate, protocols).expect("a sound one"))
    }

    /// Begins TLS with `localhost`.
    ///
    /// # Errors
    /// When the other side is not it, or goes away.
    pub async fn begin(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.begin("localhost", stream).await
    }
}
