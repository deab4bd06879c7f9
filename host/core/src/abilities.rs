//! What a provider can do.
//!
//! Owns the list and no default: the plugin's exports and its own words say it. Deliberately knows no plugin.

/// What becomes of a sandbox that nobody extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It ends `ttl` after `create` or the last `extend`.
    Settable,
    /// The same, and its end can only be moved later.
    Grows,
    /// It ends `ttl` after `create`, whatever happens.
    Fixed,
    /// It lives until somebody kills it.
    None,
}

impl Lease {
    /// Whether the broker keeps sandboxes alive by renewing their leases.
    pub fn is_renewed(self) -> bool {
        matches!(self, Lease::Settable | Lease::Grows)
    }
}

/// What a provider can do. Making and ending sandboxes and running processes is not listed: every provider can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// What becomes of a sandbox that nobody extends.
    pub lease: Lease,
    /// It has terminals of its own.
    pub terminal: bool,
    /// One can come back to such a terminal.
    pub reattach: bool,
    /// It reads and writes files.
    pub files: bool,
    /// It puts sandboxes to sleep.
    pub pause: bool,
    /// It knows how to reach a port of a sandbox.
    pub ports: bool,
    /// It has volumes that outlive sandboxes.
    pub volumes: bool,
    /// Processes can run as root.
    pub root: bool,
    /// Processes get standard input, and its end.
    pub stdin: bool,
}

impl Abilities {
    /// A provider that can do everything.
    pub const ALL: Abilities = Abilities {
        lease: Lease::Settable,
        terminal: true,
        reattach: true,
        files: true,
        pause: true,
        ports: true,
        volumes: true,
        root: true,
        stdin: true,
    };
}
