//! The system calls that no process of a sandbox may make.
//!
//! They reach parts of the kernel that sandboxes share, or expose much of the kernel for little use. The list names
//! what is refused, not what is allowed. People bring their own programs, and these must go on working with the errors
//! that they know from containers. Does not know who calls: the same is refused to root in a sandbox.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

/// System calls that programs can replace if the kernel is too old for them. They fail as in an old kernel.
///
/// The flags of `clone3` are in memory, where a filter cannot see them. The C library then uses `clone`.
const UNKNOWN: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const FORBIDDEN: &[libc::c_long] = &[
    // Keyrings belong to the host's user.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // They expose much of the kernel for few programs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // They are the machine's own business.
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
    // They enter other namespaces; see also `conditional`.
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

/// Every kind of namespace. In a new one, a process has all capabilities.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Socket families that network namespaces do not separate. VSOCK reaches the hypervisor of the machine.
const FAMILIES: &[libc::c_int] = &[libc::AF_ALG, libc::AF_VSOCK];

/// Requests that type into a terminal which another process uses too.
const TERMINAL_REQUESTS: &[libc::Ioctl] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Marks system calls of the x32 interface. A filter for `x86_64` sees them too.
const X32: i64 = 0x4000_0000;

/// The x32 interface has its own number for this call.
const X32_IOCTL: i64 = X32 | 514;

/// Installs the filter for this process and everything that it starts. The process must have one thread.
///
/// # Errors
/// If the kernel does not support filters.
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

/// The system calls that are forbidden only with some arguments.
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
