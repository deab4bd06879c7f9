//! Tests over more than one module, and what all tests share: a broker, targets,
//! answers.

mod conversations;
mod plans;
mod scripts;

use std::cell::RefCell;

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{MountTarget, Response};
use sandbox_broker_sdk::{Code, Error};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::grant::Credentials;
use crate::host::Host;

pub(crate) const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A broker in memory.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) key: Option<String>,
    pub(crate) warned: RefCell<Vec<String>>,
}

impl Host for Fake {
    fn secret_key(&self) -> Result<String, Error> {
        self.key.clone().ok_or_else(|| Error::new(Code::PermissionDenied, "secret_key is not in `reveal`"))
    }

    fn warn(&self, message: &str, _fields: &[(&str, &str)]) {
        self.warned.borrow_mut().push(message.to_owned());
    }
}

/// The moment at which all tests run.
pub(crate) fn now() -> Timestamp {
    "2026-11-25T00:05:38Z".parse().expect("a time")
}

/// A section for AWS with more members, which begin with a comma.
pub(crate) fn section(members: &str) -> Config {
    let role = if members.contains("role_arn") { "" } else { r#","role_arn":"arn:aws:iam::1:role/r""# };
    let region = if members.contains("region") { "" } else { r#","region":"eu-west-1""# };
    Config::checked(&format!(r#"{{"bucket":"files"{role}{region}{members}}}"#)).expect("a good section")
}

/// The bucket of `section(members)`.
pub(crate) fn bucket(members: &str) -> Bucket {
    Bucket::of(&section(members)).expect("good addresses")
}

/// Temporary credentials for an hour.
pub(crate) fn credentials() -> Credentials {
    Credentials {
        id: "ASIAX".into(),
        secret: "se/cret".into(),
        token: Some("token+1".into()),
        expires: Some("2026-11-25T01:05:38Z".parse().expect("a time")),
    }
}

/// The answer of a token service with these credentials.
pub(crate) fn assumed() -> Response {
    let body = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                <AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>se/cret</SecretAccessKey>\
                <Expiration>2026-11-25T01:05:38Z</Expiration><SessionToken>token+1</SessionToken>\
                </Credentials></AssumeRoleResult></AssumeRoleResponse>";
    Response { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

pub(crate) fn target() -> MountTarget {
    MountTarget {
        id: ID.into(),
        path: "/workspace/files".into(),
        workspace: "/run/w".into(),
        read_only: false,
        user: Some("user".into()),
        attrs: vec![("broker".into(), "one".into())],
    }
}

/// An answer of the service with an error code.
pub(crate) fn refusal(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>words of the service</Message></Error>");
    Response { status, headers: vec![("x-amz-request-id".into(), "r".into())], body: body.into_bytes() }
}
