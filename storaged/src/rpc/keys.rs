//! Hands keys for Oblivious HTTP to gateways.

use crate::ohttp_keys::keyring::Keyring;
use relay_proto::Refusal;
use relay_proto::keys::KeySet;
use relay_proto::server::KeysHandler;
use std::sync::Arc;

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) keyring: Arc<Keyring>,
}

impl KeysHandler for Keys {
    async fn current(&self) -> Result<KeySet, Refusal> {
        self.keyring.current().await
    }
}
