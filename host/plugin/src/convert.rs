//! The contract's types and the port's types, in both directions, by exhaustive matches.
//!
//! Owns the bounds on values that come from a guest, which are data of a stranger: texts are cut and cleaned here, ids
//! and states are bounded here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::bindings::guest::{exec, files, sandbox as wit_sandbox, terminal};
use crate::bindings::host::types as wit;
use crate::bindings::storage::mounter;
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Entry, EntryKind, Error, Exit, Fault, Listed, Location, Page, Result, SandboxRef, Size, Spec,
};
use sandbox_broker_core::signal;
use sandbox_broker_core::storage;
use sandbox_broker_core::words::{clean, misleads};

/// Bytes of a message from a guest that are kept.
pub(crate) const MESSAGE_BYTES: usize = 1024;
/// Bytes of each detail that are kept.
pub(crate) const DETAIL_BYTES: usize = 256;
/// Details that are kept.
pub(crate) const DETAILS: usize = 16;
/// Longest sandbox or process id.
const ID_BYTES: usize = 256;
/// Largest opaque state of a sandbox.
const STATE_BYTES: usize = 4 * 1024;
/// Sandboxes in one page of a listing.
const PAGE_ENTRIES: usize = 10_000;
/// Bytes of a plan's title that are kept. The page shows it in one line.
const TITLE_BYTES: usize = 64;
/// Steps of one list of a plan. An honest one has about five.
const STEPS: usize = 32;
/// Arguments of a step's process, and variables of its environment.
const ARGUMENTS: usize = 64;
/// Bytes of one argument or variable. The longest honest one is a script.
const ARGUMENT_BYTES: usize = 16 * 1024;
/// Known failures of a step's process.
const EXPLANATIONS: usize = 64;
/// Bytes of a path, as many as Linux takes.
const PATH_BYTES: usize = 4096;
/// How long a step of a plan may take: at least what a process needs to start, at most what a person would wait.
const STEP_TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(120);
/// How long mounting may take as a whole. The port names it.
const MOUNT_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// How long unmounting may take as a whole. The port names it.
const UNMOUNT_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
/// When credentials are renewed: rarely enough that the sandbox can do other work, and after 30 days at most, which is
/// far from overflow.
const RENEWAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// The error for a plugin that broke its contract.
pub(crate) fn breach(what: &str) -> Error {
    Error::new(Fault::Plugin, Code::Internal, format!("the plugin broke its contract: {what}"))
}

fn time(ms: Option<u64>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms?))
}

pub(crate) fn call(id: String, call: &Call) -> wit::Call {
    wit::Call { id, session: call.session.clone(), attrs: Vec::new() }
}

/// A code, and who has to act.
fn code(code: wit::Code) -> (Code, Fault) {
    use wit::Code as C;
    match code {
        C::InvalidArgument => (Code::InvalidArgument, Fault::Operator),
        C::Unauthenticated => (Code::Unauthenticated, Fault::Operator),
        C::PermissionDenied => (Code::PermissionDenied, Fault::Operator),
        C::NotFound => (Code::NotFound, Fault::Provider),
        C::AlreadyExists => (Code::AlreadyExists, Fault::Caller),
        C::FailedPrecondition => (Code::FailedPrecondition, Fault::Operator),
        C::ResourceExhausted => (Code::ResourceExhausted, Fault::Provider),
        C::Aborted => (Code::Aborted, Fault::Provider),
        C::OutOfRange => (Code::OutOfRange, Fault::Caller),
        C::Unimplemented => (Code::Unimplemented, Fault::Provider),
        C::Unavailable => (Code::Unavailable, Fault::Provider),
        C::DeadlineExceeded => (Code::DeadlineExceeded, Fault::Provider),
        C::Cancelled => (Code::Cancelled, Fault::Caller),
        C::DataLoss => (Code::DataLoss, Fault::Provider),
        C::Internal => (Code::Internal, Fault::Provider),
        C::Unknown => (Code::Unknown, Fault::Provider),
    }
}

pub(crate) fn error(e: wit::Error) -> Error {
    let (code, fault) = code(e.code);
    let message = clean(&e.message, MESSAGE_BYTES);
    Error {
        fault,
        code,
        message: if message.is_empty() {
            format!("the provider failed ({code:?}) and did not say why")
        } else {
            message
        },
        retry_after: e.retry_after_ms.map(Duration::from_millis),
        attrs: e.attrs.iter().take(DETAILS).map(|(k, v)| (clean(k, DETAIL_BYTES), clean(v, DETAIL_BYTES))).collect(),
    }
}

