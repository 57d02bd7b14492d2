//! What the kernel tells about a process: memory, processor time, family, what its threads wait in.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Bytes of memory that a process holds; `None` when it is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    kibibytes(pid, "VmRSS")
}

/// The most bytes of memory that a process ever held; `None` when it is gone.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    kibibytes(pid, "VmHWM")
}

/// The name of a process; `None` when it is gone.
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

fn kibibytes(pid: u32, field: &str) -> Option<u64> {
    let kibibytes: u64 = status(pid, field)?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// What the kernel says of a process under a name, as in proc_pid_status(5); `None` when it is gone.
pub fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Processor time that a process took so far, user and system; `None` when it is gone.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    // Fields after the name, which is in parentheses and may hold anything: state is the first of them.
    let fields = stat_fields(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every Linux that Rust runs on.
    Some(Duration::from_millis(ticks * 10))
}

/// Every process below this one.
pub fn descendants(pid: u32) -> BTreeSet<u32> {
    let everybody: Vec<(u32, u32)> = all_processes().filter_map(|one| Some((one, parent(one)?))).collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let before = family.len();
        for (child, parent) in &everybody {
            if family.contains(parent) {
                family.insert(*child);
            }
        }
        if family.len() == before {
            break;
        }
    }
    family.remove(&pid);
    family
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z" && state != "X"))
}

/// Whether every thread of a process was stopped by a signal. Only then is the process stopped for the kernel, which
/// wakes stopped processes when whoever started them ends.
pub fn is_stopped(pid: u32) -> bool {
    let is_stopped =
        |thread| stat_fields(thread).is_some_and(|fields| fields.first().is_some_and(|state| state == "T"));
    let threads = threads(pid);
    !threads.is_empty() && threads.into_iter().all(is_stopped)
}

/// Whether every thread of a process is being traced.
pub fn is_traced(pid: u32) -> bool {
    let threads = threads(pid);
    !threads.is_empty()
        && threads.iter().all(|thread| has_tracer(&format!("/proc/{pid}/task/{thread}/status")))
}

/// Whether one thread is being traced.
pub fn is_thread_traced(thread: u32) -> bool {
    has_tracer(&format!("/proc/{thread}/status"))
}

fn has_tracer(status: &str) -> bool {
    fs::read_to_string(status).is_ok_and(|status| {
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|by| by.trim() != "0"))
    })
}

/// The thread of a process that has this name.
pub fn thread_named(pid: u32, name: &str) -> Option<u32> {
    threads(pid).into_iter().find(|thread| {
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"))
            .is_ok_and(|found| found.trim_end() == name)
    })
}

/// Whether some thread of a process is inside one of these system calls.
pub fn is_in_call(pid: u32, numbers: &[i64]) -> bool {
    threads(pid).iter().any(|thread| {
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall"))
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok())
            .is_some_and(|number| numbers.contains(&number))
    })
}

/// The arguments and the environment of a process, as any user with its rights can read them.
pub fn command_and_environment(pid: u32) -> Vec<u8> {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.extend(fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    bytes
}

/// The first argument vector of a process, joined by spaces.
pub fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn all_processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn threads(pid: u32) -> Vec<u32> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
