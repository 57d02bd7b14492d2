//! What federated reads of the variables.

use relay_daemon::variables::{self, socket_directory};
use relay_daemon::{ConfigError, Vars};
use std::path::PathBuf;

/// Federated's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the sockets between the processes.
    pub sockets: PathBuf,
    /// Where the ops endpoints are.
    pub ops_socket: PathBuf,
    /// What `/metrics` asks for.
    pub metrics_token: Option<String>,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// With every mistake.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigError> {
        let mut reader = vars.reader();
        let data = reader.read(&variables::DATA_DIR);
        let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
        let metrics_token = reader.read(&variables::METRICS_TOKEN);
        if reader.read(&variables::FEDERATION_ENABLED) {
            reader.contradiction(
                "RELAY_FEDERATION_ENABLED=true: this version does not peer with other relays yet; leave it \
                 unset, or set RELAY_FEDERATION_ENABLED=false",
            );
        }
        reader.finish()?;
        Ok(Self { ops_socket: sockets.join("federated").join("ops.sock"), sockets, metrics_token })
    }
}
