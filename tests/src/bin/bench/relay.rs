//! The relay under measurement: real programs, an empty data directory on the disk that is measured, limits out of
//! the way.

use crate::Fallible;
use crate::load::{self, LoadClient, Outcome};
use crate::processes::Watched;
use nix::sys::signal::Signal;
use relay_tests::{Cluster, Supervised, deadline, process, procfs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Limits are not what is measured; memory and disk bounds are far away, but there.
const VARIABLES: [(&str, &str); 9] = [
    ("RUST_LOG", "warn"),
    ("RELAY_RATE_LIMIT", "1000000"),
    ("RELAY_ADDR_RATE_LIMIT", "100000000"),
    ("RELAY_ADDR_BYTES_PER_HOUR", "1099511627776"),
    ("RELAY_ADDR_NAMES_PER_HOUR", "1000000000"),
    ("RELAY_MAX_STORAGE_BYTES", "8589934592"),
    ("RELAY_MAX_BLOBS_PER_USER", "100000"),
    ("RELAY_MAX_CONNECTIONS", "2000"),
    ("RELAY_ADDR_MAX_CONNECTIONS", "2000"),
];

/// Starts storaged and gateways, each with a port of its own, and waits until they are ready.
pub(crate) async fn start(
    directory: &Path,
    gateways: usize,
    variables: &[(&str, &str)],
) -> Fallible<Cluster> {
    let builder = Cluster::builder().gateways(gateways).separate_ports();
    let variables = VARIABLES.iter().chain(variables);
    let mut relay = variables.fold(builder, |builder, (name, value)| builder.variable(name, value)).build();
    relay.storaged.launch.set("RELAY_DATA_DIR", new_data_directory(directory)?.display());
    relay.start().await;
    Ok(relay)
}

/// A relay for `relay up`, not started.
pub(crate) fn supervised(directory: &Path) -> Fallible<Supervised> {
    let relay = Supervised::build();
    // Apart from the data, because a socket's path must be short.
    let sockets = relay.directory().join("run");
    let relay = relay
        .variable("RELAY_DATA_DIR", new_data_directory(directory)?.display())
        .variable("RELAY_SOCKET_DIR", sockets.display());
    Ok(VARIABLES.iter().fold(relay, |relay, (name, value)| relay.variable(name, value)))
}

fn new_data_directory(directory: &Path) -> Fallible<PathBuf> {
    Ok(tempfile::tempdir_in(directory)?.keep())
}

/// The processes of a relay, for the report.
pub(crate) fn watched(relay: &mut Cluster) -> Watched {
    let mut watched = vec![("gateway", relay.gateways[0].pid()), ("storaged", relay.storaged.pid())];
    if let Some(federated) = &mut relay.federated
        && federated.is_running()
    {
        watched.push(("federated", federated.pid()));
    }
    watched
}

/// Runs a load through the first gateway. Fails if storaged or a gateway ends meanwhile.
pub(crate) async fn load<T: 'static, F: Future<Output = T> + 'static>(
    relay: &mut Cluster,
    connections: usize,
    window: Duration,
    scenario: impl Fn(LoadClient) -> F,
) -> Fallible<(Outcome, Vec<T>)> {
    let watched = watched(relay);
    let done = load::run(relay.address(), connections, window, watched, scenario).await?;
    for service in [&mut relay.storaged].into_iter().chain(&mut relay.gateways) {
        if !service.is_running() {
            return Err(format!("{} ended; it said:\n{}", service.launch.name(), service.output()).into());
        }
    }
    Ok(done)
}

/// `relay up` and the children that it has now, by their roles.
pub(crate) fn watched_family(supervisor: u32) -> Watched {
    let children = procfs::descendants(supervisor).into_iter().filter(|pid| procfs::is_alive(*pid));
    let roles = children.filter_map(|pid| {
        let (roles, command) = (["gateway", "storaged", "federated"], procfs::command(pid));
        Some((roles.into_iter().find(|role| command.contains(&format!(" role {role} ")))?, pid))
    });
    [("relay up", supervisor)].into_iter().chain(roles).collect()
}

/// Ends all processes at once, as a power cut would.
pub(crate) async fn kill_everything(relay: &mut Supervised) -> Fallible<()> {
    // Stopped first: it would start its children again, and they would end in good order without it.
    relay.process().signal(Signal::SIGSTOP);
    let family = procfs::descendants(relay.process().pid());
    for child in family.iter().filter(|child| procfs::is_alive(**child)) {
        process::signal_pid(*child, Signal::SIGKILL);
    }
    relay.process().kill();
    let gone = async || (!family.iter().any(|child| procfs::is_alive(*child))).then_some(());
    Ok(deadline::within(deadline::PATIENCE, gone).await.ok_or("a killed process does not end")?)
}
