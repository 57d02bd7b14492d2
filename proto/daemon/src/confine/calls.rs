//! System calls that a process gives up (seccomp). Whatever is not named here is allowed: a list of what is allowed would
//! have to name what every C library and every runtime of the next years calls in every corner, and a process that meets
//! a corner that nobody thought of would stop. Named is what gives an intruder power that the relay never uses: other
//! processes and programs, namespaces and mounts, interfaces with a history of holes in the kernel, memory that is
//! written and then run, and sockets that the role has no use for. Calls that are newer than this list do not exist for
//! the process: libraries that would use one have another way for older kernels.

use nix::libc;
use relay_proto::telemetry::Role;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};
use std::collections::BTreeMap;

/// The newest call that was known when this list was made (Linux 6.17). Numbers are the same on all machines from 424 on,
/// and those of another calling convention of x86-64, by which the list could be passed by, are above it.
const NEWEST: u32 = 469;

/// Never made by a process of the relay once it is set up.
const NEVER: &[i64] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_kcmp,
    // Namespaces, mounts, and the ways around paths.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_mknodat,
    // Interfaces that reach deep into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    libc::SYS_vmsplice,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_vhangup,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// The same, of calls that not every machine and C library has a number for.
#[cfg(target_arch = "x86_64")]
const NOT_EVERYWHERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const NOT_EVERYWHERE: &[i64] = &[];

/// Answers that the kernel does not know the call, so that libraries take the older one, whose arguments can be judged.
const UNKNOWN: &[i64] = &[libc::SYS_clone3];

/// Of `struct seccomp_data`, and of classic BPF (linux/filter.h).
const NUMBER: u32 = 0;
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_ABOVE: u16 = 0x25;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ANSWER_NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The program by which the kernel judges the calls of a role.
///
/// # Errors
/// When this kind of machine is not known.
pub(super) fn program(role: Role) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        NEVER.iter().chain(NOT_EVERYWHERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![new_process()?]);
    rules.insert(libc::SYS_kill, vec![other_process()?]);
    rules.insert(libc::SYS_tgkill, vec![other_process()?]);
    rules.insert(libc::SYS_mmap, vec![all_of(2, WRITTEN_AND_RUN)?]);
    rules.insert(libc::SYS_mprotect, vec![all_of(2, RUN)?]);
    rules.insert(libc::SYS_pkey_mprotect, vec![all_of(2, RUN)?]);
    rules.insert(libc::SYS_socket, sockets(role)?);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()?;
    Ok(newer_calls().chain(filter).collect())
}

/// What comes before everything else: calls that do not exist.
fn newer_calls() -> impl Iterator<Item = sock_filter> {
    let step = |code, skipped, k| sock_filter { code, jt: 0, jf: skipped, k };
    let unknown = UNKNOWN.iter().filter_map(|call| u32::try_from(*call).ok());
    [step(LOAD_WORD, 0, NUMBER), step(JUMP_IF_ABOVE, 1, NEWEST), step(RETURN, 0, ANSWER_NO_SUCH_CALL)]
        .into_iter()
        .chain(
            unknown
                .flat_map(move |call| [step(JUMP_IF_EQUAL, 1, call), step(RETURN, 0, ANSWER_NO_SUCH_CALL)]),
        )
}

/// A thread is no new process.
fn new_process() -> Result<SeccompRule, BackendError> {
    let thread = libc::CLONE_THREAD as u64;
    SeccompRule::new(vec![SeccompCondition::new(0, Length::Qword, Op::MaskedEq(thread), 0)?])
}

/// A process may signal itself, as it does when it aborts.
fn other_process() -> Result<SeccompRule, BackendError> {
    let own = u64::from(std::process::id());
    SeccompRule::new(vec![SeccompCondition::new(0, Length::Dword, Op::Ne, own)?])
}

const RUN: u64 = libc::PROT_EXEC as u64;
const WRITTEN_AND_RUN: u64 = (libc::PROT_WRITE | libc::PROT_EXEC) as u64;

fn all_of(argument: u8, bits: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, Length::Qword, Op::MaskedEq(bits), bits)?])
}

/// Sockets that a role has no use for. Storage speaks over Unix sockets only; the others speak TCP besides, and those
/// that connect to hosts by name ask for it over UDP.
fn sockets(role: Role) -> Result<Vec<SeccompRule>, BackendError> {
    let is_not = |family: libc::c_int| {
        SeccompCondition::new(0, Length::Dword, Op::Ne, u64::from(family.unsigned_abs()))
    };
    let families: &[libc::c_int] = match role {
        Role::Storaged => &[libc::AF_UNIX],
        Role::Gateway | Role::Federated | Role::Oblivious => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6],
    };
    let mut rules =
        vec![SeccompRule::new(families.iter().map(|family| is_not(*family)).collect::<Result<_, _>>()?)?];
    let kinds: &[libc::c_int] = match role {
        Role::Storaged => &[],
        Role::Gateway => &[libc::SOCK_STREAM],
        Role::Federated | Role::Oblivious => &[libc::SOCK_STREAM, libc::SOCK_DGRAM],
    };
    for kind in 0..=KIND {
        if !kinds.iter().any(|allowed| u64::from(allowed.unsigned_abs()) == kind) {
            let this = SeccompCondition::new(1, Length::Dword, Op::MaskedEq(KIND), kind)?;
            rules.push(SeccompRule::new(vec![is_not(libc::AF_UNIX)?, this])?);
        }
    }
    Ok(rules)
}

