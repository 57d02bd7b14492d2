//! The policy that all gateways share, and the memory of when the client version minimum was raised.

use crate::config::Config;
use crate::db::error::StoreError;
use crate::db::{Store, meta};
use crate::rpc::offload;
use relay_daemon::{Exit, Failure};
use relay_proto::policy::{Policy, VersionPolicy};
use relay_proto::{AddressKey, UnixSeconds};
use rusqlite::Connection;

/// Names among the single numbers.
const MINIMUM: &str = "min_version";
const RAISED_AT: &str = "min_version_raised_at";

/// Draws the key for client addresses and settles the version deadline.
pub(crate) async fn establish(store: &Store, config: &Config, now: UnixSeconds) -> Result<Policy, Failure> {
    let address_key = AddressKey::random()
        .map_err(|error| Failure::new(Exit::Internal, format_args!("no randomness to be had: {error}")))?;
    let versions = config.versions;
    let raised_at = store.writer.run_one(move |write| raised_at(write.sql, versions.minimum, now)).await?;
    let federation_key = if config.federates {
        let keys = store.writer.run_one(|write| offload::identity(write.sql)).await?;
        Some(keys.noise_secret.public())
    } else {
        None
    };
    Ok(Policy {
        address_key,
        address_rate: config.address_rate,
        oblivious_rate: config.oblivious_rate,
        versions: VersionPolicy {
            minimum: versions.minimum,
            warn: versions.warn,
            deadline: raised_at.plus(versions.grace.as_secs()),
        },
        federation_key,
    })
}

/// When the minimum was raised to what it is. Lowering it is no reason to start a grace time.
fn raised_at(sql: &Connection, minimum: u16, now: UnixSeconds) -> Result<UnixSeconds, StoreError> {
    let known = meta::get(sql, MINIMUM)?.unwrap_or(0);
    let since = match meta::get(sql, RAISED_AT)? {
        Some(since) if i64::from(minimum) <= known => since,
        _ => i64::try_from(now.get()).unwrap_or(i64::MAX),
    };
    meta::set(sql, MINIMUM, i64::from(minimum))?;
    meta::set(sql, RAISED_AT, since)?;
    Ok(UnixSeconds::new(since.max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_time_starts_when_the_minimum_rises_and_survives_restarts() {
        let sql = Connection::open_in_memory().unwrap();
        sql.execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER)").unwrap();
        let steps =
            [(0, 100, 100), (2, 200, 200), (2, 300, 200), (1, 400, 200), (2, 500, 500), (3, 600, 600)];
        for (minimum, now, expected) in steps {
            let found = raised_at(&sql, minimum, UnixSeconds::new(now)).unwrap();
            assert_eq!(found.get(), expected, "minimum {minimum} at {now}");
        }
    }
}
