//! What the variables say about an outer relay.

use ipnet::IpNet;
use relay_daemon::variables::{self, ObliviousTarget, TargetName, origin};
use relay_daemon::{ConfigError, Reader, Vars};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Targets of one outer relay: each has connections and tables of its own.
const MOST_TARGETS: usize = 16;

/// An outer relay's variables, checked.
#[derive(Debug, Clone)]
pub(super) struct OuterConfig {
    pub(super) targets: Vec<ObliviousTarget>,
    /// Whether it is known where clients reach this outer relay.
    pub(super) knows_own_origin: bool,
    /// Targets, by their place from one, that are the gateway of this machine as far as the variables tell.
    pub(super) own_gateways: Vec<usize>,
    pub(super) listen_addr: SocketAddr,
    pub(super) metrics_addr: SocketAddr,
    pub(super) metrics_token: Option<String>,
    pub(super) max_connections: usize,
    pub(super) address_connections: usize,
    pub(super) idle_timeout: Duration,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Networks in which targets may be besides the public Internet.
    pub(super) allowed: Vec<IpNet>,
    pub(super) address_rate: u32,
    pub(super) target_rate: u32,
    pub(super) target_timeout: Duration,
}

impl OuterConfig {
    /// Reads everything, and reports every mistake at once.
    pub(super) fn read(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let own_origins: Vec<(&str, String)> = [&variables::OBLIVIOUS_ORIGIN, &variables::PUBLIC_URL]
            .into_iter()
            .filter_map(|variable| Some((variable.name, origin(&reader.read(variable)?))))
            .collect();
        let targets = reader.read(&variables::OBLIVIOUS_TARGETS);
        let gateway = reader.read(&variables::LISTEN_ADDR).port();
        let config = Self {
            own_gateways: own_gateways(&targets, gateway),
            targets,
            knows_own_origin: vars.is_set(variables::OBLIVIOUS_ORIGIN.name),
            listen_addr: reader.read(&variables::OBLIVIOUS_LISTEN_ADDR),
            metrics_addr: reader.read(&variables::OBLIVIOUS_METRICS_ADDR),
            metrics_token: reader.read(&variables::METRICS_TOKEN),
            max_connections: reader.read(&variables::MAX_CONNECTIONS),
            address_connections: reader.read(&variables::ADDR_CONNECTIONS),
            idle_timeout: Duration::from_secs(reader.read(&variables::IDLE_TIMEOUT)),
            trusted_proxies: reader.read(&variables::TRUSTED_PROXIES),
            allowed: reader.read(&variables::OBLIVIOUS_ALLOW_CIDRS),
            address_rate: reader.read(&variables::OBLIVIOUS_ADDR_RATE_LIMIT),
            target_rate: reader.read(&variables::OBLIVIOUS_TARGET_RATE_LIMIT),
            target_timeout: Duration::from_secs(reader.read(&variables::OBLIVIOUS_TARGET_TIMEOUT)),
        };
        if !vars.is_set(variables::OBLIVIOUS_TARGETS.name) {
            reader.contradiction(
                "OBLIVIOUS_TARGETS is not set: an outer relay brings requests only to the relays that it names, for \
                 example OBLIVIOUS_TARGETS=https://relay.example",
            );
        }
        check_names(&mut reader, &config.targets);
        check_origins(&mut reader, &config, &own_origins);
        let allows_http = reader.read(&variables::OBLIVIOUS_ALLOW_HTTP);
        check_encryption(&mut reader, &config.targets, allows_http);
        let tls_verified = reader.read(&variables::TLS_VERIFIED);
        check_listeners(&mut reader, &config, tls_verified);
        reader.finish()?;
        Ok(config)
    }
}

