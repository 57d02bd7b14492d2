//! What a process started by root gives up of root's powers: all of them, but those without which it could not do what it
//! was started for.

use relay_proto::telemetry::Role;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Ports below this one are for those with a capability.
const FIRST_FREE_PORT: u16 = 1024;

/// Gives up all capabilities of this thread, and with them those that programs could give it.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn drop_all_but(kept: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    let kept = kept & before.permitted;
    // A service manager may have taken everything, and the call to give something up as well.
    if (before.permitted | before.effective | before.inheritable) == kept {
        return Ok(());
    }
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Without the right to, there is nothing to give up; and a kernel may not know it.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok(())
}

/// What a role cannot do without: ports below 1024 want a capability, and so do, to root, directories that belong to
/// somebody else.
pub(super) fn needed(role: Role, ports: &[u16], used: &[&Path]) -> CapabilitySet {
    let mut needed = CapabilitySet::empty();
    if role != Role::Storaged && ports.iter().any(|port| (1..FIRST_FREE_PORT).contains(port)) {
        needed |= CapabilitySet::NET_BIND_SERVICE;
    }
    if used.iter().any(|path| leads_through_anothers(path)) {
        needed |= CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    }
    needed
}

/// Whether a path, or a directory on the way to it, belongs to somebody else. What is not there yet is made in what is.
fn leads_through_anothers(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let there = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = there.ancestors().find_map(|place| fs::canonicalize(place).ok());
    there.is_some_and(|there| {
        there
            .ancestors()
            .any(|place| fs::metadata(place).is_ok_and(|found| found.uid() != own && found.uid() != 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;

    #[test]
    fn low_ports_and_what_belongs_to_others_want_a_capability_and_nothing_else_does() {
        assert_eq!(needed(Role::Gateway, &[0, 1024, 8080], &[]), CapabilitySet::empty());
        assert_eq!(needed(Role::Gateway, &[443, 8081], &[]), CapabilitySet::NET_BIND_SERVICE);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(needed(Role::Storaged, &[], &[directory.path()]), CapabilitySet::empty());
        let inside = directory.path().join("run/gateway");
        assert_eq!(needed(Role::Gateway, &[], &[&inside]), CapabilitySet::empty());
        if chown(directory.path(), Some(1), None).is_ok() {
            for path in [directory.path(), &inside] {
                let needed = needed(Role::Gateway, &[], &[path]);
                assert!(needed.contains(CapabilitySet::DAC_OVERRIDE), "root below the directory of a user");
            }
        }
    }
}
