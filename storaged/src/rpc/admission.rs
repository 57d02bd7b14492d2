//! Hands the shared policy to gateways.

use relay_daemon::Shutdown;
use relay_proto::policy::Policy;
use relay_proto::server::AdmissionHandler;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

/// Serves the policy, which stands for as long as the process.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) policy: Policy,
    pub(crate) shutdown: Shutdown,
}

impl AdmissionHandler for Admission {
    fn watch(&self) -> impl Stream<Item = Policy> + Send + 'static {
        let (tell, told) = mpsc::channel(1);
        let (policy, shutdown) = (self.policy.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            if tell.send(policy).await.is_ok() {
                tokio::select! {
                    () = tell.closed() => {}
                    () = shutdown.begun() => {}
                }
            }
        });
        ReceiverStream::new(told)
    }
}
