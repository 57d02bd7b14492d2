//! The `exchanges` and `exchange_answers` tables: offers under six-digit codes, from the offer to a few
//! minutes past its completion.
//!
//! A gateway that lost an answer asks again under the same request id and must get the same one. So the code
//! is derived from the id, which nobody else knows: the retry finds the offer that it made itself. For that
//! reason the id rests nowhere, only a digest of it beside each step that was taken.

use crate::auth::replays;
use crate::clock::Times;
use crate::db::{
    HEAVY_SWEEP_ROWS, KeyColumn, Load, RowLifetime, Space, Sql as _, Store, StoreError, Table, Total, Write,
    moment,
};
use crate::limits::{FairShare, Limits, Payment};
use crate::records::RecordKind;
use relay_proto::caller::Caller;
use relay_proto::limits::EXCHANGE_TTL_SECS;
use relay_proto::messages::RowKind;
use relay_proto::{ExchangeCode, ExchangeText, OfferName, RequestId, StorageError, UnixSeconds};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// How many there may be, the operator says; and as they live for minutes, they are swept more often than others.
pub(crate) static KIND: RecordKind = RecordKind {
    table: Table {
        name: "exchanges",
        key: KeyColumn::Bytes("name"),
        content: "octet_length(payload) + coalesce(octet_length(response), 0)",
        beside: 250,
        moment: "expires",
        lifetime: RowLifetime::Until(*EXCHANGE_TTL_SECS.end()),
        total: Some(TOTAL),
        may_go: None,
    },
    total: TOTAL,
    gauge: ("relay_exchange_offers_active", "Exchange offers not yet completed."),
    shown_as: RowKind::Offers,
    bytes_each: 1,
    share: FairShare::short_lived(TOTAL),
    swept: None,
};

const TOTAL: Total = Total::named("exchange_offers");

/// Codes that are tried for an offer. With a tenth of all codes taken, not one offer in 10⁶⁰ finds them all
/// taken.
const CANDIDATES: u32 = 64;

/// Expired offers that make way for a new one when there are too many.
const MAKE_WAY: u32 = 16;

/// For how long a response is remembered that was taken, in seconds. Gateways ask again for five.
const MEMORY_SECS: u64 = 300;

/// Who took a step: a digest of the request's id, another one for each kind of step.
#[derive(Debug, Clone, Copy)]
struct Taker([u8; 32]);

impl Taker {
    fn of(step: &str, request: &RequestId) -> Self {
        let mut hasher = Sha256::new_with_prefix("vauchi-relay/exchange-step/v1\0");
        hasher.update(step);
        hasher.update([0]);
        hasher.update(request.as_bytes());
        Self(hasher.finalize().into())
    }

    fn is(&self, digest: &[u8]) -> bool {
        self.0.ct_eq(digest).into()
    }
}

/// An offer to be made.
#[derive(Debug)]
pub(crate) struct NewOffer {
    pub(crate) caller: Caller,
    /// Names this request, so that a retry gets the same code.
    pub(crate) request_id: RequestId,
    pub(crate) payload: ExchangeText,
    pub(crate) ttl_secs: u64,
}

/// Stores an offer under a code that no live one has, and returns the code.
///
/// # Errors
/// When there are too many offers, the relay is full, the caller's share is used up, the offer was over before this
/// message came again, or the disk fails.
pub(crate) async fn offer(
    store: &Store,
    new: NewOffer,
    max_offers: u64,
    now: Times,
    limits: Arc<Limits>,
) -> Result<ExchangeCode, StoreError> {
    let load = Load { commands: 1, bytes: new.payload.as_str().len() };
    let work = move |write: &mut Write<'_>| insert(write, &new, max_offers, now, limits.payment(new.caller));
    store.writer.run_one_of(load, work).await
}

fn insert(
    write: &mut Write<'_>,
    new: &NewOffer,
    max_offers: u64,
    now: Times,
    payment: Payment<'_>,
) -> Result<ExchangeCode, StoreError> {
    let NewOffer { caller, request_id, payload, ttl_secs } = new;
    let taker = Taker::of("offer", request_id);
    if let Some(code) = offered(write, &taker, request_id, now.stamp)? {
        return Ok(code);
    }
    write.expect_room()?;
    // The offer that this message made is over; bringing the message again makes no other.
    if !replays::is_first(write, *caller, request_id, now)? {
        return Err(StorageError::UnknownCode.into());
    }
    let is_full = |write: &Write<'_>| write.total(TOTAL) >= max_offers;
    // What has expired and waits for the sweep counts for nothing.
    if is_full(write) {
        KIND.table.expire(write, now.deletable_minutes, MAKE_WAY)?;
    }
    if is_full(write) {
        return Err(StorageError::TooManyOffers.into());
    }
    payment.row(KIND.share, space(write, max_offers), write.gauges, payload.as_str().len())?;
    let mut insert = write.sql.prepare_cached(
        "INSERT INTO exchanges (name, expires, offered_by, payload) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO NOTHING",
    )?;
    for code in candidates(request_id) {
        let name = code.offer();
        forget_expired(write, &name, now.deletable_minutes)?;
        let expires = moment(now.stamp.plus(*ttl_secs));
        if insert.execute(params![name.as_bytes(), expires, taker.0, payload.as_str()])? > 0 {
            write.change[TOTAL] += 1;
            return Ok(code);
        }
    }
    Err(StorageError::TooManyOffers.into())
}

