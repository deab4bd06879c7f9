//! The agent (envd) in one sandbox: where it is, how it wants to be spoken to.
//!
//! Owns headers and calls, and how a process is started and fed; knows no terminal
//! and no file.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox_broker_sdk::http::{Method, Request, Response};
use sandbox_broker_sdk::net::{self, Connection, Failure, Refusal};
use sandbox_broker_sdk::time::{self, Elapsed};
use sandbox_broker_sdk::{Code, Error, SandboxRef, log};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::USER_AGENT;
use crate::config::Config;
use crate::errors::{self, Answer};
use crate::process::{self, About, ENDED, STARTED, Sink, Start};
use crate::state::{State, Version};
use crate::urls;

/// How often the agent is asked to show life on a silent stream. Balancers
/// drop a silent stream after minutes; people notice a dead one after seconds.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Silence after which a stream counts as dead, milliseconds: two and a half keepalives.
const DEAD_MS: u32 = 37_500;

/// Silence after which a request with input ends, milliseconds: an open one costs both ends a connection
/// of its own, a new one costs the next byte at most a connection's setup. Longer
/// than the ten seconds between two signs of life that the host writes to a
/// program of its own, which would else begin one each time.
const PAUSE_MS: u32 = 15_000;

/// Longest answer of a call, in bytes: a directory of some ten thousand names.
const MAX_ANSWER: usize = 8 << 20;

/// Longest error body, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// The first agent that can close a standard input.
const CLOSE_STDIN: Version = Version(0, 5, 2);

/// The first agent with a default user of its own.
const DEFAULT_USER: Version = Version(0, 4, 0);

/// The agent of one sandbox.
#[derive(Clone, Debug)]
pub struct Envd {
    /// The sandbox.
    pub id: String,
    /// Its version.
    pub version: Version,
    base: String,
    token: Option<String>,
    user: Option<String>,
    files_as_user: bool,
    /// Deadline of one request.
    pub timeout: Duration,
}

/// Whose process or file a request is about.
#[derive(Clone, Copy, Debug)]
pub enum As<'a> {
    /// A process that exists: users do not matter.
    Any,
    /// This user, or the configured one, or the agent's default.
    User(Option<&'a str>),
}

impl Envd {
    /// Finds the agent of a sandbox. `failed-precondition` without state.
    pub fn of(config: &Config, sandbox: &SandboxRef) -> Result<Self, Error> {
        let state = State::of(sandbox)?;
        if !urls::is_id(&sandbox.id) {
            return Err(Error::new(Code::InvalidArgument, "the sandbox's id is not one of E2B"));
        }
        Ok(Self {
            base: urls::sandbox(config, state.domain.as_deref(), &sandbox.id),
            id: sandbox.id.clone(),
            version: state.envd(),
            files_as_user: state.files_as_user,
            token: state.token,
            user: config.user.clone(),
            timeout: config.timeout(),
        })
    }

