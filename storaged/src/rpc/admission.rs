//! Hands the shared policy to gateways.

use relay_daemon::Shutdown;
use relay_proto::messages::{Policy, WatchRequest, admission_server};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Serves the policy, which stands for as long as the process.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) policy: Policy,
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl admission_server::Admission for Admission {
    type WatchStream = ReceiverStream<Result<Policy, Status>>;

    /// The stream ends when the process stops.
    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest {} = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        let (policy, shutdown) = (self.policy.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            if sender.send(Ok(policy)).await.is_ok() {
                tokio::select! {
                    () = sender.closed() => {}
                    () = shutdown.begun() => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
