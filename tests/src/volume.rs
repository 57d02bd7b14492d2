//! A small volume of a process's own, for tests that fill one up. It lives in the process's mount namespace
//! and ends with it; the test reaches it through `/proc`.

use crate::process::Launch;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether this machine can make one. Where it cannot, a test says so and proves nothing; under continuous
/// integration that is a failure.
///
/// # Panics
/// When `CI` is set and namespaces cannot be made.
pub fn is_here() -> bool {
    let made =
        Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|output| output.status.success());
    assert!(made || std::env::var_os("CI").is_none(), "volume tests need unshare and user namespaces");
    if !made {
        eprintln!("SKIPPED: volume tests need unshare and user namespaces");
    }
    made
}

/// The same program with a volume of so many MiB mounted on a directory, which must exist.
#[must_use]
pub fn mounted(launch: Launch, directory: &Path, megabytes: u32) -> Launch {
    let mount = format!("mount -t tmpfs -o size={megabytes}m,mode=700 none \"$0\" && exec \"$@\"");
    launch.wrapped("unshare", &["-rm", "--", "sh", "-c", &mount, &directory.display().to_string()])
}

/// The same, and the program is started again whenever it ends, on the same volume. The process is the one that does that.
#[must_use]
pub fn mounted_for_long(launch: Launch, directory: &Path, megabytes: u32) -> Launch {
    let mount = format!(
        "mount -t tmpfs -o size={megabytes}m,mode=700 none \"$0\" && while :; do \"$@\"; echo \"ended: $?\"; done"
    );
    launch.wrapped("unshare", &["-rm", "--", "sh", "-c", &mount, &directory.display().to_string()])
}

/// A directory as a process sees it.
pub fn seen_by(pid: u32, directory: &Path) -> PathBuf {
    let inside = directory.strip_prefix("/").expect("an absolute path");
    Path::new(&format!("/proc/{pid}/root")).join(inside)
}

/// Writes a file until its volume takes not a byte more.
///
/// # Panics
/// When the volume takes a GiB: it is not the small one.
pub fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let piece = [0x5a; 4096];
    for _ in 0..1 << 18 {
        if file.write_all(&piece).is_err() {
            return;
        }
    }
    panic!("the volume does not fill up");
}