    /// A request with the headers that every request needs.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let request = Request::new(method, format!("{}{path}", self.base))
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", urls::ENVD_PORT.to_string())
            .header("user-agent", USER_AGENT)
            .timeout(self.timeout);
        match &self.token {
            Some(token) => request.header("x-access-token", token),
            None => request,
        }
    }

    /// Who acts: asked for, configured, or what old agents need to be told.
    pub fn user<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        let old = (self.version < DEFAULT_USER).then_some("user");
        asked.or(self.user.as_deref()).or(old)
    }

    /// Whether its own calls for files could do more than this user may. E2B's
    /// agent works as root on whatever a path leads to; other servers say that
    /// they do not, and root may anything.
    pub fn oversteps(&self, asked: Option<&str>) -> bool {
        !self.files_as_user && self.user(asked) != Some("root")
    }

    fn call(&self, method: &str, who: As<'_>) -> Request {
        let request = self.request(Method::Post, &format!("/{method}")).header("connect-protocol-version", "1");
        let user = match who {
            As::Any => None,
            As::User(asked) => self.user(asked),
        };
        match user {
            Some(user) => {
                let basic = base64_simd::STANDARD.encode_to_string(format!("{user}:"));
                request.header("authorization", format!("Basic {basic}"))
            }
            None => request,
        }
    }

    /// A call with one message each way.
    pub async fn unary<T: DeserializeOwned>(&self, method: &str, who: As<'_>, body: Vec<u8>) -> Result<T, Error> {
        let request = self.call(method, who).body("application/json", body);
        let answer = request.send().await?;
        if answer.status != 200 {
            return Err(self.refused(answer).await);
        }
        answer.json(MAX_ANSWER).await
    }

    /// A call without an answer worth reading.
    pub async fn command(&self, method: &str, body: &impl Serialize) -> Result<(), Error> {
        let body = serde_json::to_vec(body).expect("messages are structs with text keys");
        self.unary::<serde::de::IgnoredAny>(method, As::Any, body).await.map(drop)
    }

    /// A call whose answer is a stream of events. It carries no `Connect-Timeout-Ms`: on `Start` that is a timer which
    /// kills the process.
    fn stream(&self, method: &str, who: As<'_>, message: &impl Serialize, terminal: bool) -> net::RpcCall {
        let request = self.call(method, who).header("keepalive-ping-interval", KEEPALIVE.as_secs().to_string());
        net::RpcCall {
            url: request.url,
            headers: request.headers,
            message: serde_json::to_string(message).expect("messages are structs with text keys"),
            opens: STARTED.to_owned(),
            first: if terminal { "event.data.pty" } else { "event.data.stdout" }.to_owned(),
            second: (!terminal).then(|| "event.data.stderr".to_owned()),
            closes: ENDED.to_owned(),
            silence_ms: DEAD_MS,
        }
    }

    /// Starts a process and waits until it runs.
    pub async fn start(&self, start: &Start<'_>, user: Option<&str>) -> Result<Live, Error> {
        let who = As::User(user);
        self.begin(self.stream("process.Process/Start", who, start, start.pty.is_some())).await
    }

    /// Comes back to a process; output begins with what it prints from now on.
    pub async fn reconnect(&self, pid: u32) -> Result<Live, Error> {
        self.begin(self.stream("process.Process/Connect", As::Any, &About::process(pid), true)).await
    }

    async fn begin(&self, call: net::RpcCall) -> Result<Live, Error> {
        let late = |Elapsed| {
            Error::new(Code::DeadlineExceeded, format!("sandbox {} did not start the process in time", self.id))
        };
        let begun = time::timeout(self.timeout, async { net::rpc(&call).await }).await.map_err(late)?;
        match begun {
            Ok((message, connection)) => {
                let pid = process::started(&message)
                    .map_err(|_| Error::new(Code::Internal, "the sandbox's agent started a process with nonsense"))?;
                Ok(Live { pid, connection })
            }
            Err(Failure::Refused(Refusal { status: 200, body, .. })) => {
                Err(errors::of_end_frame(&body).unwrap_or_else(|| broke("the process was never started")))
            }
            Err(Failure::Refused(Refusal { status, headers, body })) => {
                let retry_after = headers.iter().find(|(name, _)| name == "retry-after").map(|(_, wait)| wait.as_str());
                let host = urls::authority(&call.url);
                Err(errors::of_sandbox(&Answer { host, status, retry_after, body: &body }, &self.id))
            }
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    /// How input gets into a process.
    pub fn input(&self, pid: u32, sink: Sink) -> net::RpcInput {
        let stream = self.call("process.Process/StreamInput", As::Any);
        let url = |method: &str| self.call(method, As::Any).url;
        let process = |members: &str| format!(r#"{{"process":{{"pid":{pid}}}{members}}}"#);
        let end = match sink {
            Sink::Pty => None,
            Sink::Stdin if self.version < CLOSE_STDIN => {
                log::warn("this sandbox's agent is too old to close a process's input", &[("sandbox", &self.id)]);
                None
            }
            Sink::Stdin => Some((url("process.Process/CloseStdin"), process(""))),
        };
        let member = sink.member();
        net::RpcInput {
            headers: stream.headers,
            url: stream.url,
            // Agents crash on data before it.
            begin: format!(r#"{{"start":{}}}"#, process("")),
            around: (format!(r#"{{"data":{{"input":{{"{member}":""#), "\"}}}".to_owned()),
            single: Some((
                url("process.Process/SendInput"),
                format!(r#"{{"process":{{"pid":{pid}}},"input":{{"{member}":""#),
                "\"}}".to_owned(),
            )),
            end,
            size: sink.size(),
            pause_ms: PAUSE_MS,
            timeout_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
            over: sink.over().iter().map(|&code| code.to_owned()).collect(),
        }
    }

    /// What a failed answer means.
    pub async fn refused(&self, answer: Response) -> Error {
        let (status, host) = (answer.status, answer.host.clone());
        let retry_after = answer.header("retry-after").map(str::to_owned);
        // The status alone tells much; a body that cannot be read tells nothing.
        let body = answer.bytes(MAX_ERROR).await.unwrap_or_default();
        let retry_after = retry_after.as_deref();
        errors::of_sandbox(&Answer { host: &host, status, retry_after, body: &body }, &self.id)
    }
}

/// A process and the connection to it.
pub struct Live {
    /// Its id.
    pub pid: u32,
    /// What it says. Nothing goes to it.
    pub connection: Connection,
}

/// A connection that ended where it should not have.
pub fn broke(what: &str) -> Error {
    Error::new(Code::Unavailable, what)
}

/// The environment of a process: `defaults` unless `env` says otherwise.
pub fn environment<'a>(defaults: &[(&'a str, &'a str)], env: &'a [(String, String)]) -> BTreeMap<&'a str, &'a str> {
    let mut all: BTreeMap<_, _> = defaults.iter().copied().collect();
    all.extend(env.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Command, Pty};

    fn envd(config: &str, state: &str) -> Envd {
        let config = Config::parse(config).expect("fits");
        let sandbox = SandboxRef { id: "iabc".into(), state: state.as_bytes().to_vec() };
        Envd::of(&config, &sandbox).expect("a state")
    }

    fn start() -> Start<'static> {
        let process = Command { cmd: "bash", args: &[], envs: BTreeMap::new(), cwd: None };
        Start { process, pty: Some(Pty::new(80, 24)), stdin: None }
    }

    #[test]
    fn a_process_is_started_without_a_timer_that_kills_it() {
        let envd = envd("{}", r#"{"v":1,"t":"tok","e":"0.6.13"}"#);
        let call = envd.stream("process.Process/Start", As::User(None), &start(), true);
        let header = |name| call.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(call.url, "https://sandbox.e2b.app/process.Process/Start");
        assert_eq!(header("connect-timeout-ms"), None);
        assert_eq!(header("keepalive-ping-interval"), Some("15"));
        assert_eq!(header("e2b-sandbox-id"), Some("iabc"));
        assert_eq!(header("e2b-sandbox-port"), Some("49983"));
        assert_eq!(header("x-access-token"), Some("tok"));
        assert_eq!(header("authorization"), None);
        assert!(u64::from(DEAD_MS) > 2 * KEEPALIVE.as_secs() * 1000);
    }

    #[test]
    fn input_is_spelled_as_the_agent_reads_it() {
        let new = envd("{}", r#"{"v":1,"e":"0.6.13"}"#);
        let typed = new.input(42, Sink::Pty);
        assert_eq!(typed.begin, r#"{"start":{"process":{"pid":42}}}"#);
        let (before, behind) = typed.around;
        assert_eq!(format!("{before}bHMK{behind}"), r#"{"data":{"input":{"pty":"bHMK"}}}"#);
        let (_, before, behind) = typed.single.expect("a call for one message");
        assert_eq!(format!("{before}bHMK{behind}"), r#"{"process":{"pid":42},"input":{"pty":"bHMK"}}"#);
        assert!(typed.end.is_none(), "a terminal stays open");
        let piped = new.input(7, Sink::Stdin);
        assert_eq!(piped.end.expect("a call for the end").1, r#"{"process":{"pid":7}}"#);
        let (_, before, behind) = piped.single.expect("a call for one message");
        assert_eq!(format!("{before}{behind}"), r#"{"process":{"pid":7},"input":{"stdin":""}}"#);
    }

    #[test]
    fn the_api_key_never_goes_to_a_sandbox() {
        let request = envd("{}", r#"{"v":1}"#).request(Method::Get, "/files");
        assert_eq!(request.header_value("x-api-key"), None);
        assert_eq!(request.header_value("x-access-token"), None);
    }

    #[test]
    fn a_user_is_named_only_where_it_matters() {
        let auth = |envd: &Envd, who| {
            let request = envd.call("m", who);
            request.header_value("authorization").map(str::to_owned)
        };
        let new = envd("{}", r#"{"v":1,"e":"0.6.4"}"#);
        assert_eq!(auth(&new, As::User(Some("root"))).as_deref(), Some("Basic cm9vdDo="));
        assert_eq!(auth(&new, As::User(None)), None);
        assert_eq!(auth(&new, As::Any), None);
        let old = envd("{}", r#"{"v":1,"e":"0.3.9"}"#);
        assert_eq!(auth(&old, As::User(None)).as_deref(), Some("Basic dXNlcjo="));
        let configured = envd(r#"{"user":"dev"}"#, r#"{"v":1}"#);
        assert_eq!(configured.user(None), Some("dev"));
        assert_eq!(configured.user(Some("root")), Some("root"));
    }

    #[test]
    fn an_agent_is_not_trusted_with_files_unless_its_server_says_so() {
        let silent = envd("{}", r#"{"v":1,"e":"0.6.13"}"#);
        assert!(silent.oversteps(None) && silent.oversteps(Some("user")) && !silent.oversteps(Some("root")));
        assert!(!envd(r#"{"user":"root"}"#, r#"{"v":1}"#).oversteps(None));
        assert!(!envd("{}", r#"{"v":1,"u":true}"#).oversteps(None));
    }

    #[test]
    fn a_process_is_found_by_its_id() {
        let call = envd("{}", r#"{"v":1}"#).stream("process.Process/Connect", As::Any, &About::process(42), true);
        assert_eq!(call.message, r#"{"process":{"pid":42}}"#);
    }

    #[test]
    fn the_callers_environment_wins() {
        let env = [("TERM".to_owned(), "dumb".to_owned())];
        let all = environment(&[("TERM", "xterm-256color"), ("LANG", "C.UTF-8")], &env);
        assert_eq!(all, [("LANG", "C.UTF-8"), ("TERM", "dumb")].into());
    }
}
