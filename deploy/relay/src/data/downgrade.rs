//! `relay downgrade`: makes the database readable for the version of the relay before this one.

use crate::display::output::Answer;
use relay_daemon::{Failure, Vars};

/// Downgrades the database of a stopped relay, and returns what to do next.
pub(crate) fn downgrade(vars: &Vars, to: Option<u32>) -> Result<Answer, Failure> {
    let version = storaged::offline::take_back(vars, to)?;
    Ok(format!("relay.db has schema version {version} now; start the version of the relay that wrote it\n")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_daemon::Exit;

    #[test]
    fn where_there_is_no_database_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let vars = Vars::from_pairs([("RELAY_DATA_DIR", directory.path().display().to_string())]);
        let refused = downgrade(&vars, None).unwrap_err();
        assert_eq!(refused.exit, Exit::DataMissing);
        assert!(!directory.path().join("relay.db").exists());
    }

    #[test]
    fn a_store_in_memory_has_no_way_back() {
        let vars = Vars::from_pairs([("RELAY_STORAGE_BACKEND", "memory")]);
        assert_eq!(downgrade(&vars, None).unwrap_err().exit, Exit::Usage);
    }
}
