//! What the operator asks.

use crate::clock::trusted::TrustedClock;
use crate::db::batch::Write;
use crate::db::{Store, compact, meta, schema};
use crate::mail::blobs;
use crate::metrics::aggregator::Reporters;
use crate::ohttp_keys::keyring::Keyring;
use crate::transfer::peering::{DRAINING, Peering};
use crate::transfer::{foreign_blobs, peers};
use relay_proto::admin::{
    BackupPart, ClockStanding, ClockStatus, Evict, Evicted, Key, KeyStatus, KindUsage, Slack, Status,
};
use relay_proto::federation::{self, PeerState, Pin, Reassigned};
use relay_proto::limits::MAX_OUTLASTING;
use relay_proto::server::AdminHandler;
use relay_proto::telemetry::Process;
use relay_proto::{PeerId, Refusal, Ttl, UnixSeconds};
use std::sync::Arc;
use tokio_stream::Stream;

/// Blobs that are given to another relay in one transaction.
const REASSIGNED_AT_ONCE: u32 = 500;

/// Serves the operator.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) store: Arc<Store>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) peering: Arc<Peering>,
    /// Whether the operator wants peers.
    pub(crate) federates: bool,
    pub(crate) process: Process,
    /// How long mail is kept.
    pub(crate) keeps: Ttl,
    /// When the key for client addresses was drawn.
    pub(crate) address_key_since: UnixSeconds,
}

impl AdminHandler for Admin {
    async fn status(&self) -> Result<Status, Refusal> {
        let mut processes = vec![self.process.clone()];
        processes.extend(self.reporters.processes());
        let clock = self.time.status();
        Ok(Status {
            processes,
            capacity: self.store.capacity(),
            blobs: self.store.gauges.blobs(),
            registrations: self.store.gauges.registrations(),
            schema_version: schema::VERSION,
            sqlite_version: rusqlite::version().to_owned(),
            sweep_suspended: clock.standing != ClockStanding::Trusted,
            keys: vec![Key { name: "address hashing".to_owned(), since: self.address_key_since }],
            clock: Some(clock),
        })
    }

    async fn keys(&self) -> Result<KeyStatus, Refusal> {
        self.keyring.status()
    }

    async fn peers(&self) -> Result<federation::Peering, Refusal> {
        let told = self.peering.peers().filter(|_| self.federates);
        let keys = if self.federates { Some(peers::identity(&self.store).await?) } else { None };
        let latest =
            self.peering.longest_kept().map(|kept| Ttl::from_secs(kept).expiry(self.time.times().now));
        let read = move |sql: &rusqlite::Connection| {
            let outlasting = match latest {
                Some(latest) => blobs::count_outlasting(sql, latest, MAX_OUTLASTING)?,
                None => 0,
            };
            Ok((peers::pins(sql)?, peers::holdings(sql)?, outlasting))
        };
        let (pins, holdings, outlasting) = self.store.readers.run(read).await?;
        Ok(federation::Peering {
            reporting: told.is_some(),
            noise_key: keys.as_ref().map(|(noise_secret, _)| noise_secret.public()),
            identity: keys.as_ref().map(|(_, signing_seed)| signing_seed.id()),
            peers: told.into_iter().flatten().map(PeerState::try_from).collect::<Result<_, _>>()?,
            pins: pins.into_iter().map(Pin::try_from).collect::<Result<_, _>>()?,
            holdings,
            draining: self.peering.is_draining(),
            keeps_secs: self.keeps.as_secs(),
            outlasting,
        })
    }

    async fn forget_peer(&self, url: String) -> Result<bool, Refusal> {
        Ok(self.store.writer.run_one(move |write| peers::unpin(write.sql, &url)).await?)
    }

    async fn reassign_peer(&self, from: PeerId, to: PeerId) -> Result<Reassigned, Refusal> {
        // Whoever is there under the old keys has not lost them.
        if self.peering.reachable().contains(&from) {
            return Ok(Reassigned::FromIsConnected);
        }
        if from == to || !self.store.readers.run(move |sql| peers::is_known(sql, &to)).await? {
            return Ok(Reassigned::ToIsUnknown);
        }
        let mut blobs = 0;
        loop {
            let give = move |write: &mut Write<'_>| {
                foreign_blobs::reassign(write.sql, &from, &to, REASSIGNED_AT_ONCE)
            };
            let given = self.store.writer.run_one(give).await?;
            blobs += given;
            if given < u64::from(REASSIGNED_AT_ONCE) {
                break;
            }
        }
        tracing::info!(blobs, "the operator gives what was held for one relay to another");
        Ok(Reassigned::Blobs(blobs))
    }

    async fn drain(&self, draining: bool) -> Result<u64, Refusal> {
        if draining != self.peering.is_draining() {
            self.store
                .writer
                .run_one(move |write| meta::set(write.sql, DRAINING, i64::from(draining)))
                .await?;
            self.peering.set_draining(draining);
            tracing::info!(draining, "the operator decides whether the relay is emptied into its peers");
        }
        Ok(self.store.gauges.blobs())
    }

    async fn backup(
        &self,
    ) -> Result<impl Stream<Item = Result<BackupPart, Refusal>> + Send + 'static, Refusal> {
        super::backup::backup(&self.store)
    }

    async fn compact(&self, give: bool) -> Result<Slack, Refusal> {
        let step = move |write: &mut Write<'_>| {
            let slack = if give { compact::step(write.sql)? } else { compact::slack(write.sql)? };
            if slack.free_bytes == 0 {
                // The file becomes shorter when the log is copied into it: before that nothing is given back.
                write.answer_after_erasure();
            }
            Ok(slack)
        };
        Ok(self.store.writer.run_one(step).await?)
    }

    async fn usage(
        &self,
    ) -> Result<impl Stream<Item = Result<KindUsage, Refusal>> + Send + 'static, Refusal> {
        Ok(super::usage::usage(&self.store, self.keeps, self.time.times().now))
    }

    async fn evict(
        &self,
        evict: Evict,
    ) -> Result<impl Stream<Item = Result<Evicted, Refusal>> + Send + 'static, Refusal> {
        super::usage::evict(&self.store, evict, self.keeps, self.time.times().now)
    }

    async fn trust_clock(&self) -> Result<ClockStatus, Refusal> {
        self.time.trust(&self.store).await
    }
}
