//! RFC 6455 conformance: the Autobahn cases, driven by `kosoku` against an echo
//! on the terminal's own upgrade and accept loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::StatusCode;
use sandboxd_gatekeeper::Gatekeeper;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Door, Limits};
use sandbox_broker_terminal::{self as terminal, Upgrade};

/// Where `kosoku` is, by the variable `KOSOKU`. Without it the test is skipped,
/// except in CI.
fn kosoku() -> Option<PathBuf> {
    let path = std::env::var_os("KOSOKU").map(PathBuf::from);
    if path.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "KOSOKU is not set: `python3 -m venv DIR && DIR/bin/pip install kosoku`, then set KOSOKU=DIR/bin/kosoku"
        );
        eprintln!("skipped: KOSOKU is not set to the path of `kosoku`");
    }
    path
}

/// Runs the cases against an echo with these limits; how many ended how.
async fn verdicts(kosoku: &Path, limits: terminal::Limits, cases: &[&str]) -> BTreeMap<String, u32> {
    let echo = move |request: Request| async move {
        match Upgrade::from_request(request) {
            Ok(upgrade) => upgrade.echo(limits),
            Err(error) => (StatusCode::UPGRADE_REQUIRED, error.to_string()).into_response(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let door = Door::new(Limits::default(), watch::Sender::default().subscribe(), Gatekeeper::default());
    let served = tokio::spawn(door.serve(listener, Router::new().fallback(echo), stop.clone()));

    let reports =
        std::env::temp_dir().join(format!("sandbox-broker-conformance-{}-{}", std::process::id(), address.port()));
    let mut command = Command::new(kosoku);
    command.args(["-m", "fuzzingclient", "-p", "2"]).args(cases).arg("-o").arg(&reports).arg(address.to_string());
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).status().await.unwrap();
    let index = std::fs::read_to_string(reports.join("index.json")).unwrap_or_else(|error| panic!("{ran}: {error}"));
    stop.cancel();
    assert_eq!(served.await.unwrap(), 0, "connections stayed open");

    let index: Value = serde_json::from_str(&index).unwrap();
    let mut counts = BTreeMap::new();
    for cases in index.as_object().unwrap().values() {
        for (case, verdict) in cases.as_object().unwrap() {
            for part in ["behavior", "behaviorClose"] {
                let verdict = verdict[part].as_str().unwrap();
                assert!(
                    ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"].contains(&verdict),
                    "case {case}: {part} {verdict}"
                );
            }
            *counts.entry(verdict["behavior"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    std::fs::remove_dir_all(&reports).ok();
    counts
}

#[tokio::test]
async fn production_limits_pass_all_cases_within_them() {
    let Some(kosoku) = kosoku() else { return };
    let counts = verdicts(&kosoku, terminal::Limits::default(), &["-x", "9.*", "-x", "12.*", "-x", "13.*"]).await;
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), 247);
    assert!(counts["OK"] >= 240, "{counts:?}");
}

#[tokio::test]
async fn raised_limits_pass_all_cases() {
    let Some(kosoku) = kosoku() else { return };
    let limits = terminal::Limits { message: 16 << 20, write_buffer: 64 << 20, ..terminal::Limits::default() };
    let counts = verdicts(&kosoku, limits, &["-x", "12.*", "-x", "13.*"]).await;
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), 301);
    assert!(counts["OK"] >= 290, "{counts:?}");
}
