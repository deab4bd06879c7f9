//! The system calls that no process of a sandbox may make.
//!
//! They reach what is not held apart between sandboxes, or much of the kernel for little use. The list says what is refused,
//! not what is allowed: programs that people bring must go on working, and they expect the errors that a container gives them.
//! Does not know who asks; root in a sandbox is refused the same.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

/// What programs have another way for when the kernel is too old for it: they must hear that it is.
///
/// The flags of `clone3` lie in memory, where a filter cannot see them; the C library then uses `clone`.
const UNKNOWN: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const FORBIDDEN: &[libc::c_long] = &[
    // Keyrings belong to the host's user.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Much of the kernel for few programs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // The machine's own.
    libc::SYS_acct,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    // Other namespaces; see also `conditional`.
    libc::SYS_pivot_root,
    libc::SYS_setns,
];

const MOUNTS: &[libc::c_long] = &[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_umount2,
];

/// Every kind of namespace: in one of its own a process has all capabilities.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Families of sockets that no network namespace holds apart: VSOCK reaches the machine's own host.
const FAMILIES: &[libc::c_int] = &[libc::AF_ALG, libc::AF_VSOCK];

/// Types for somebody else on a terminal that both have.
const TERMINAL_REQUESTS: &[libc::Ioctl] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Marks the system calls of the x32 interface, which a filter for `x86_64` sees, too.
const X32: i64 = 0x4000_0000;

/// In the x32 interface this one has a number of its own.
const X32_IOCTL: i64 = X32 | 514;

/// Installs the filter for this process and all that it starts. There must be one thread.
///
/// # Errors
/// When the kernel has no filters.
pub(super) fn install(may_mount: bool) -> io::Result<()> {
    for program in programs(may_mount).map_err(io::Error::other)? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn programs(may_mount: bool) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let build = |rules: BTreeMap<i64, Vec<SeccompRule>>, error: Errno| {
        let error = SeccompAction::Errno(error.raw_os_error().cast_unsigned());
        SeccompFilter::new(both_interfaces(rules), SeccompAction::Allow, error, arch)?.try_into()
    };
    let mut forbidden = conditional()?;
    let mounts = if may_mount { &[] } else { MOUNTS };
    forbidden.extend(FORBIDDEN.iter().chain(mounts).map(|call| (*call, Vec::new())));
    let unknown = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
    Ok([build(unknown, Errno::NOSYS)?, build(forbidden, Errno::PERM)?])
}

/// What is forbidden with some arguments only.
fn conditional() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let any = |argument: u8, values: Vec<(u64, bool)>| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let rule = |(value, among_flags): (u64, bool)| {
            let how = if among_flags { MaskedEq(value) } else { Eq };
            SeccompRule::new(vec![SeccompCondition::new(argument, Dword, how, value)?])
        };
        values.into_iter().map(rule).collect()
    };
    let namespaces: Vec<(u64, bool)> = NAMESPACES.iter().map(|flag| (u64::from(flag.cast_unsigned()), true)).collect();
    let families = FAMILIES.iter().map(|family| (u64::from(family.cast_unsigned()), false)).collect();
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the type differs between C libraries")]
    let requests = TERMINAL_REQUESTS.iter().map(|request| (*request as u64, false)).collect();
    let socket = any(0, families)?;
    Ok(BTreeMap::from([
        (libc::SYS_clone, any(0, namespaces.clone())?),
        (libc::SYS_unshare, any(0, namespaces)?),
        (libc::SYS_socket, socket.clone()),
        (libc::SYS_socketpair, socket),
        (libc::SYS_ioctl, any(1, requests)?),
    ]))
}

fn both_interfaces(mut rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    if cfg!(target_arch = "x86_64") {
        let twins: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(twins);
        if let Some(ioctl) = rules.get(&libc::SYS_ioctl).cloned() {
            rules.insert(X32_IOCTL, ioctl);
        }
    }
    rules
}
