//! Which session a person means: by its id, the beginning of it, or its name.
//!
//! Owns that choice among the sessions that the broker lists. Deliberately
//! knows no command.

use http::Method;
use serde::Deserialize;

use super::remote::Broker;
use sandbox_stdx::words::clean;

/// Digits of a session's id.
const ID: usize = 32;

/// Digits of the beginning of an id, at least: few enough to type, and enough
/// that a name is seldom taken for one.
const PREFIX: usize = 8;

/// Bytes of a name that is shown, at most.
const NAME: usize = 80;

/// A session, as far as it is chosen by.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    sessions: Vec<Listed>,
}

/// Whether this is the whole id of a session.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The id of the session that is meant. A whole id is taken as it is; for
/// anything else the broker is asked for the sessions that there are.
///
/// # Errors
/// When none fits or several do, which are then listed, and when the broker
/// cannot be asked.
pub(super) async fn session(broker: &Broker, text: &str) -> anyhow::Result<String> {
    if is_id(text) {
        return Ok(text.to_owned());
    }
    let answer: Answer = serde_json::from_value(broker.ask(Method::GET, "api/sessions", None).await?)?;
    chosen(&answer.sessions, text)
}

fn chosen(sessions: &[Listed], text: &str) -> anyhow::Result<String> {
    let is_prefix = text.len() >= PREFIX && text.bytes().all(|b| b.is_ascii_hexdigit());
    let prefix = text.to_ascii_lowercase();
    let fits =
        |session: &&Listed| session.name.as_deref() == Some(text) || (is_prefix && session.id.starts_with(&prefix));
    let fitting: Vec<&Listed> = sessions.iter().filter(fits).collect();
    match fitting[..] {
        [session] => Ok(session.id.clone()),
        [] => anyhow::bail!(
            "{text:?} is neither an address nor one of your sessions: not its id, {PREFIX} or more of the id's first \
             digits, nor its name; `broker sessions list` shows them"
        ),
        _ => {
            let line = |session: &&Listed| {
                let name = session.name.as_deref().map(|name| clean(name, NAME)).unwrap_or_default();
                format!("\n  {}  {name}", clean(&session.id, ID)).trim_end().to_owned()
            };
            anyhow::bail!(
                "several sessions are meant by {text:?}, give one's id:{}",
                fitting.iter().map(line).collect::<String>()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_meant_by_a_unique_beginning_or_name_and_never_guessed() {
        let listed = |id: &str, name: Option<&str>| Listed { id: id.repeat(4), name: name.map(str::to_owned) };
        let sessions =
            [listed("79dcc91c", Some("build")), listed("79dcc91d", Some("twin")), listed("0a0a0a0a", Some("twin"))];
        let found = |text: &str| chosen(&sessions, text).map_err(|error| error.to_string());
        for (text, id) in [("79dcc91c", 0), ("79DCC91D7", 1), ("79dcc91c79dc", 0), ("build", 0)] {
            assert_eq!(found(text), Ok(sessions[id].id.clone()), "{text}");
        }
        for text in ["79dcc91", "79dcc91e", "buil", ""] {
            assert!(found(text).unwrap_err().contains("is neither"), "{text}");
        }
        let several = found("twin").unwrap_err();
        assert!(several.contains(&sessions[1].id) && several.contains(&sessions[2].id), "{several}");
        assert!(!several.contains(&sessions[0].id), "{several}");
    }
}
