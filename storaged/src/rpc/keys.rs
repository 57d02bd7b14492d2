//! Hands keys for Oblivious HTTP to gateways.

use super::Reply;
use crate::ohttp_keys::keyring::Keyring;
use relay_proto::messages::{KeySet, KeysRequest, keys_server};
use std::sync::Arc;
use tonic::{Request, Response};

/// Serves gateways.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) keyring: Arc<Keyring>,
}

#[tonic::async_trait]
impl keys_server::Keys for Keys {
    async fn current(&self, request: Request<KeysRequest>) -> Reply<KeySet> {
        let KeysRequest {} = request.into_inner();
        Ok(Response::new(self.keyring.current().await?))
    }
}
