//! Calls to a running relay's storage, through the operator's socket.

use crate::display::output::runtime;
use relay_daemon::variables::{self, socket_directory};
use relay_daemon::{Failure, Vars};
use relay_proto::client::{Calls, StorageClient};
use relay_proto::refusal_of;
use relay_proto::socket::{KnownSecret, SocketRole};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;

/// The operator's calls.
pub(crate) type Admin = relay_proto::messages::admin_client::AdminClient<Calls>;

/// How long storage may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes one call to the relay that the variables point to.
///
/// # Errors
/// When no relay answers there; the text says why and what to do.
pub(crate) fn call<T>(
    vars: &Vars,
    request: impl AsyncFnOnce(Admin) -> Result<T, Status>,
) -> Result<T, Failure> {
    with_client(vars, async |client| client.call(request).await)
}

/// The same for more than one call.
///
/// # Errors
/// Those of the calls, and when no relay is there.
pub(crate) fn with_client<T>(
    vars: &Vars,
    calls: impl AsyncFnOnce(AdminClient) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let socket = admin_socket(vars)?;
    // The client below would only say that it is unreachable; the operator wants to know why.
    std::os::unix::net::UnixStream::connect(&socket).map_err(|error| unreachable_because(&socket, &error))?;
    KnownSecret::of(&socket).check().map_err(|error| unreachable_because(&socket, &error))?;
    runtime()?.block_on(async {
        let admin = StorageClient::new(socket.clone()).admin();
        calls(AdminClient { admin, socket }).await
    })
}

/// Whether a relay runs where the variables point to.
///
/// # Errors
/// Variables that make no sense, or a socket that this user may not use, so that nobody knows.
pub(crate) fn is_running(vars: &Vars) -> Result<bool, Failure> {
    let socket = admin_socket(vars)?;
    match std::os::unix::net::UnixStream::connect(&socket) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(unreachable_because(&socket, &error))
        }
        Err(_) => Ok(false),
    }
}

fn admin_socket(vars: &Vars) -> Result<PathBuf, Failure> {
    let mut reader = vars.reader();
    let data = reader.read(&variables::DATA_DIR);
    let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
    reader.finish()?;
    Ok(SocketRole::Admin.storage_socket(&sockets))
}

/// A connection to a relay's storage.
#[derive(Debug)]
pub(crate) struct AdminClient {
    admin: Admin,
    socket: PathBuf,
}

impl AdminClient {
    /// The calls themselves, for those with a deadline of their own.
    pub(crate) fn admin(&self) -> Admin {
        self.admin.clone()
    }

    /// Makes one call, and waits [`DEADLINE`] for its answer.
    ///
    /// # Errors
    /// When storage refuses or is silent; the text says where to look.
    pub(crate) async fn call<T>(
        &self,
        request: impl AsyncFnOnce(Admin) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(DEADLINE, request(self.admin())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(failure!(
                Unavailable,
                "storaged listens at {} and does not answer: {}; it may be stopping, or \
                     RELAY_SOCKET_UIDS may leave this user out; its log says which",
                self.socket.display(),
                refusal_of(&status)
            )),
            Err(_) => Err(failure!(
                Unavailable,
                "storaged listens at {} and does not answer within {} seconds; see its log",
                self.socket.display(),
                DEADLINE.as_secs()
            )),
        }
    }
}

fn unreachable_because(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::PermissionDenied => failure!(
            Permission,
            "uid {} may not use {socket}; run this as the relay's user or as a member of the group of that directory",
            nix::unistd::geteuid()
        ),
        _ => failure!(
            Unavailable,
            "no relay answers at {socket} ({error}); start one with `relay up`, or set RELAY_DATA_DIR \
                 (or RELAY_SOCKET_DIR) as the running relay has it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::Exit;
    use relay_proto::messages::StatusRequest;

    #[test]
    fn where_no_relay_is_the_operator_learns_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let vars = Vars::from_pairs([("RELAY_DATA_DIR", directory.path().display().to_string())]);
        let refused = call(&vars, async |mut admin| admin.status(StatusRequest {}).await).unwrap_err();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(refused.text.contains("relay up") && refused.text.contains("RELAY_DATA_DIR"), "{refused}");
    }
}
