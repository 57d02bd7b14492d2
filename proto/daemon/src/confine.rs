//! What a process gives up before it does anything: capabilities of root, privileges that programs could give it, core
//! dumps, system calls that its role never makes (seccomp), and, where the kernel has Landlock, every file and every
//! network operation that its role does not need. Whoever takes a process over has what is left.
//!
//! Landlock does not judge connections to Unix sockets. Which of those a process reaches is the directories' business, and
//! what it may do there that of the secrets in them: each process can read those of the sockets that it calls. Without
//! Landlock, processes of one user can read each other's.

mod calls;
mod capabilities;

use crate::variables::{self, ObliviousTarget};
use crate::{Exit, Failure, Vars};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use relay_proto::socket::{self, SocketRole};
use relay_proto::telemetry::Role;
use seccompiler::BackendError;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The newest rules that are asked for. An older kernel takes what it knows.
const NEWEST: ABI = ABI::V6;

/// Whom storage listens for.
const STORAGE_ROLES: [SocketRole; 3] = [SocketRole::Gateway, SocketRole::Federation, SocketRole::Admin];

/// Where federated listens: to gateways, and to the operator.
const FEDERATED_DIRECTORIES: [&str; 2] = [SocketRole::PEERING, "federated"];

/// What a process has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// Files and networks.
    pub landlock: Level,
    /// System calls.
    pub seccomp: Level,
}

/// How much of some rules the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All of them.
    Full,
    /// Those that it knows.
    Partial,
    /// None: it does not know such rules.
    Nothing,
}

/// Where SQLite gets its randomness, and in static programs everybody: those do not find the C library's function for it.
const RANDOMNESS: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// To which TCP ports a role may connect.
#[derive(Debug, Default)]
enum Connects {
    #[default]
    Nowhere,
    To(Vec<u16>),
    Anywhere,
}

/// Files that say what the hosts' names are, and whom to trust under them.
const NAMES_AND_TRUST: [&str; 5] =
    ["/etc", "/usr/share", "/usr/lib/ssl", "/usr/local/share", "/run/systemd/resolve"];

/// Where name servers answer, also over TCP where an answer is long.
const NAME_SERVER_PORT: u16 = 53;

/// What a role keeps.
#[derive(Debug, Default)]
struct Kept {
    /// The data directory, where the sockets lie within it: closed to all but its owner, whichever process is there first.
    private: Option<PathBuf>,
    /// Directories it may change.
    writes: Vec<PathBuf>,
    /// Directories of the sockets that it makes.
    sockets: Vec<PathBuf>,
    /// Directories of the sockets that it calls, for the secrets beside them. No other process's secret can it read.
    calls: Vec<PathBuf>,
    /// Whether it makes those directories if whoever listens there has not done so yet: it must show a secret, and it can
    /// be given no right to read what is not there.
    calls_first: bool,
    /// Files and directories it may read.
    reads: Vec<PathBuf>,
    /// Ports it may listen on.
    ports: Vec<u16>,
    /// To which ports of others it may connect.
    connects: Connects,
}

/// Gives up what a role does not need, for this thread and all that it starts: to be called before there are others.
///
/// # Errors
/// When the kernel refuses what every kernel has.
pub fn confine(role: Role, vars: &Vars) -> Result<Confined, Failure> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Internal, format_args!("cannot give up {what}: {error}"))
    };
    prctl::set_no_new_privs().map_err(|error| refused("new privileges", &error))?;
    prctl::set_dumpable(false).map_err(|error| refused("core dumps", &error))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|error| refused("core dumps", &error))?;
    let kept = Kept::by(role, vars);
    // Rules are made of what is there. A process that will refuse its variables touches nothing, and what cannot be made,
    // its owner will report better.
    if vars.parse() {
        for directory in kept.private.iter().chain(&kept.writes) {
            drop(DirBuilder::new().recursive(true).mode(0o700).create(directory));
        }
        let called = kept.calls.iter().filter(|_| kept.calls_first);
        for directory in kept.sockets.iter().chain(called) {
            drop(socket::make_directory(directory));
        }
    }
    let used = kept.writes.iter().chain(&kept.sockets).chain(&kept.calls);
    let paths: Vec<&Path> = used.map(PathBuf::as_path).collect();
    capabilities::drop_all_but(capabilities::needed(role, &kept.ports, &paths))
        .map_err(|error| refused("capabilities", &error))?;
    let landlock = match kept.enforce() {
        Ok(RulesetStatus::FullyEnforced) => Level::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Level::Partial,
        Ok(RulesetStatus::NotEnforced) => Level::Nothing,
        Err(error) => return Err(refused("files and networks", &error)),
    };
    // Last: it could not be set up under its own rules.
    let seccomp = filter_calls(role).map_err(|error| refused("system calls", &error))?;
    Ok(Confined { landlock, seccomp })
}

