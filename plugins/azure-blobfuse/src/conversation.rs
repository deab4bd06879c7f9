//! A conversation with the service as straight code.
//!
//! The host calls with all answers until now and the code runs from its
//! beginning each time: it takes the answers one by one, and stops at the
//! first request without one, which the host then sends. So it must ask the
//! same in the same order. Knows requests to a container, not what they are for.

use jiff::Timestamp;
use sandbox_broker_sdk::Error;
use sandbox_broker_sdk::mounter::{Answer, Request, Response};

use crate::acl::{self, Policy};
use crate::config::Config;
use crate::container::Container;
use crate::errors;
use crate::header::header;
use crate::host::Host;
use crate::sas::VERSION;

/// How long the container is ours, seconds: the least that the service gives.
/// A change takes three requests.
const LEASE_SECS: &str = "15";

/// How often a lease that somebody else has is asked for. With everything else
/// it stays within the sixteen requests of the contract.
const LEASE_TRIES: usize = 8;

/// Why the code stops.
#[derive(Debug)]
pub enum Stop {
    /// This has no answer yet.
    Send(Request),
    /// It cannot go on.
    Fail(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Fail(e)
    }
}

/// What the host is answered.
#[derive(Debug)]
pub enum Turn<R> {
    /// It sends this, and calls again.
    Send(Request),
    /// The conversation is over.
    Done(R),
}

/// What became of a change to the access list.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Made,
    /// There was nothing to change.
    Needless,
    /// It is not made, and why, for the log.
    Not(String),
}

/// A conversation about one container.
pub struct Conversation<'a> {
    /// The broker.
    pub host: &'a dyn Host,
    /// The section.
    pub config: &'a Config,
    /// Where it is.
    pub container: Container,
    /// The broker's clock.
    pub now: Timestamp,
    answers: std::slice::Iter<'a, Answer>,
    notes: Vec<String>,
}

impl<'a> Conversation<'a> {
    /// Starts, or starts again with one more answer.
    pub fn new(host: &'a dyn Host, config: &'a Config, now: Timestamp, answers: &'a [Answer]) -> Result<Self, Error> {
        let container = Container::of(config)?;
        Ok(Self { host, config, container, now, answers: answers.iter(), notes: Vec::new() })
    }

    /// Runs `steps` as far as the answers go.
    pub fn run<R>(mut self, steps: impl FnOnce(&mut Self) -> Result<R, Stop>) -> Result<Turn<R>, Error> {
        match steps(&mut self) {
            Ok(done) => {
                // Only now: the code runs once per answer, a note is told once.
                for note in &self.notes {
                    let (account, container) = (&*self.container.account, &*self.container.name);
                    self.host.warn(note, &[("account", account), ("container", container)]);
                }
                Ok(Turn::Done(done))
            }
            Err(Stop::Send(request)) => Ok(Turn::Send(request)),
            Err(Stop::Fail(e)) => Err(e),
        }
    }

    /// Something for the operator, told when the conversation has succeeded.
    pub fn note(&mut self, message: String) {
        self.notes.push(message);
    }

    /// The answer to a request.
    fn ask(&mut self, request: impl FnOnce(&Self) -> Result<Request, Error>) -> Result<&'a Answer, Stop> {
        match self.answers.next() {
            Some(answer) => Ok(answer),
            None => Err(Stop::Send(request(self)?)),
        }
    }

    /// The answer of the service to a request; none is a failure.
    fn response(&mut self, request: impl FnOnce(&Self) -> Result<Request, Error>) -> Result<&'a Response, Stop> {
        match self.ask(request)? {
            Answer::Response(response) => Ok(response),
            Answer::Failure(e) => Err(Stop::Fail(errors::of_failure(e, &self.container))),
        }
    }

    /// Lists at most one blob by a token: proves that the service is there,
    /// knows the container, and takes the token.
    pub fn list(&mut self, token: impl FnOnce(&Self) -> Result<String, Error>) -> Result<&'a Response, Stop> {
        self.response(|talk| {
            let query = [("restype", "container"), ("comp", "list"), ("maxresults", "1")];
            let url = format!("{}&{}", talk.container.url(&query), token(talk)?);
            let headers = vec![("x-ms-version".to_owned(), VERSION.to_owned())];
            Ok(Request { method: "GET".into(), url, headers, body: Vec::new() })
        })
    }

    /// A request to the container, which the host signs with the account's key.
    fn signed(
        &mut self,
        method: &str,
        comp: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<&'a Response, Stop> {
        self.response(|talk| Ok(talk.to_sign(method, comp, headers, body)))
    }

    fn to_sign(&self, method: &str, comp: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let url = self.container.url(&[("restype", "container"), ("comp", comp)]);
        let headers = headers.iter().chain(&[("x-ms-version", VERSION)]);
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { method: method.to_owned(), url, headers, body: body.to_vec() }
    }

    /// Changes the access list while nobody else does who keeps to the same
    /// lease, as every broker does. `change` returns the new list, or none
    /// when the old one is right.
    pub fn change_acl(
        &mut self,
        change: impl FnOnce(Vec<Policy>) -> Result<Option<Vec<Policy>>, String>,
    ) -> Result<Change, Stop> {
        let lease = match self.acquire()? {
            Ok(lease) => lease,
            Err(why) => return Ok(Change::Not(why)),
        };
        let changed = self.change_leased(&lease, change)?;
        let headers = [("x-ms-lease-action", "release"), ("x-ms-lease-id", lease.as_str())];
        // It ends by itself, so its end needs no success.
        self.ask(|talk| Ok(talk.to_sign("PUT", "lease", &headers, b"")))?;
        Ok(changed)
    }

    /// A lease of the container, or why there is none.
    fn acquire(&mut self) -> Result<Result<String, String>, Stop> {
        let headers = [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", LEASE_SECS)];
        for _ in 0..LEASE_TRIES {
            let response = self.signed("PUT", "lease", &headers, b"")?;
            match (response.status, header(response, "x-ms-lease-id")) {
                (201, Some(id)) => return Ok(Ok(id.to_owned())),
                (409, _) if errors::code(response) == "LeaseAlreadyPresent" => {}
                _ => return Ok(Err(format!("its lease was refused: {}", errors::brief(response)))),
            }
        }
        Ok(Err("somebody else holds its lease".to_owned()))
    }

    fn change_leased(
        &mut self,
        lease: &str,
        change: impl FnOnce(Vec<Policy>) -> Result<Option<Vec<Policy>>, String>,
    ) -> Result<Change, Stop> {
        let old = self.signed("GET", "acl", &[("x-ms-lease-id", lease)], b"")?;
        if old.status != 200 {
            return Ok(Change::Not(format!("its access list was not given: {}", errors::brief(old))));
        }
        let Some(policies) = acl::read(&old.body) else {
            return Ok(Change::Not("its access list holds something unknown".to_owned()));
        };
        let new = match change(policies) {
            Ok(Some(new)) => acl::write(&new),
            Ok(None) => return Ok(Change::Needless),
            Err(why) => return Ok(Change::Not(why)),
        };
        let mut headers = vec![("x-ms-lease-id", lease)];
        // Left out, it would be taken away.
        if let Some(public) = header(old, "x-ms-blob-public-access") {
            headers.push(("x-ms-blob-public-access", public));
        }
        let set = self.signed("PUT", "acl", &headers, &new)?;
        match set.status {
            200 => Ok(Change::Made),
            _ => Ok(Change::Not(format!("its access list was not changed: {}", errors::brief(set)))),
        }
    }
}
