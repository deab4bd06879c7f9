//! Tests over more than one module, and what all tests share: a broker that
//! signs with the well-known key of emulators, targets, answers.

mod conversations;
mod plans;
mod scripts;

use std::cell::RefCell;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{MountTarget, Response};
use sandbox_broker_sdk::{Code, Error};
use sha2::Sha256;

use crate::config::Config;
use crate::container::Container;
use crate::host::Host;

/// The account key that every emulator has and everybody knows.
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) const ID_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const ID_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub(crate) const ID_C: &str = "cccccccccccccccccccccccccccccccc";

/// A broker in memory.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    sas: Option<String>,
    signed: RefCell<Vec<String>>,
    warned: RefCell<Vec<String>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_sas(sas: &str) -> Self {
        Self { sas: Some(sas.to_owned()), ..Self::default() }
    }

    /// Every text that was signed.
    pub(crate) fn signed(&self) -> Vec<String> {
        self.signed.borrow().clone()
    }

    /// Every warning.
    pub(crate) fn warned(&self) -> Vec<String> {
        self.warned.borrow().clone()
    }
}

impl Host for Fake {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.signed.borrow_mut().push(String::from_utf8(message.to_vec()).expect("text"));
        let key = base64_simd::STANDARD.decode_to_vec(DEVELOPMENT_KEY).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(message);
        Ok(mac.finalize().into_bytes().to_vec())
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
