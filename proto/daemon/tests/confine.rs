//! What is left to whoever takes a process over. Each test gives up what a role does not need, on a thread of its own,
//! and then tries what an intruder would. They want a kernel that knows all rules (Linux 6.12); elsewhere they say so,
//! and in CI they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use relay_daemon::{Confined, Level, Vars, confine};
use relay_proto::telemetry::Role;
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io::ErrorKind::PermissionDenied;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::thread;

/// A relay's directories with something in them, and the variables that name them.
fn relay() -> (tempfile::TempDir, Vars) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("run")).unwrap();
    fs::write(data.join("relay.db"), "mail").unwrap();
    let vars = Vars::from_pairs([
        ("RELAY_DATA_DIR", data.display().to_string()),
        ("RELAY_LISTEN_ADDR", format!("127.0.0.1:{}", free_port())),
        ("RELAY_METRICS_ADDR", format!("127.0.0.1:{}", free_port())),
    ]);
    (directory, vars)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs what an intruder tries, confined as a role is.
fn taken_over(role: Role, vars: &Vars, intrusion: impl FnOnce() + Send + 'static) {
    let vars = vars.clone();
    let confined = thread::spawn(move || {
        if confine(role, &vars).unwrap() == (Confined { landlock: Level::Full, seccomp: Level::Full }) {
            intrusion();
        } else {
            let in_ci =
                Command::new("printenv").arg("CI").output().is_ok_and(|said| said.stdout == b"true\n");
            assert!(!in_ci, "this kernel does not know all rules");
            eprintln!("not tried: this kernel does not know all rules");
        }
    });
    confined.join().unwrap();
}

#[test]
fn data_is_closed_to_others_whichever_process_is_first() {
    for role in [Role::Storaged, Role::Gateway, Role::Federated] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let vars = Vars::from_pairs([
            ("RELAY_DATA_DIR", data.display().to_string()),
            ("RELAY_REQUIRE_SOCKET_SECRETS", "true".to_owned()),
        ]);
        thread::spawn(move || confine(role, &vars).unwrap()).join().unwrap();
        let mode = fs::metadata(&data).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "made by {role:?}");
    }
}

fn denied<T>(outcome: io::Result<T>, what: &str) {
    assert_eq!(outcome.err().map(|error| error.kind()), Some(PermissionDenied), "{what}");
}

/// The secrets beside the sockets, by the directories that they lie in.
fn secrets(sockets: &Path, directories: &[&str]) {
    for directory in directories {
        fs::create_dir_all(sockets.join(directory)).unwrap();
        fs::write(sockets.join(directory).join("secret"), "of the socket").unwrap();
    }
}

fn runs_nothing(data: &Path) {
    denied(Command::new("/bin/sh").arg("-c").arg("true").status(), "a shell");
    denied(Command::new(data.join("relay.db")).status(), "a program of its own");
}

#[test]
fn a_gateway_reads_no_file_writes_none_runs_nothing_and_connects_to_nobody() {
    let (directory, vars) = relay();
    let data = directory.path().join("data");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = elsewhere.local_addr().unwrap();
    let own = vars.clone();
    let sockets = data.join("run");
    secrets(&sockets, &["gateway", "peering", "federation", "admin"]);
    taken_over(Role::Gateway, &vars, move || {
        for called in ["gateway", "peering"] {
            assert!(fs::read(sockets.join(called).join("secret")).is_ok(), "the secret of {called}");
            denied(File::create(sockets.join(called).join("secret")), "another secret");
        }
        for others in ["federation", "admin"] {
            denied(File::open(sockets.join(others).join("secret")), "the secret of others");
        }
        denied(File::open(data.join("relay.db")), "the database");
        denied(fs::read_dir(&data), "the data directory");
        denied(File::create(data.join("new")), "a file of its own");
        denied(File::open("/etc/passwd"), "the system's files");
        denied(fs::remove_file(data.join("relay.db")), "deleting");
        runs_nothing(&data);
        denied(TcpStream::connect(address), "a connection");
        denied(TcpListener::bind("127.0.0.1:0"), "another port");
        let mut reader = own.reader();
        let listens = reader.read(&relay_daemon::variables::LISTEN_ADDR);
        assert!(TcpListener::bind(listens).is_ok(), "its own port");
    });
}

#[test]
fn a_store_changes_its_own_directory_and_reaches_nothing_else() {
    let (directory, vars) = relay();
    let data = directory.path().join("data");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = elsewhere.local_addr().unwrap();
    taken_over(Role::Storaged, &vars, move || {
        File::create(data.join("relay.db-wal")).unwrap().write_all(b"more mail").unwrap();
        fs::rename(data.join("relay.db-wal"), data.join("other")).unwrap();
        fs::remove_file(data.join("other")).unwrap();
        denied(File::open("/etc/passwd"), "the system's files");
        denied(File::create(data.with_extension("new")), "a file beside its directory");
        runs_nothing(&data);
        denied(TcpStream::connect(address), "a connection");
        denied(TcpListener::bind("127.0.0.1:0"), "a port");
    });
}

