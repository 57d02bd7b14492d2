//! `relay verify`: whether a backup, or the data of a relay that does not run, is whole.

use crate::admin_client;
use crate::data::backup::{DATABASE, manifest::Manifest};
use crate::display::output::Answer;
use crate::display::time::utc;
use crate::display::units::{bytes, counted};
use relay_daemon::{Exit, Failure, Throttle, Vars};
use std::path::Path;
use storaged::offline;

/// Reads all of it, and returns what is there and what is wrong.
pub(crate) fn verify(vars: &Vars, backup: Option<&Path>) -> Result<Answer, Failure> {
    let census = match backup {
        Some(backup) => {
            Manifest::check(backup, Throttle::hurried())?;
            offline::inspect(&backup.join(DATABASE), Throttle::hurried())?
        }
        None if admin_client::is_running(vars)? => {
            return Err(failure!(
                Locked,
                "the relay runs, and its database is nobody else's to open; make a backup, which is verified at once"
            ));
        }
        None => offline::inspect_home(vars)?,
    };
    let mut text = format!(
        "{} with {}, schema {}\n",
        counted(census.blobs, "blob"),
        bytes(census.blob_bytes),
        census.schema_version
    );
    if let Some(last) = census.last_expiry {
        text += &format!("the last one expires {}\n", utc(last));
    }
    for (table, rows) in &census.rows {
        text += &format!("  {table:<18}{rows}\n");
    }
    for problem in &census.problems {
        text += &format!("wrong: {problem}\n");
    }
    if census.problems.is_empty() {
        return Ok((text + "all is well\n").into());
    }
    Ok(Answer { text, exit: Exit::Corrupt })
}
