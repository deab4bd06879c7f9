//! Who comes to a session.
//!
//! Owns what a client says of itself. Deliberately checks none of it.

use std::sync::Arc;

use sandbox_broker_core::sandbox::Size;

use crate::invitation::Invitation;
use sandbox_broker_policy::roster::Role;

/// Who comes to a session.
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// Name of the client. A second one of the same name takes the first one's
    /// place. A guest gets a new name instead.
    pub client: Arc<str>,
    /// Whether it knows its name and may come back by it. Control waits only
    /// for such a client.
    pub returns: bool,
    /// What it comes to do.
    pub role: Role,
    /// Its size, if it has one.
    pub size: Option<Size>,
    /// Who signed in, if people sign in.
    pub user: Option<Arc<str>>,
    /// The invitation that a guest shows. A guest watches, whatever `role`
    /// says.
    pub invitation: Option<Invitation>,
}
