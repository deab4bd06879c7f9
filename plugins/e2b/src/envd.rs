//! The agent (envd) in one sandbox: where it is, how it wants to be spoken to.
//!
//! Owns headers, calls and the reading of event streams; knows no terminal
//! and no file.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox_broker_sdk::http::{BodyReader, Method, Request, Response};
use sandbox_broker_sdk::time::{Elapsed, Idle};
use sandbox_broker_sdk::{Code, Error, SandboxRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::USER_AGENT;
use crate::config::Config;
use crate::envelope;
use crate::errors::{self, Answer};
use crate::process::{Batch, Start};
use crate::state::{State, Version};
use crate::urls;

/// How often the agent is asked to show life on a silent stream. Balancers
/// drop a silent stream after minutes; people notice a dead one after seconds.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Silence after which a stream counts as dead: two and a half keepalives.
const DEAD: Duration = Duration::from_millis(37_500);

/// Longest answer of a call, in bytes: a directory of some ten thousand names.
const MAX_ANSWER: usize = 8 << 20;

/// Longest error body, in bytes.
const MAX_ERROR: usize = 64 << 10;

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

    /// A call whose request is a stream; its answer comes at the stream's end.
    pub fn upstream(&self, method: &str) -> Request {
        self.call(method, As::Any).header("content-type", "application/connect+json")
    }

    /// The request of a call whose answer is a stream of events. It carries no
    /// `Connect-Timeout-Ms`: on `Start` that is a timer which kills the process.
    /// Nor a deadline of its own: [`Envd::begin`] has one.
    fn downstream(&self, method: &str, who: As<'_>, message: &impl Serialize) -> Request {
        let mut request = self.call(method, who);
        request.timeout = None;
        request
            .header("keepalive-ping-interval", KEEPALIVE.as_secs().to_string())
            .body("application/connect+json", envelope::json(message))
    }

    /// Starts a process and waits until it runs.
    pub async fn start(&self, start: &Start<'_>, user: Option<&str>) -> Result<Live, Error> {
        let request = self.downstream("process.Process/Start", As::User(user), start);
        self.begin(request).await
    }

    /// Comes back to a process; output begins with what it prints from now on.
    pub async fn reconnect(&self, pid: u32) -> Result<Live, Error> {
        let about = crate::process::About::process(pid);
        let request = self.downstream("process.Process/Connect", As::Any, &about);
        self.begin(request).await
    }

    async fn begin(&self, request: Request) -> Result<Live, Error> {
        // One timer for the beginning and for what follows: to cancel one blocks the guest, and the second stack
        // that this takes stays for the life of the instance.
        let mut idle = Idle::new(self.timeout);
        let begin = async {
            let answer = request.send().await?;
            if answer.status != 200 {
                return Err(self.refused(answer).await);
            }
            let mut frames = Frames { body: answer.into_reader(), buf: Vec::new() };
            let mut batch = Batch::default();
            loop {
                if let Some(pid) = batch.started {
                    return Ok((pid, frames, batch));
                }
                if let Some(end) = batch.end.take() {
                    return Err(end.unwrap_or_else(|| broke("the process was never started")));
                }
                if !frames.more(&mut batch).await? {
                    return Err(broke("the sandbox's agent hung up before the process ran"));
                }
            }
        };
        let (pid, frames, batch) = idle.guard(Box::pin(begin)).await.unwrap_or_else(|Elapsed| {
            Err(Error::new(Code::DeadlineExceeded, format!("sandbox {} did not start the process in time", self.id)))
        })?;
        idle.limit(DEAD);
        Ok(Live { pid, events: Events { frames, idle }, batch })
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

/// A process and the stream of what it says.
pub struct Live {
    /// Its id.
    pub pid: u32,
    /// What comes.
    pub events: Events,
    /// What has come already.
    pub batch: Batch,
}

/// A stream of events.
pub struct Events {
    frames: Frames,
    idle: Idle,
}

/// What an answer's body holds.
struct Frames {
    body: BodyReader,
    /// Part of a frame.
    buf: Vec<u8>,
}

impl Frames {
    /// As [`Events::more`], without an end to the wait.
    async fn more(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let more = self.body.chunk(&mut self.buf).await?;
        let used = batch
            .take(&self.buf)
            .map_err(|e| Error::new(Code::Internal, format!("the sandbox's agent broke the protocol: {e}")))?;
        self.buf.drain(..used);
        Ok(more)
    }
}

impl Events {
    /// Waits for more and takes all that has come into `batch`. `false` when
    /// nothing follows; whether that was the end is for the batch to say.
    /// Dropping the future may lose events.
    pub async fn more(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let more = self.idle.guard(self.frames.more(batch)).await;
        more.map_err(|Elapsed| Error::new(Code::Unavailable, "the sandbox has shown no sign of life for too long"))?
    }

    /// Reads what is left of an ended stream, so that its connection can serve
    /// again.
    pub async fn drain(self) {
        self.frames.body.drain().await;
    }
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
    use crate::process::{About, Command, Pty};

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
        let request = envd.downstream("process.Process/Start", As::User(None), &start());
        assert_eq!(request.url, "https://sandbox.e2b.app/process.Process/Start");
        assert_eq!(request.header_value("connect-timeout-ms"), None);
        assert_eq!(request.header_value("keepalive-ping-interval"), Some("15"));
        assert_eq!(request.header_value("connect-protocol-version"), Some("1"));
        assert_eq!(request.header_value("content-type"), Some("application/connect+json"));
        assert_eq!(request.header_value("e2b-sandbox-id"), Some("iabc"));
        assert_eq!(request.header_value("e2b-sandbox-port"), Some("49983"));
        assert_eq!(request.header_value("x-access-token"), Some("tok"));
        assert_eq!(request.header_value("authorization"), None);
        assert!(DEAD > 2 * KEEPALIVE);
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
        let request = envd("{}", r#"{"v":1}"#).downstream("process.Process/Connect", As::Any, &About::process(42));
        let body = request.body.expect("a body");
        assert_eq!(&body[5..], br#"{"process":{"pid":42}}"#);
    }

    #[test]
    fn the_callers_environment_wins() {
        let env = [("TERM".to_owned(), "dumb".to_owned())];
        let all = environment(&[("TERM", "xterm-256color"), ("LANG", "C.UTF-8")], &env);
        assert_eq!(all, [("LANG", "C.UTF-8"), ("TERM", "dumb")].into());
    }
}
