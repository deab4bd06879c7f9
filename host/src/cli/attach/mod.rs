//! `broker attach`: a session's terminal in the local terminal.
//!
//! Owns the command's options and what the person is told at the end.
//! `docs/attach.md` says what users may rely on.
//!
//! | file | what it is |
//! |---|---|
//! | `target` | which session of which broker the arguments mean |
//! | `visit` | a session over as many connections as it takes |
//! | `way` | the way to the session: its address, a socket, pauses |
//! | `sent` | input that was sent and is not acknowledged |
//! | `screen` | output on its way to standard output |
//! | `quiet` | output without what the terminal would answer |
//! | `modes` | what output leaves switched on in the terminal, and what undoes it |
//! | `sequence` | the parts of a control sequence |
//! | `local` | what is typed here, and signals |
//! | `key` | the detach key |
//! | `tty` | raw mode and size |
//! | `left` | how it ends, in words and as an exit status |

mod key;
mod left;
mod local;
mod modes;
mod quiet;
mod screen;
mod sent;
mod sequence;
mod target;
mod tty;
mod visit;
mod way;

use std::process::ExitCode;
use std::time::Duration;

use self::key::DetachKey;
use self::left::Left;
use self::target::Target;
use self::visit::Visit;
use super::{remote, time};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The session to come to: its id, the first 8 digits of it or more, its
    /// name, or an address of a broker with `?session=ID`, as the page gives to
    /// viewers. Without one, a new session.
    #[arg(value_name = "SESSION|URL")]
    target: Option<String>,

    #[command(flatten)]
    remote: remote::Remote,

    /// Watches and cannot type.
    #[arg(long)]
    view: bool,

    /// Takes control of the session from the client that has it.
    #[arg(long, conflicts_with = "view")]
    take: bool,

    /// The key that leaves the session, which goes on: ctrl-X, or none.
    #[arg(long, value_name = "KEY", default_value = "ctrl-]")]
    detach_key: DetachKey,
}

/// Runs the command to its end.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { target, remote, view, take, detach_key } = options;
    let target = async { Target::of(target.as_deref(), &remote, view)?.found().await };
    let (left, session) = match target.await {
        Ok(target) => {
            let guest = target.invitation.is_some();
            let (left, session) = Visit::new(target, take, detach_key)?.run().await;
            // A guest comes back by the link, not by the id.
            (left, session.filter(|_| !guest))
        }
        Err(error) => (Left::Failed(format!("{error:#}")), None),
    };
    match (&left, session) {
        (Left::Detached | Left::Signalled(_), Some((session, keep))) => {
            tty::say(&format!("{left}; {}: broker attach {session}", goes_on(keep)));
        }
        // As every command tells its errors.
        (Left::Failed(words) | Left::Unknown(words), _) => tty::fail(words),
        _ => tty::say(&left.to_string()),
    }
    Ok(ExitCode::from(left.status()))
}

/// How long a session waits that nobody is at.
fn goes_on(keep: Duration) -> String {
    // At a broker that does not say it.
    if keep.is_zero() {
        return "the session goes on".to_owned();
    }
    format!("the session goes on for up to {}", time::in_words(keep.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn target(arguments: &[&str]) -> anyhow::Result<Target> {
        let url = ["attach", "--url", "http://127.0.0.1:9"];
        let Options { target, remote, view, .. } = Command::parse_from(url.iter().chain(arguments)).options;
        Target::of(target.as_deref(), &remote, view)
    }

    #[test]
    fn where_the_arguments_lead() {
        const ID: &str = "0123456789abcdef0123456789abcdef";
        let link = format!("https://a.example/?session={ID}&role=viewer");
        let invited = format!("https://a.example/?session={ID}&invitation=code");
        let page = "http://127.0.0.1:9/";
        for (arguments, broker, session, viewer) in [
            (&[][..], page, None, false),
            (&["--view"], page, None, true),
            (&[ID], page, Some(ID), false),
            (&[ID, "--view"], page, Some(ID), true),
            (&["ws://a.example/terminal"], "http://a.example/", None, false),
            (&[&*link], "https://a.example/", Some(ID), true),
            (&[&*invited], "https://a.example/", Some(ID), true),
        ] {
            let found = target(arguments).unwrap();
            assert_eq!(
                (found.broker.name(), found.session.as_deref(), found.viewer),
                (broker, session, viewer),
                "{arguments:?}"
            );
        }
        assert_eq!(target(&[&*invited]).unwrap().invitation.as_deref(), Some("code"));
        assert_eq!(target(&["a: name"]).unwrap().session.as_deref(), Some("a: name"));
        for wrong in ["http://a.example/?session=1", "http://a.example/?role=root", "ftp://a.example"] {
            assert!(target(&[wrong]).is_err(), "{wrong}");
        }
    }
}
