//! Every variable the relay knows: its name, default, meaning and parser, in one table. All processes know
//! all names, so that one environment file can serve them together; each reads what concerns it.

mod parse;
mod peer;
mod target;
mod vars;

pub use parse::{Backend, LogFormat};
pub use peer::PeerUrl;
pub use target::{ObliviousTarget, TargetName, origin};
pub use vars::{ConfigError, Reader, Vars};

use axum::http::Uri;
use ipnet::IpNet;
use parse::{
    address, boolean, directory, filter, log_format, networks, optional_directory, token, users, whole,
};
use relay_proto::PeerId;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A variable with its parser.
#[derive(Debug)]
pub struct Variable<T: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its default, as an operator would write it; empty means unset.
    pub default: &'static str,
    /// A value that makes sense.
    pub example: &'static str,
    /// What it does, with its unit.
    pub about: &'static str,
    /// Whether its value stays out of error messages.
    pub secret: bool,
    /// Reads a value, or says what was expected.
    pub(crate) parse: fn(&str) -> Result<T, String>,
}

impl<T> Variable<T> {
    const fn new(
        name: &'static str,
        default: &'static str,
        example: &'static str,
        parse: fn(&str) -> Result<T, String>,
        about: &'static str,
    ) -> Self {
        Self { name, default, example, about, secret: false, parse }
    }

    /// What holds when the variable is unset.
    #[expect(clippy::expect_used, reason = "a test parses every default")]
    pub fn default_value(&self) -> T {
        (self.parse)(self.default).expect("defaults parse")
    }
}

/// A variable whatever its value is: what the documentation needs of it.
#[derive(Debug)]
pub struct VariableInfo {
    /// Its name.
    pub name: &'static str,
    /// Its default, as an operator would write it; empty means unset.
    pub default: &'static str,
    /// A value that makes sense.
    pub example: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Whether a value parses.
    pub accepts: fn(&str) -> bool,
}

macro_rules! known {
    ($variable:ident) => {
        VariableInfo {
            name: $variable.name,
            default: $variable.default,
            example: $variable.example,
            about: $variable.about,
            accepts: |value| ($variable.parse)(value).is_ok(),
        }
    };
}

macro_rules! variables {
    ($($constant:ident: $type:ty = ($name:literal, $default:literal, $example:literal, $parse:expr, $about:literal);)*) => {
        $(
            #[doc = $about]
            pub static $constant: Variable<$type> = Variable::new($name, $default, $example, $parse, $about);
        )*

        /// All of them, in the order in which the documentation shows them.
        pub static KNOWN: &[VariableInfo] = &[$(known!($constant),)* known!(METRICS_TOKEN)];
    };
}

/// Bearer token that `/metrics` asks for; unset: none.
pub static METRICS_TOKEN: Variable<Option<String>> = Variable {
    name: "RELAY_METRICS_TOKEN",
    default: "",
    example: "d41bd6a17a9f4a2c",
    about: "Bearer token that `/metrics` asks for; unset: none.",
    secret: true,
    parse: token,
};

