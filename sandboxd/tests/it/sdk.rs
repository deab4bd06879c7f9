//! The unmodified official SDKs against a server. Their own scripts hold the promises; see `tests/sdk`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::client::{TestServer, is_root};

/// A tool that is installed outside of cargo: required in CI, else skipped with words.
fn installed(variable: &str, install: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(found.is_some() || !ci, "{variable} is not set: {install}");
    if found.is_none() {
        println!("skipped: {variable} is not set: {install}");
    }
    found
}

async fn drive(mut command: Command) {
    let server = TestServer::start().await;
    command
        .env("E2B_API_KEY", &server.key)
        .env("E2B_API_URL", &server.url)
        .env("E2B_SANDBOX_URL", &server.url)
        .env("ACTING_USER", if is_root() { "root" } else { "user" })
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("ok a killed sandbox is gone"), "{stdout}");
    assert_eq!(server.server.sandboxes(), 0);
    server.end().await;
}

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(path)
}

/// Promise: the SDK from npm works.
#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    let install = "copy sandboxd/tests/sdk/js to a directory, run `npm ci` there, and set it to that directory";
    let Some(directory) = installed("SANDBOXD_SDK_JS_DIR", install) else {
        return;
    };
    // Node looks for packages beside the script, so the script goes where they are.
    let copy = directory.join("run.mjs");
    if copy != script("js/run.mjs") {
        std::fs::copy(script("js/run.mjs"), &copy).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(copy);
    drive(command).await;
}

/// Promise: the SDK from PyPI works.
#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let install = "make a virtual environment, `pip install -r sandboxd/tests/sdk/python/requirements.txt` in it, and set it to its python";
    let Some(python) = installed("SANDBOXD_SDK_PYTHON", install) else {
        return;
    };
    let mut command = Command::new(python);
    command.arg(script("python/run.py"));
    drive(command).await;
}
