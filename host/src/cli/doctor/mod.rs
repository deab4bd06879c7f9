//! `broker doctor`: whether this machine and its network are as the broker needs them, and what to do when they are not.
//!
//! Owns how findings are shown. It changes nothing and shows no secret: of a file that holds one, it reads only the mode.
//!
//! | file | what it looks at |
//! |---|---|
//! | `finding` | what a finding is |
//! | `machine` | programs, limits, the disk, the control groups, the unit of systemd |
//! | `files` | the state directory |
//! | `network` | the address to listen on, the public addresses, the providers' |

mod files;
mod finding;
mod machine;
mod network;

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;

use self::finding::{Finding, Grade};
use crate::broker::{Checked, Loader, Surroundings};
use sandbox_stdx::words::clean;

/// Bytes of what a finding says, at most.
const WORDS: usize = 2048;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Prints one JSON object, instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(surroundings: Surroundings, options: Options) -> anyhow::Result<ExitCode> {
    let _ = super::log::start("error");
    let state = surroundings.state().to_owned();
    // This comes before the loader, which makes what is missing there.
    let mut findings = files::state(&state);
    let checked = match Loader::new(surroundings) {
        Ok(loader) => loader.load().await.map_err(|mistakes| mistakes.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    match checked {
        Ok(checked) => {
            findings.push(Finding::good("configuration", checked.config.path().display().to_string()));
            let warned = checked.warnings().into_iter();
            findings.extend(warned.map(|warning| Finding::unwise("configuration", warning, "")));
            findings.extend(look(&checked, &state).await);
        }
        Err(mistakes) => {
            let remedy = "`broker check` says the same; the rest was not looked at, for it depends on the file";
            findings.push(Finding::wrong("configuration", mistakes, remedy));
        }
    }
    let good = !findings.iter().any(|finding| finding.grade == Grade::Wrong);
    // A closed output is no reason to fail.
    let _ = std::io::stdout().write_all(shown(&findings, good, options.json).as_bytes());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(checked: &Checked, state: &std::path::Path) -> Vec<Finding> {
    let mut findings = machine::look(checked, state).await;
    findings.extend(network::look(checked).await);
    findings
}

fn shown(findings: &[Finding], good: bool, as_json: bool) -> String {
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|Finding { grade, about, found, remedy }| {
                json!({ "grade": grade.to_string(), "about": about, "found": clean(found, WORDS), "remedy": remedy })
            })
            .collect();
        return format!("{:#}\n", json!({ "ok": good, "findings": all }));
    }
    let mut text = String::new();
    for Finding { grade, about, found, remedy } in findings {
        for (n, line) in found.lines().map(|line| clean(line, WORDS)).enumerate() {
            let (grade, about) = if n == 0 { (grade.to_string(), *about) } else { (String::new(), "") };
            text.push_str(&format!("{grade:<7}{about:<14}{line}\n"));
        }
        if !remedy.is_empty() {
            text.push_str(&format!("{:21}-> {}\n", "", clean(remedy, WORDS)));
        }
    }
    text
}
