//! Calls to a running relay's storage, through the operator's socket.

use crate::display::output::runtime;
use relay_daemon::variables::{self, socket_directory};
use relay_daemon::{Failure, Vars};
use relay_proto::client::{Calls, StorageClient};
use relay_proto::messages::admin_client::AdminClient as GeneratedClient;
use relay_proto::messages::{
    DrainRequest, KeyStatus, KeyStatusRequest, PeersReply, PeersRequest, StatusReply, StatusRequest,
};
use relay_proto::refusal_of;
use relay_proto::socket::{KnownSecret, SocketRole};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

/// How long storage may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long storage may take for one part of a long reply: a million rows, while others are served.
const PART_DEADLINE: Duration = Duration::from_secs(60);

/// The operator's calls. Those that more than one command makes are methods here, with their replies checked.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) GeneratedClient<Calls>);

impl Admin {
    pub(crate) async fn status(&self) -> Result<StatusReply, Status> {
        Ok(self.0.clone().status(StatusRequest {}).await?.into_inner().checked()?)
    }

    pub(crate) async fn keys(&self) -> Result<KeyStatus, Status> {
        Ok(self.0.clone().keys(KeyStatusRequest {}).await?.into_inner().checked()?)
    }

    pub(crate) async fn peers(&self) -> Result<PeersReply, Status> {
        Ok(self.0.clone().peers(PeersRequest {}).await?.into_inner().checked()?)
    }

    /// Begins or ends the emptying of this relay. Returns how many blobs are here.
    pub(crate) async fn drain(mut self, draining: bool) -> Result<u64, Status> {
        Ok(self.0.drain(DrainRequest { draining }).await?.into_inner().blobs)
    }
}

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

/// Makes one call whose reply comes in parts, and returns all of them.
///
/// # Errors
/// As [`call`], and when a part does not come or cannot be understood.
pub(crate) fn collect<T>(
    vars: &Vars,
    request: impl AsyncFnOnce(Admin) -> Result<Response<Streaming<T>>, Status>,
) -> Result<Vec<T>, Failure> {
    with_client(vars, async |client| {
        let mut stream = client.call(request).await?.into_inner();
        let seconds = PART_DEADLINE.as_secs();
        let silent =
            |_| failure!(Unavailable, "storaged did not answer within {seconds} seconds; see its log");
        let mut parts = Vec::new();
        loop {
            let next = timeout(PART_DEADLINE, stream.message()).await.map_err(silent)?;
            match next.map_err(|status| stopped(&status))? {
                Some(part) => parts.push(part),
                None => return Ok(parts),
            }
        }
    })
}

/// What it means that a long reply breaks off, or cannot be understood.
pub(crate) fn stopped(status: &Status) -> Failure {
    failure!(Unavailable, "storaged stopped answering: {}; see its log", refusal_of(status))
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
        let admin = Admin(StorageClient::new(socket.clone()).admin());
        calls(AdminClient { admin, socket }).await
    })
}

/// Whether a relay runs where the variables point to.
///
/// # Errors
/// When variables do not parse, or this user may not use the socket, so that it cannot be known.
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
        match timeout(DEADLINE, request(self.admin())).await {
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

    #[test]
    fn where_no_relay_is_the_operator_learns_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let vars = Vars::from_pairs([("RELAY_DATA_DIR", directory.path().display().to_string())]);
        let refused = call(&vars, async |admin| admin.status().await).unwrap_err();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(refused.text.contains("relay up") && refused.text.contains("RELAY_DATA_DIR"), "{refused}");
    }
}
