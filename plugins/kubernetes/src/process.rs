//! How a process is started in a Pod, found again and ended. Pure: words for a shell, addresses, reports.
//!
//! Kubernetes starts a program with arguments and nothing else. What else a process needs (directory, environment, a name
//! by which it is found for a signal) a shell in the sandbox sets before it becomes the program.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_broker_sdk::exec::Command;
use sandbox_broker_sdk::{Code, Error, Exit, quote};

use crate::config::Config;
use crate::errors::Status;
use crate::pod::CONTAINER;

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes of a URL, at most: the contract's.
const MAX_URL: usize = 8 << 10;

/// Sub-protocols of a connection, the better one first. By v5 a client can end standard input.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The variable by which a process is found again.
const MARK: &str = "SANDBOX_EXEC_ID";

/// Becomes the program. `$1` is its directory, or empty; then come pairs for `env` and the program.
const START: &str = r#"if [ -n "$1" ]; then cd "$1" || exit 126; fi; shift; exec env "$@""#;

/// Signals the process that has this mark and no parent in the sandbox: its children have the mark too. 3: there is none.
const SIGNAL: &str = r#"for p in /proc/[0-9]*; do case $(cat $p/environ 2>/dev/null | tr '\0' '\n') in *"$1"*) while read -r k v; do if [ "$k" = PPid: ] && [ "$v" = 0 ]; then kill -s "$2" ${p#/proc/}; exit; fi; done <$p/status;; esac; done; exit 3"#;

/// Percent-encodes a path segment or a part of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Whether it may be the name of a Pod, which stands in addresses.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (1..=253).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
}

/// The words that start a command as the process `id`.
pub fn start(command: &Command, id: &str) -> Result<Vec<String>, Error> {
    if command.argv.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "a command has a program at least"));
    }
    if let Some(user) = &command.user {
        return Err(Error::new(
            Code::InvalidArgument,
            format!(
                "all processes of a Pod have its one user, and cannot be those of {user:?}: take `user` out of [sandbox], \
                 and set `security.run_as_user`"
            ),
        ));
    }
    let mut words: Vec<String> = ["sh", "-c", START, "sh"].map(str::to_owned).into();
    words.push(command.cwd.clone().unwrap_or_default());
    words.push(format!("{MARK}={id}"));
    words.extend(command.env.iter().map(|(name, value)| format!("{name}={value}")));
    // `env` takes a word with an equals sign for a pair, and one that begins with a dash for an option.
    if command.argv[0].contains('=') || command.argv[0].starts_with('-') {
        words.extend(["sh", "-c", r#"exec "$@""#, "sh"].map(str::to_owned));
    }
    words.extend(command.argv.iter().cloned());
    Ok(words)
}

/// The words that send a signal to the process `id`.
pub fn signal(id: &str, name: &str) -> Result<Vec<String>, Error> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    if short.is_empty()
        || !short.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'+' || b == b'-')
    {
        return Err(Error::new(Code::InvalidArgument, format!("{:?} is no signal", quote(name))));
    }
    Ok(["sh", "-c", SIGNAL, "sh", &format!("{MARK}={id}"), short].map(str::to_owned).into())
}

/// Where a connection to a new process is opened.
pub fn address(config: &Config, pod: &str, words: &[String]) -> Result<String, Error> {
    let mut url = format!(
        "{}/api/v1/namespaces/{}/pods/{pod}/exec?container={CONTAINER}&stdin=1&stdout=1&stderr=1",
        config.api_url, config.namespace
    );
    for word in words {
        url.push_str("&command=");
        url.push_str(&encode(word));
    }
    if url.len() > MAX_URL {
        let message = format!("the command is too long: Kubernetes takes it in an address, of {MAX_URL} bytes at most");
        return Err(Error::new(Code::InvalidArgument, message));
    }
    Ok(url)
}

/// How a process ended, by the last words of its connection. The words of each version differ; the cause does not.
pub fn exit(report: &str) -> Result<Exit, Error> {
    let Ok(status) = serde_json::from_str::<Status>(report) else {
        return Err(Error::new(Code::Unavailable, "the connection to the process broke before it said how that ended"));
    };
    if status.status == "Success" {
        return Ok(Exit::Code(0));
    }
    let code = status.details.causes.iter().find(|cause| cause.reason == "ExitCode");
    match code.and_then(|cause| cause.message.parse().ok()) {
        Some(code) => Ok(Exit::Code(code)),
        None => Err(Error::new(
            Code::FailedPrecondition,
            format!("the process cannot be started; the image needs sh, env and cat: {}", quote(&status.message)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};

    use super::*;

    fn command(argv: &[&str]) -> Command {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Command { argv, cwd: None, env: vec![], user: None, attrs: vec![] }
    }

    fn output(words: &[String]) -> String {
        let output = Program::new(&words[0]).args(&words[1..]).output().expect("a shell");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn a_command_gets_its_directory_and_environment_whatever_stands_in_them() {
        let mut command = command(&["printf", "%s|%s|%s", "$A", "a b", "'"]);
        command.argv =
            ["sh", "-c", "printf '%s|' \"$PWD\" \"$A\" \"$@\"", "x", "a b", "$(id)'"].map(str::to_owned).into();
        command.cwd = Some("/tmp".into());
        command.env = vec![("A".into(), "1 \"$(id)\"\n2".into())];
        assert_eq!(output(&start(&command, "i").expect("words")), "/tmp|1 \"$(id)\"\n2|a b|$(id)'|");
    }

    #[test]
    fn a_program_with_an_odd_name_is_no_option_of_env() {
        let words = start(&command(&["a=b"]), "i").expect("words");
        let ended = Program::new(&words[0]).args(&words[1..]).stderr(Stdio::null()).status().expect("a shell");
        assert_eq!(ended.code(), Some(127));
    }

    #[test]
    fn a_signal_is_told_from_a_word_of_the_shell() {
        assert_eq!(signal("i", "SIGTERM").expect("words").last().map(String::as_str), Some("TERM"));
        for wrong in ["", "SIG", "9; id", "term"] {
            assert_eq!(signal("i", wrong).expect_err(wrong).code, Code::InvalidArgument);
        }
        let nobody = signal("of-no-process", "TERM").expect("words");
        assert_eq!(Program::new(&nobody[0]).args(&nobody[1..]).status().expect("a shell").code(), Some(3));
    }

    #[test]
    fn an_address_has_every_word_and_a_bound() {
        let config = Config { api_url: "https://h".into(), namespace: "n".into(), ..Config::default() };
        let url = address(&config, "p", &["a b".into(), "&c=".into()]).expect("short");
        assert!(url.starts_with("https://h/api/v1/namespaces/n/pods/p/exec?"), "{url}");
        assert!(url.ends_with("&command=a%20b&command=%26c%3D"), "{url}");
        assert_eq!(address(&config, "p", &["x".repeat(9000)]).expect_err("long").code, Code::InvalidArgument);
    }

    #[test]
    fn an_exit_is_read_from_its_cause() {
        assert!(matches!(exit(r#"{"metadata":{},"status":"Success"}"#), Ok(Exit::Code(0))));
        let failed = r#"{"metadata":{},"status":"Failure","message":"command terminated with exit code 7",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert!(matches!(exit(failed), Ok(Exit::Code(7))));
        let absent =
            r#"{"metadata":{},"status":"Failure","message":"no such file","reason":"InternalError","code":500}"#;
        assert_eq!(exit(absent).expect_err("no cause").code, Code::FailedPrecondition);
        assert_eq!(exit("").expect_err("no report").code, Code::Unavailable);
    }
}
