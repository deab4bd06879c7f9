//! Users and groups of the sandbox, read from its own `/etc/passwd` and `/etc/group`.
//!
//! Reads the files for each request, so that a user who was added inside the sandbox is known at once. Does not know
//! passwords.

use std::collections::HashMap;
use std::io;

use nix::sys::signal::SigSet;
use rustix::fs::{Gid, Uid};
use rustix::process::DumpableBehavior;
use rustix::thread::CapabilitySet;

use crate::wire::{Failure, FailureKind};

/// One line of `/etc/passwd`.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

/// Finds a user by name.
pub(super) fn find(name: &str) -> Result<User, Failure> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd.lines().filter_map(parse_user).find(|user| user.name == name).ok_or_else(|| Failure {
        kind: FailureKind::Unauthenticated,
        message: format!("invalid username: user '{name}' does not exist"),
    })?;
    if !are_several() && user.uid != rustix::process::geteuid().as_raw() {
        return Err(Failure {
            kind: FailureKind::Unauthenticated,
            message: format!("invalid username: user '{name}' cannot be used, because the server does not run as root"),
        });
    }
    Ok(user)
}

/// Whether the init can act as each of several users. It can only if the server runs as root.
pub(super) fn are_several() -> bool {
    // In a user namespace with one user, root may not set groups.
    let groups = || std::fs::read_to_string("/proc/self/setgroups");
    rustix::process::geteuid().is_root() && groups().is_ok_and(|may| may.trim_end() == "allow")
}

/// Gives this thread exactly the rights of a user, for good. The thread must end with its work.
///
/// This changes all of its ids, not only those for files: a file system in user space asks for each of them.
///
/// # Errors
/// Errors of the kernel. The thread must not continue then.
pub(super) fn assume(user: &User) -> io::Result<()> {
    // The user's programs may send signals to a thread with the same ids.
    SigSet::all().thread_block()?;
    if are_several() {
        let groups: Vec<Gid> = groups_of(user).into_iter().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        // The change of ids may have reset this.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    // The kernel has already removed the other capabilities with the ids. For root, this is the only one that its
    // programs do not have.
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.effective.difference(CapabilitySet::SYS_PTRACE);
    sets.permitted = sets.permitted.difference(CapabilitySet::SYS_PTRACE);
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn parse_user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?.to_owned();
    Some(User { name, uid, gid, home })
}

/// The groups of a user, its primary group first.
pub(super) fn groups_of(user: &User) -> Vec<u32> {
    let mut groups = vec![user.gid];
    for line in std::fs::read_to_string("/etc/group").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, gid, members] = fields[..]
            && let Ok(gid) = gid.parse()
            && members.split(',').any(|member| member == user.name)
            && !groups.contains(&gid)
        {
            groups.push(gid);
        }
    }
    groups
}

/// Names for the numbers in file entries.
#[derive(Debug)]
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub(super) fn load() -> Self {
        Self { users: numbers("/etc/passwd"), groups: numbers("/etc/group") }
    }

    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

/// In both files the first field is the name and the third is the number.
fn numbers(path: &str) -> HashMap<u32, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        })
        .collect()
}
