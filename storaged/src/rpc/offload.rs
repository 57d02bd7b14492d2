//! What federation asks.

use crate::store::Store;
use relay_proto::admin::Capacity;
use relay_proto::server::OffloadHandler;
use std::sync::Arc;

/// Serves federation.
#[derive(Debug)]
pub(crate) struct Offload {
    pub(crate) store: Arc<Store>,
}

impl OffloadHandler for Offload {
    fn capacity(&self) -> Capacity {
        self.store.capacity()
    }
}
