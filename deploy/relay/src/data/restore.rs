//! `relay restore`: puts a backup into the place of the data of a relay that does not run.

use crate::admin_client;
use crate::data::backup::{DATABASE, manifest::Manifest};
use crate::display::output::Answer;
use crate::display::time::utc;
use crate::display::units::counted;
use relay_daemon::{Clock, Failure, Throttle, Vars};
use relay_proto::UnixSeconds;
use std::path::Path;
use storaged::offline;

/// Checks a backup and puts it in.
pub(crate) fn restore(vars: &Vars, clock: &Clock, backup: &Path, replace: bool) -> Result<Answer, Failure> {
    if admin_client::is_running(vars)? {
        return Err(failure!(Locked, "the relay runs; stop it first, and start it again afterwards"));
    }
    let manifest = Manifest::check(backup, Throttle::hurried())?;
    let census = offline::inspect(&backup.join(DATABASE), Throttle::hurried())?;
    if let Some(problem) = census.problems.first() {
        return Err(failure!(Corrupt, "{}: {problem}; take another backup", backup.display()));
    }
    let restored = offline::restore(vars, &backup.join(DATABASE), replace, clock.now())?;
    let mut text = format!(
        "restored: {} as of {}. What came later is gone unless a peer holds it; what was acknowledged or purged later is back, until it is \
         fetched and acknowledged again, or expires. Requests that were signed up to now are refused.\n",
        counted(census.blobs, "blob"),
        utc(UnixSeconds::new(manifest.created))
    );
    if let Some(aside) = restored.aside {
        let aside = aside.display();
        text += &format!("the database that was here lies in {aside}*; delete that when you are done\n");
    }
    Ok(text.into())
}