/// Each of several targets has a name of its own.
fn check_names(reader: &mut Reader<'_>, targets: &[ObliviousTarget]) {
    if targets.len() > MOST_TARGETS {
        reader
            .contradiction(format!("OBLIVIOUS_TARGETS names {} targets; {MOST_TARGETS} fit", targets.len()));
    }
    if targets.len() > 1 && targets.iter().any(|target| target.name == TargetName::Only) {
        reader.contradiction(
            "OBLIVIOUS_TARGETS names several targets and not each has a name: put a path prefix or a host name before \
             each, for example OBLIVIOUS_TARGETS=/north=https://north.example,/south=https://south.example",
        );
    }
    let names: HashSet<&TargetName> = targets.iter().map(|target| &target.name).collect();
    if names.len() < targets.len() {
        reader
            .contradiction("OBLIVIOUS_TARGETS gives two targets the same name: clients could reach only one");
    }
}

/// No target is this outer relay's own, or its operator's as far as the variables tell.
fn check_origins(reader: &mut Reader<'_>, config: &OuterConfig, own_origins: &[(&str, String)]) {
    for target in &config.targets {
        if let Some((variable, _)) = own_origins.iter().find(|(_, own)| *own == target.origin()) {
            reader.contradiction(format!(
                "OBLIVIOUS_TARGETS names {}, which is this relay's own origin ({variable}): an outer relay hides its \
                 clients only from relays of other operators; name the relay of another operator, or let another \
                 operator run the outer relay for yours",
                target.origin()
            ));
        }
        let is_own_port = config.listen_addr.port() != 0 && config.listen_addr.port() == target.port();
        if is_own_port && is_loopback(target) {
            reader.contradiction(format!(
                "OBLIVIOUS_TARGETS names port {} of this machine, where the outer relay listens itself \
                 (OBLIVIOUS_LISTEN_ADDR)",
                target.port()
            ));
        }
    }
}

/// The targets on this machine at a gateway's port, whose operator is the outer relay's too.
fn own_gateways(targets: &[ObliviousTarget], gateway: u16) -> Vec<usize> {
    let is_own = |target: &ObliviousTarget| is_loopback(target) && target.port() == gateway;
    targets.iter().zip(1..).filter(|(target, _)| is_own(target)).map(|(_, number)| number).collect()
}

/// Beyond this machine, targets are reached over TLS.
fn check_encryption(reader: &mut Reader<'_>, targets: &[ObliviousTarget], allows_http: bool) {
    let is_bad = |target: &&ObliviousTarget| !target.is_secure() && !is_loopback(target) && !allows_http;
    if let Some(target) = targets.iter().find(is_bad) {
        reader.contradiction(format!(
            "OBLIVIOUS_TARGETS names {} without TLS: anybody on the way sees when which relay is asked; write https://, \
             or set OBLIVIOUS_ALLOW_HTTP=true",
            target.origin()
        ));
    }
}

fn check_listeners(reader: &mut Reader<'_>, config: &OuterConfig, tls_verified: bool) {
    let (clients, operators) = (config.listen_addr, config.metrics_addr);
    if !tls_verified && !clients.ip().to_canonical().is_loopback() {
        reader.contradiction(format!(
            "OBLIVIOUS_LISTEN_ADDR={clients}: without TLS in front of it an outer relay listens on loopback only; set \
             OBLIVIOUS_LISTEN_ADDR=127.0.0.1:{}, or RELAY_TLS_VERIFIED=true where a proxy ends TLS before it",
            clients.port()
        ));
    }
    if clients == operators && clients.port() != 0 {
        reader.contradiction(
            "OBLIVIOUS_LISTEN_ADDR and OBLIVIOUS_METRICS_ADDR name the same port: clients and operator need one each, \
             for example OBLIVIOUS_METRICS_ADDR=127.0.0.1:8091",
        );
    }
}

