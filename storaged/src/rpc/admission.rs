//! The policy that all gateways share, and handing it to them.

use super::Reply;
use crate::config::Config;
use crate::db::{Store, meta};
use crate::transfer::peers;
use relay_daemon::{Exit, Failure, Shutdown};
use relay_proto::limits::OLD_RELAY_SHARE;
use relay_proto::messages::{Policy, WatchRequest, admission_server};
use relay_proto::{AddressKey, NoiseKey, UnixSeconds};
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
    async fn watch(&self, request: Request<WatchRequest>) -> Reply<Self::WatchStream> {
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

/// Returns the policy: draws the key for client addresses and settles the version deadline.
///
/// # Errors
/// When there is no randomness, or nothing can be stored.
pub(crate) async fn establish(store: &Store, config: &Config, now: UnixSeconds) -> Result<Policy, Failure> {
    let address_key = AddressKey::random()
        .map_err(|error| Failure::new(Exit::Internal, format_args!("no randomness to be had: {error}")))?;
    let raised_at = meta::raise_minimum_version(store, config.versions.minimum, now).await?;
    let federation_key = if config.federates {
        let (noise_secret, _) = peers::identity(store).await?;
        Some(noise_secret.public())
    } else {
        None
    };
    Ok(policy(config, address_key, raised_at, federation_key))
}

fn policy(
    config: &Config,
    address_key: AddressKey,
    raised_at: UnixSeconds,
    federation_key: Option<NoiseKey>,
) -> Policy {
    let versions = config.versions;
    Policy {
        address_key: address_key.into(),
        address_rate: config.address_rate,
        min_version: versions.minimum.into(),
        warn_version: versions.warn.into(),
        upgrade_deadline: raised_at.plus(versions.grace.as_secs()).get(),
        oblivious_rate: (config.oblivious_rate / OLD_RELAY_SHARE).max(1),
        federation_key: federation_key.map(Into::into).unwrap_or_default(),
        named_relay_rate: config.oblivious_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::Vars;

    #[test]
    fn an_older_gateway_allows_a_named_relay_ten_times_the_rate_that_it_reads() {
        for (rate, tenth) in [(60_005, 6000), (10, 1), (1, 1)] {
            let vars = Vars::from_pairs([("RELAY_OHTTP_RATE_LIMIT", rate.to_string())]);
            let config = Config::from_vars(&vars).unwrap();
            let policy = policy(&config, AddressKey::from_bytes([1; 32]), UnixSeconds::new(5), None);
            assert_eq!((policy.named_relay_rate, policy.oblivious_rate), (rate, tenth));
            assert!(policy.federation_key.is_empty(), "a relay that does not peer has no key for it");
        }
    }
}
