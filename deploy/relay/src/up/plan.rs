//! What `relay up` is to run, checked as a whole before anything starts.

use relay_daemon::variables::{self, Backend, LogFormat, Variable, socket_directory};
use relay_daemon::{ConfigError, Vars};
use relay_proto::telemetry::Role;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The default of this command: this machine alone, unlike that of a gateway by itself.
const LOOPBACK: &str = "127.0.0.1:8080";

/// What to run.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where clients are served.
    pub(super) listen: SocketAddr,
    /// Where the operator is served.
    pub(super) ops: SocketAddr,
    /// Where federated serves peers, if it does so by itself.
    pub(super) peers: Option<SocketAddr>,
    /// How many gateways share these addresses.
    gateways: u16,
    data: PathBuf,
    /// Directory of the sockets between the processes.
    pub(super) sockets: PathBuf,
    backend: Backend,
    pub(super) log_filter: String,
    pub(super) log_format: LogFormat,
    /// After how many seconds without a sign of life a process is replaced.
    pub(super) hang_timeout: u32,
}

impl Plan {
    /// Reads what concerns this command, and has every process read what concerns it.
    ///
    /// # Errors
    /// With every mistake that any of them found.
    pub(super) fn from_vars(vars: &Vars) -> Result<Self, ConfigError> {
        let vars = local(vars);
        let own = Self::read(&vars);
        let storaged = storaged::config::Config::from_vars(&vars).map(drop);
        let gateway = gateway::check(&vars);
        let federated = federated::Config::from_vars(&vars).map(drop);
        let mut mistakes: Vec<String> = Vec::new();
        for part in [own.as_ref().map(drop).map_err(Clone::clone), storaged, gateway, federated] {
            for mistake in part.err().into_iter().flat_map(|error| error.mistakes) {
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
        if mistakes.is_empty() { own } else { Err(ConfigError { mistakes }) }
    }

    fn read(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let federates = reader.read(&variables::FEDERATION_ENABLED);
        let plan = Self {
            peers: reader.read(&variables::FEDERATION_LISTEN_ADDR).filter(|_| federates),
            listen: reader.read(&variables::LISTEN_ADDR),
            ops: reader.read(&variables::METRICS_ADDR),
            gateways: reader.read(&variables::GATEWAYS),
            sockets: socket_directory(&data, reader.read(&variables::SOCKET_DIR)),
            data,
            backend: reader.read(&variables::STORAGE_BACKEND),
            log_filter: reader.read(&variables::RUST_LOG),
            log_format: reader.read(&variables::LOG_FORMAT),
            hang_timeout: reader.read(&variables::HANG_TIMEOUT),
        };
        for (variable, address) in
            [(&variables::LISTEN_ADDR, plan.listen), (&variables::METRICS_ADDR, plan.ops)]
        {
            if address.port() == 0 {
                reader.contradiction(no_port(variable, address));
            }
        }
        // One and the same address for clients and operator is the gateway's own check.
        if plan.listen != plan.ops && overlap(plan.listen, plan.ops) {
            let (listen, Variable { name, example, .. }) =
                (variables::LISTEN_ADDR.name, &variables::METRICS_ADDR);
            reader.contradiction(format!(
                "{listen} and {name} name the same port: clients and operator need one each, for example {name}={example}"
            ));
        }
        if let Some(peers) = plan.peers
            && (overlap(peers, plan.listen) || overlap(peers, plan.ops))
        {
            let Variable { name, example, .. } = &variables::FEDERATION_LISTEN_ADDR;
            reader.contradiction(format!(
                "{name}={peers} is the port of clients or of the operator: peers need one of their own, for example \
                 {name}={example}, or none, and gateways pass them on"
            ));
        }
        reader.finish().map(|()| plan)
    }

    /// The data directory, where the sockets lie within it: closed to all but its owner.
    pub(super) fn private(&self) -> Option<&Path> {
        self.sockets.starts_with(&self.data).then_some(&self.data)
    }

    /// Every process, in the order in which they start.
    pub(super) fn processes(&self) -> Vec<Role> {
        let mut processes = vec![Role::Storaged];
        processes.extend(std::iter::repeat_n(Role::Gateway, self.gateways.into()));
        processes.push(Role::Federated);
        processes
    }
}

/// The variables, with the default address of this command if none is set.
pub(crate) fn local(vars: &Vars) -> Vars {
    if vars.is_set(variables::LISTEN_ADDR.name) {
        vars.clone()
    } else {
        vars.clone().with(variables::LISTEN_ADDR.name, LOOPBACK)
    }
}

/// The line for the operator, with the addresses and the data directory.
impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "relay ready on http://{} (data in ", self.listen)?;
        match self.backend {
            Backend::Sqlite => write!(formatter, "{}", self.data.display())?,
            Backend::Memory => formatter.write_str("memory, lost at the end")?,
        }
        write!(formatter, ", metrics on http://{}/metrics)", self.ops)
    }
}

