//! The contract's types and the port's types, in both directions, by exhaustive matches.
//!
//! Owns the bounds of `wit/`. Values that come from a guest are data of a stranger: texts are cut and cleaned here, and
//! what exceeds a bound is the plugin's breach. What goes to a guest keeps to the same bounds, so that a plugin may rely
//! on them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::bindings::guest::{exec, files, ports, sandbox as wit_sandbox, terminal};
use crate::bindings::host::types as wit;
use crate::bindings::storage::mounter;
use sandbox_broker_core::sandbox::{
    Call, Choices, Code, Command, Entries, Entry, EntryKind, Error, Exit, Fault, Listed, Location, Page, Result, Route,
    SandboxRef, Size, Spec, Volume,
};
use sandbox_broker_core::signal;
use sandbox_broker_core::storage;
use sandbox_stdx::words::{clean, misleads};

/// Bytes of a message from a guest that are kept.
pub(crate) const MESSAGE_BYTES: usize = 1024;
/// Bytes of each detail that are kept.
pub(crate) const DETAIL_BYTES: usize = 256;
/// Details that are kept.
pub(crate) const DETAILS: usize = 16;
/// Bytes of a signal's name that are kept.
const SIGNAL_BYTES: usize = 64;
/// Longest sandbox or process id.
const ID_BYTES: usize = 256;
/// Largest opaque state of a sandbox.
const STATE_BYTES: usize = 4 * 1024;
/// Sandboxes in one page of a listing.
const PAGE_SANDBOXES: usize = 10_000;
/// Labels of a listed sandbox that are kept. Others may put labels on it.
const LISTED_LABELS: usize = 64;
/// Entries in one page of a directory.
const PAGE_ENTRIES: usize = 1000;
/// Longest cursor of a listing.
const CURSOR_BYTES: usize = 4 * 1024;
/// Longest name of a file.
const NAME_BYTES: usize = 255;
/// Labels of a new sandbox, and the longest key and value: what the narrowest provider takes.
const LABELS: usize = 8;
const LABEL_BYTES: usize = 63;
/// Variables of a new sandbox's environment, and all their bytes.
const ENV: (usize, usize) = (64, 128 * 1024);
/// Arguments of a process, and all their bytes.
const ARGV: (usize, usize) = (1024, 128 * 1024);
/// Longest name of an image, and of a region.
const IMAGE_BYTES: usize = 512;
const REGION_BYTES: usize = 64;
/// Volumes of a new sandbox, and the longest name of one.
const VOLUMES: usize = 16;
const VOLUME_BYTES: usize = 256;
/// Longest URL of a port, and the headers for it with all their bytes.
const ROUTE_BYTES: usize = 2048;
const ROUTE_HEADERS: (usize, usize) = (16, 8 * 1024);
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

/// A refusal of what somebody asked for, before a plugin is asked.
fn refusal(fault: Fault, message: &str) -> Error {
    Error::new(fault, Code::InvalidArgument, message)
}

/// Whether there are at most so many texts, with at most so many bytes together.
fn fit<'a>((count, bytes): (usize, usize), texts: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> bool {
    texts.len() <= count && texts.map(|(a, b)| a.len() + b.len()).sum::<usize>() <= bytes
}

