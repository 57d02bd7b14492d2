//! What federated shows its operator.

use prometheus::Registry;
use relay_daemon::metrics::{gather, render};
use relay_daemon::ops::Ops;
use relay_daemon::{Exit, Failure};
use relay_proto::client::StorageClient;
use relay_proto::messages::CheckRequest;
use std::path::Path;
use std::time::Duration;

/// How long storage may take to say that it is there.
const CHECK: Duration = Duration::from_secs(1);

/// The operator's view of federated.
#[derive(Debug)]
pub(crate) struct FederatedOps {
    pub(crate) storage: StorageClient,
    pub(crate) registry: Registry,
}

impl Ops for FederatedOps {
    async fn ready(&self) -> Result<(), &'static str> {
        let mut storage = self.storage.telemetry();
        match tokio::time::timeout(CHECK, storage.check(CheckRequest {})).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("storage cannot commit or cannot be reached"),
            Err(_) => Err("storage does not answer within a second"),
        }
    }

    async fn metrics(&self) -> String {
        render(&gather(&self.registry))
    }
}

/// Binding replaces a dead process's socket and would as quietly replace a living one's: ask first.
pub(crate) fn refuse_a_second(socket: &Path) -> Result<(), Failure> {
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Err(Failure::new(
            Exit::Unavailable,
            format_args!(
                "another federated answers at {}; stop it, or set RELAY_SOCKET_DIR to a directory of this relay's own",
                socket.display()
            ),
        )),
        Err(_) => Ok(()),
    }
}
