//! Azurite, the Azure Blob service for one machine: installed for tests, and run
//! beside the broker for `cargo xtask run --azure`.
//!
//! Knows the well-known development account and nothing of what is stored.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::web;
use crate::workspace::Workspace;

/// Its `package.json` names one release: blobfuse2 2.5.5 sends an empty MD5 with
/// what it uploads, which the service ignores and Azurite 3.37 refuses.
const FOLDER: &str = "xtask/azurite";

/// The blob service alone, inside [`FOLDER`].
const SCRIPT: &str = "node_modules/azurite/dist/src/blob/main.js";

/// The account that every Azurite has, with a key that everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The container that `broker.toml` names by default.
const CONTAINER: &str = "cloud-dev-workspace";

/// It starts in a second or two on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How often its log is looked at until it listens.
const LOOK: Duration = Duration::from_millis(50);

/// Installs it and returns its script, for `node`.
pub(crate) fn install(ws: &Workspace) -> Result<PathBuf> {
    let folder = ws.path(FOLDER);
    web::packages(ws, &folder)?;
    Ok(folder.join(SCRIPT))
}

/// Starts it on a free port with its data in `target/azurite`, makes the
/// container, and returns the variables by which the shipped `broker.toml` uses
/// it. It ends with this process, whatever program that has become by then.
pub(crate) fn serve(ws: &Workspace) -> Result<Vec<(&'static str, OsString)>> {
    let script = install(ws)?;
    let data = ws.path("target/azurite");
    fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let log = data.join("azurite.log");
    let output = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    let mut azurite = ws
        .cmd("node")
        .arg(script)
        // Clients may speak a later version than this release knows.
        .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
        .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--location"])
        .arg(&data)
        .accompany(output)?;

    let end = Instant::now() + START_DEADLINE;
    let url = loop {
        if let Some(url) = announced(&fs::read_to_string(&log).unwrap_or_default()) {
            break url.to_owned();
        }
        if azurite.try_wait().context("waiting for its end")?.is_some() || Instant::now() > end {
            bail!("Azurite does not start; see {}", log.display());
        }
        thread::sleep(LOOK);
    };
    let vars = vec![
        ("AZURE_STORAGE_ENABLED", "true".into()),
        ("AZURE_STORAGE_ENDPOINT", format!("{url}/{ACCOUNT}").into()),
        ("AZURE_STORAGE_ACCOUNT", ACCOUNT.into()),
        ("AZURE_STORAGE_KEY", KEY.into()),
        ("AZURE_STORAGE_CONTAINER", CONTAINER.into()),
    ];
    ws.cmd("node").arg("xtask/azurite/make-container.mjs").arg(CONTAINER).envs(&vars).run()?;
    Ok(vars)
}

/// The URL in the line by which it says that it listens, complete to its end.
fn announced(log: &str) -> Option<&str> {
    let (_, rest) = log.split_once("listens on ")?;
    rest.split_once('\n').map(|(url, _)| url.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_read_once_its_line_is_whole() {
        let log = "Azurite Blob service is starting on 127.0.0.1:0\nAzurite Blob service successfully listens on http://127.0.0.1:341";
        assert_eq!(announced(log), None);
        assert_eq!(announced(&format!("{log}69\n")), Some("http://127.0.0.1:34169"));
    }
}
