//! From the file as written to the configuration that the broker reads. Owns every rule that joins several keys, and
//! every bound; deliberately leaves the plugins' own settings to the caller, which holds the plugins.
//!
//! A rule says nothing about keys that are wrong by themselves. Those were reported already, and what a rule would say
//! about a wrong value helps nobody.
//!
//! | file | what it owns |
//! |---|---|
//! | `findings` | what the rules look at, and what they find |
//! | `server` | `[server]` and `[auth]` |
//! | `sandbox` | `[sandbox]` |
//! | `storage` | `[storage]` |
//! | `provider` | `[providers.NAME]`, and which providers are in use |
//! | `secret` | `[providers.NAME.secrets.SECRET]` |
//! | `tls` | `[providers.NAME.tls]` |

mod findings;
mod provider;
mod sandbox;
mod secret;
mod server;
mod storage;
mod tls;

use std::collections::BTreeMap;

use crate::mistake::Mistake;
use crate::raw;
use crate::types::{Auth, Mount, Provider, Sandbox, Server};
use findings::Rules;

pub(crate) use findings::Context;
pub(crate) use provider::empty_secrets;
pub(crate) use secret::TEXT_IN_FILE;

/// What the rules found.
pub(crate) struct Outcome {
    /// Meaningless when there are mistakes.
    pub(crate) config: Parts,
    /// What is wrong.
    pub(crate) mistakes: Vec<Mistake>,
    /// What is not wrong but unwise.
    pub(crate) warnings: Vec<Mistake>,
    /// Secrets that providers in use do not have, by provider.
    pub(crate) missing: Vec<(String, Mistake)>,
}

/// The sections of a [`Config`].
pub(crate) struct Parts {
    pub(crate) server: Server,
    pub(crate) auth: Option<Auth>,
    pub(crate) sandbox: Sandbox,
    pub(crate) storage: Vec<Mount>,
    pub(crate) providers: BTreeMap<String, Provider>,
}

/// Applies every rule to what was read.
pub(crate) fn validate(file: raw::File, context: &Context<'_>) -> Outcome {
    let mut rules = Rules::new(context);
    let auth = rules.auth(file.auth);
    let server = rules.server(file.server, auth.is_some());
    let mut providers = BTreeMap::new();
    for (name, provider) in file.providers {
        let provider = rules.provider(&name, provider);
        providers.insert(name, provider);
    }
    let people = auth.as_ref().map_or(0, |auth| auth.tokens.len());
    let sandbox = rules.sandbox(file.sandbox, &providers, people);
    let storage = rules.storage(file.storage, &providers, people);
    rules.storage_on_loopback(&sandbox, &storage, &providers);
    let config = Parts { server, auth, sandbox, storage, providers };
    Outcome { config, mistakes: rules.mistakes, warnings: rules.warnings, missing: rules.missing }
}
