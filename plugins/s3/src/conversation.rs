//! A conversation with the service as straight code.
//!
//! The host calls with all answers until now and the code runs from its
//! beginning each time: it takes the answers one by one, and stops at the
//! first request without one, which the host then sends. So it must ask the
//! same in the same order.

use jiff::Timestamp;
use sandbox_broker_sdk::Error;
use sandbox_broker_sdk::mounter::{Answer, MountTarget, Request, Response};

use crate::answers::{ahead, root};
use crate::bucket::Bucket;
use crate::config::{Config, Credential};
use crate::errors::{self, Asked};
use crate::grant::Credentials;
use crate::host::Host;
use crate::{presign, sts};

/// Difference of clocks from which it is told, seconds. Signatures are refused
/// from fifteen minutes on.
const SKEW_SECS: i64 = 60;

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

/// A conversation about one mount.
pub struct Conversation<'a> {
    /// The broker.
    pub host: &'a dyn Host,
    /// The section.
    pub config: &'a Config,
    /// Where it is.
    pub bucket: Bucket,
    /// What is mounted.
    pub target: &'a MountTarget,
    /// The broker's clock.
    pub now: Timestamp,
    answers: std::slice::Iter<'a, Answer>,
    notes: Vec<String>,
}

impl<'a> Conversation<'a> {
    /// Starts, or starts again with one more answer.
    pub fn new(
        host: &'a dyn Host,
        config: &'a Config,
        target: &'a MountTarget,
        now: Timestamp,
        answers: &'a [Answer],
    ) -> Result<Self, Error> {
        let bucket = Bucket::of(config)?;
        Ok(Self { host, config, bucket, target, now, answers: answers.iter(), notes: Vec::new() })
    }

    /// Runs `steps` as far as the answers go.
    pub fn run<R>(mut self, steps: impl FnOnce(&mut Self) -> Result<R, Stop>) -> Result<Turn<R>, Error> {
        match steps(&mut self) {
            Ok(done) => {
                // Only now: the code runs once per answer, a note is told once.
                for note in &self.notes {
                    self.host.warn(note, &[("bucket", &self.bucket.shown())]);
                }
                Ok(Turn::Done(done))
            }
            Err(Stop::Send(request)) => Ok(Turn::Send(request)),
            Err(Stop::Fail(e)) => Err(e),
        }
    }

    /// The answer of a service to a request; none is a failure.
    fn response(&mut self, asked: Asked, request: impl FnOnce(&Self) -> Request) -> Result<&'a Response, Stop> {
        match self.answers.next() {
            None => Err(Stop::Send(request(self))),
            Some(Answer::Response(response)) => Ok(response),
            Some(Answer::Failure(e)) => Err(errors::of_failure(e, asked, &self.bucket).into()),
        }
    }

    /// Fresh credentials for the sandbox.
    pub fn credentials(&mut self) -> Result<Credentials, Stop> {
        if self.config.credential == Credential::Key {
            let (id, secret) = (self.config.access_key_id.clone(), self.host.secret_key()?);
            return Ok(Credentials { id, secret, token: None, expires: None });
        }
        let response = self.response(Asked::Tokens, |talk| sts::request(talk.config, &talk.bucket, talk.target))?;
        if response.status != 200 {
            return Err(errors::of_response(response, Asked::Tokens, &self.bucket, self.now).into());
        }
        if let Some(ahead) = ahead(response, self.now).filter(|ahead| ahead.abs() > SKEW_SECS) {
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            self.notes.push(format!("the broker's clock is {} s {side} the service's: set it right", ahead.abs()));
        }
        Ok(sts::read(response)?)
    }

    /// Proves that the service is there, knows the bucket, and takes the
    /// credentials below the prefix.
    pub fn prove(&mut self, credentials: &Credentials) -> Result<(), Stop> {
        let asked = Asked::Files(self.config.credential);
        let response = self.response(asked, |talk| presign::list(&talk.bucket, credentials, talk.now))?;
        if response.status != 200 || root(response).as_deref() != Some("ListBucketResult") {
            return Err(errors::of_response(response, asked, &self.bucket, self.now).into());
        }
        Ok(())
    }
}
