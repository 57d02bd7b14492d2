//! What the storage daemon is told.

use relay_daemon::variables::{self, Backend, socket_directory};
use relay_daemon::{ConfigError, Vars};
use relay_proto::Ttl;
use relay_proto::socket::AllowedUsers;
use std::path::PathBuf;
use std::time::Duration;

/// The storage daemon's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where mail rests.
    pub backend: Backend,
    /// The directory that holds all state.
    pub data: PathBuf,
    /// The directory of the sockets.
    pub sockets: PathBuf,
    /// Who may connect to them.
    pub users: AllowedUsers,
    /// Whether all callers must show the secret of their socket.
    pub require_secrets: bool,
    /// Bounds on what is stored.
    pub bounds: Bounds,
    /// Requests a minute for one mailbox.
    pub mailbox_rate: u32,
    /// Requests a minute for one client address.
    pub address_rate: u32,
    /// What one client address may add in an hour.
    pub allowance: Allowance,
    /// Recovery queries a minute for one client address.
    pub recovery_rate: u32,
    /// Oblivious requests a minute for one relay that the operator named.
    pub oblivious_rate: u32,
    /// Bounds on exchanges.
    pub exchange: ExchangeSettings,
    /// Keys for Oblivious HTTP.
    pub keys: KeySettings,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
    /// Client versions that are served.
    pub versions: Versions,
    /// Whether this relay has peers.
    pub federates: bool,
    /// The part of the ceiling above which mail of other relays is refused.
    pub refuse: f64,
}

/// What one client address may add to the store in an hour.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Bytes; `None` for a part of the ceiling.
    pub bytes: Option<u64>,
    /// New names; `None` for the usual number, and no more than a part of what each table holds.
    pub names: Option<u64>,
    /// Bytes that one blob may have.
    pub largest_blob: u64,
}

/// What may be done a minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) mailbox: u32,
    pub(crate) address: u32,
    pub(crate) oblivious: u32,
    pub(crate) recovery: u32,
    pub(crate) allowance: Allowance,
}

/// Bounds on what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long a blob and a registration are kept.
    pub ttl: Ttl,
    /// Bytes that the database may take.
    pub database_bytes: u64,
    /// Bytes that one blob may have.
    pub blob_bytes: usize,
    /// Blobs that one mailbox may hold.
    pub mailbox_blobs: u64,
    /// Bytes that one mailbox may hold.
    pub mailbox_bytes: u64,
    /// Whether only registered mailboxes take mail.
    pub require_registration: bool,
}

/// Bounds on exchanges.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeSettings {
    /// Offers that may be live at once.
    pub max_offers: u64,
    /// How long an offer lives that names no time, in seconds.
    pub default_ttl_secs: u64,
    /// Wrong codes a minute that the relay listens to at most.
    pub guess_rate: u32,
}

/// Keys for Oblivious HTTP.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// Length of a key's window, in seconds.
    pub window_secs: u64,
    /// Where an offline anchor's files are; `None` for a relay that is its own anchor.
    pub anchor: Option<PathBuf>,
}

