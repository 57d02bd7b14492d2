//! What clients meet: at the public URL, or at a gateway's own port where there is no URL to look at.

use super::{tls, upgrade};
use crate::doctor::facts::{Facts, Front, Health, Record, Sealed, Tls};
use crate::selftest::errand::{self, Errand, Setback};
use crate::up::near;
use relay_daemon::{Clock, Exit, Failure};
use std::net::{IpAddr, TcpStream};
use ureq::http::Uri;

/// Looks at the public URL.
///
/// # Errors
/// When it is none.
pub(super) async fn public(url: &str, facts: &Facts, clock: &Clock) -> Result<Front, Failure> {
    let url = url.trim_end_matches('/');
    let usage = |problem: &str| {
        Failure::new(Exit::Usage, format_args!("{problem}; give for example https://relay.example"))
    };
    let check = errand::check(url).map_err(usage);
    let uri: Uri = check.and_then(|()| url.parse().map_err(|_| usage("that is not a URL")))?;
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let mut front = Front { is_public: true, is_open: !secure && !is_this_machine(host), ..nothing(url) };
    if secure {
        let begun = match tls::begin(host, port).await {
            Ok(stream) => tls::validity(&stream),
            Err(problem) => problem,
        };
        let good = matches!(begun, Tls::Good { .. });
        front.tls = Some(begun);
        if !good {
            return Ok(front);
        }
    }
    walk(&mut front, clock);
    let settings = &facts.settings;
    if settings.federates && !settings.own_peer_port && front.health == Health::Good {
        front.upgrade = upgrade::answered(secure, host, port, uri.path().trim_end_matches('/')).await;
    }
    Ok(front)
}

/// Looks at a gateway's own port, where one listens on this machine.
pub(super) fn direct(facts: &Facts, clock: &Clock) -> Option<Front> {
    facts.told.as_ref()?;
    let address = near(facts.settings.listen);
    drop(TcpStream::connect_timeout(&address, super::PATIENCE).ok()?);
    let mut front = nothing(&format!("http://{address}"));
    walk(&mut front, clock);
    // Something else may have that port on this machine.
    (front.health == Health::Good).then_some(front)
}

fn nothing(url: &str) -> Front {
    Front {
        url: url.to_owned(),
        is_public: false,
        is_open: false,
        tls: None,
        health: Health::None("not asked".to_owned()),
        skew: None,
        key: None,
        record: None,
        sealed: None,
        requests: 0,
        upgrade: None,
    }
}

/// Asks what a client would.
fn walk(front: &mut Front, clock: &Clock) {
    let Errand { health, date, key, record, sealed, answered } = errand::run(&front.url, super::PATIENCE);
    front.skew = date.map(|theirs| theirs.distance(clock.now()));
    front.requests = answered;
    front.key = key;
    front.record = record.map(|answer| answer.map_or_else(Record::Status, Record::Body));
    front.health = match health {
        Ok((_, true)) => Health::Good,
        Ok((status, false)) => Health::Other(status),
        Err(reason) => Health::None(reason),
    };
    front.sealed = sealed.map(|outcome| match outcome {
        Ok(()) => Sealed::Good,
        Err(Setback::Limited) => Sealed::Limited,
        Err(Setback::Broken(reason)) => Sealed::Broken(reason),
    });
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["relay.example", "192.0.2.1", "[2001:db8::1]", "localhost.example"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
