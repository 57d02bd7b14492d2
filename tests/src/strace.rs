//! Faults at system calls, by attaching `strace` to a running process: a store that is told that its disk
//! failed cannot know that it was a lie.

use crate::deadline::{self, PATIENCE};
use crate::procfs;
use nix::sys::signal::Signal;
use std::process::{Child, Command, Stdio};

/// `fsync` and `fdatasync`, by their numbers.
#[cfg(target_arch = "x86_64")]
pub const SYNC_CALLS: [i64; 2] = [74, 75];
/// `fsync` and `fdatasync`, by their numbers.
#[cfg(target_arch = "aarch64")]
pub const SYNC_CALLS: [i64; 2] = [82, 83];

/// A tracer that bends some system calls of a process for as long as it lives.
#[derive(Debug)]
pub struct Strace {
    child: Child,
}

impl Strace {
    /// Whether this machine can do it. Where it cannot, a test says so and proves nothing; under continuous
    /// integration that is a failure.
    ///
    /// # Panics
    /// When `CI` is set and there is no `strace`, or it may not attach.
    pub fn is_here() -> bool {
        let installed = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
        let lack = match (installed, may_attach()) {
            (true, true) => return true,
            (false, _) => "install strace",
            (true, false) => "run as root, or set kernel.yama.ptrace_scope to 0",
        };
        assert!(std::env::var_os("CI").is_none(), "fault tests need strace: {lack}");
        eprintln!("SKIPPED: fault tests need strace: {lack}");
        false
    }

    /// Bends every sync of a process, for example `error=EIO` or `delay_enter=500000` (microseconds). Returns
    /// when every thread is caught.
    ///
    /// # Panics
    /// When `strace` may not attach.
    pub async fn bend_syncs(pid: u32, how: &str) -> Self {
        Self::bend(pid, "fsync,fdatasync", how).await
    }

    /// Bends some system calls of a process.
    ///
    /// # Panics
    /// When `strace` may not attach.
    pub async fn bend(pid: u32, calls: &str, how: &str) -> Self {
        Self::attach(&["-f", "-p", &pid.to_string()], calls, how, || procfs::is_traced(pid)).await
    }

    /// Bends some system calls of one thread alone. The first thread of a process has the process's own number.
    ///
    /// # Panics
    /// When `strace` may not attach.
    pub async fn bend_thread(thread: u32, calls: &str, how: &str) -> Self {
        Self::attach(&["-p", &thread.to_string()], calls, how, || procfs::is_thread_traced(thread)).await
    }

    async fn attach(whom: &[&str], calls: &str, how: &str, is_caught: impl Fn() -> bool) -> Self {
        let mut child = Command::new("strace")
            .args(["-o", "/dev/null"])
            .args(whom)
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{how}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace starts");
        let attached = deadline::within(PATIENCE, async || {
            if child.try_wait().expect("strace can be waited for").is_some() {
                return Some(false);
            }
            is_caught().then_some(true)
        })
        .await;
        assert!(attached == Some(true), "strace cannot attach");
        Self { child }
    }

    /// Lets the process go on as it is.
    pub async fn detach(mut self) {
        crate::process::signal_pid(self.child.id(), Signal::SIGTERM);
        deadline::until("strace to detach", PATIENCE, async || self.child.try_wait().ok().flatten()).await;
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Without a tracer, a bent process runs on unbent; killing the tracer cannot fail otherwise.
            self.child.kill().unwrap_or_default();
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// Whether the kernel lets a tracer take a process that it did not start.
fn may_attach() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    nix::unistd::geteuid().is_root() || matches!(scope.trim(), "" | "0")
}

/// Waits until some thread of a process is inside a sync.
pub async fn in_sync(pid: u32) {
    deadline::until("a sync", PATIENCE, async || procfs::is_in_call(pid, &SYNC_CALLS).then_some(())).await;
}
