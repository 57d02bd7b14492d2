//! Health and counters, over gRPC for the other processes and over HTTP for the operator.

use super::Reply;
use crate::clock::TrustedClock;
use crate::db::Store;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::metrics::aggregator::MetricsAggregator;
use relay_daemon::Shutdown;
use relay_daemon::metrics::{merge, render};
use relay_daemon::ops::Ops;
use relay_proto::StorageError;
use relay_proto::messages::{
    CheckReply, CheckRequest, CollectReply, CollectRequest, ReportReply, Snapshot, telemetry_server,
};
use relay_proto::telemetry::Role;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Streaming};

/// How long a commit may take while the operator waits. Programs that ask give up after three seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves everybody.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    /// Whose processes report here; nobody's at the operator's socket.
    pub(crate) role: Option<Role>,
    pub(crate) store: Arc<Store>,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) reporters: Arc<MetricsAggregator>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl telemetry_server::Telemetry for Telemetry {
    async fn check(&self, request: Request<CheckRequest>) -> Reply<CheckReply> {
        let CheckRequest {} = request.into_inner();
        self.store.check().await?;
        Ok(Response::new(CheckReply {}))
    }

    async fn report(&self, request: Request<Streaming<Snapshot>>) -> Reply<ReportReply> {
        let reporter = self.reporters.enter(self.role.ok_or(StorageError::invalid("role"))?)?;
        let mut snapshots = request.into_inner();
        loop {
            tokio::select! {
                next = snapshots.next() => match next {
                    Some(Ok(snapshot)) => reporter.tell(snapshot)?,
                    // However the stream ended, the reporter is gone.
                    Some(Err(_)) | None => return Ok(Response::new(ReportReply {})),
                },
                () = self.shutdown.begun() => return Ok(Response::new(ReportReply {})),
            }
        }
    }

    async fn collect(&self, request: Request<CollectRequest>) -> Reply<CollectReply> {
        let CollectRequest {} = request.into_inner();
        self.limits.note_busy();
        let own = self.metrics.gather(&self.store.gauges);
        let families = merge(own.into_iter().chain(self.reporters.families()));
        Ok(Response::new(CollectReply { families }))
    }
}

impl Ops for Telemetry {
    async fn ready(&self) -> Result<(), &'static str> {
        if self.shutdown.has_begun() {
            return Err("stopping");
        }
        self.time.check()?;
        match timeout(PATIENCE, self.store.check()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the store cannot commit"),
            Err(_) => Err("the store does not commit in time: the disk is slow or hangs"),
        }
    }

    async fn metrics(&self) -> String {
        self.limits.note_busy();
        render(&merge(self.metrics.gather(&self.store.gauges)))
    }
}
