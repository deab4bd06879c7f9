//! The contract's types and the port's types, each way, exhaustively.
//!
//! What comes from a guest is data of a stranger: texts are cut and cleaned
//! here, ids and states are bounded here, and nowhere else.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::bindings::guest::{exec, files, sandbox as wit_sandbox, terminal};
use super::bindings::host::types as wit;
use crate::sandbox::{
    Call, Code, Command, Entry, EntryKind, Error, Exit, Fault, Listed, Location, Page, Result, SandboxRef, Size, Spec,
};

/// Bytes of a message from a guest that are kept.
pub(super) const MESSAGE_BYTES: usize = 1024;
/// Bytes of each detail that are kept.
pub(super) const DETAIL_BYTES: usize = 256;
/// Details that are kept.
pub(super) const DETAILS: usize = 16;
/// Longest sandbox or process id.
const ID_BYTES: usize = 256;
/// Largest opaque state of a sandbox.
const STATE_BYTES: usize = 4 * 1024;
/// Sandboxes in one page of a listing.
const PAGE_ENTRIES: usize = 10_000;

/// A stranger's text for one line: control characters become spaces, the rest
/// is cut at a character boundary.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn broken(what: &str) -> Error {
    Error::new(Fault::Plugin, Code::Internal, format!("the plugin broke its contract: {what}"))
}

fn time(ms: Option<u64>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms?))
}

pub(super) fn call(id: String, call: &Call) -> wit::Call {
    wit::Call { id, session: call.session.clone(), attrs: Vec::new() }
}

pub(super) fn error(e: wit::Error) -> Error {
    use wit::Code as C;
    let (code, fault) = match e.code {
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
    };
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

/// The host's own failure, told to a guest.
pub(super) fn denial(code: wit::Code, message: impl Into<String>) -> wit::Error {
    wit::Error { code, message: message.into(), retry_after_ms: None, attrs: Vec::new() }
}

pub(super) fn id(text: String) -> Result<String> {
    if text.is_empty() || text.len() > ID_BYTES || text.chars().any(char::is_control) {
        return Err(broken("an id must have 1 to 256 bytes of printable text"));
    }
    Ok(text)
}

pub(super) fn sandbox_ref(s: wit::SandboxRef) -> Result<SandboxRef> {
    if s.state.len() > STATE_BYTES {
        return Err(broken("the state of a sandbox is larger than 4 KiB"));
    }
    Ok(SandboxRef { id: id(s.id)?, state: Bytes::from(s.state) })
}

pub(super) fn to_sandbox_ref(s: &SandboxRef) -> wit::SandboxRef {
    wit::SandboxRef { id: s.id.clone(), state: s.state.to_vec() }
}

pub(super) fn to_spec(s: &Spec) -> wit_sandbox::Spec {
    wit_sandbox::Spec { labels: pairs(&s.labels), env: pairs(&s.env), ttl_ms: millis(s.ttl), attrs: Vec::new() }
}

pub(super) fn ttl(d: Duration) -> u64 {
    millis(d)
}

pub(super) fn labels(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    pairs(map)
}

pub(super) fn page(p: wit_sandbox::Page) -> Result<Page> {
    if p.sandboxes.len() > PAGE_ENTRIES {
        return Err(broken("a page lists more than 10,000 sandboxes"));
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

pub(super) fn to_pty_spec(c: &Command, size: Size) -> terminal::PtySpec {
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

pub(super) fn to_command(c: &Command) -> exec::Command {
    exec::Command {
        argv: c.argv.clone(),
        cwd: c.cwd.clone(),
        env: pairs(&c.env),
        user: c.user.clone(),
        attrs: Vec::new(),
    }
}

pub(super) fn exit(e: wit::Exit) -> Exit {
    match (e.code, e.signal) {
        (_, Some(name)) => Exit::Signal(clean(&name, 32)),
        (Some(code), None) => Exit::Code(code),
        (None, None) => Exit::Unknown,
    }
}

pub(super) fn to_location(l: &Location) -> files::Location {
    files::Location { path: l.path.clone(), user: l.user.clone() }
}

pub(super) fn entry(e: files::Entry) -> Entry {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_one_bounded_line() {
        assert_eq!(clean("a\r\n\x1b[31mb\u{85}", 100), "a   [31mb");
        assert_eq!(clean("äää", 3), "ä");
    }

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