variables! {
    LISTEN_ADDR: SocketAddr = ("RELAY_LISTEN_ADDR", "0.0.0.0:8080", "127.0.0.1:8080", address,
        "Where a gateway serves clients. Unset under `relay up`: 127.0.0.1:8080.");
    TLS_VERIFIED: bool = ("RELAY_TLS_VERIFIED", "false", "true", boolean,
        "The operator's word that TLS ends in front of the gateway. Without it a gateway listens on loopback only.");
    TRUSTED_PROXIES: Vec<IpNet> = ("RELAY_TRUSTED_PROXIES", "", "10.0.0.0/8,::1/128", networks,
        "Networks of the proxies whose `X-Forwarded-For` is believed, as a comma-separated list.");
    PUBLIC_URL: Option<Uri> = ("RELAY_PUBLIC_URL", "", "https://relay.example", parse::url,
        "Where clients reach the relay. Sealed requests may name its host.");
    GATEWAYS: u16 = ("RELAY_GATEWAYS", "1", "2", whole::<u16, 1, 64>,
        "How many gateways `relay up` runs.");
    MAX_CONNECTIONS: usize = ("RELAY_MAX_CONNECTIONS", "1000", "1000", whole::<usize, 1, 1_000_000>,
        "Client connections a gateway holds at once.");
    ADDR_CONNECTIONS: usize = ("RELAY_ADDR_MAX_CONNECTIONS", "64", "64", whole::<usize, 1, 1_000_000>,
        "Connections a gateway holds at once for one address (IPv6: one /64) that is in neither `RELAY_TRUSTED_PROXIES` nor `RELAY_OHTTP_RELAYS`.");
    IDLE_TIMEOUT: u64 = ("RELAY_IDLE_TIMEOUT", "300", "300", whole::<u64, 1, 86_400>,
        "Seconds after which a gateway closes a connection on which nothing happens.");
    MAX_MESSAGE_SIZE: usize = ("RELAY_MAX_MESSAGE_SIZE", "1048576", "1048576", whole::<usize, 1024, 16_777_216>,
        "Bytes that a decoded blob may have.");
    RATE_LIMIT: u32 = ("RELAY_RATE_LIMIT", "60", "60", whole::<u32, 1, 1_000_000_000>,
        "Sends and purges a minute for one mailbox, over all gateways, and as many fetches of it for each client.");
    ADDR_RATE_LIMIT: u32 = ("RELAY_ADDR_RATE_LIMIT", "600", "600", whole::<u32, 1, 1_000_000_000>,
        "Requests a minute, sealed or not, for one client address (IPv6: one /64), over all gateways.");
    ADDR_BYTES_PER_HOUR: Option<u64> = ("RELAY_ADDR_BYTES_PER_HOUR", "", "33554432", parse::optional_whole::<1024, 1_099_511_627_776>,
        "Bytes that one client address may add to the store in an hour. Unset: a thirty-second of `RELAY_MAX_STORAGE_BYTES`, so that filling it takes one address more than a day.");
    ADDR_NAMES_PER_HOUR: Option<u64> = ("RELAY_ADDR_NAMES_PER_HOUR", "", "2000", parse::optional_whole::<1, 1_000_000_000>,
        "New registrations, offers, proofs, guardian sets and escrow slots that one client address may add in an hour. Unset: 2000, and no more than a thirty-second of what a table holds.");
    RECOVERY_RATE_LIMIT: u32 = ("RELAY_RECOVERY_RATE_LIMIT", "10", "10", whole::<u32, 1, 1_000_000_000>,
        "Recovery queries a minute for one client address; ten times that for all clients behind an oblivious relay in `RELAY_OHTTP_RELAYS`.");
    OHTTP_RATE_LIMIT: u32 = ("RELAY_OHTTP_RATE_LIMIT", "60000", "60000", whole::<u32, 1, 100_000_000>,
        "Sealed requests a minute from one oblivious relay in `RELAY_OHTTP_RELAYS`.");
    OHTTP_RELAYS: Vec<IpNet> = ("RELAY_OHTTP_RELAYS", "", "192.0.2.7,2001:db8::/48", networks,
        "Networks of the oblivious relays that the operator knows, as a comma-separated list. Any other address that sends sealed requests is one client.");
    OHTTP_KEY_ROTATION: u64 = ("RELAY_OHTTP_KEY_ROTATION_HOURS", "24", "24", parse::day_or_seconds,
        "Hours for which a key for Oblivious HTTP is shown: 24, since clients refuse every other window; or seconds, for tests, as in `10s`. It is accepted for one such time longer.");
    ANCHOR_DIR: Option<PathBuf> = ("RELAY_ANCHOR_DIR", "", "/etc/relay/anchor", optional_directory,
        "Directory with `anchor.json` and `intermediate.key` of an offline anchor (`relay anchor`). Unset: the relay is its own anchor.");
    EXCHANGE_MAX_OFFERS: u64 = ("RELAY_EXCHANGE_MAX_OFFERS", "10000", "10000", whole::<u64, 1, 100_000>,
        "Exchange offers that may be live at once.");
    EXCHANGE_DEFAULT_TTL_SECS: u64 = ("RELAY_EXCHANGE_DEFAULT_TTL_SECS", "300", "300", whole::<u64, 30, 3600>,
        "Seconds for which an exchange offer lives that names no time itself.");
    EXCHANGE_GUESS_LIMIT: u32 = ("RELAY_EXCHANGE_GUESS_LIMIT", "300", "300", whole::<u32, 1, 1_000_000>,
        "Wrong exchange codes a minute that the whole relay listens to at most: it is 1000 divided by the live offers, and never less than ten unless this is.");
    REQUIRE_REGISTRATION: bool = ("RELAY_REQUIRE_REGISTRATION", "false", "true", boolean,
        "Whether only registered mailboxes take mail.");
    MIN_VERSION: u16 = ("RELAY_MIN_VERSION", "0", "2", whole::<u16, 0, 65_535>,
        "Oldest client version (`X-App-Compat-Version`) that is served.");
    WARN_VERSION: u16 = ("RELAY_WARN_VERSION", "0", "3", whole::<u16, 0, 65_535>,
        "Clients older than this are told so.");
    VERSION_GRACE_DAYS: u64 = ("RELAY_VERSION_GRACE_DAYS", "14", "14", whole::<u64, 0, 3_650>,
        "Days for which clients below a raised minimum are still served.");
    STORAGE_BACKEND: Backend = ("RELAY_STORAGE_BACKEND", "sqlite", "sqlite", parse::backend,
        "`sqlite` keeps mail on disk; `memory` forgets it when storaged stops.");
    DATA_DIR: PathBuf = ("RELAY_DATA_DIR", "./data", "/var/lib/relay", directory,
        "The one directory that holds all state.");
    SOCKET_DIR: Option<PathBuf> = ("RELAY_SOCKET_DIR", "", "/run/relay", optional_directory,
        "Directory of the Unix sockets between the processes. Unset: `run` inside the data directory.");
    SOCKET_UIDS: Vec<u32> = ("RELAY_SOCKET_UIDS", "", "10001,10002", users,
        "User ids that may connect to the sockets between the processes. Unset: root and the listening process's own.");
    REQUIRE_SOCKET_SECRETS: bool = ("RELAY_REQUIRE_SOCKET_SECRETS", "false", "true", boolean,
        "Whether callers of every socket between the processes must show the secret that lies beside it. `relay up` always does that; without it, processes of an older version need not, except at the operator's socket.");
    MAX_STORAGE_BYTES: u64 = ("RELAY_MAX_STORAGE_BYTES", "1073741824", "1073741824", whole::<u64, 1_048_576, 1_099_511_627_776>,
        "Bytes that the database may take. Sends are refused at 95 %.");
    MAX_BLOBS_PER_USER: u64 = ("RELAY_MAX_BLOBS_PER_USER", "1000", "1000", whole::<u64, 1, 1_000_000>,
        "Blobs that one mailbox may hold.");
    MAX_STORAGE_PER_USER: u64 = ("RELAY_MAX_STORAGE_PER_USER", "50000000", "50000000", whole::<u64, 1024, 1_099_511_627_776>,
        "Bytes that one mailbox may hold.");
    BLOB_TTL_SECS: u64 = ("RELAY_BLOB_TTL_SECS", "10368000", "10368000", whole::<u64, 1, 315_360_000>,
        "Seconds for which a blob is kept, rounded up to a full hour (120 days).");
    CLEANUP_INTERVAL: u64 = ("RELAY_CLEANUP_INTERVAL", "3600", "3600", whole::<u64, 1, 86_400>,
        "Seconds between two sweeps of what has expired.");
    FEDERATION_ENABLED: bool = ("RELAY_FEDERATION_ENABLED", "false", "true", boolean,
        "Whether this relay peers with others: moves its oldest mail to them when it fills up, and holds theirs.");
    FEDERATION_PEERS: Vec<PeerUrl> = ("RELAY_FEDERATION_PEERS", "", "wss://relay-b.example,ws://10.0.0.7:8080", parse::peers,
        "Relays to connect to, as a comma-separated list of `ws://` and `wss://` URLs. `#KEY` behind one pins its key (`/federation/key`); without it the first key seen is kept.");
    FEDERATION_ACCEPT: Vec<PeerId> = ("RELAY_FEDERATION_ACCEPT", "", "GGLqsDCf_nNVfWaXjgcKU2kMiYLgLc4sJTtm8CrSRtc", parse::identities,
        "Identities of the relays that may connect, as `relay peers` shows them. Unset: those of `RELAY_FEDERATION_PEERS`.");
    FEDERATION_ALLOW_CIDRS: Vec<IpNet> = ("RELAY_FEDERATION_ALLOW_CIDRS", "", "10.0.0.0/8", networks,
        "Private networks in which peers may be. Without it only addresses of the public Internet are dialled.");
    FEDERATION_LISTEN_ADDR: Option<SocketAddr> = ("RELAY_FEDERATION_LISTEN_ADDR", "", "127.0.0.1:8082", parse::optional_address,
        "Where federated itself takes connections of peers. Unset: gateways pass them on.");
    FEDERATION_RELAY_ID: Option<String> = ("RELAY_FEDERATION_RELAY_ID", "", "relay-north", parse::relay_id,
        "The name by which other operators are shown this relay. Unset: the beginning of its identity.");
    FEDERATION_OFFLOAD_THRESHOLD: f64 = ("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.80", "0.80", parse::ratio,
        "Part of `RELAY_MAX_STORAGE_BYTES` above which the oldest mail moves to peers.");
    FEDERATION_OFFLOAD_REFUSE: f64 = ("RELAY_FEDERATION_OFFLOAD_REFUSE", "0.95", "0.95", parse::ratio,
        "Part of `RELAY_MAX_STORAGE_BYTES` above which mail of other relays is refused. It never takes more than half, and goes home where this relay's own needs the room.");
    FEDERATION_RECALL_TIMEOUT: u64 = ("RELAY_FEDERATION_RECALL_TIMEOUT", "2000", "2000", whole::<u64, 0, 4_000>,
        "Milliseconds for which a fetch waits for mail that lies with peers. What comes later is hinted at.");
    FEDERATION_DRAIN_TIMEOUT: u64 = ("RELAY_FEDERATION_DRAIN_TIMEOUT", "300", "300", whole::<u64, 1, 86_400>,
        "Seconds for which `relay drain` waits until the relay is empty.");
    FEDERATION_PEER_TIMEOUT: u64 = ("RELAY_FEDERATION_PEER_TIMEOUT", "30", "30", whole::<u64, 1, 3_600>,
        "Seconds after which a silent peer is given up.");
    FEDERATION_CAPACITY_INTERVAL: u64 = ("RELAY_FEDERATION_CAPACITY_INTERVAL", "60", "60", whole::<u64, 1, 86_400>,
        "Seconds between two reports to peers of how much room there is.");
    FEDERATION_RATE_LIMIT: u32 = ("RELAY_FEDERATION_RATE_LIMIT", "300", "300", whole::<u32, 1, 1_000_000_000>,
        "Messages a minute that one peer may send; one holds up to 128 blobs.");
    METRICS_ADDR: SocketAddr = ("RELAY_METRICS_ADDR", "127.0.0.1:8081", "127.0.0.1:8081", address,
        "Where a gateway serves `/health`, `/ready`, `/metrics` and `/build-info` to the operator.");
    HANG_TIMEOUT: u32 = ("RELAY_HANG_TIMEOUT", "30", "30", whole::<u32, 3, 3_600>,
        "Seconds after which a process that hangs is ended and started again: by itself when its event loop stands still, by `relay up` when all of it does. More while a debugger is at work.");
    LOG_FORMAT: LogFormat = ("RELAY_LOG_FORMAT", "text", "json", log_format,
        "`text` for people, `json` for machines.");
    RUST_LOG: String = ("RUST_LOG", "info", "info,gateway=debug", filter,
        "Level of the relay's own log lines. Libraries are never heard below `warn`.");
    OBLIVIOUS_TARGETS: Vec<ObliviousTarget> = ("OBLIVIOUS_TARGETS", "", "https://relay.example", parse::targets,
        "For the outer relay `oblivious`: the relays to which it brings sealed requests, as a comma-separated list. One alone is served under the relay's own paths; of several each has a name before it, a path prefix (`/north=https://relay.example`) or a host name by which clients call (`north.example=https://relay.example`).");
    OBLIVIOUS_ORIGIN: Option<Uri> = ("OBLIVIOUS_ORIGIN", "", "https://outer.example", parse::url,
        "Where clients reach the outer relay. It refuses to start with a target at this origin or at that of `RELAY_PUBLIC_URL`: where one operator has both, they hide nobody.");
    OBLIVIOUS_LISTEN_ADDR: SocketAddr = ("OBLIVIOUS_LISTEN_ADDR", "127.0.0.1:8090", "127.0.0.1:8090", address,
        "Where the outer relay serves clients. `RELAY_TLS_VERIFIED`, `RELAY_TRUSTED_PROXIES`, `RELAY_MAX_CONNECTIONS`, `RELAY_ADDR_MAX_CONNECTIONS` and `RELAY_IDLE_TIMEOUT` hold for it as for a gateway.");
    OBLIVIOUS_METRICS_ADDR: SocketAddr = ("OBLIVIOUS_METRICS_ADDR", "127.0.0.1:8091", "127.0.0.1:8091", address,
        "Where the outer relay serves `/health`, `/ready`, `/metrics` and `/build-info` to its operator.");
    OBLIVIOUS_ALLOW_HTTP: bool = ("OBLIVIOUS_ALLOW_HTTP", "false", "true", boolean,
        "Whether targets beyond this machine may be reached without TLS: then anybody on the way sees when which relay is asked.");
    OBLIVIOUS_ALLOW_CIDRS: Vec<IpNet> = ("OBLIVIOUS_ALLOW_CIDRS", "", "10.0.0.0/8", networks,
        "Networks other than the public Internet in which targets may be whose host is a name. A target that is named by its address, or as `localhost`, needs none.");
    OBLIVIOUS_ADDR_RATE_LIMIT: u32 = ("OBLIVIOUS_ADDR_RATE_LIMIT", "600", "600", whole::<u32, 1, 1_000_000_000>,
        "Requests a minute that the outer relay takes from one client address (IPv6: one /64, and eight times that from one /48).");
    OBLIVIOUS_TARGET_RATE_LIMIT: u32 = ("OBLIVIOUS_TARGET_RATE_LIMIT", "600", "60000", whole::<u32, 1, 100_000_000>,
        "Sealed requests a minute that each target takes from the outer relay: 600 where its operator does not name the outer relay; where `RELAY_OHTTP_RELAYS` there names it, raise this to `RELAY_OHTTP_RATE_LIMIT` there. Clients that want more than their share of it are refused first.");
    OBLIVIOUS_TARGET_TIMEOUT: u64 = ("OBLIVIOUS_TARGET_TIMEOUT", "30", "30", whole::<u64, 1, 600>,
        "Seconds that a target has to answer a request, after which the client is answered 504.");
}