/// Bits of a socket's type that tell its kind; the others are flags.
const KIND: u64 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Storaged, Role::Gateway, Role::Federated, Role::Oblivious];
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    #[cfg(target_arch = "x86_64")]
    const ARCH: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const ARCH: u32 = 0xC000_00B7;

    /// Runs the program as the kernel does (linux/filter.h), on `struct seccomp_data`.
    fn verdict(role: Role, call: i64, arguments: [u64; 6]) -> u32 {
        let program = program(role).unwrap();
        let mut data = Vec::new();
        data.extend(u32::try_from(call).unwrap().to_ne_bytes());
        data.extend(ARCH.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        data.extend(arguments.into_iter().flat_map(u64::to_ne_bytes));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD_WORD => {
                    let word = &data[k as usize..][..4];
                    accumulator = u32::from_ne_bytes(word.try_into().unwrap());
                }
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                JUMP_IF_EQUAL => at += jump(accumulator == k),
                JUMP_IF_ABOVE => at += jump(accumulator > k),
                0x35 => at += jump(accumulator >= k),
                RETURN => return k,
                other => panic!("an instruction that is not known: {other:#x}"),
            }
        }
    }

    #[test]
    fn what_no_role_does_is_refused_and_everything_else_allowed() {
        for role in ROLES {
            for call in NEVER.iter().chain(NOT_EVERYWHERE) {
                assert_eq!(verdict(role, *call, [0; 6]), REFUSE, "{call}");
            }
            for call in
                [libc::SYS_read, libc::SYS_openat, libc::SYS_futex, libc::SYS_fdatasync, libc::SYS_getrandom]
            {
                assert_eq!(verdict(role, call, [0; 6]), ALLOW, "{call}");
            }
        }
    }

    #[test]
    fn calls_that_are_newer_or_by_another_convention_do_not_exist() {
        let newest = i64::from(NEWEST);
        for role in ROLES {
            for call in [newest + 1, 512, 0x4000_0000 + 59, i64::from(u32::MAX), libc::SYS_clone3] {
                assert_eq!(verdict(role, call, [0; 6]), ANSWER_NO_SUCH_CALL, "{call}");
            }
            assert_eq!(verdict(role, newest, [0; 6]), ALLOW);
        }
    }

    #[test]
    fn threads_are_begun_and_processes_are_not() {
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
        let process = (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD) as u64;
        let (own, other) = (u64::from(std::process::id()), u64::from(std::process::id()) + 1);
        for role in ROLES {
            assert_eq!(verdict(role, libc::SYS_clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
            assert_eq!(verdict(role, libc::SYS_clone, [process, 0, 0, 0, 0, 0]), REFUSE);
            for signal in [libc::SYS_kill, libc::SYS_tgkill] {
                assert_eq!(verdict(role, signal, [own, 0, 6, 0, 0, 0]), ALLOW, "it may abort");
                assert_eq!(verdict(role, signal, [other, 0, 9, 0, 0, 0]), REFUSE);
            }
        }
    }

    #[test]
    fn memory_is_written_or_run() {
        let (read, write, run) = (libc::PROT_READ as u64, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
        let map = |call, protection| verdict(Role::Gateway, call, [0, 4096, protection, 0, 0, 0]);
        assert_eq!(map(libc::SYS_mmap, read | write), ALLOW);
        assert_eq!(map(libc::SYS_mmap, read | run), ALLOW, "a library");
        assert_eq!(map(libc::SYS_mmap, read | write | run), REFUSE);
        assert_eq!(map(libc::SYS_mprotect, read | write), ALLOW);
        assert_eq!(map(libc::SYS_mprotect, read | run), REFUSE);
    }

    #[test]
    fn sockets_are_those_of_the_role() {
        let asks = |role, family: i32, kind: i32| {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            verdict(role, libc::SYS_socket, [family as u64, (kind | flags) as u64, 0, 0, 0, 0]) == ALLOW
        };
        for role in ROLES {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                assert!(asks(role, libc::AF_UNIX, kind));
                for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, 0, 45] {
                    assert!(!asks(role, family, kind), "{family}");
                }
            }
            for family in [libc::AF_INET, libc::AF_INET6] {
                assert_eq!(asks(role, family, libc::SOCK_STREAM), role != Role::Storaged);
                let asks_for_names = matches!(role, Role::Federated | Role::Oblivious);
                assert_eq!(asks(role, family, libc::SOCK_DGRAM), asks_for_names);
                for kind in [libc::SOCK_RAW, libc::SOCK_SEQPACKET, 0, 15] {
                    assert!(!asks(role, family, kind), "{kind}");
                }
            }
        }
    }
}
