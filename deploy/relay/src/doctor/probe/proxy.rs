//! What clients meet: at the public URL, or at a gateway's own port where there is no URL to look at.

use super::{tls, upgrade};
use crate::doctor::facts::{Facts, Health, Probe, Proxy, Tls};
use crate::selftest::probe;
use crate::selftest::{is_this_machine, relay_url};
use relay_daemon::health::from_here;
use relay_daemon::{Clock, Failure};
use std::net::{SocketAddr, TcpStream};
use tokio::runtime::Runtime;

/// Looks at the public URL.
///
/// # Errors
/// When the URL cannot be parsed.
pub(super) fn public(url: &str, facts: &Facts, clock: &Clock, runtime: &Runtime) -> Result<Proxy, Failure> {
    let text = url.trim_end_matches('/');
    let url = relay_url(text)
        .map_err(|problem| failure!(Usage, "{problem}; give for example https://relay.example"))?;
    let is_open = !url.is_secure() && !is_this_machine(url.host());
    let mut proxy = Proxy { is_public: true, is_open, ..nothing(text) };
    if url.is_secure() {
        let begun = match runtime.block_on(tls::begin(&url)) {
            Ok(stream) => tls::validity(&stream),
            Err(problem) => problem,
        };
        let good = matches!(begun, Tls::Good { .. });
        proxy.tls = Some(begun);
        if !good {
            return Ok(proxy);
        }
    }
    proxy.seen = probe::run(url.clone(), super::DEADLINE, clock);
    let settings = &facts.settings;
    if settings.federates && !settings.own_peer_port && proxy.seen.health == Health::Good {
        proxy.upgrade = runtime.block_on(upgrade::answered(&url));
    }
    Ok(proxy)
}

/// Looks at a gateway's own port, where one listens on this machine.
pub(super) fn direct(facts: &Facts, clock: &Clock) -> Option<Proxy> {
    facts.report.as_ref()?;
    let address: SocketAddr = from_here(facts.settings.listen);
    drop(TcpStream::connect_timeout(&address, super::DEADLINE).ok()?);
    let url = format!("http://{address}");
    let seen = probe::run(url.parse().ok()?, super::DEADLINE, clock);
    // Something else may have that port on this machine.
    (seen.health == Health::Good).then(|| Proxy { seen, ..nothing(&url) })
}

fn nothing(url: &str) -> Proxy {
    let seen = Probe::failed("not asked");
    Proxy { url: url.to_owned(), is_public: false, is_open: false, tls: None, seen, upgrade: None }
}
