//! Tells storage what this process counts, so that any gateway can show the whole relay.

use crate::{Shutdown, metrics};
use prometheus::Registry;
use relay_proto::client::StorageClient;
use relay_proto::messages::{Process, Snapshot};
use relay_proto::refusal_of;
use std::time::Duration;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::IntervalStream;

/// How old storage's picture of this process may be.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon a report that found no storage is tried again: doubled each time, up to [`INTERVAL`]. Storage is
/// mostly away because it is just starting, and an operator who asks then wants to see everybody.
const RETRY: Duration = Duration::from_millis(20);

/// Reports until the process stops, through any number of restarts of storage.
pub async fn report(storage: StorageClient, process: Process, registry: Registry, shutdown: Shutdown) {
    let reporting = async {
        let mut pause = RETRY;
        loop {
            let (began, mut client) = (Instant::now(), storage.telemetry());
            let (process, registry) = (process.clone(), registry.clone());
            let snapshots = IntervalStream::new(tokio::time::interval(INTERVAL)).map(move |_| Snapshot {
                process: Some(process.clone()),
                families: metrics::gather(&registry),
            });
            if let Err(status) = client.report(snapshots).await {
                tracing::debug!(refusal = %refusal_of(&status), "storage does not take reports");
            }
            pause = if began.elapsed() > INTERVAL { RETRY } else { INTERVAL.min(pause * 2) };
            tokio::time::sleep(pause).await;
        }
    };
    let _: Option<()> = shutdown.unless_begun(reporting).await;
}