fn fit_map(bounds: (usize, usize), map: &BTreeMap<String, String>) -> bool {
    fit(bounds, map.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

fn fit_list(bounds: (usize, usize), list: &[String]) -> bool {
    fit(bounds, list.iter().map(|text| (text.as_str(), "")))
}

pub(crate) fn call(id: String, call: &Call, left: Duration) -> wit::Call {
    let (session, traceparent) = (call.session.clone(), call.traceparent.clone());
    wit::Call { id, session, deadline_ms: millis(left), traceparent, attrs: Vec::new() }
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

pub(crate) fn to_spec(s: &Spec) -> Result<wit_sandbox::Spec> {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-');
    let label = |(key, value): (&String, &String)| {
        (1..=LABEL_BYTES).contains(&key.len()) && key.chars().all(plain) && value.len() <= LABEL_BYTES
    };
    if s.labels.len() > LABELS || !s.labels.iter().all(label) {
        return Err(Error::new(
            Fault::Broker,
            Code::Internal,
            "the labels of the sandbox break the contract of plugins",
        ));
    }
    if !fit_map(ENV, &s.env) {
        let message = "the environment of sandboxes has more than 64 variables or 128 KiB: look at [sandbox.env]";
        return Err(refusal(Fault::Operator, message));
    }
    Ok(wit_sandbox::Spec {
        labels: pairs(&s.labels),
        env: pairs(&s.env),
        ttl_ms: millis(s.ttl),
        choices: to_choices(&s.choices)?,
        attrs: Vec::new(),
    })
}

fn to_choices(c: &Choices) -> Result<wit_sandbox::Choices> {
    let within = |text: &Option<String>, most| text.as_ref().is_none_or(|text| (1..=most).contains(&text.len()));
    if !within(&c.image, IMAGE_BYTES) || !within(&c.region, REGION_BYTES) {
        return Err(refusal(Fault::Caller, "an image has 1 to 512 bytes, and a region 1 to 64"));
    }
    let good = |v: &Volume| (1..=VOLUME_BYTES).contains(&v.name.len()) && is_path(&v.path);
    if c.volumes.len() > VOLUMES || !c.volumes.iter().all(good) {
        return Err(refusal(Fault::Caller, "a sandbox has at most 16 volumes, each with a name and an absolute path"));
    }
    let volume =
        |v: &Volume| wit_sandbox::Volume { name: v.name.clone(), path: v.path.clone(), read_only: v.read_only };
    Ok(wit_sandbox::Choices {
        image: c.image.clone(),
        cpu_millis: c.cpu_millis,
        memory_mib: c.memory_mib,
        disk_mib: c.disk_mib,
        region: c.region.clone(),
        volumes: c.volumes.iter().map(volume).collect(),
    })
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= PATH_BYTES && !path.contains('\0')
}

pub(crate) fn ttl(d: Duration) -> u64 {
    millis(d)
}

pub(crate) fn labels(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    pairs(map)
}

pub(crate) fn page(p: wit_sandbox::Page) -> Result<Page> {
    if p.sandboxes.len() > PAGE_SANDBOXES {
        return Err(breach("a page lists more than 10,000 sandboxes"));
    }
    let sandboxes = p
        .sandboxes
        .into_iter()
        .map(|l| {
            Ok(Listed {
                id: id(l.id)?,
                labels: l.labels.into_iter().take(LISTED_LABELS).collect(),
                created: time(l.created_unix_ms),
                ends: time(l.ends_unix_ms),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Page { sandboxes, next: p.next.map(cursor).transpose()? })
}

fn cursor(text: String) -> Result<String> {
    if text.len() > CURSOR_BYTES {
        return Err(breach("the cursor of a listing is longer than 4 KiB"));
    }
    Ok(text)
}

pub(crate) fn to_pty_spec(c: &Command, size: Size) -> Result<terminal::PtySpec> {
    let exec::Command { argv: command, cwd, env, user, attrs } = to_command(c)?;
    Ok(terminal::PtySpec { command, cols: size.cols, rows: size.rows, cwd, env, user, attrs })
}

pub(crate) fn to_command(c: &Command) -> Result<exec::Command> {
    if c.argv.first().is_none_or(String::is_empty) || !fit_list(ARGV, &c.argv) {
        return Err(refusal(Fault::Caller, "a process has 1 to 1,024 arguments with 128 KiB together"));
    }
    if !fit_map(ENV, &c.env) {
        return Err(refusal(Fault::Caller, "a process has at most 64 variables with 128 KiB together"));
    }
    Ok(exec::Command {
        argv: c.argv.clone(),
        cwd: c.cwd.clone(),
        env: pairs(&c.env),
        user: c.user.clone(),
        attrs: Vec::new(),
    })
}

pub(crate) fn exit(e: wit::Exit) -> Exit {
    match e {
        wit::Exit::Code(code) => Exit::Code(code.into()),
        wit::Exit::Signal(words) => Exit::Signal(signal::of_words(&clean(&words, SIGNAL_BYTES))),
        wit::Exit::Unknown => Exit::Unknown,
    }
}

pub(crate) fn to_location(l: &Location) -> Result<files::Location> {
    Ok(files::Location { path: to_path(&l.path)?, user: l.user.clone() })
}

pub(crate) fn to_path(path: &str) -> Result<String> {
    if !is_path(path) {
        return Err(refusal(Fault::Caller, "a path is absolute, with at most 4,096 bytes"));
    }
    Ok(path.to_owned())
}

pub(crate) fn entries(e: files::Entries) -> Result<Entries> {
    if e.entries.len() > PAGE_ENTRIES {
        return Err(breach("a page of a directory has more than 1,000 entries"));
    }
    let entries = e.entries.into_iter().map(entry).collect::<Result<_>>()?;
    Ok(Entries { entries, next: e.next.map(cursor).transpose()? })
}

pub(crate) fn entry(e: files::Entry) -> Result<Entry> {
    if e.name.len() > NAME_BYTES || !is_path(&e.path) {
        return Err(breach("an entry of a directory has a name of at most 255 bytes and an absolute path"));
    }
    Ok(Entry {
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
    })
}

pub(crate) fn route(r: ports::Route) -> Result<Route> {
    let absolute = ["http://", "https://"].iter().any(|scheme| r.url.starts_with(scheme));
    if !absolute || r.url.len() > ROUTE_BYTES || r.url.chars().any(misleads) {
        return Err(breach("the route to a port is an http or https URL of at most 2,048 bytes"));
    }
    if !fit(ROUTE_HEADERS, r.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()))) {
        return Err(breach("the route to a port has at most 16 headers with 8 KiB together"));
    }
    Ok(Route { url: r.url, headers: r.headers })
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

pub(crate) fn grant(g: mounter::Grant) -> Result<storage::Grant> {
    if g.kept.len() > storage::KEPT_BYTES {
        return Err(breach("what a grant keeps is larger than 4 KiB"));
    }
    if g.sealed.len() > storage::SEALED_BYTES {
        return Err(breach("what a grant seals is larger than 16 KiB"));
    }
    Ok(storage::Grant { kept: Bytes::from(g.kept), sealed: Bytes::from(g.sealed) })
}

pub(crate) fn to_grant(g: &storage::Grant) -> mounter::Grant {
    mounter::Grant { kept: g.kept.to_vec(), sealed: g.sealed.to_vec() }
}

pub(crate) fn plan(p: mounter::MountPlan) -> Result<storage::Plan> {
    Ok(storage::Plan {
        title: title(&p.title),
        mount: steps(p.mount)?,
        verify: commands(p.verify)?,
        mount_timeout: within(p.mount_timeout_ms, &MOUNT_TIME),
        watch: commands(p.watch)?,
        unmount: steps(p.unmount)?,
        unmount_timeout: within(p.unmount_timeout_ms, &UNMOUNT_TIME),
        clear: steps(p.clear)?,
        renew_after: p.renew_after_ms.map(|ms| within(ms, &RENEWAL)),
    })
}

pub(crate) fn renewal(r: mounter::Renewal) -> Result<storage::Renewal> {
    Ok(storage::Renewal {
        steps: steps(r.steps)?,
        grant: grant(r.grant)?,
        renew_after: r.renew_after_ms.map(|ms| within(ms, &RENEWAL)),
    })
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

fn commands(commands: Vec<mounter::Command>) -> Result<Vec<storage::Command>> {
    if commands.len() > STEPS {
        return Err(breach("a list of a plan has more than 32 commands"));
    }
    commands.into_iter().map(command).collect()
}

fn file(f: mounter::File) -> Result<storage::File> {
    if f.content.len() > storage::FILE_BYTES {
        return Err(breach("a file of a plan is larger than 64 KiB"));
    }
    if f.mode > 0o777 {
        return Err(breach("a file of a plan has more than permission bits in its mode"));
    }
    if !is_path(&f.path) || f.path.split('/').any(|part| part == "..") {
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
mod tests;
