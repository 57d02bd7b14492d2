//! What the operator asks.

use crate::keyring::Keyring;
use crate::reporters::Reporters;
use crate::store::{Store, schema};
use crate::sweep::Sweep;
use relay_proto::admin::{Key, KeyStatus, Status};
use relay_proto::server::AdminHandler;
use relay_proto::telemetry::Process;
use relay_proto::{Refusal, UnixSeconds};
use std::sync::Arc;

/// Serves the operator.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) store: Arc<Store>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) sweep: Arc<Sweep>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) process: Process,
    /// When the key for client addresses was drawn.
    pub(crate) address_key_since: UnixSeconds,
}

impl AdminHandler for Admin {
    async fn status(&self) -> Result<Status, Refusal> {
        let mut processes = vec![self.process.clone()];
        processes.extend(self.reporters.processes());
        Ok(Status {
            processes,
            capacity: self.store.capacity(),
            blobs: self.store.gauges.blobs(),
            registrations: self.store.gauges.registrations(),
            schema_version: schema::VERSION,
            sqlite_version: rusqlite::version().to_owned(),
            sweep_suspended: self.sweep.is_suspended(),
            keys: vec![Key { name: "address hashing".to_owned(), since: self.address_key_since }],
        })
    }

    async fn keys(&self) -> Result<KeyStatus, Refusal> {
        self.keyring.status()
    }
}
