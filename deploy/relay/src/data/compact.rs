//! `relay compact`: gives free pages of the database back to the volume, while the relay serves or while it does not run.

use crate::admin_client::{self, Admin};
use crate::display::output::Answer;
use crate::display::progress::Progress;
use crate::display::units::bytes;
use relay_daemon::{Failure, Vars};
use relay_proto::messages::{CompactReply, CompactRequest};
use std::io::Write;

/// Gives back all free pages, and returns how much that was.
pub(crate) fn compact(vars: &Vars, errors: &mut impl Write) -> Result<Answer, Failure> {
    let (before, after) = if admin_client::is_running(vars)? {
        let mut progress = Progress::of_something_short(errors);
        let given = admin_client::with_client(vars, async |client| {
            let step = async |give| {
                let request = async |mut admin: Admin| admin.0.compact(CompactRequest { give }).await;
                Ok::<_, Failure>(client.call(request).await?.into_inner())
            };
            let before = step(false).await?;
            let mut last = before;
            while last.free_bytes > 0 {
                let next = step(true).await?;
                // Mail that is deleted meanwhile frees more; where nothing is given back any more, nothing can be.
                if next.file_bytes >= last.file_bytes {
                    break;
                }
                last = next;
                let given = before.file_bytes.saturating_sub(last.file_bytes);
                let words = format_args!("{} given back, {} free", bytes(given), bytes(last.free_bytes));
                progress.show(given, given.saturating_add(last.free_bytes), &words);
            }
            Ok((before, last))
        });
        progress.end();
        given?
    } else {
        let [before, after] = storaged::offline::compact(vars)?;
        (before, after)
    };
    Ok((summary(before, after) + "\n").into())
}

fn summary(before: CompactReply, after: CompactReply) -> String {
    format!("the database takes {} now, {} of them free", bytes(after.file_bytes), bytes(after.free_bytes))
        + &match before.file_bytes.saturating_sub(after.file_bytes) {
            0 => String::new(),
            less => format!("; {} less than before", bytes(less)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, sample};

    #[test]
    fn what_was_given_back_is_told_if_anything_was() {
        let slack = |free_bytes, file_bytes| CompactReply { free_bytes, file_bytes };
        assert_eq!(
            summary(slack(0, 4096), slack(0, 4096)),
            "the database takes 4.0 KiB now, 0 B of them free"
        );
        assert!(summary(slack(4096, 8192), slack(0, 4096)).ends_with("4.0 KiB less than before"));
    }

    #[test]
    fn a_running_relay_is_asked_until_nothing_is_free() {
        let storage = Storage::answering(sample(), |answers| answers.pages = 6);
        let told = compact(&storage.vars(), &mut Vec::new()).unwrap().text;
        assert_eq!(told, "the database takes 4.0 KiB now, 0 B of them free; 20.0 KiB less than before\n");
    }
}
