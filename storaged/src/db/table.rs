//! What operators, sweeps and backups must know of a table. Each table says it in the file that reads and writes its
//! rows.

use crate::db::{Position, SWEEP_ROWS, Sql as _, Store, StoreError, Total, Write, count, moment};
use relay_proto::UnixSeconds;
use rusqlite::params;
use rusqlite::types::Value;

/// A table whose rows have a key of one column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: KeyColumn,
    /// How many bytes of content a row has, in SQL.
    pub(crate) content: &'static str,
    /// About how many a row takes besides.
    pub(crate) beside: u64,
    /// The column that tells how old a row is.
    pub(crate) moment: &'static str,
    pub(crate) lifetime: RowLifetime,
    /// Where its rows are counted.
    pub(crate) total: Option<Total>,
    /// Which rows may be deleted because their time has passed or an operator says so, in SQL.
    pub(crate) may_go: Option<&'static str>,
}

/// The column that rows are named by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyColumn {
    Bytes(&'static str),
    Number(&'static str),
}

/// How the age of a row follows from its moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowLifetime {
    /// The moment is when it was stored or renewed.
    Since,
    /// The moment is its end, so many seconds after it was stored or renewed.
    Until(u64),
    /// The moment is its end, so many seconds after mail of the same age would end.
    UntilMailAnd(u64),
}

impl KeyColumn {
    const fn column(self) -> &'static str {
        match self {
            Self::Bytes(column) | Self::Number(column) => column,
        }
    }

    /// A key before all others.
    pub(crate) fn first(self) -> Value {
        match self {
            Self::Bytes(_) => Value::Blob(Vec::new()),
            Self::Number(_) => Value::Integer(i64::MIN),
        }
    }
}

impl Table {
    /// Selects key, bytes of content and moment of up to `?2` rows behind the key `?1`.
    pub(crate) fn look(&self) -> String {
        let Self { name, content, moment, .. } = self;
        let key = self.key.column();
        format!("SELECT {key}, {content}, {moment} FROM {name} WHERE {key} > ?1 ORDER BY {key} LIMIT ?2")
    }

    /// Counts its rows.
    pub(crate) fn count(&self) -> String {
        format!("SELECT count(*) FROM {}", self.name)
    }

    /// Deletes the row with a key, if it is there and its moment is still this one. Returns whether it was.
    pub(crate) fn delete(&self, write: &mut Write<'_>, key: &Value, moment: i64) -> Result<bool, StoreError> {
        let (name, column, may_go) = (self.name, self.key.column(), self.may_go());
        let statement = format!("DELETE FROM {name} WHERE {column} = ?1 AND {} = ?2{may_go}", self.moment);
        let gone = write.sql.run(&statement, params![key, moment])?;
        self.gone(write, gone);
        Ok(gone > 0)
    }

    /// Deletes up to `limit` rows whose time has passed, the first to end first. Returns how many. For tables with a
    /// column `expires`.
    pub(crate) fn expire(
        &self,
        write: &mut Write<'_>,
        now: UnixSeconds,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let (name, key, may_go) = (self.name, self.key.column(), self.may_go());
        let statement = format!(
            "DELETE FROM {name} WHERE {key} IN
                 (SELECT {key} FROM {name} WHERE expires <= ?1{may_go} ORDER BY expires LIMIT ?2)"
        );
        let expired = write.sql.run(&statement, params![moment(now), limit])?;
        self.gone(write, expired);
        Ok(expired)
    }

    /// Deletes all rows whose time has passed, so many in one transaction. Returns how many.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn sweep(
        &'static self,
        store: &Store,
        now: UnixSeconds,
        rows: u32,
    ) -> Result<u64, StoreError> {
        store.in_batches(rows, move |write, limit| self.expire(write, now, limit)).await
    }

    /// Deletes up to `limit` rows whose time has passed, where the key is the place of a blob. Returns how many.
    pub(crate) fn expire_placed(
        &self,
        write: &mut Write<'_>,
        now: UnixSeconds,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let name = self.name;
        let statement = format!(
            "DELETE FROM {name} WHERE seq IN (SELECT seq FROM {name} WHERE seq < ?1 ORDER BY seq LIMIT ?2)"
        );
        let first_alive = Position::first_alive(now).sql();
        let expired = write.sql.run(&statement, params![first_alive, limit])?;
        self.gone(write, expired);
        Ok(expired)
    }

    /// Deletes the oldest rows of a table of tombstones, which are in the order of their hours. Returns how many.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn forget(&'static self, store: &Store, before: UnixSeconds) -> Result<u64, StoreError> {
        let name = self.name;
        let forget = move |write: &mut Write<'_>, limit: u32| {
            let statement = format!(
                "DELETE FROM {name} WHERE seq IN (SELECT seq FROM {name} ORDER BY seq LIMIT ?2) AND hour < ?1"
            );
            write.sql.run(&statement, params![moment(before), limit])
        };
        store.in_batches(SWEEP_ROWS, forget).await
    }

    fn may_go(&self) -> String {
        self.may_go.map(|may_go| format!(" AND ({may_go})")).unwrap_or_default()
    }

    fn gone(&self, write: &mut Write<'_>, rows: u64) {
        if let Some(total) = self.total {
            write.change[total] -= count(rows);
        }
    }
}
