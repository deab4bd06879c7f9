//! What a sandbox provider can do: what it says of itself, and what it exports.
//!
//! Owns the form of `abilities` in `manifest.describe`, its defaults, and that the two do not contradict each other.

use serde::Deserialize;

use super::exports::Exported;
use sandbox_broker_core::abilities::{Abilities, Lease};

/// `abilities` of a description.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Stated {
    lease: StatedLease,
    reattach: bool,
    root: bool,
    stdin: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StatedLease {
    Settable,
    Grows,
    Fixed,
    None,
}

impl Default for Stated {
    fn default() -> Self {
        Stated { lease: StatedLease::Settable, reattach: true, root: true, stdin: true }
    }
}

impl Stated {
    /// All abilities, or what contradicts itself.
    pub(super) fn with(self, exported: Exported) -> Result<Abilities, String> {
        let Stated { lease, reattach, root, stdin } = self;
        let Exported { lease: extends, terminal, files, pause, ports, volumes } = exported;
        let lease = match lease {
            StatedLease::Settable => Lease::Settable,
            StatedLease::Grows => Lease::Grows,
            StatedLease::Fixed => Lease::Fixed,
            StatedLease::None => Lease::None,
        };
        if lease.is_renewed() && !extends {
            return Err("its sandboxes have a lease that can be moved, and it does not export the interface `lease`: \
                        export it, or say `\"abilities\": { \"lease\": \"fixed\" }` or `\"none\"`"
                .to_owned());
        }
        Ok(Abilities { lease, terminal, reattach: terminal && reattach, files, pause, ports, volumes, root, stdin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, exported: Exported) -> Result<Abilities, String> {
        serde_json::from_str::<Stated>(json).map_err(|e| e.to_string())?.with(exported)
    }

    const EVERYTHING: Exported =
        Exported { lease: true, terminal: true, files: true, pause: true, ports: true, volumes: true };

    #[test]
    fn what_is_not_stated_has_a_default_and_exports_say_the_rest() {
        assert_eq!(of("{}", EVERYTHING).unwrap(), Abilities::ALL);
        let bare = of(r#"{"lease":"none","root":false,"stdin":false}"#, Exported::default()).unwrap();
        assert_eq!(bare.lease, Lease::None);
        assert!(!(bare.terminal || bare.reattach || bare.files || bare.root || bare.stdin));
        assert!(!of(r#"{"reattach":false}"#, EVERYTHING).unwrap().reattach);
        assert_eq!(of(r#"{"lease":"grows"}"#, EVERYTHING).unwrap().lease, Lease::Grows);
    }

    #[test]
    fn what_contradicts_the_exports_or_is_unknown_is_refused() {
        for json in ["{}", r#"{"lease":"grows"}"#] {
            let error = of(json, Exported { lease: false, ..EVERYTHING }).unwrap_err();
            assert!(error.contains("does not export the interface `lease`"), "{error}");
        }
        for json in [r#"{"lease":"sometimes"}"#, r#"{"gpu":true}"#, r#"{"root":"yes"}"#] {
            assert!(of(json, EVERYTHING).is_err(), "{json}");
        }
    }
}
