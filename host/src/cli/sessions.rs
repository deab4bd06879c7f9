//! `broker sessions`: lists, shows, renames and ends sessions of a running broker.
//!
//! Owns how they are shown. Deliberately knows no more about them than the API says.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{remote, time, which};
use sandbox_stdx::words::misleads;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    remote: remote::Remote,

    /// Prints the API's JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists your sessions, the oldest first.
    List,
    /// Shows one.
    #[command(override_usage = "broker sessions show <SESSION>")]
    Show {
        /// Its id, the first 8 digits of it or more, or its name.
        session: String,
    },
    /// Gives one a name, or with an empty one none.
    #[command(override_usage = "broker sessions rename <SESSION> <NAME>")]
    Rename {
        /// Its id, the first 8 digits of it or more, or its name.
        session: String,
        /// What it is to be called: one line of at most 80 characters.
        name: String,
    },
    /// Ends one, with its sandbox.
    #[command(override_usage = "broker sessions kill <SESSION>")]
    Kill {
        /// Its id, the first 8 digits of it or more, or its name.
        session: String,
    },
}

/// The parts of a session that are shown.
#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    provider: String,
    state: String,
    age: f64,
    /// Seconds that it lives on if no client comes.
    #[serde(default)]
    kept_for: Option<f64>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    directory: Option<String>,
    sandbox: Option<String>,
    kept: bool,
    durability: Option<String>,
    user: Option<String>,
    clients: Vec<Client>,
    /// Present only when one session was asked for.
    #[serde(default)]
    invitation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Client {
    client: String,
    role: String,
    cols: Option<u16>,
    rows: Option<u16>,
    guest: Option<String>,
}

pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { remote, json, action } = options;
    let broker = remote.broker()?;
    let one = async |session: &str| anyhow::Ok(format!("api/sessions/{}", which::session(&broker, session).await?));
    let (method, path, body) = match &action {
        Action::List => (Method::GET, "api/sessions".to_owned(), None),
        Action::Show { session } => (Method::GET, one(session).await?, None),
        Action::Rename { session, name } => (Method::PATCH, one(session).await?, Some(json!({ "name": name }))),
        Action::Kill { session } => (Method::DELETE, one(session).await?, None),
    };
    let mut answer = broker.ask(method, &path, body.as_ref()).await?;
    let text = match action {
        Action::Rename { .. } | Action::Kill { .. } => return Ok(ExitCode::SUCCESS),
        _ if json => format!("{}\n", plain(&answer)),
        Action::List => {
            let sessions: Vec<Session> =
                serde_json::from_value(answer["sessions"].take()).with_context(|| strange(&broker))?;
            table(&sessions)
        }
        Action::Show { .. } => {
            details(broker.name(), &serde_json::from_value(answer).with_context(|| strange(&broker))?)
        }
    };
    write!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn strange(broker: &remote::Broker) -> String {
    format!("what answers at {} is no broker of this version", broker.name())
}

const HEADINGS: [&str; 8] = ["ID", "STATE", "AGE", "PROVIDER", "OUTPUT", "USER", "CLIENTS", "NAME"];

/// Characters of a name or title in the table, at most.
const NAME_COLUMN: usize = 40;

fn table(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let row = |session: &Session| {
        [
            session.id.clone(),
            session.state.clone(),
            time::in_words(session.age),
            session.provider.clone(),
            session.durability.clone().unwrap_or_else(|| "-".to_owned()),
            session.user.clone().unwrap_or_else(|| "-".to_owned()),
            session.clients.len().to_string(),
            session.name.as_ref().or(session.title.as_ref()).map_or_else(|| "-".to_owned(), |name| shortened(name)),
        ]
        .map(|cell| printable(&cell))
    };
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(sessions.iter().map(row)).collect();
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_COLUMN) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

fn details(page: &str, session: &Session) -> String {
    let link = |code: &String| format!("{page}?session={}&role=viewer&invitation={code}", session.id);
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = String::new();
    let kept = match session.kept_for {
        Some(left) => format!("{} more without clients", time::in_words(left)),
        None if session.kept => "yes, for a while without clients".to_owned(),
        None => "no".to_owned(),
    };
    for (name, value) in [
        ("id", session.id.clone()),
        ("name", or_none(&session.name)),
        ("title", or_none(&session.title)),
        ("directory", or_none(&session.directory)),
        ("state", session.state.clone()),
        ("age", time::in_words(session.age)),
        ("provider", session.provider.clone()),
        ("sandbox", or_none(&session.sandbox)),
        ("output", or_none(&session.durability)),
        ("kept", kept),
        ("user", or_none(&session.user)),
        ("watch at", or_none(&session.invitation.as_ref().map(link))),
    ] {
        text.push_str(&format!("{name:9} {}\n", printable(&value)));
    }
    for client in &session.clients {
        let Client { client, role, cols, rows, guest } = client;
        let whose = guest.as_ref().map_or_else(String::new, |guest| format!(", a guest: {}", printable(guest)));
        let size = cols.zip(*rows).map_or_else(String::new, |(cols, rows)| format!(" {cols}x{rows}"));
        text.push_str(&format!("{:9} {}{size}{whose}\n", printable(role), printable(client)));
    }
    text
}

/// A text without characters that could control a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { '?' } else { c }).collect()
}

/// JSON with an escape for every character that misleads. The writer of the library leaves characters above ASCII as they
/// are, and some of those control a terminal.
fn plain(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        match c {
            '\n' => text.push(c),
            c if misleads(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let value: Value = json!({
            "id": "0123", "provider": "local", "state": "running", "age": 3725.5, "generation": 1, "sandbox": "s1",
            "kept": true, "durability": null, "user": "a\u{1b}[2J", "name": null, "title": "make\u{202e} all",
            "clients": [
                { "client": "w1", "role": "driver", "cols": 80, "rows": 24 },
                { "client": "w2", "role": "viewer", "cols": null, "rows": null, "guest": "bob" },
            ],
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_steers_no_terminal() {
        assert_eq!(table(&[]), "no sessions\n");
        assert_eq!(
            table(&[session()]),
            "ID    STATE    AGE    PROVIDER  OUTPUT  USER   CLIENTS  NAME\n\
             0123  running  1h02m  local     -       a?[2J  2        make? all\n"
        );
    }

    #[test]
    fn json_is_the_same_and_steers_no_terminal() {
        let value = json!({ "user": "a\u{1b}[2J\u{9b}2J\u{7f}é", "clients": [] });
        let text = plain(&value);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn one_session_is_shown_with_its_clients() {
        let text = details("http://a/", &Session { invitation: Some("code".to_owned()), ..session() });
        let link = "watch at  http://a/?session=0123&role=viewer&invitation=code\n";
        for line in [
            link,
            "age       1h02m\n",
            "sandbox   s1\n",
            "output    -\n",
            "driver    w1 80x24\n",
            "viewer    w2, a guest: bob\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