/// An error of the host, for a guest.
pub(crate) fn denial(code: wit::Code, message: impl Into<String>) -> wit::Error {
    wit::Error { code, message: message.into(), retry_after_ms: None, attrs: Vec::new() }
}

pub(crate) fn id(text: String) -> Result<String> {
    if text.is_empty() || text.len() > ID_BYTES || text.chars().any(misleads) {
        return Err(breach("an id must have 1 to 256 bytes of printable text"));
    }
    Ok(text)
}

pub(crate) fn sandbox_ref(s: wit::SandboxRef) -> Result<SandboxRef> {
    if s.state.len() > STATE_BYTES {
        return Err(breach("the state of a sandbox is larger than 4 KiB"));
    }
    Ok(SandboxRef { id: id(s.id)?, state: Bytes::from(s.state) })
}

pub(crate) fn to_sandbox_ref(s: &SandboxRef) -> wit::SandboxRef {
    wit::SandboxRef { id: s.id.clone(), state: s.state.to_vec() }
}

pub(crate) fn to_spec(s: &Spec) -> wit_sandbox::Spec {
    wit_sandbox::Spec { labels: pairs(&s.labels), env: pairs(&s.env), ttl_ms: millis(s.ttl), attrs: Vec::new() }
}

pub(crate) fn ttl(d: Duration) -> u64 {
    millis(d)
}

pub(crate) fn labels(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    pairs(map)
}

