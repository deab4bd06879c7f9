//! What this plugin asks of the broker besides carrying its words out: a
//! revealed secret, a line in the log. A trait, so that the rest runs without a
//! broker.

use sandbox_broker_sdk::{Error, log, secrets};

/// Name of the secret with the operator's secret key. The broker signs requests
/// to the token service with it.
pub const SECRET_KEY: &str = "secret_key";

/// The broker.
pub trait Host {
    /// The operator's own secret key, which must be in `reveal`.
    fn secret_key(&self) -> Result<String, Error>;

    /// Tells the operator.
    fn warn(&self, message: &str, fields: &[(&str, &str)]);
}

/// The broker that runs this plugin.
pub struct Broker;

impl Host for Broker {
    fn secret_key(&self) -> Result<String, Error> {
        secrets::reveal(SECRET_KEY)
    }

    fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        log::warn(message, fields);
    }
}
