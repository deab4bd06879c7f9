//! What the HTTP server is built on, and the configuration that it follows.
//!
//! Owns no behaviour beyond questions about the settings. Deliberately knows no
//! request.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::access::auth::{SignIn, SignInStore, Token};
use crate::access::origin::Origin;
use sandbox_broker_session::Sessions;
use sandbox_broker_terminal as terminal;

/// Everything that the routes need from outside.
#[derive(Clone)]
pub struct App {
    /// Where terminals come from.
    pub sessions: Sessions,
    /// Who may come; a change applies to the next request.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The state of the configuration, for `GET /api/status`.
    pub config: watch::Receiver<ConfigStatus>,
    /// Bounds of one terminal's socket.
    pub terminal: terminal::Limits,
    /// The broker's own name, the same after a restart.
    pub broker: String,
    /// Where sign-ins are kept.
    pub sign_ins: Arc<dyn SignInStore>,
    /// The sign-ins that an earlier process kept there.
    pub kept: Vec<SignIn>,
}

/// The part of the configuration that decides who may come, and what the page is
/// told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The broker's own addresses as browsers see them, behind a proxy for
    /// example. The first is the one that people are sent to.
    pub public_urls: Vec<Origin>,
    /// Another page that may open `/terminal` and read the API.
    pub frontend_url: Option<Origin>,
    /// The tokens of `[auth]`. Without that section everybody who reaches the
    /// listener is let in. With an empty section nobody is.
    pub tokens: Option<Vec<Token>>,
    /// The provider that the next terminal gets.
    pub provider: String,
    /// Proxies that are believed about their clients' addresses.
    pub trusted_proxies: Vec<IpNet>,
}

impl Settings {
    /// Whether this address is a trusted proxy's.
    pub(crate) fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// The state of the configuration and of the state directory.
#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    /// Number of configurations that have come into force.
    pub generation: u64,
    /// Why the last change did not come into force; never holds a secret's value.
    pub error: Option<String>,
    /// Why new sessions cannot be written to the state directory.
    pub state_error: Option<String>,
    /// The build of the embedded server that makes sandboxes, when it is not
    /// the broker's own.
    pub other_build: Option<String>,
}
