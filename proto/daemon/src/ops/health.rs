//! A process's own health check: the program asks the running process whether it is ready. Containers that hold nothing
//! but one program, and supervisors, have no other client to ask with.
//!
//! A container engine runs this command again and again, notes what it says and does nothing about it. So where the process
//! was stopped by a signal, this command lets it go on. One that hangs in another way ends itself (see
//! [`crate::watchdog`]), and the engine starts it again.

use crate::{ConfigError, Exit, Failure, Vars, variables};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use relay_proto::socket::SocketRole;
use relay_proto::telemetry::Role;
use socket2::SockRef;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long the process may take for each step of its answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an answer that are looked at.
const ENOUGH: u64 = 4096;

/// Where a process answers its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthEndpoint {
    /// A port.
    Port(SocketAddr),
    /// A socket.
    Socket(PathBuf),
}

impl HealthEndpoint {
    /// Where a process with these variables answers.
    ///
    /// # Errors
    /// Variables that make no sense.
    pub fn of(role: Role, vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let sockets = variables::socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let port = reader.read(&variables::METRICS_ADDR);
        let outer_port = reader.read(&variables::OBLIVIOUS_METRICS_ADDR);
        reader.finish()?;
        Ok(match role {
            Role::Gateway => Self::Port(from_here(port)),
            Role::Storaged => Self::Socket(SocketRole::Admin.storage_socket(&sockets)),
            Role::Federated => Self::Socket(sockets.join("federated").join("ops.sock")),
            Role::Oblivious => Self::Port(from_here(outer_port)),
        })
    }

    /// Asks whether the process is ready.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] with the reason that it gives, or with why there is no answer.
    pub fn check(&self) -> Result<(), Failure> {
        let answer = match self {
            Self::Port(address) => TcpStream::connect_timeout(address, PATIENCE).and_then(ask),
            Self::Socket(path) => UnixStream::connect(path).and_then(ask),
        };
        let unavailable = |reason: &dyn fmt::Display| Failure::new(Exit::Unavailable, reason);
        let answer = answer.map_err(|error| unavailable(&format_args!("no answer at {self}: {error}")))?;
        match answer.split_once("\r\n\r\n") {
            Some((head, _)) if head.starts_with("HTTP/1.1 200 ") => Ok(()),
            Some((head, body)) if head.starts_with("HTTP/1.1 503 ") => {
                Err(unavailable(&reason(body).unwrap_or_else(|| "not ready".to_owned())))
            }
            _ => Err(unavailable(&format_args!("what answers at {self} is not this relay"))),
        }
    }
}

impl fmt::Display for HealthEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(formatter),
            Self::Socket(path) => path.display().fmt(formatter),
        }
    }
}

/// The first process of a container, which the engine started and which takes no other end for its own.
const FIRST: i32 = 1;

/// Lets the daemon go on that is the first process here and was stopped. Returns whether there was one.
pub(crate) fn let_go_on(role: Role) -> bool {
    let stat = fs::read_to_string(format!("/proc/{FIRST}/stat")).unwrap_or_default();
    is_stopped(&stat, role.name()) && kill(Pid::from_raw(FIRST), Signal::SIGCONT).is_ok()
}

/// Reads a name and a state as proc(5) writes them: `T` is stopped by a signal, `t` by a debugger.
fn is_stopped(stat: &str, name: &str) -> bool {
    stat.split_once(" (")
        .and_then(|(_, rest)| rest.rsplit_once(") "))
        .is_some_and(|(found, rest)| found == name && rest.starts_with('T'))
}

/// The address by which this machine reaches a listener of its own.
pub fn from_here(listener: SocketAddr) -> SocketAddr {
    let host = match listener.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, listener.port())
}

fn ask(mut stream: impl Read + Write + AsFd) -> io::Result<String> {
    let socket = SockRef::from(&stream);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer)?;
    String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn reason(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body.get("reason")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// What a check makes of an answer.
    fn verdict(answer: &'static str) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = HealthEndpoint::Port(listener.local_addr().unwrap());
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            assert!(stream.read(&mut asked).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let verdict = place.check();
        answering.join().unwrap();
        verdict
    }

    #[test]
    fn only_a_ready_process_is_well() {
        assert_eq!(verdict("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ready\"}"), Ok(()));
        let busy =
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"not ready\",\"reason\":\"stopping\"}";
        assert_eq!(verdict(busy).unwrap_err().text, "stopping");
        assert_eq!(verdict("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().text, "not ready");
        for other in ["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-other\r\n", "", "HTTP/1.1 200"] {
            let refused = verdict(other).unwrap_err();
            assert_eq!(refused.exit, Exit::Unavailable);
            assert!(refused.text.contains("is not this relay"), "{other:?}: {refused}");
        }
    }

    #[test]
    fn only_a_daemon_that_was_stopped_by_a_signal_is_let_go_on() {
        assert!(is_stopped("1 (gateway) T 0 1 1 0", "gateway"));
        for other in
            ["1 (gateway) S 0 1", "1 (gateway) t 0 1", "1 (caddy) T 0 1", "1 (a) T (gateway) S 0", ""]
        {
            assert!(!is_stopped(other, "gateway"), "{other:?}");
        }
    }

    #[test]
    fn where_nobody_answers_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let vars = Vars::from_pairs([("RELAY_SOCKET_DIR", directory.path().display().to_string())]);
        for (role, socket) in
            [(Role::Storaged, "admin/storage.sock"), (Role::Federated, "federated/ops.sock")]
        {
            let refused = HealthEndpoint::of(role, &vars).unwrap().check().unwrap_err();
            assert_eq!(refused.exit, Exit::Unavailable);
            assert!(refused.text.contains(socket), "{refused}");
        }
    }

    #[test]
    fn a_gateway_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in
            [("0.0.0.0:8081", "127.0.0.1:8081"), ("[::]:9", "[::1]:9"), ("192.0.2.1:8081", "192.0.2.1:8081")]
        {
            let vars = Vars::from_pairs([("RELAY_METRICS_ADDR", listens)]);
            assert_eq!(
                HealthEndpoint::of(Role::Gateway, &vars).unwrap(),
                HealthEndpoint::Port(asked.parse().unwrap())
            );
        }
    }
}