#[test]
fn federated_connects_and_looks_names_up_and_sees_no_mail_at_rest() {
    let (directory, vars) = relay();
    let data = directory.path().join("data");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = elsewhere.local_addr().unwrap();
    let sockets = directory.path().join("sockets");
    let storage = sockets.join("gateway/storage.sock");
    fs::create_dir_all(storage.parent().unwrap()).unwrap();
    let _storage = UnixListener::bind(&storage).unwrap();
    secrets(&sockets, &["gateway", "federation", "admin"]);
    let vars = vars.with("RELAY_SOCKET_DIR", sockets.display().to_string());
    taken_over(Role::Federated, &vars, move || {
        assert!(fs::read(sockets.join("federation/secret")).is_ok(), "its own secret");
        for others in ["gateway", "admin"] {
            denied(File::open(sockets.join(others).join("secret")), "the secret of others");
        }
        assert!(TcpStream::connect(address).is_ok(), "a peer");
        assert!(File::open("/etc/hosts").is_ok(), "names");
        denied(File::open(data.join("relay.db")), "the database");
        denied(File::create("/etc/relay-was-here"), "the system's files");
        assert!(UnixListener::bind(sockets.join("peering/tunnel.sock")).is_ok(), "its own socket");
        denied(fs::remove_file(&storage), "storage's socket");
        denied(UnixListener::bind(sockets.join("gateway/other.sock")), "a socket in storage's place");
        denied(TcpListener::bind("127.0.0.1:0"), "a port that nobody asked for");
        runs_nothing(&data);
    });
}

#[test]
fn an_outer_relay_reaches_its_targets_ports_and_nothing_at_rest() {
    let (directory, vars) = relay();
    let data = directory.path().join("data");
    let [target, elsewhere] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, other] = [&target, &elsewhere].map(|listener| listener.local_addr().unwrap());
    let listens = format!("127.0.0.1:{}", free_port());
    secrets(&data.join("run"), &["gateway", "admin"]);
    let vars = vars
        .with("OBLIVIOUS_TARGETS", format!("http://{address}"))
        .with("OBLIVIOUS_LISTEN_ADDR", listens.clone());
    taken_over(Role::Oblivious, &vars, move || {
        assert!(TcpStream::connect(address).is_ok(), "its target");
        denied(TcpStream::connect(other), "another port");
        assert!(File::open("/etc/hosts").is_ok(), "names");
        for others in ["gateway", "admin"] {
            denied(File::open(data.join("run").join(others).join("secret")), "the secret of others");
        }
        denied(File::open(data.join("relay.db")), "the database");
        denied(File::create(data.join("new")), "a file of its own");
        denied(TcpListener::bind("127.0.0.1:0"), "a port that nobody asked for");
        assert!(TcpListener::bind(listens).is_ok(), "its own port");
        runs_nothing(&data);
    });
}

#[test]
fn system_calls_that_no_role_makes_are_refused_to_all() {
    for role in [Role::Storaged, Role::Gateway, Role::Federated, Role::Oblivious] {
        let (directory, vars) = relay();
        taken_over(role, &vars, move || {
            use nix::errno::Errno;
            use nix::sched::{CloneFlags, unshare};
            assert_eq!(unshare(CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM), "a namespace");
            assert_eq!(nix::sys::ptrace::traceme(), Err(Errno::EPERM), "tracing");
            let parent = nix::unistd::getppid();
            assert_eq!(nix::sys::signal::kill(parent, None), Err(Errno::EPERM), "a signal");
            assert_eq!(nix::unistd::chroot(directory.path()), Err(Errno::EPERM), "another root");
            assert!(thread::spawn(|| 7).join().is_ok(), "a thread");
            for family in [Domain::PACKET, Domain::VSOCK, Domain::from(16)] {
                denied(Socket::new(family, Type::DGRAM, None), "a socket of another family");
            }
            for kind in [Type::RAW, Type::SEQPACKET] {
                denied(Socket::new(Domain::IPV4, kind, None), "a socket of another kind");
            }
        });
    }
}

#[test]
fn who_looks_names_up_asks_over_udp_and_storage_has_no_socket_but_unix_ones() {
    for role in [Role::Storaged, Role::Gateway, Role::Federated, Role::Oblivious] {
        let (_directory, vars) = relay();
        taken_over(role, &vars, move || {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                match role {
                    Role::Federated | Role::Oblivious => {
                        assert!(UdpSocket::bind(address).is_ok(), "{address}");
                    }
                    Role::Storaged | Role::Gateway => denied(UdpSocket::bind(address), "UDP"),
                }
            }
            let tcp = Socket::new(Domain::IPV4, Type::STREAM, None);
            assert_eq!(tcp.is_ok(), role != Role::Storaged, "TCP of {role:?}");
            assert!(UnixDatagram::unbound().is_ok(), "a Unix socket");
        });
    }
}
