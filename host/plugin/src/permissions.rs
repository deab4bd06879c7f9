//! What the operator lets the plugin of one section do.
//!
//! Owns the values alone. Each capability in `imports/` reads the part that it needs; where requests may go is the
//! [`Sender`](crate::net::sender::Sender)'s.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::imports::cache::Cache;
use crate::imports::log::LogBudget;
use crate::totals::Totals;
use sandbox_broker_secrets::Secrets;

/// What the operator lets one section's plugin do.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// The section's name, for messages.
    pub(crate) provider: String,
    /// Secrets, by the names that the plugin uses.
    pub(crate) secrets: Secrets,
    /// Names of the secrets that the plugin may see.
    pub(crate) reveal: BTreeSet<String>,
    /// Bytes of memory of an instance.
    pub(crate) memory: usize,
    /// CPU time that an instance may use without giving way once.
    pub(crate) cpu: Duration,
    /// Whether the settings differ from user to user.
    pub(crate) per_user: bool,
    /// What the plugin keeps from call to call.
    pub(crate) cache: Cache,
    /// Log lines of all instances of the section.
    pub(crate) log_budget: LogBudget,
    /// What all instances may use together.
    pub(crate) totals: Totals,
}
