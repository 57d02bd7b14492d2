//! What processes that connect to hosts of others have in common: how a name becomes addresses, and who is trusted over
//! TLS. Which of the addresses may be connected to is for [`crate::ip_filter`].

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

/// How long one round of asking the name servers takes at most. There are two rounds, and a server that answers for IPv4
/// and stays silent for IPv6 must leave most of a connection's time to the answer it gave.
const ROUND: Duration = Duration::from_secs(1);

/// All addresses of a name, asked for once. `None` where it has none, or nobody says.
pub async fn resolve(name: &str) -> Option<Vec<IpAddr>> {
    // Relaxed about underscores, which container networks put into names.
    let mut name = Name::from_str_relaxed(name).ok()?;
    // The name is whole: with the search list of some network behind it, it would be another host's.
    name.set_fqdn(true);
    // The resolver complains about answers by name, in the log.
    let found = async { resolver()?.lookup_ip(name).await }.with_subscriber(Dispatch::none());
    Some(found.await.ok()?.iter().collect())
}

/// A resolver as the system is set up now. It is not kept: a machine changes its network, and a container its name servers,
/// while this process lives on.
fn resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // Without name servers, the hosts file still knows a few.
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = ROUND;
    options.attempts = 1;
    builder.build()
}

/// TLS for HTTP/1.1, by the root certificates of the system. Reads some hundred files: not for a thread that serves others.
///
/// # Errors
/// When the system has no root certificates.
pub fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
