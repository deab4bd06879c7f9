//! Requests to the engine: addresses, deadlines, answers. Knows not what they are for.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_broker_sdk::http::{Method, Request, Response};
use sandbox_broker_sdk::{Code, Error, quote};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::errors::{self, Asked};

/// Longest answer, in bytes: a page of a listing, whose entries have their images' labels too.
const MAX_ANSWER: usize = 16 << 20;

/// Longest answer about one container or one failure, in bytes.
const MAX_SHORT: usize = 1 << 20;

/// What stands in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The engine of one configuration.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// The section.
    pub config: &'a Config,
}

/// An answer, read to its end.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the engine did what it was asked for.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error that it is.
    pub fn error(&self, asked: Asked<'_>) -> Error {
        errors::of_answer(self.status, &self.body, asked)
    }

    /// Its JSON, or the error that it is.
    pub fn json<T: DeserializeOwned>(&self, asked: Asked<'_>) -> Result<T, Error> {
        if !self.is_ok() {
            return Err(self.error(asked));
        }
        serde_json::from_slice(&self.body).map_err(|e| {
            Error::new(Code::Internal, "the answer is not one of the Docker Engine API: check `endpoint` and `allow`")
                .with("json", quote(&e.to_string()))
        })
    }
}

impl<'a> Engine<'a> {
    /// The engine that `config` names.
    pub fn new(config: &'a Config) -> Self {
        Self { config }
    }

    /// The URL of a path. It has no version: every engine from 1.41 on takes that as its newest, and some newer ones
    /// refuse 1.41 itself. Only what 1.41 has is used.
    pub fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = format!("{}{path}", self.config.endpoint);
        for (i, (name, value)) in query.iter().enumerate() {
            let mark = if i == 0 { '?' } else { '&' };
            url.push_str(&format!("{mark}{name}={}", utf8_percent_encode(value, PLAIN)));
        }
        url
    }

    /// A request without a body. It says so: the engine takes one of unknown length for a body.
    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Request {
        let body = matches!(method, Method::Post).then(Vec::new);
        Request { body, ..Request::new(method, self.url(path, query)) }.timeout(self.config.timeout())
    }

    /// Reads something.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Error> {
        self.ask(self.request(Method::Get, path, query), MAX_ANSWER).await
    }

    /// Does something that takes no body.
    pub async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Error> {
        self.ask(self.request(Method::Post, path, query), MAX_SHORT).await
    }

    /// Does something that takes a body.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<Answer, Error> {
        self.ask(self.request(Method::Post, path, &[]).json(body), MAX_SHORT).await
    }

    /// Removes something.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Error> {
        self.ask(self.request(Method::Delete, path, query), MAX_SHORT).await
    }

    /// Does something that answers for as long as it takes: the head of the answer.
    pub async fn follow(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Error> {
        let request = Request { timeout: None, ..self.request(Method::Post, path, query) };
        request.send().await.map_err(|error| self.of_way(error))
    }

    async fn ask(&self, request: Request, limit: usize) -> Result<Answer, Error> {
        let answer = request.send().await.map_err(|error| self.of_way(error))?;
        Ok(Answer { status: answer.status, body: answer.bytes(limit).await? })
    }

    /// An error of the way to the engine, with its remedy.
    pub fn of_way(&self, error: Error) -> Error {
        errors::of_way(error, self.config.is_local())
    }
}

/// Whether a text may be an id of the engine, and so part of a path.
pub fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_no_version_and_encoded_values() {
        let config = Config::default();
        let engine = Engine::new(&config);
        assert_eq!(engine.url("/containers/x/start", &[]), "http://localhost/containers/x/start");
        assert_eq!(
            engine.url("/images/create", &[("fromImage", "h:5000/a b"), ("tag", "1")]),
            "http://localhost/images/create?fromImage=h%3A5000%2Fa%20b&tag=1"
        );
    }

    #[test]
    fn an_id_cannot_lead_a_request_astray() {
        assert!(is_id("4ae79c5cef559bca"));
        for bad in ["", "..", "a/b", "a?b", "a%2fb", "ä"] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
