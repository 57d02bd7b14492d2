//! A TLS front on loopback, as operators have one before their gateways, with a certificate of its own making.

use crate::deadline::unix_now;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

fn for_localhost() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

/// Writes a certificate for `localhost`, and its key, into a directory: for a front of another make.
///
/// # Panics
/// When they cannot be made or written.
pub fn write_certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let CertifiedKey { cert, signing_key } = for_localhost();
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, cert.pem()).expect("a file");
    std::fs::write(&key, signing_key.serialize_pem()).expect("a file");
    (certificate, key)
}

/// The front. It ends with this.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    certificate: PathBuf,
    task: JoinHandle<()>,
}

impl TlsFront {
    /// Serves as `localhost` what is at an address in the open. The certificate is written into a directory, for those
    /// who are to trust it.
    ///
    /// # Panics
    /// When there is no port, or no certificate can be made.
    pub async fn start(target: SocketAddr, directory: &Path) -> Self {
        Self::showing(for_localhost(), target, directory).await
    }

    /// As [`TlsFront::start`], with a certificate that held for a long time and ends in so many seconds.
    ///
    /// # Panics
    /// As [`TlsFront::start`].
    pub async fn ending(seconds: u64, target: SocketAddr, directory: &Path) -> Self {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let since_1970 = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        parameters.not_before = since_1970(unix_now() - 80 * 86_400);
        parameters.not_after = since_1970(unix_now() + seconds);
        let signing_key = KeyPair::generate().expect("a key");
        let cert = parameters.self_signed(&signing_key).expect("a certificate");
        Self::showing(CertifiedKey { cert, signing_key }, target, directory).await
    }

    async fn showing(shown: CertifiedKey<KeyPair>, target: SocketAddr, directory: &Path) -> Self {
        let CertifiedKey { cert, signing_key } = shown;
        let certificate = directory.join("front.pem");
        std::fs::write(&certificate, cert.pem()).expect("a file");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a sound certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever does not trust the certificate goes away.
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    drop(copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
        Self { address, certificate, task }
    }

    /// Its base URL for peers.
    pub fn peer_url(&self) -> String {
        format!("wss://localhost:{}", self.address.port())
    }

    /// Its base URL for clients.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}
