//! What this plugin asks of the broker besides carrying its words out: a
//! signature, a revealed secret, a line in the log. A trait, so that the rest
//! runs without a broker.

use sandbox_broker_sdk::secrets::{self, KeyForm};
use sandbox_broker_sdk::{Error, log};

/// Name of the secret with the account's key.
pub const ACCOUNT_KEY: &str = "account_key";

/// Name of the secret with the operator's own token.
pub const SAS: &str = "sas";

/// The broker.
pub trait Host {
    /// HMAC-SHA-256 of `message` under the account's key.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;

    /// The operator's own token.
    fn sas(&self) -> Result<String, Error>;

    /// Tells the operator.
    fn warn(&self, message: &str, fields: &[(&str, &str)]);
}

/// The broker that runs this plugin.
pub struct Broker;

impl Host for Broker {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        secrets::hmac_sha256(ACCOUNT_KEY, KeyForm::Base64, message)
    }

    fn sas(&self) -> Result<String, Error> {
        secrets::reveal(SAS)
    }

    fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        log::warn(message, fields);
    }
}