/// The code that this very request got before.
fn offered(
    write: &mut Write<'_>,
    taker: &Taker,
    request: &RequestId,
    now: UnixSeconds,
) -> Result<Option<ExchangeCode>, StoreError> {
    let found = write
        .sql
        .find("SELECT name FROM exchanges WHERE offered_by = ?1", [taker.0], |row| {
            row.get::<_, [u8; OfferName::LENGTH]>(0)
        })?
        .map(OfferName::from_bytes);
    let Some(name) = found else { return Ok(None) };
    if forget_expired(write, &name, now)? {
        return Ok(None);
    }
    Ok(candidates(request).find(|code| code.offer() == name))
}

/// Codes for a request, each as likely as any other to whoever does not know the request's id.
fn candidates(request: &RequestId) -> impl Iterator<Item = ExchangeCode> {
    // Numbers from here on are not used, or some codes would be likelier than others.
    const LIMIT: u64 = u64::MAX - u64::MAX % ExchangeCode::COUNT as u64;
    let request = *request;
    (0..CANDIDATES).filter_map(move |number| {
        let mut hasher = Sha256::new_with_prefix("vauchi-relay/exchange-code/v1\0");
        hasher.update(request.as_bytes());
        hasher.update(number.to_be_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        let drawn = u64::from_be_bytes(*digest.first_chunk()?);
        let code = u32::try_from(drawn % u64::from(ExchangeCode::COUNT)).ok()?;
        (drawn < LIMIT).then(|| ExchangeCode::try_from(code).ok()).flatten()
    })
}

/// How many offers there may be, and how many more.
fn space(write: &Write<'_>, max_offers: u64) -> Space {
    Space { whole: max_offers, free: max_offers.saturating_sub(write.total(TOTAL)) }
}

/// Deletes an offer if its time has passed. Answers whether it did.
fn forget_expired(write: &mut Write<'_>, name: &OfferName, now: UnixSeconds) -> Result<bool, StoreError> {
    let deleted = write.delete(
        TOTAL,
        "DELETE FROM exchanges WHERE name = ?1 AND expires <= ?2",
        params![name.as_bytes(), moment(now)],
    )?;
    Ok(deleted > 0)
}

/// Whether an offer is live, and who claimed it.
fn look(
    sql: &Connection,
    name: &OfferName,
    now: UnixSeconds,
) -> Result<Option<Option<[u8; 32]>>, StoreError> {
    sql.find(
        "SELECT claimed_by FROM exchanges WHERE name = ?1 AND expires > ?2",
        params![name.as_bytes(), moment(now)],
        |row| row.get(0),
    )
}

/// The payload that this very request claimed before.
pub(crate) fn claimed(
    sql: &Connection,
    request: &RequestId,
    name: &OfferName,
    now: UnixSeconds,
) -> Result<Option<ExchangeText>, StoreError> {
    let taker = Taker::of("claim", request);
    match look(sql, name, now)? {
        Some(Some(claimed_by)) if taker.is(&claimed_by) => sql
            .prepare_cached("SELECT payload FROM exchanges WHERE name = ?1")?
            .query_row([name.as_bytes()], |row| row.get(0))
            .map_err(StoreError::from)
            .and_then(text)
            .map(Some),
        _ => Ok(None),
    }
}

/// Claims an offer, leaves the response and returns the payload.
pub(crate) fn claim(
    write: &mut Write<'_>,
    request: &RequestId,
    name: &OfferName,
    response: &ExchangeText,
    now: UnixSeconds,
    payment: Payment<'_>,
) -> Result<ExchangeText, StoreError> {
    match look(write.sql, name, now)? {
        None => return Err(StorageError::UnknownCode.into()),
        Some(Some(_)) => return Err(StorageError::AlreadyClaimed.into()),
        Some(None) => write.expect_room()?,
    }
    payment.bytes(write.gauges, response.as_str().len())?;
    let taker = Taker::of("claim", request);
    let payload = write.sql.only(
        "UPDATE exchanges SET claimed_by = ?2, response = ?3 WHERE name = ?1 RETURNING payload",
        params![name.as_bytes(), taker.0, response.as_str()],
        |row| row.get(0),
    )?;
    text(payload)
}

/// The response that this very request took before.
pub(crate) fn completed(
    sql: &Connection,
    request: &RequestId,
    now: UnixSeconds,
) -> Result<Option<ExchangeText>, StoreError> {
    let taker = Taker::of("complete", request);
    sql.find(
        "SELECT response FROM exchange_answers WHERE completed_by = ?1 AND expires > ?2",
        params![taker.0, moment(now)],
        |row| row.get(0),
    )?
    .map(text)
    .transpose()
}

/// Takes the response and ends the exchange: its code is free at once, and its place.
pub(crate) fn complete(
    write: &mut Write<'_>,
    request: &RequestId,
    name: &OfferName,
    max_offers: u64,
    now: UnixSeconds,
    payment: Payment<'_>,
) -> Result<ExchangeText, StoreError> {
    match look(write.sql, name, now)? {
        None => return Err(StorageError::UnknownCode.into()),
        Some(None) => return Err(StorageError::NotYetClaimed.into()),
        Some(Some(_)) => {}
    }
    let (response, payload_bytes) = write.sql.only(
        "DELETE FROM exchanges WHERE name = ?1 RETURNING response, length(CAST(payload AS BLOB))",
        [name.as_bytes()],
        |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)),
    )?;
    payment.give_row_back(
        KIND.share,
        space(write, max_offers),
        write.gauges,
        payload_bytes.max(0).unsigned_abs(),
    );
    write.change[TOTAL] -= 1;
    let response = text(response)?;
    // The pages of the offer are free by now: this needs no room that was not there.
    write.sql.run(
        "INSERT INTO exchange_answers (completed_by, expires, response) VALUES (?1, ?2, ?3)",
        params![Taker::of("complete", request).0, moment(now.plus(MEMORY_SECS)), response.as_str()],
    )?;
    Ok(response)
}

