//! `relay up`: a whole relay from one command.

mod child;
mod plan;
mod policy;
mod probe;
pub(crate) mod role;
mod supervisor;

pub(crate) use plan::local;

use crate::display::output::runtime;
use plan::Plan;
use relay_daemon::{
    ConfigError, Exit, Failure, Sharing, SocketLocks, Vars, listen_tcp, port_is_free, start_logging,
    variables,
};
use relay_proto::socket::SocketRole;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt as _;
use supervisor::Supervisor;

/// Checks the variables of all processes.
///
/// # Errors
/// With every mistake that any of them found.
pub(crate) fn check(vars: &Vars) -> Result<(), ConfigError> {
    Plan::from_vars(vars).map(drop)
}

/// Runs a relay until a signal stops it.
///
/// # Errors
/// Variables that make no sense, or an address that cannot be had. Nothing was started then.
pub(crate) fn up(vars: &Vars, out: &mut impl Write) -> Result<Exit, Failure> {
    let plan = Plan::from_vars(vars)?;
    start_logging(&plan.log_filter, plan.log_format)?;
    // One thread, this one, starts all children: the kernel ends them when the thread that started them
    // ends, and this thread ends with the process.
    runtime()?.block_on(async {
        let clients = listen_tcp(plan.listen, Sharing::Alone, variables::LISTEN_ADDR.name)?;
        // Gateways share this port with one another, so the kernel would let them share with a stranger of the
        // same user too: another relay, say.
        port_is_free(plan.ops, variables::METRICS_ADDR.name)?;
        // Its own bind would fail as well, again and again: federated is started again whatever ends it.
        if let Some(peers) = plan.peers {
            port_is_free(peers, variables::FEDERATION_LISTEN_ADDR.name)?;
        }
        let _lock = lock_out_a_second(&plan)?;
        let clients = clients.into_std().map_err(|error| Failure::new(Exit::Internal, error))?;
        Supervisor::new(&plan, clients)?.run(out).await
    })
}

/// Two supervisors beside each other would fight for the sockets, and gateways of the one would store mail with the other.
/// Whatever else is wrong with the directory, the process that needs it will report better.
fn lock_out_a_second(plan: &Plan) -> Result<Option<SocketLocks>, Failure> {
    if let Some(private) = plan.private() {
        drop(DirBuilder::new().recursive(true).mode(0o700).create(private));
    }
    let place = plan.sockets.join(SocketRole::Admin.directory()).join("relay-up");
    match SocketLocks::take(&[place]) {
        Err(failure) if failure.exit != Exit::Locked => Ok(None),
        taken => taken.map(Some),
    }
}
