//! The account key is nowhere but in the broker.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use memchr::memmem::Finder;

use super::{FILES, Shell, Store, released};
use crate::support::azurite::KEY;

/// Bytes looked at in one go.
const WINDOW: usize = 1 << 20;

/// The ways in which a program may hold or write a secret.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = STANDARD.decode(secret).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = secret.trim_end_matches('=');
    let url: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let wide: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
    let texts =
        [text.to_owned(), text.replace('/', "\\/"), url, hex.to_uppercase(), hex, URL_SAFE_NO_PAD.encode(&bytes)];
    texts.into_iter().map(String::into_bytes).chain([bytes, wide]).collect()
}

/// Whether any form of it occurs in what is read.
struct Search(Vec<Finder<'static>>, usize);

impl Search {
    fn new(forms: &[Vec<u8>]) -> Self {
        let longest = forms.iter().map(Vec::len).max().unwrap();
        Search(forms.iter().map(|form| Finder::new(form).into_owned()).collect(), longest)
    }

    /// In `length` bytes from where the file is.
    fn finds(&self, file: &mut File, mut length: u64) -> bool {
        let mut window = Vec::with_capacity(WINDOW + self.1);
        while length > 0 {
            let overlap = window.len().min(self.1);
            window.drain(..window.len() - overlap);
            let Ok(read @ 1..) = file.take(length.min(WINDOW as u64)).read_to_end(&mut window) else { break };
            length -= read as u64;
            if self.0.iter().any(|form| form.find(&window).is_some()) {
                return true;
            }
        }
        false
    }

    fn in_file(&self, path: &Path) -> bool {
        File::open(path).is_ok_and(|mut file| self.finds(&mut file, u64::MAX))
    }

    /// In all memory of a process that can be read; how many bytes those are.
    fn in_memory(&self, pid: u32) -> (bool, u64) {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let Ok(mut memory) = File::open(format!("/proc/{pid}/mem")) else { return (false, 0) };
        let mut looked = 0;
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            // Pages of the kernel's own, which cannot be read.
            if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vsyscall]") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            memory.seek(SeekFrom::Start(from)).unwrap();
            looked += to - from;
            if self.finds(&mut memory, to - from) {
                return (true, looked);
            }
        }
        (false, looked)
    }

    /// Files below a directory that hold it; how many were looked at.
    fn below(&self, directory: &Path, found: &mut Vec<String>) -> usize {
        let mut looked = 0;
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => looked += self.below(&path, found),
                Ok(kind) if kind.is_file() => {
                    looked += 1;
                    if self.in_file(&path) {
                        found.push(path.display().to_string());
                    }
                }
                _ => {}
            }
        }
        looked
    }
}

#[tokio::test]
async fn the_account_key_is_in_no_sandbox_no_log_and_no_state() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root reads the memory of a sandbox's processes");
    }
    let Some(store) = Store::azure().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell
        .ok(&format!("printf text | dd of={FILES}/file conv=fsync status=none; cat {FILES}/file; env > /tmp/env"))
        .await;
    let mount = store.mount().await;
    let key = Search::new(&forms(KEY));

    // What is surely there is found.
    let token = mount.token();
    let signature = token.split("sig=").nth(1).unwrap().split('&').next().unwrap().as_bytes().to_vec();
    let token = Search::new(&[signature]);
    assert!(token.in_memory(mount.pid()).0 && token.in_file(&mount.workspace.join("config.yaml")));
    assert!(key.in_memory(broker.pid()).0, "the broker has the key");

    let processes = mount.processes();
    assert!(processes.len() >= 3, "the init, the shell and the program that mounts: {processes:?}");
    let mut bytes = 0;
    for pid in &processes {
        let (found, looked) = key.in_memory(*pid);
        assert!(!found && looked > 0, "memory of process {pid}");
        bytes += looked;
        for name in ["environ", "cmdline", "auxv", "mountinfo"] {
            assert!(!key.in_file(Path::new(&format!("/proc/{pid}/{name}"))), "{name} of process {pid}");
        }
    }
    let mut found = Vec::new();
    let files = key.below(&mount.sandbox, &mut found) + key.below(&broker.file("state"), &mut found);
    println!("looked at {} MiB of {} processes and at {files} files", bytes >> 20, processes.len());
    shell.exit().await;
    released(&broker, 1).await;
    // The whole directory of the server of sandboxes, with its log.
    key.below(store.server.directory(), &mut found);
    key.below(&broker.file("state"), &mut found);
    assert_eq!(found, [""; 0]);
    // A log of everything that happened, at its most talkative; nor has it a token.
    assert!(!key.in_file(&broker.file("log")) && !token.in_file(&broker.file("log")));
    assert!(broker.log().contains("storage mounted"));
}