/// The directory of the sockets.
pub fn socket_directory(data: &std::path::Path, sockets: Option<PathBuf>) -> PathBuf {
    sockets.unwrap_or_else(|| data.join("run"))
}

/// Above which part of the ceiling mail moves to peers, and above which that of peers is refused.
pub fn federation_ratios(reader: &mut crate::Reader<'_>) -> (f64, f64) {
    let threshold = reader.read(&FEDERATION_OFFLOAD_THRESHOLD);
    let refuse = reader.read(&FEDERATION_OFFLOAD_REFUSE);
    if threshold >= refuse {
        reader.contradiction(format!(
            "RELAY_FEDERATION_OFFLOAD_THRESHOLD={threshold} is not below RELAY_FEDERATION_OFFLOAD_REFUSE={refuse}: \
             mail would go in circles, for example RELAY_FEDERATION_OFFLOAD_THRESHOLD=0.80 with \
             RELAY_FEDERATION_OFFLOAD_REFUSE=0.95"
        ));
    }
    (threshold, refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_example_parses() {
        for variable in KNOWN {
            let is_sound = (variable.accepts)(variable.default) && (variable.accepts)(variable.example);
            assert!(is_sound, "{}", variable.name);
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<_> = KNOWN.iter().map(|variable| variable.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
