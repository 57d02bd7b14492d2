//! Taking stock: whether a database is whole, and what it holds.

use crate::db::{Position, StoreError, Total, blob_rows, meta, schema, time};
use crate::records;
use relay_daemon::{Failure, Throttle};
use relay_proto::{BlobId, MailboxHash, UnixSeconds};
use rusqlite::Connection;

/// Complaints of one kind that are told; more are counted.
const TOLD: usize = 10;

/// What a database holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Version of its schema.
    pub schema_version: u32,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of their ciphertext and origin hints, as quotas count them.
    pub blob_bytes: u64,
    /// When the last of them expires, if there is one.
    pub last_expiry: Option<UnixSeconds>,
    /// From when to when requests were, or will be, sealed that the keys in it open.
    pub sealed: Option<(UnixSeconds, UnixSeconds)>,
    /// Rows of each table.
    pub rows: Vec<(String, u64)>,
    /// What is wrong, in words without a name of anything stored.
    pub problems: Vec<String>,
}

/// The totals of tables other than records, and what they are sums of.
const SUMS: [(Total, &str); 10] = [
    (Total::BLOBS, "SELECT count(*) FROM blobs"),
    (Total::BYTES, "SELECT coalesce(sum(size), 0) FROM blobs"),
    (Total::REGISTRATIONS, "SELECT count(*) FROM registrations"),
    (Total::LEASES, "SELECT count(*) FROM leases"),
    (Total::HINTS, "SELECT count(*) FROM hints"),
    (Total::HELD, "SELECT count(*) FROM held"),
    (Total::OUTBOX, "SELECT count(*) FROM outbox"),
    (Total::CLAIMS, "SELECT count(*) FROM claims"),
    (Total::HELD_BYTES, "SELECT coalesce(sum(size), 0) FROM held WHERE shared != 1"),
    (Total::PURGES, "SELECT count(*) FROM purges"),
];

/// The first version whose totals are compared with what they are sums of.
const OLDEST_COMPARED: u32 = 4;

/// Operations of SQLite's machine between two rests: a few milliseconds.
const OPERATIONS: i32 = 1000;

/// Looks at everything, and rests in between. Changes nothing.
pub(crate) fn take(mut sql: Connection, mut pace: Throttle) -> Result<Census, Failure> {
    let failed = |error: rusqlite::Error| Failure::from(StoreError::from(error));
    schema::check(&sql)?;
    let rest = move || {
        pace.rest();
        false
    };
    sql.progress_handler(OPERATIONS, Some(rest)).map_err(failed)?;
    look(&sql).map_err(Failure::from)
}

fn look(sql: &Connection) -> Result<Census, StoreError> {
    let mut census = Census {
        schema_version: sql.pragma_query_value(None, "user_version", |row| row.get(0))?,
        ..Census::default()
    };
    census.structure(sql)?;
    if !census.problems.is_empty() {
        // What is broken so deeply is not worth counting.
        return Ok(census);
    }
    census.mail(sql)?;
    census.keys(sql)?;
    census.tables(sql)?;
    // Sums came with the tables that they are over; older databases have fewer.
    let sums = SUMS.into_iter().map(|(total, counted)| (total, counted.to_owned()));
    let records = records::KINDS.iter().map(|record| (record.total, record.table.count()));
    for (total, counted) in sums.chain(records) {
        if census.schema_version < total.since().max(OLDEST_COMPARED) {
            continue;
        }
        let name = total.column();
        let kept: u64 = sql.query_row(&format!("SELECT {name} FROM totals"), [], |row| row.get(0))?;
        let counted: u64 = sql.query_row(&counted, [], |row| row.get(0))?;
        if kept != counted {
            census.problems.push(format!("the sum of {name} is kept as {kept} and counts {counted}"));
        }
    }
    Ok(census)
}

impl Census {
    fn structure(&mut self, sql: &Connection) -> Result<(), StoreError> {
        let mut statement = sql.prepare(&format!("PRAGMA integrity_check({TOLD})"))?;
        let mut rows = statement.query([])?;
        let mut wrong = 0;
        while let Some(row) = rows.next()? {
            // SQLite's words can quote what is stored.
            wrong += usize::from(row.get_ref(0)?.as_str().is_ok_and(|word| word != "ok"));
        }
        if wrong > 0 {
            self.problems.push(format!("SQLite finds {wrong} faults in the file, or more"));
        }
        let mut statement = sql.prepare("PRAGMA foreign_key_check")?;
        if statement.query([])?.next()?.is_some() {
            self.problems.push("rows belong to others that are not there".to_owned());
        }
        Ok(())
    }

    fn mail(&mut self, sql: &Connection) -> Result<(), StoreError> {
        let mut statement = sql.prepare(
            "SELECT seq, mailbox, id, size, ciphertext, created, coalesce(length(origin_hint), 0)
             FROM blobs ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        let (mut damaged, mut miscounted, mut untimely) = (0_u64, 0_u64, 0_u64);
        while let Some(row) = rows.next()? {
            let bytes =
                |index| row.get_ref(index).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default();
            let ciphertext = bytes(4);
            let named = MailboxHash::try_from(bytes(1)).ok().zip(BlobId::try_from(bytes(2)).ok());
            let is_sound = named.is_some_and(|(mailbox, id)| BlobId::derive(&mailbox, ciphertext) == id);
            damaged += u64::from(!is_sound);
            let size = blob_rows::counted_size(ciphertext.len(), row.get(6)?);
            miscounted += u64::from(row.get::<_, u64>(3)? != size);
            self.blobs += 1;
            self.blob_bytes += size;
            let expires = Position::from_sql(row.get(0)?).expires();
            self.last_expiry = self.last_expiry.max(Some(expires));
            untimely += u64::from(expires <= time(row.get(5)?));
        }
        if untimely > 0 {
            self.problems.push(format!("{untimely} blobs expire before they came"));
        }
        if miscounted > 0 {
            self.problems.push(format!("{miscounted} blobs have another size than is counted for them"));
        }
        if damaged > 0 {
            self.problems.push(format!("{damaged} blobs are not what their names say; they are not served"));
        }
        Ok(())
    }

    /// Keys for Oblivious HTTP came with the third version.
    fn keys(&mut self, sql: &Connection) -> Result<(), StoreError> {
        let Some(window_secs) = meta::get(sql, meta::KEY_WINDOW_SECS)?.filter(|_| self.schema_version >= 3)
        else {
            return Ok(());
        };
        let ends = "SELECT min(number), max(number) + 1 FROM key_windows";
        let (from, to): (Option<i64>, Option<i64>) =
            sql.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let at = |number: i64| time(number.saturating_mul(window_secs));
        self.sealed = from.zip(to).map(|(from, to)| (at(from), at(to)));
        Ok(())
    }

    fn tables(&mut self, sql: &Connection) -> Result<(), StoreError> {
        let mut statement = sql.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )?;
        let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for name in names {
            let rows = sql.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0))?;
            self.rows.push((name, rows));
        }
        Ok(())
    }
}
