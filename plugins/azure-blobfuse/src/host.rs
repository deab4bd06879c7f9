//! What this plugin asks of the broker besides carrying its words out: a token
//! for the container, a revealed secret, a line in the log. A trait, so that the rest
//! runs without a broker.

use sandbox_broker_sdk::secrets::{self, SasRequest};
use sandbox_broker_sdk::{Error, log};

/// Name of the secret with the account's key. The broker signs requests with it.
pub const ACCOUNT_KEY: &str = "account_key";

/// Name of the secret with the operator's own token.
pub const SAS: &str = "sas";

/// The broker.
pub trait Host {
    /// A token made with the account's key, as the query of a URL.
    fn mint(&self, request: SasRequest) -> Result<String, Error>;

    /// The operator's own token.
    fn sas(&self) -> Result<String, Error>;

    /// Tells the operator.
    fn warn(&self, message: &str, fields: &[(&str, &str)]);
}

/// The broker that runs this plugin.
pub struct Broker;

impl Host for Broker {
    fn mint(&self, request: SasRequest) -> Result<String, Error> {
        secrets::azure_service_sas(ACCOUNT_KEY, &request)
    }

    fn sas(&self) -> Result<String, Error> {
        secrets::reveal(SAS)
    }

    fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        log::warn(message, fields);
    }
}
