//! Tests over more than one module, and what all tests share: a broker that
//! makes tokens, targets, answers.

mod conversations;
mod plans;
mod scripts;

use std::cell::RefCell;
use std::time::Duration;

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{MountTarget, Response};
use sandbox_broker_sdk::secrets::SasRequest;
use sandbox_broker_sdk::{Code, Error};

use crate::config::Config;
use crate::container::{Container, encode};
use crate::host::Host;

pub(crate) const ID_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const ID_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub(crate) const ID_C: &str = "cccccccccccccccccccccccccccccccc";

/// A broker in memory.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    sas: Option<String>,
    warned: RefCell<Vec<String>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_sas(sas: &str) -> Self {
        Self { sas: Some(sas.to_owned()), ..Self::default() }
    }

    /// Every warning.
    pub(crate) fn warned(&self) -> Vec<String> {
        self.warned.borrow().clone()
    }
}

impl Host for Fake {
    fn mint(&self, request: SasRequest) -> Result<String, Error> {
        let SasRequest { container, permissions, life_ms, policy } = request;
        assert_eq!(container, "files");
        let expires = (now() + Duration::from_millis(life_ms)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let allows = policy.map_or(format!("sp={permissions}"), |policy| format!("si={policy}"));
        Ok(format!("sv=1&se={}&sr=c&{allows}&sig=signature", encode(&expires)))
    }

    fn sas(&self) -> Result<String, Error> {
        self.sas.clone().ok_or_else(|| Error::new(Code::PermissionDenied, "sas is not in `reveal`"))
    }

    fn warn(&self, message: &str, _fields: &[(&str, &str)]) {
        self.warned.borrow_mut().push(message.to_owned());
    }
}

/// The moment at which all tests run.
pub(crate) fn now() -> Timestamp {
    "2026-11-25T00:05:38Z".parse().expect("a time")
}

/// A section for Azure with more members, which begin with a comma.
pub(crate) fn section(members: &str) -> Config {
    Config::checked(&format!(r#"{{"account":"mystore","container":"files"{members}}}"#)).expect("a good section")
}

/// The container of `section("")`.
pub(crate) fn azure() -> Container {
    Container::of(&section("")).expect("a good endpoint")
}

/// A container of an emulator.
pub(crate) fn emulator() -> Container {
    let config = r#"{"account":"devstoreaccount1","container":"test1",
        "endpoint":"http://127.0.0.1:10000/devstoreaccount1"}"#;
    Container::of(&Config::checked(config).expect("a good section")).expect("a good endpoint")
}

/// The mount A of the broker "one", beside B.
pub(crate) fn target() -> MountTarget {
    MountTarget {
        id: ID_A.into(),
        path: "/workspace/files".into(),
        workspace: "/run/w".into(),
        read_only: false,
        user: Some("user".into()),
        attrs: vec![("broker".into(), "one".into()), ("live".into(), ID_B.into())],
    }
}

/// An answer of the service with an error code, or none when empty.
pub(crate) fn refusal(status: u16, code: &str) -> Response {
    let mut headers = vec![("x-ms-request-id".to_owned(), "r".to_owned())];
    if !code.is_empty() {
        headers.insert(0, ("x-ms-error-code".to_owned(), code.to_owned()));
    }
    Response { status, headers, body: Vec::new() }
}