fn text(text: String) -> Result<ExchangeText, StoreError> {
    ExchangeText::try_from(text).map_err(|_| StoreError::Corrupt(0))
}

/// Deletes the offers and responses whose time has passed, from the log as well: they are over after minutes, for the
/// disk too. While the clock is trusted, what would last longer than it may is shortened first.
pub(crate) async fn sweep(store: &Store, now: UnixSeconds, is_trusted: bool) -> Result<(), StoreError> {
    const ROWS: u32 = HEAVY_SWEEP_ROWS;
    if is_trusted {
        store.in_batches(ROWS, move |write, limit| shorten(write.sql, now, limit)).await?;
    }
    let expired = KIND.table.sweep(store, now, ROWS).await?;
    let forgotten = store.in_batches(ROWS, move |write, limit| forget(write.sql, now, limit)).await?;
    if expired + forgotten == 0 {
        return Ok(());
    }
    let erase = |write: &mut Write<'_>| {
        write.answer_after_erasure();
        Ok(())
    };
    match store.step(None, erase).await {
        // A reader held the log back. It is emptied as soon as nobody writes.
        Err(StoreError::Refused(StorageError::OutcomeUnknown)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives up to `limit` offers and responses an end that they can have: what was stored under a clock that was ahead
/// would be there until that time comes. Returns how many.
fn shorten(sql: &Connection, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    let latest = moment(now.plus(*EXCHANGE_TTL_SECS.end()));
    let mut shortened = 0;
    for statement in [
        "UPDATE exchanges SET expires = ?1 WHERE name IN (SELECT name FROM exchanges WHERE expires > ?1 LIMIT ?2)",
        "UPDATE exchange_answers SET expires = ?1
         WHERE completed_by IN (SELECT completed_by FROM exchange_answers WHERE expires > ?1 LIMIT ?2)",
        "UPDATE answers SET expires = ?1
         WHERE request_id IN (SELECT request_id FROM answers WHERE expires > ?1 LIMIT ?2)",
    ] {
        shortened += sql.run(statement, params![latest, limit])?;
    }
    Ok(shortened)
}

/// Forgets up to `limit` responses that were taken minutes ago. Returns how many.
fn forget(sql: &Connection, now: UnixSeconds, limit: u32) -> Result<u64, StoreError> {
    sql.run(
        "DELETE FROM exchange_answers WHERE completed_by IN
                 (SELECT completed_by FROM exchange_answers WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        params![moment(now), limit],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32) -> RequestId {
        let mut bytes = [0; RequestId::LENGTH];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        RequestId::from_bytes(bytes)
    }

    #[test]
    fn a_request_draws_the_same_codes_again_and_another_one_other_codes() {
        let drawn = |number| candidates(&request(number)).collect::<Vec<_>>();
        assert_eq!(drawn(1).len(), 64);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn codes_are_spread_evenly() {
        // Chi-squared over ten equal parts, nine degrees of freedom: above 27.9 once in a thousand, and the
        // draw is the same in every run.
        let mut parts = [0_f64; 10];
        for number in 0..10_000 {
            let code = candidates(&request(number)).next().unwrap().get();
            parts[code as usize / 100_000] += 1.0;
        }
        let distance: f64 = parts.iter().map(|found| (found - 1000.0).powi(2) / 1000.0).sum();
        assert!(distance < 27.9, "{distance}: {parts:?}");
    }

    #[test]
    fn one_id_is_another_taker_in_every_step() {
        let id = request(7);
        assert!(Taker::of("claim", &id).is(&Taker::of("claim", &id).0));
        assert!(!Taker::of("claim", &id).is(&Taker::of("offer", &id).0));
        assert!(!Taker::of("claim", &id).is(&Taker::of("claim", &request(8)).0));
        assert!(!Taker::of("claim", &id).is(&[]));
    }
}