fn is_loopback(target: &ObliviousTarget) -> bool {
    let host = target.host().trim_start_matches('[').trim_end_matches(']');
    let is_address = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(targets: &str, more: &[(&str, &str)]) -> Result<OuterConfig, ConfigError> {
        let targets = [("OBLIVIOUS_TARGETS", targets)];
        OuterConfig::read(&Vars::from_pairs(targets.into_iter().chain(more.iter().copied())))
    }

    #[track_caller]
    fn refused(targets: &str, more: &[(&str, &str)], words: &[&str]) {
        let report = read(targets, more).unwrap_err().to_string();
        for word in words {
            assert!(report.contains(word), "no {word:?} in {report}");
        }
    }

    #[test]
    fn one_target_needs_no_name_and_several_need_one_each() {
        assert_eq!(read("https://relay.example", &[]).unwrap().targets.len(), 1);
        assert_eq!(
            read("/a=https://a.example, b.outer.example=https://b.example", &[]).unwrap().targets.len(),
            2
        );
        refused("", &[], &["OBLIVIOUS_TARGETS is not set", "for example"]);
        refused("https://a.example,https://b.example", &[], &["not each has a name", "/north="]);
        refused("/a=https://a.example,/a=https://b.example", &[], &["the same name"]);
        refused("relay.example", &[], &["OBLIVIOUS_TARGETS=relay.example: expected", "for example"]);
        let many: Vec<_> = (0..17).map(|number| format!("/n{number}=https://relay.example")).collect();
        refused(&many.join(","), &[], &["17 targets"]);
    }

    #[test]
    fn the_own_origin_is_no_target_however_it_is_spelled() {
        for (target, own) in [
            ("https://outer.example", "https://outer.example"),
            ("https://OUTER.example:443/", "https://outer.example."),
            ("/a=https://relay.example,/b=https://outer.example", "https://outer.example/path"),
        ] {
            for variable in ["OBLIVIOUS_ORIGIN", "RELAY_PUBLIC_URL"] {
                refused(
                    target,
                    &[(variable, own)],
                    &["this relay's own origin", variable, "another operator"],
                );
            }
        }
        refused("http://127.0.0.1:8090", &[], &["port 8090 of this machine"]);
        for other in ["https://relay.example", "https://outer.example:8443"] {
            assert!(read(other, &[("OBLIVIOUS_ORIGIN", "https://outer.example")]).is_ok(), "{other}");
        }
    }

    #[test]
    fn a_gateway_on_this_machine_is_noticed() {
        let own = |targets: &str, more: &[_]| read(targets, more).unwrap().own_gateways;
        assert_eq!(own("/a=https://relay.example:8080,/b=http://localhost:8080", &[]), [2]);
        let moved = [("RELAY_LISTEN_ADDR", "127.0.0.1:8070")];
        assert_eq!(own("http://127.0.0.1:8070", &moved), [1]);
        assert!(own("http://127.0.0.1:8080", &moved).is_empty());
    }

    #[test]
    fn targets_beyond_this_machine_are_reached_over_tls_unless_the_operator_says_otherwise() {
        for local in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"] {
            assert!(read(local, &[]).is_ok(), "{local}");
        }
        for remote in ["http://relay.example", "http://10.0.0.7:8080", "http://127.0.0.1.example"] {
            refused(remote, &[], &["without TLS", "OBLIVIOUS_ALLOW_HTTP=true"]);
            assert!(read(remote, &[("OBLIVIOUS_ALLOW_HTTP", "true")]).is_ok(), "{remote}");
        }
    }

    #[test]
    fn clients_are_served_on_loopback_unless_tls_ends_before_it() {
        let public = ("OBLIVIOUS_LISTEN_ADDR", "0.0.0.0:8090");
        refused("https://relay.example", &[public], &["RELAY_TLS_VERIFIED=true", "127.0.0.1:8090"]);
        assert!(read("https://relay.example", &[public, ("RELAY_TLS_VERIFIED", "true")]).is_ok());
        refused("https://relay.example", &[("OBLIVIOUS_METRICS_ADDR", "127.0.0.1:8090")], &["the same port"]);
    }

    #[test]
    fn a_name_that_is_like_another_gets_a_hint() {
        refused("https://a.example", &[("OBLIVIOUS_TARGET", "x")], &["did you mean OBLIVIOUS_TARGETS?"]);
    }
}