fn no_port(variable: &Variable<SocketAddr>, address: SocketAddr) -> String {
    let Variable { name, example, .. } = variable;
    format!(
        "{name}={address}: `relay up` needs a port of your choice, because several processes share it, for example \
         {name}={example}"
    )
}

/// Whether two listeners could not both have their addresses.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(pairs: &[(&str, &str)]) -> Vec<String> {
        Plan::from_vars(&Vars::from_pairs(pairs.iter().copied())).unwrap_err().mistakes
    }

    #[test]
    fn without_variables_it_serves_this_machine_alone() {
        let plan = Plan::from_vars(&Vars::default()).unwrap();
        assert_eq!(
            plan.to_string(),
            "relay ready on http://127.0.0.1:8080 (data in ./data, metrics on http://127.0.0.1:8081/metrics)"
        );
        assert_eq!(plan.processes(), [Role::Storaged, Role::Gateway, Role::Federated]);
    }

    #[test]
    fn a_store_in_memory_says_so() {
        let plan = Plan::from_vars(&Vars::from_pairs([("RELAY_STORAGE_BACKEND", "memory")])).unwrap();
        assert!(plan.to_string().contains("data in memory"), "{plan}");
    }

    #[test]
    fn mistakes_of_all_processes_come_together_and_once() {
        let found = mistakes(&[
            ("RELAY_GATEWAYS", "0"),
            ("RELAY_BLOB_TTL_SECS", "soon"),
            ("RELAY_FEDERATION_ENABLED", "perhaps"),
            ("RELAY_FEDERATION_PEER_TIMEOUT", "0"),
            ("RELAY_DATA_DIRECTORY", "x"),
        ]);
        for name in [
            "RELAY_GATEWAYS=0",
            "RELAY_BLOB_TTL_SECS=soon",
            "RELAY_FEDERATION_ENABLED=perhaps",
            "RELAY_FEDERATION_PEER_TIMEOUT=0",
            "RELAY_DATA_DIRECTORY",
        ] {
            assert_eq!(
                found.iter().filter(|mistake| mistake.starts_with(name)).count(),
                1,
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn a_public_address_wants_the_word_that_there_is_tls() {
        let found = mistakes(&[("RELAY_LISTEN_ADDR", "0.0.0.0:8080")]);
        assert!(found[0].contains("RELAY_TLS_VERIFIED"), "{found:?}");
    }

    #[test]
    fn ports_are_chosen_and_different() {
        assert!(
            mistakes(&[("RELAY_LISTEN_ADDR", "127.0.0.1:0")])[0].starts_with("RELAY_LISTEN_ADDR=127.0.0.1:0")
        );
        for taken in ["127.0.0.1:8080", "0.0.0.0:8080"] {
            let found = mistakes(&[("RELAY_METRICS_ADDR", taken)]);
            assert!(found.len() == 1 && found[0].contains("RELAY_LISTEN_ADDR"), "{found:?}");
        }
    }

    #[test]
    fn peers_have_a_port_of_their_own_or_none() {
        let federated = |listen| {
            Vars::from_pairs([
                ("RELAY_FEDERATION_ENABLED", "true"),
                ("RELAY_FEDERATION_PEERS", "wss://relay-b.example"),
                ("RELAY_FEDERATION_LISTEN_ADDR", listen),
            ])
        };
        for taken in ["127.0.0.1:8080", "0.0.0.0:8081"] {
            let found = Plan::from_vars(&federated(taken)).unwrap_err().mistakes;
            assert!(
                found.iter().any(|mistake| mistake.starts_with("RELAY_FEDERATION_LISTEN_ADDR=")),
                "{found:?}"
            );
        }
        let free = "127.0.0.1:8082";
        assert_eq!(Plan::from_vars(&federated(free)).unwrap().peers, Some(free.parse().unwrap()));
        let alone = Vars::from_pairs([("RELAY_FEDERATION_LISTEN_ADDR", free)]);
        assert_eq!(Plan::from_vars(&alone).unwrap().peers, None, "nobody listens there");
    }
}
