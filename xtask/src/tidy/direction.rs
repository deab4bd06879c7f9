//! Which module of the host may know which other, and which alone knows a library.
//!
//! The tables are the rule: a new edge is a decision, made here with its reason.
//! Knows nothing of what the modules do.

use super::rust::{Path, line, paths};

/// Module, the modules it may name, and why no others.
const EDGES: [(&str, &[&str], &str); 18] = [
    ("main", &["cli"], "main only parses, runs and exits"),
    (
        "cli",
        &[
            "broker",
            "certificate",
            "config",
            "disk",
            "embedded",
            "plugin",
            "sandbox",
            "signal",
            "storage",
            "terminal",
            "words",
        ],
        "a command starts the broker, asks about its configuration or its machine, proves a provider by the port, shows a \
         plan or is a client of its terminal",
    ),
    (
        "broker",
        &[
            "config", "disk", "embedded", "heap", "http", "journal", "plugin", "sandbox", "session", "storage",
            "terminal",
        ],
        "the composition root joins the parts and has no policy",
    ),
    ("certificate", &[], "a certificate is not trusted, whoever connects"),
    ("config", &["secret", "words"], "a configuration is data: it starts nothing and knows no plugin"),
    ("disk", &[], "a disk is full, whoever fills it"),
    ("embedded", &["disk", "secret"], "the server is a process behind a key"),
    ("heap", &[], "memory is memory, whoever freed it"),
    (
        "http",
        &["sandbox", "session", "terminal", "words"],
        "HTTP hands a session over, or works on its files through the port; it knows no provider",
    ),
    ("terminal", &["sandbox", "session", "words"], "frames speak of a session, whoever provides it"),
    (
        "plugin",
        &["certificate", "config", "disk", "sandbox", "secret", "signal", "storage", "words"],
        "plugins implement the ports and know no session",
    ),
    (
        "session",
        &["journal", "sandbox", "signal", "storage", "words"],
        "a session knows the ports alone, so that it is tested in memory",
    ),
    ("storage", &["sandbox"], "a mount happens in a sandbox and has its errors"),
    ("journal", &["disk"], "a journal keeps what it is given; whether a session lives on is for others to say"),
    ("sandbox", &[], "the port speaks only domain words"),
    ("secret", &[], "a secret knows nobody that could tell it"),
    ("signal", &[], "a signal has one name, whoever tells of it"),
    ("words", &[], "a stranger's text is dangerous wherever it is shown"),
];

/// What tests of any module may name besides: the ports that they stand on.
const TESTS_MAY_NAME: [&str; 2] = ["journal", "sandbox"];

/// Libraries that one part of the host alone may name.
struct Owned {
    paths: &'static [&'static [&'static str]],
    places: &'static [&'static str],
    reason: &'static str,
}

const OWNED: [Owned; 4] = [
    Owned {
        paths: &[&["axum", "extract", "ws"], &["tokio_tungstenite"], &["tungstenite"]],
        // Tests and benchmarks are the other end of the socket.
        places: &["host/src/terminal/", "host/src/http/tests/", "host/tests/", "host/benches/"],
        reason: "only terminal/ knows WebSocket frames",
    },
    Owned {
        paths: &[&["wasmtime"], &["wasmtime_wasi"], &["wasmtime_wasi_http"], &["wit_component"]],
        places: &["host/src/plugin/"],
        reason: "only plugin/ knows components, so that the runtime can change behind the port",
    },
    Owned {
        paths: &[&["toml"]],
        places: &["host/src/config/"],
        reason: "only config/ knows TOML; others read its types",
    },
    Owned {
        paths: &[&["rusqlite"]],
        places: &["host/src/journal/"],
        reason: "only journal/ knows SQLite, so that several brokers can have another database",
    },
];

/// Rule: modules of the host point in one direction.
pub(super) fn edges(path: &str, code: &str) -> Vec<String> {
    let Some(from) = module(path) else { return Vec::new() };
    let Some((_, allowed, reason)) = EDGES.iter().find(|(name, ..)| *name == from) else {
        return vec![format!(
            "{path}:1: module `{from}` has no place in the host: add it, what it may name and why to EDGES in {}",
            file!()
        )];
    };
    let mut broken = Vec::new();
    for found in paths(code) {
        let Some(to) = target(path, code, &found) else { continue };
        let at = line(code, found.at);
        if !EDGES.iter().any(|(name, ..)| *name == to) {
            broken.push(format!(
                "{path}:{at}: `crate::{to}` is no module of the host that tidy knows: add it to EDGES in {}",
                file!()
            ));
        } else if to != from && !allowed.contains(&to) && !(TESTS_MAY_NAME.contains(&to) && is_test(path)) {
            let may = if allowed.is_empty() { "no other module".to_owned() } else { allowed.join(", ") };
            broken.push(format!("{path}:{at}: {from} must not name `{to}`; it may name {may} ({reason})"));
        }
    }
    broken
}

