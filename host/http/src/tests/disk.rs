//! The file half of the provider: a directory of this machine, worked on at
//! once and without waiting, so that it holds under a stopped clock. Only the
//! bytes of a transfer wait, where a test wants them to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use sandbox_broker_core::sandbox::*;

#[derive(Debug)]
pub(super) struct Disk {
    directory: tempfile::TempDir,
    /// Whether bytes of downloads flow.
    pub(super) flows: watch::Sender<bool>,
    /// What a write answers, if not an entry.
    pub(super) refusal: Mutex<Option<Error>>,
    /// Uploads that broke off.
    pub(super) broken: watch::Sender<usize>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("work")).unwrap();
        let (flows, broken) = (watch::Sender::new(true), watch::Sender::new(0));
        Disk { directory, flows, refusal: Mutex::default(), broken }
    }

    /// What the session may touch.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// A place in it, as clients name it.
    pub(super) fn at(&self, name: &str) -> String {
        self.root().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a program to its end.
    pub(super) fn run(&self, command: &Command) -> Result<Process> {
        let output = std::process::Command::new(&command.argv[0])
            .args(&command.argv[1..])
            .current_dir(command.cwd.as_deref().unwrap_or("/"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let all = |bytes: Vec<u8>| {
            let (tx, rx) = mpsc::channel(1);
            tx.try_send(Bytes::from(bytes)).unwrap();
            rx
        };
        let (ended, done) = oneshot::channel();
        ended.send(Ok(Exit::Code(output.status.code().unwrap()))).unwrap();
        let (control, _) = Control::new();
        let lifetime = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let (stdout, stderr) = (all(output.stdout), all(output.stderr));
        Ok(Process { id: "1".to_owned(), stdout, stderr, done, control, lifetime })
    }

    pub(super) fn read(&self, at: &Location, offset: u64, length: Option<u64>) -> Result<Download> {
        let content = fs::read(&at.path).map_err(of_io)?;
        let (tx, data) = mpsc::channel(PIPE_CHUNKS);
        let (ended, done) = oneshot::channel();
        let mut flows = self.flows.subscribe();
        let lifetime = AbortOnDropHandle::new(tokio::spawn(async move {
            let part = content.into_iter().skip(offset as usize).take(length.unwrap_or(u64::MAX) as usize);
            let mut part = Bytes::from_iter(part);
            while !part.is_empty() {
                flows.wait_for(|flows| *flows).await.unwrap();
                let chunk = part.split_to(part.len().min(CHUNK_BYTES));
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
            ended.send(Ok(())).ok();
        }));
        Ok(Download { data, done, lifetime })
    }

    pub(super) async fn write(&self, at: &Location, mut upload: Upload) -> Result<Entry> {
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        let mut content = Vec::new();
        while let Some(chunk) = upload.data.recv().await {
            assert!(chunk.len() <= CHUNK_BYTES);
            content.extend_from_slice(&chunk);
        }
        if !matches!(upload.complete.await, Ok(Ok(()))) {
            self.broken.send_modify(|broken| *broken += 1);
            return Err(Error::new(Fault::Caller, Code::Cancelled, "the upload broke off"));
        }
        assert!(upload.size.is_none_or(|size| size == content.len() as u64));
        fs::create_dir_all(Path::new(&at.path).parent().unwrap()).map_err(of_io)?;
        fs::write(&at.path, content).map_err(of_io)?;
        self.stat(at)
    }

    /// Pages of two. The cursor is the last name of the page before.
    pub(super) fn list_dir(&self, at: &Location, cursor: Option<String>) -> Result<Entries> {
        let found = fs::read_dir(&at.path).map_err(of_io)?;
        let sorted: BTreeMap<_, _> = found.map(|entry| entry.unwrap()).map(|e| (e.file_name(), e.path())).collect();
        let follows = |name: &OsStr| cursor.as_ref().is_none_or(|cursor| name > OsStr::new(cursor));
        let rest = sorted.iter().filter(|(name, _)| follows(name));
        let mut rest = rest.map(|(_, path)| path);
        let entries = rest.by_ref().take(2).map(|path| describe(path)).collect::<Result<Vec<_>>>()?;
        let next = rest.next().and_then(|_| entries.last()).map(|last| last.name.clone());
        Ok(Entries { entries, next })
    }

    pub(super) fn stat(&self, at: &Location) -> Result<Entry> {
        describe(Path::new(&at.path))
    }

    pub(super) fn remove(&self, at: &Location) -> Result<()> {
        let found = fs::symlink_metadata(&at.path).map_err(of_io)?;
        if found.is_dir() { fs::remove_dir_all(&at.path) } else { fs::remove_file(&at.path) }.map_err(of_io)
    }

    pub(super) fn make_dir(&self, at: &Location) -> Result<Entry> {
        fs::create_dir_all(&at.path).map_err(of_io)?;
        self.stat(at)
    }

    pub(super) fn rename(&self, source: &Location, destination: &str) -> Result<Entry> {
        fs::rename(&source.path, destination).map_err(of_io)?;
        describe(Path::new(destination))
    }
}

fn describe(path: &Path) -> Result<Entry> {
    let own = fs::symlink_metadata(path).map_err(of_io)?;
    let found = fs::metadata(path).unwrap_or(own);
    let kind = match found.file_type() {
        kind if kind.is_dir() => EntryKind::Directory,
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    Ok(Entry {
        name: path.file_name().unwrap_or_default().to_str().unwrap().to_owned(),
        path: path.to_str().unwrap().to_owned(),
        kind,
        size: if kind == EntryKind::File { found.len() } else { 0 },
        mode: found.permissions().mode() & 0o7777,
        modified: found.modified().ok(),
    })
}

fn of_io(error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        _ => Code::Internal,
    };
    Error::new(Fault::Provider, code, error.to_string())
}
