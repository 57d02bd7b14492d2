//! `relay compact`: gives free pages of the database back to the volume, while the relay serves or while it does not run.

use crate::quantity::bytes;
use crate::{ask, unwritable};
use relay_daemon::{Exit, Failure, Vars};
use relay_proto::admin::Slack;
use std::io::Write;

/// Gives back all there is, and says how much that was.
pub(crate) fn compact(vars: &Vars, out: &mut impl Write) -> Result<Exit, Failure> {
    let (before, after) = if ask::is_running(vars)? {
        ask::converse(vars, async |line| {
            let first = line.ask(async |storage| storage.compact().await).await?;
            let mut last = first;
            while last.free_bytes > 0 {
                let next = line.ask(async |storage| storage.compact().await).await?;
                if next.file_bytes >= last.file_bytes {
                    break;
                }
                last = next;
            }
            Ok((first, last))
        })?
    } else {
        let [before, after] = storaged::offline::compact(vars)?;
        (before, after)
    };
    writeln!(out, "{}", told(before, after)).map_err(unwritable)?;
    Ok(Exit::Success)
}

fn told(before: Slack, after: Slack) -> String {
    format!("the database takes {} now, {} of them free", bytes(after.file_bytes), bytes(after.free_bytes))
        + &match before.file_bytes.saturating_sub(after.file_bytes) {
            0 => String::new(),
            less => format!("; {} less than before", bytes(less)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_told_if_anything_was() {
        let slack = |free_bytes, file_bytes| Slack { free_bytes, file_bytes };
        assert_eq!(told(slack(0, 4096), slack(0, 4096)), "the database takes 4.0 KiB now, 0 B of them free");
        assert!(told(slack(4096, 8192), slack(0, 4096)).ends_with("4.0 KiB less than before"));
    }
}