/// Rule: one module of the host alone knows a library.
pub(super) fn owners(path: &str, code: &str) -> Vec<String> {
    if !path.starts_with("host/") {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for Owned { paths: names, places, reason } in OWNED {
        if places.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for found in paths(code) {
            // A single name alone may be a variable.
            let hit = names.iter().find(|name| found.names.starts_with(name) && found.names.len() >= 2);
            if let Some(name) = hit {
                let (at, name) = (line(code, found.at), name.join("::"));
                broken.push(format!("{path}:{at}: must not name `{name}` outside {} ({reason})", places.join(", ")));
            }
        }
    }
    broken
}

/// The module of the host that a file belongs to.
fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("host/src/")?;
    let name = inside.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (name != "lib").then_some(name)
}

/// The module of the host that a path goes to from the crate's root.
fn target<'a>(path: &str, code: &str, found: &Path<'a>) -> Option<&'a str> {
    match found.names.as_slice() {
        ["crate", to, ..] => Some(to),
        // The program reaches the library by its name; elsewhere it is that of the WIT package.
        ["sandbox_broker", to, ..] if path == "host/src/main.rs" => Some(to),
        ["super", ..] => {
            let inside = path.strip_prefix("host/src/")?;
            let files = inside.split('/').count() - usize::from(inside.ends_with("/mod.rs"));
            let inline = usize::from(code[..found.at].contains("mod tests {"));
            let up = found.names.iter().take_while(|name| **name == "super").count();
            (up >= files + inline).then(|| found.names.get(up).copied()).flatten()
        }
        _ => None,
    }
}

/// Whether a file holds nothing but tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_against_the_direction_is_caught() {
        let code = "use crate::{\n    session::Sessions,\n    config::Config,\n};\n";
        let broken = edges("host/src/terminal/mod.rs", code);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("host/src/terminal/mod.rs:3: terminal must not name `config`"), "{broken:?}");

        for (path, code) in [
            ("host/src/sandbox.rs", "fn a() -> crate::secret::Secret {}"),
            ("host/src/main.rs", "use sandbox_broker::config::Config;"),
            ("host/src/session/lease.rs", "use super::super::plugin::Engine;"),
            ("host/src/secret.rs", "use super::config::Config;"),
            ("host/src/http/guard.rs", "use crate::plugin::Engine;"),
        ] {
            assert_eq!(edges(path, code).len(), 1, "{path}: {code}");
        }
    }

    #[test]
    fn a_module_that_nobody_placed_is_caught() {
        assert!(edges("host/src/metrics/mod.rs", "")[0].contains("add it"));
        assert!(edges("host/src/broker.rs", "use crate::metrics::Counter;")[0].contains("add it"));
    }

    #[test]
    fn edges_of_the_table_pass() {
        for (path, code) in [
            ("host/src/lib.rs", "pub use crate::anything;"),
            ("host/src/main.rs", "use sandbox_broker::cli::Arguments;"),
            ("host/src/plugin/bindings.rs", "pub use sandbox_broker::plugin as host;"),
            ("host/src/broker.rs", "use crate::config::{Config, watch};"),
            ("host/src/http/tests/fake.rs", "use crate::sandbox::Provider;"),
            ("host/src/secret.rs", "mod tests { use super::Secret; }"),
            ("host/src/session/lease.rs", "use super::state::State;"),
            ("sandboxd/src/server.rs", "use crate::control::Api;"),
        ] {
            assert_eq!(edges(path, code), Vec::<String>::new());
        }
    }

    #[test]
    fn a_library_outside_its_module_is_caught() {
        for (path, code) in [
            ("host/src/http/routes.rs", "use axum::extract::{Request, ws::WebSocket};"),
            ("host/src/http/routes.rs", "use axum::{extract::ws};"),
            ("host/src/session/mod.rs", "fn a(m: tungstenite::Message) {}"),
            ("host/src/broker.rs", "let e = wasmtime::Engine::default();"),
            ("host/src/cli/check.rs", "toml::from_str(text)"),
            ("host/src/session/sessions.rs", "rusqlite::Connection::open(path)"),
        ] {
            assert_eq!(owners(path, code).len(), 1, "{path}: {code}");
        }
    }

    #[test]
    fn a_library_in_its_module_passes() {
        for (path, code) in [
            ("host/src/terminal/socket.rs", "use axum::extract::ws::WebSocket;"),
            ("host/src/http/routes.rs", "use axum::extract::Request;"),
            ("host/src/http/tests/harness.rs", "use tokio_tungstenite::tungstenite::{self, Message};"),
            ("host/src/plugin/engine.rs", "use wasmtime::Engine;"),
            ("host/src/config/raw.rs", "toml::from_str(text)"),
            ("host/src/journal/sqlite.rs", "use rusqlite::Connection;"),
            ("host/src/broker.rs", "let toml = path; watch(toml)"),
            ("xtask/src/plugins.rs", "use wit_component::ComponentEncoder;"),
        ] {
            assert_eq!(owners(path, code), Vec::<String>::new());
        }
    }
}