/// Gives up system calls, on machines whose calls are known and where the kernel can.
fn filter_calls(role: Role) -> Result<Level, seccompiler::Error> {
    let program = match calls::program(role) {
        Ok(program) => program,
        Err(BackendError::InvalidTargetArch(_)) => return Ok(Level::Nothing),
        Err(error) => return Err(error.into()),
    };
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(Level::Full),
        // An older kernel, or a filter of the service manager's, which lets no other be set up.
        Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)) =>
        {
            Ok(Level::Nothing)
        }
        Err(error) => Err(error),
    }
}

impl Kept {
    fn by(role: Role, vars: &Vars) -> Self {
        // Mistakes are reported by the daemon's own configuration.
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let sockets = variables::socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let calls_first = reader.read(&variables::REQUIRE_SOCKET_SECRETS);
        match role {
            Role::Storaged => Self {
                writes: vec![data],
                sockets: STORAGE_ROLES.map(|role| sockets.join(role.directory())).to_vec(),
                reads: reader.read(&variables::ANCHOR_DIR).into_iter().collect(),
                ..Self::default()
            },
            Role::Gateway => Self {
                private: (calls_first && sockets.starts_with(&data)).then_some(data),
                calls_first,
                calls: vec![sockets.join(SocketRole::Gateway.directory()), sockets.join(SocketRole::PEERING)],
                ports: vec![
                    reader.read(&variables::LISTEN_ADDR).port(),
                    reader.read(&variables::METRICS_ADDR).port(),
                ],
                ..Self::default()
            },
            Role::Federated => Self {
                private: sockets.starts_with(&data).then_some(data),
                // Its own sockets, and not those of storage beside them, which it could put its own in the place of.
                sockets: FEDERATED_DIRECTORIES.map(|directory| sockets.join(directory)).to_vec(),
                calls_first,
                calls: vec![sockets.join(SocketRole::Federation.directory())],
                reads: names_and_trust(vars),
                ports: reader
                    .read(&variables::FEDERATION_LISTEN_ADDR)
                    .map(|address| address.port())
                    .into_iter()
                    .collect(),
                connects: Connects::Anywhere,
                ..Self::default()
            },
            Role::Oblivious => Self {
                reads: names_and_trust(vars),
                ports: vec![
                    reader.read(&variables::OBLIVIOUS_LISTEN_ADDR).port(),
                    reader.read(&variables::OBLIVIOUS_METRICS_ADDR).port(),
                ],
                connects: Connects::To(
                    reader
                        .read(&variables::OBLIVIOUS_TARGETS)
                        .iter()
                        .map(ObliviousTarget::port)
                        .chain([NAME_SERVER_PORT])
                        .collect(),
                ),
                ..Self::default()
            },
        }
    }

    fn enforce(&self) -> Result<RulesetStatus, RulesetError> {
        let mut network = BitFlags::from(AccessNet::BindTcp);
        let connects = match &self.connects {
            Connects::Anywhere => None,
            Connects::To(ports) => Some(&ports[..]),
            Connects::Nowhere => Some(&[][..]),
        };
        if connects.is_some() {
            network |= AccessNet::ConnectTcp;
        }
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(network)?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        let may_write = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
        let may_read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
        let randomness = RANDOMNESS.map(PathBuf::from);
        for (paths, access) in [
            (&self.writes[..], may_write),
            (&self.sockets[..], may_write),
            (&self.calls[..], AccessFs::ReadFile.into()),
            (&self.reads[..], may_read),
            (&randomness[..], may_read),
        ] {
            for path in paths {
                if let Some((opened, access)) = open(path, access) {
                    rules = rules.add_rule(PathBeneath::new(opened, access))?;
                }
            }
        }
        for port in &self.ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in connects.into_iter().flatten() {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }
}

fn names_and_trust(vars: &Vars) -> Vec<PathBuf> {
    NAMES_AND_TRUST.into_iter().map(PathBuf::from).chain(vars.trust_files()).collect()
}

/// What is not there needs no rule; a file has fewer rights to give than a directory.
fn open(path: &Path, access: BitFlags<AccessFs>) -> Option<(PathFd, BitFlags<AccessFs>)> {
    let opened = PathFd::new(path).ok()?;
    Some(if path.is_dir() { (opened, access) } else { (opened, access & AccessFs::from_file(NEWEST)) })
}
