//! `broker storage`: shows and proves what `[storage]` would do, without a sandbox and without serving. Owns how a plan is
//! shown, and that secrets in it are masked.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::broker::{Desk, Loader, Surroundings};
use sandbox_broker_core::storage::{Command, File, Plan, Step};
use sandbox_stdx::words::misleads;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Prints what would be done in a sandbox. Sends nothing; secrets are
    /// masked.
    Plan {
        /// Only this mount, counted from 1.
        #[arg(long, value_name = "N")]
        mount: Option<usize>,
    },
    /// Asks each mount's service whether it accepts the key and has the container or bucket.
    Check {
        /// Only this mount, counted from 1.
        #[arg(long, value_name = "N")]
        mount: Option<usize>,
    },
}

pub(super) async fn run(surroundings: Surroundings, action: Action) -> anyhow::Result<ExitCode> {
    let _ = super::log::start("error");
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::checked::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    let desks = Desk::of(&loader, &checked)?;
    if desks.is_empty() {
        anyhow::bail!("storage is not enabled: set storage.enabled in {}", checked.config.path().display());
    }
    let (Action::Plan { mount } | Action::Check { mount }) = action;
    if let Some(n) = mount.filter(|n| !(1..=desks.len()).contains(n)) {
        anyhow::bail!("there is no mount {n}: the configuration has {}", desks.len());
    }
    let mut good = true;
    for desk in desks.iter().enumerate().filter(|(i, _)| mount.is_none_or(|n| n == i + 1)).map(|(_, desk)| desk) {
        let name = desk.name();
        let (text, done) = match action {
            Action::Plan { .. } => match desk.plan().await {
                Ok(plan) => (format!("{name}\n{}", masked(&shown(&plan), desk)), true),
                Err(error) => (format!("{name}: {error}"), false),
            },
            Action::Check { .. } => match desk.check().await {
                Ok(()) => (format!("{name}: the service accepts the key and has the container or bucket"), true),
                Err(error) => (format!("{name}: {error}"), false),
            },
        };
        good &= done;
        if done {
            writeln!(std::io::stdout(), "{text}")?;
        } else {
            writeln!(std::io::stderr(), "{text}")?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A plan for people, its secrets not yet masked.
fn shown(plan: &Plan) -> String {
    let run = |commands: &[Command]| commands.iter().cloned().map(Step::Run).collect::<Vec<_>>();
    let Plan { title, mount_timeout, unmount_timeout, .. } = plan;
    let renewal = plan.renew_after.map_or("never".to_owned(), |after| format!("after {after:?}"));
    let mut text = format!("{title}\ncredentials are renewed: {renewal}\n");
    for (what, steps) in [
        (format!("mount, with its proof within {mount_timeout:?}"), plan.mount.clone()),
        ("proof, repeated until it succeeds".to_owned(), run(&plan.verify)),
        ("watch, again and again while it is mounted".to_owned(), run(&plan.watch)),
        (format!("unmount, within {unmount_timeout:?}"), plan.unmount.clone()),
        ("clear, after a mount that died".to_owned(), plan.clear.clone()),
    ] {
        let _ = writeln!(text, "\n{what}:");
        if steps.is_empty() {
            text.push_str("  nothing\n");
        }
        for (i, step) in steps.iter().enumerate() {
            let (head, body) = described(step);
            let _ = writeln!(text, "  {}. {head}", i + 1);
            for line in body.lines() {
                let _ = writeln!(text, "     | {line}");
            }
        }
    }
    text
}

fn described(step: &Step) -> (String, String) {
    let process = |command: &Command, how: &str, limit: Option<Duration>| {
        let user = command.user.as_deref().unwrap_or("root");
        let limit = limit.map_or(String::new(), |limit| format!(", within {limit:?}"));
        let environment: Vec<String> =
            command.env.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        let words = environment.into_iter().chain(command.argv.iter().map(|word| quoted(word)));
        (format!("{how} as {user}{limit}"), words.collect::<Vec<_>>().join(" "))
    };
    match step {
        Step::WriteFile(File { path, content, mode }) => {
            let size = content.len();
            (format!("write {path}, mode {mode:04o}, {size} bytes"), String::from_utf8_lossy(content).into_owned())
        }
        Step::Run(command) => process(command, "run", Some(command.timeout)),
        Step::Supervise(command) => process(command, "start and keep", None),
    }
}

/// A word, quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The text as anybody may see it: without a secret of the mount's section in any form in which files hold it, without the
/// signature of a token, and without characters that control a terminal.
fn masked(text: &str, desk: &Desk) -> String {
    mask(text, desk.section().secrets.iter().map(|(name, secret)| (name.as_str(), secret.value.expose())))
}

fn mask<'a>(text: &str, secrets: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text: String = text.chars().map(|c| if misleads(c) && c != '\n' { ' ' } else { c }).collect();
    for (name, secret) in secrets.filter(|(_, secret)| !secret.is_empty()) {
        let json = serde_json::Value::from(secret).to_string();
        let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret, json.trim_matches('"'), url.as_str()] {
            text = text.replace(form, &format!("(secret {name})"));
        }
    }
    let mut pieces = text.split("sig=");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        // Base64, plain or for URLs.
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && !"%+/=-_".contains(c)).unwrap_or(piece.len());
        shown.push_str(if end == 0 { "sig=" } else { "sig=(masked)" });
        shown.push_str(&piece[end..]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_in_every_form_and_so_is_a_signature() {
        let key = "a+b/c\"==";
        let text = format!(
            "key: {key}\njson: {}\nurl: a%2Bb%2Fc%22%3D%3D\nsas: \"sv=1&sig=abc%2Bd%3D&se=2\", sig=xyz==\ns/sig=[^&]*//\n\u{1b}[2J",
            serde_json::Value::from(key)
        );
        assert_eq!(
            mask(&text, [("account_key", key), ("unset", "")].into_iter()),
            "key: (secret account_key)\njson: \"(secret account_key)\"\nurl: (secret account_key)\n\
             sas: \"sv=1&sig=(masked)&se=2\", sig=(masked)\ns/sig=[^&]*//\n [2J"
        );
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/usr/bin/x"), "/usr/bin/x");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_plan_shows_every_step_with_its_limits() {
        let command = |argv: &[&str]| Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: [("HOME".to_owned(), "/a b".to_owned())].into(),
            user: None,
            timeout: Duration::from_secs(10),
            explain: Vec::new(),
        };
        let file = File { path: "/w/config".into(), content: "{\n  1\n}".into(), mode: 0o600 };
        let plan = Plan {
            title: "Azure".into(),
            mount: vec![Step::WriteFile(file), Step::Supervise(command(&["blobfuse2", "mount"]))],
            verify: vec![command(&["sh", "-c", "one\ntwo"])],
            mount_timeout: Duration::from_secs(15),
            watch: Vec::new(),
            unmount: Vec::new(),
            unmount_timeout: Duration::from_secs(30),
            clear: Vec::new(),
            renew_after: Some(Duration::from_secs(1800)),
        };
        let text = shown(&plan);
        for part in [
            "Azure\ncredentials are renewed: after 1800s\n",
            "mount, with its proof within 15s:\n  1. write /w/config, mode 0600, 7 bytes\n     | {\n     |   1\n     | }\n",
            "  2. start and keep as root\n     | HOME='/a b' blobfuse2 mount\n",
            "proof, repeated until it succeeds:\n  1. run as root, within 10s\n     | HOME='/a b' sh -c 'one\n     | two'\n",
            "unmount, within 30s:\n  nothing\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
