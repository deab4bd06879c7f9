//! What cannot change while the broker runs. Owns the comparison of two configurations; deliberately knows no rule about
//! one alone.

use serde_json::Value;

use crate::check::found;
use crate::config::Config;
use crate::mistake::Mistake;

impl Config {
    /// What `new` changes although it cannot change while the broker runs, one mistake for each key. Empty when the broker
    /// can go on with `new`.
    pub fn refuse_live_changes(old: &Config, new: &Config) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if old.server.listen != new.server.listen {
            let pointer = "/server/listen";
            let found = found(&Value::from(new.server.listen.to_string()), new.map.mark(pointer), pointer, true);
            mistakes.push(new.map.at(
                pointer,
                format!("found {found}, expected the address that the broker listens on: it cannot change live, restart the broker"),
            ));
        }
        // Whoever takes lines out may not know that they kept everybody else out.
        if old.auth.is_some() && new.auth.is_none() {
            mistakes.push(new.map.at(
                "/auth",
                "found no [auth] section, which the broker began with: without it everybody who reaches the broker can open \
                 a terminal. To mean that, restart the broker",
            ));
        }
        mistakes
    }
}
