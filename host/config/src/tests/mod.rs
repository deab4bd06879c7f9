//! What the whole of `config/` promises, driven through its public functions.

mod documented;
mod mutations;
mod plugins;
mod properties;
mod rules;
mod secrets;
mod shipped;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, Mistakes, parse};

/// Git keeps no mode, and a private key that others can read is warned of.
fn keep_private() {
    use std::os::unix::fs::PermissionsExt as _;
    static ONCE: std::sync::Once = std::sync::Once::new();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/data/key.pem");
    ONCE.call_once(|| std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap());
}

/// Loads `text` as `broker.toml` with these variables.
fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    keep_private();
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let config = parse(Path::new("broker.toml"), text, &|name| variables.get(name).map(|value| (*value).to_owned()))?;
    if config.missing().is_empty() {
        return Ok(config);
    }
    let missing = config.missing().iter().map(|(_, mistake)| mistake.clone()).collect();
    Err(Mistakes::new(missing, config.files().to_vec()))
}

/// The messages for `text`, one per line; empty when it is good.
fn mistakes(text: &str, variables: &[(&str, &str)]) -> String {
    with(text, variables).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
}

/// Line and column of a byte, counted here a second time and in another way.
fn place(text: &str, offset: usize) -> String {
    let before: Vec<&str> = text[..offset].split('\n').collect();
    format!("{}:{}", before.len(), before.last().map_or(0, |line| line.chars().count()) + 1)
}