/// Client versions that are served.
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    /// The oldest.
    pub minimum: u16,
    /// Older ones are warned.
    pub warn: u16,
    /// For how long older ones are still served after the minimum was raised.
    pub grace: Duration,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// With every mistake in the variables.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let bounds = Bounds {
            ttl: Ttl::from_secs(reader.read(&variables::BLOB_TTL_SECS)),
            database_bytes: reader.read(&variables::MAX_STORAGE_BYTES),
            blob_bytes: reader.read(&variables::MAX_MESSAGE_SIZE),
            mailbox_blobs: reader.read(&variables::MAX_BLOBS_PER_USER),
            mailbox_bytes: reader.read(&variables::MAX_STORAGE_PER_USER),
            require_registration: reader.read(&variables::REQUIRE_REGISTRATION),
        };
        let days = reader.read(&variables::VERSION_GRACE_DAYS);
        let versions = Versions {
            minimum: reader.read(&variables::MIN_VERSION),
            warn: reader.read(&variables::WARN_VERSION),
            grace: Duration::from_secs(days * 86_400),
        };
        if versions.warn != 0 && versions.warn < versions.minimum {
            reader.contradiction(
                "RELAY_WARN_VERSION is below RELAY_MIN_VERSION: clients would be refused before they are \
                 warned, for example RELAY_MIN_VERSION=2 with RELAY_WARN_VERSION=3",
            );
        }
        let (_, refuse) = variables::federation_ratios(&mut reader);
        let allowance = Allowance {
            bytes: reader.read(&variables::ADDR_BYTES_PER_HOUR),
            names: reader.read(&variables::ADDR_NAMES_PER_HOUR),
            largest_blob: bounds.blob_bytes as u64,
        };
        if allowance.bytes.is_some_and(|bytes| bytes < 2 * allowance.largest_blob) {
            reader.contradiction(
                "RELAY_ADDR_BYTES_PER_HOUR is less than twice RELAY_MAX_MESSAGE_SIZE: nobody could send the largest \
                 blob, for example RELAY_ADDR_BYTES_PER_HOUR=33554432",
            );
        }
        let config = Self {
            federates: reader.read(&variables::FEDERATION_ENABLED),
            refuse,
            backend: reader.read(&variables::STORAGE_BACKEND),
            data,
            sockets,
            users: AllowedUsers::new(reader.read(&variables::SOCKET_UIDS)),
            require_secrets: reader.read(&variables::REQUIRE_SOCKET_SECRETS),
            bounds,
            mailbox_rate: reader.read(&variables::RATE_LIMIT),
            allowance,
            address_rate: reader.read(&variables::ADDR_RATE_LIMIT),
            recovery_rate: reader.read(&variables::RECOVERY_RATE_LIMIT),
            oblivious_rate: reader.read(&variables::OHTTP_RATE_LIMIT),
            exchange: ExchangeSettings {
                max_offers: reader.read(&variables::EXCHANGE_MAX_OFFERS),
                default_ttl_secs: reader.read(&variables::EXCHANGE_DEFAULT_TTL_SECS),
                guess_rate: reader.read(&variables::EXCHANGE_GUESS_LIMIT),
            },
            keys: KeySettings {
                window_secs: reader.read(&variables::OHTTP_KEY_ROTATION),
                anchor: reader.read(&variables::ANCHOR_DIR),
            },
            sweep_interval: Duration::from_secs(reader.read(&variables::CLEANUP_INTERVAL)),
            versions,
        };
        reader.finish()?;
        Ok(config)
    }

    /// What may be done a minute.
    pub(crate) const fn rates(&self) -> Rates {
        Rates {
            mailbox: self.mailbox_rate,
            address: self.address_rate,
            oblivious: self.oblivious_rate,
            recovery: self.recovery_rate,
            allowance: self.allowance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variables_give_the_documented_defaults() {
        let config = Config::from_vars(&Vars::default()).unwrap();
        assert_eq!(config.bounds.ttl.as_secs(), 120 * 86_400);
        assert_eq!(config.bounds.database_bytes, 1 << 30);
        assert_eq!(config.sockets, PathBuf::from("./data/run"));
        assert_eq!(config.backend, Backend::Sqlite);
        assert_eq!((config.mailbox_rate, config.address_rate), (60, 600));
    }

    #[test]
    fn a_share_that_is_smaller_than_a_blob_is_a_contradiction() {
        let vars = Vars::from_pairs([("RELAY_ADDR_BYTES_PER_HOUR", "2097151")]);
        let report = Config::from_vars(&vars).unwrap_err().to_string();
        assert!(report.contains("RELAY_ADDR_BYTES_PER_HOUR is less than twice"), "{report}");
        assert!(Config::from_vars(&vars.with("RELAY_MAX_MESSAGE_SIZE", "1000000")).is_ok());
    }

    #[test]
    fn a_warning_below_the_minimum_is_a_contradiction() {
        let vars = Vars::from_pairs([("RELAY_MIN_VERSION", "3"), ("RELAY_WARN_VERSION", "2")]);
        let report = Config::from_vars(&vars).unwrap_err().to_string();
        assert!(report.contains("RELAY_WARN_VERSION is below RELAY_MIN_VERSION"), "{report}");
    }
}