pub(crate) fn page(p: wit_sandbox::Page) -> Result<Page> {
    if p.sandboxes.len() > PAGE_ENTRIES {
        return Err(breach("a page lists more than 10,000 sandboxes"));
    }
    let sandboxes = p
        .sandboxes
        .into_iter()
        .map(|l| {
            Ok(Listed {
                id: id(l.id)?,
                labels: l.labels.into_iter().collect(),
                created: time(l.created_unix_ms),
                ends: time(l.ends_unix_ms),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Page { sandboxes, next: p.next })
}

pub(crate) fn to_pty_spec(c: &Command, size: Size) -> terminal::PtySpec {
    terminal::PtySpec {
        command: c.argv.clone(),
        cols: size.cols,
        rows: size.rows,
        cwd: c.cwd.clone(),
        env: pairs(&c.env),
        user: c.user.clone(),
        attrs: Vec::new(),
    }
}

pub(crate) fn to_command(c: &Command) -> exec::Command {
    exec::Command {
        argv: c.argv.clone(),
        cwd: c.cwd.clone(),
        env: pairs(&c.env),
        user: c.user.clone(),
        attrs: Vec::new(),
    }
}

pub(crate) fn exit(e: wit::Exit) -> Exit {
    match (e.code, e.signal) {
        (_, Some(words)) => Exit::Signal(signal::of_words(&clean(&words, 64))),
        (Some(code), None) => Exit::Code(code),
        (None, None) => Exit::Unknown,
    }
}

pub(crate) fn to_location(l: &Location) -> files::Location {
    files::Location { path: l.path.clone(), user: l.user.clone() }
}

pub(crate) fn entry(e: files::Entry) -> Entry {
    Entry {
        name: e.name,
        path: e.path,
        kind: match e.kind {
            files::Kind::File => EntryKind::File,
            files::Kind::Directory => EntryKind::Directory,
            files::Kind::Symlink => EntryKind::Symlink,
            files::Kind::Other => EntryKind::Other,
        },
        size: e.size,
        mode: e.mode,
        modified: time(e.modified_unix_ms),
    }
}

pub(crate) fn to_target(t: &storage::Target, live: String) -> mounter::MountTarget {
    mounter::MountTarget {
        id: t.id.clone(),
        path: t.path.clone(),
        workspace: t.workspace.clone(),
        read_only: t.read_only,
        user: t.user.clone(),
        attrs: vec![("broker".to_owned(), t.broker.clone()), ("live".to_owned(), live)],
    }
}

/// The host's time, in milliseconds since 1970, as the contract counts it.
pub(crate) fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn title(text: &str) -> String {
    clean(text, TITLE_BYTES)
}

pub(crate) fn grant(bytes: Vec<u8>) -> Result<storage::Grant> {
    if bytes.len() > storage::GRANT_BYTES {
        return Err(breach("a grant is larger than 4 KiB"));
    }
    Ok(storage::Grant(Bytes::from(bytes)))
}

pub(crate) fn plan(p: mounter::MountPlan) -> Result<storage::Plan> {
    Ok(storage::Plan {
        title: title(&p.title),
        mount: steps(p.mount)?,
        verify: commands("verify", p.verify)?,
        mount_timeout: within(p.mount_timeout_ms, &MOUNT_TIME),
        watch: commands("watch", p.watch)?,
        unmount: steps(p.unmount)?,
        unmount_timeout: within(p.unmount_timeout_ms, &UNMOUNT_TIME),
        clear: steps(p.clear)?,
        renew_after: p.renew_after_ms.map(|ms| within(ms, &RENEWAL)),
    })
}

pub(crate) fn renewal(r: mounter::Renewal) -> Result<storage::Renewal> {
    Ok(storage::Renewal { steps: steps(r.steps)?, renew_after: r.renew_after_ms.map(|ms| within(ms, &RENEWAL)) })
}

/// A time of a guest, clamped to its bounds.
fn within(ms: u64, bounds: &RangeInclusive<Duration>) -> Duration {
    Duration::from_millis(ms).clamp(*bounds.start(), *bounds.end())
}

fn steps(steps: Vec<mounter::Step>) -> Result<Vec<storage::Step>> {
    if steps.len() > STEPS {
        return Err(breach("a list of a plan has more than 32 steps"));
    }
    let step = |step| {
        Ok(match step {
            mounter::Step::WriteFile(f) => storage::Step::WriteFile(file(f)?),
            mounter::Step::Run(c) => storage::Step::Run(command(c)?),
            mounter::Step::Supervise(c) => storage::Step::Supervise(command(c)?),
        })
    };
    steps.into_iter().map(step).collect()
}

/// The steps of a list in which only `run` is allowed.
fn commands(list: &str, given: Vec<mounter::Step>) -> Result<Vec<storage::Command>> {
    let only = |step| match step {
        storage::Step::Run(command) => Ok(command),
        _ => Err(breach(&format!("`{list}` of a plan has a step that is not `run`"))),
    };
    steps(given)?.into_iter().map(only).collect()
}

fn file(f: mounter::File) -> Result<storage::File> {
    if f.content.len() > storage::FILE_BYTES {
        return Err(breach("a file of a plan is larger than 64 KiB"));
    }
    if f.mode > 0o777 {
        return Err(breach("a file of a plan has more than permission bits in its mode"));
    }
    let absolute = f.path.starts_with('/') && !f.path.contains('\0') && f.path.len() <= PATH_BYTES;
    if !absolute || f.path.split('/').any(|part| part == "..") {
        return Err(breach("a file of a plan has no absolute path of at most 4,096 bytes"));
    }
    Ok(storage::File { path: f.path, content: Bytes::from(f.content), mode: f.mode })
}

fn command(c: mounter::Command) -> Result<storage::Command> {
    let fits = |text: &String| text.len() <= ARGUMENT_BYTES && !text.contains('\0');
    let named = |(name, value): &(String, String)| !name.is_empty() && !name.contains('=') && fits(name) && fits(value);
    if c.argv.first().is_none_or(String::is_empty) || c.argv.len() > ARGUMENTS || !c.argv.iter().all(fits) {
        return Err(breach("a process of a plan has 1 to 64 arguments of at most 16 KiB each"));
    }
    if c.env.len() > ARGUMENTS || !c.env.iter().all(named) {
        return Err(breach("a process of a plan has at most 64 variables of at most 16 KiB each"));
    }
    if c.explain.len() > EXPLANATIONS
        || c.explain.iter().any(|e| e.pattern.is_empty() || e.pattern.len() > MESSAGE_BYTES)
    {
        return Err(breach("a process of a plan has at most 64 explanations, each with a pattern of 1 to 1,024 bytes"));
    }
    let explain = |e: mounter::Explanation| {
        let error = error(denial(e.code, e.message));
        storage::Explanation { pattern: e.pattern, code: error.code, message: error.message }
    };
    Ok(storage::Command {
        argv: c.argv,
        env: c.env.into_iter().collect(),
        user: c.user.map(id).transpose()?,
        timeout: within(c.timeout_ms, &STEP_TIME),
        explain: c.explain.into_iter().map(explain).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_states_are_bounded() {
        let r = |id: &str, n| sandbox_ref(wit::SandboxRef { id: id.into(), state: vec![0; n] });
        assert!(r("a", 4096).is_ok());
        assert!(r("a", 4097).is_err());
        assert!(r("", 0).is_err());
        assert!(r("a\nb", 0).is_err());
        assert!(r(&"x".repeat(257), 0).is_err());
    }
}
