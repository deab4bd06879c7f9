//! The import `secrets`: a plugin has a token made, or sees a secret that the operator reveals.
//!
//! Owns what a plugin may get that comes of a secret. Deliberately knows no request: the
//! [`Sender`](crate::net::sender::Sender) adds secrets to those.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use wasmtime::component::{HasData, Linker};

use crate::bindings::host::{secrets, types};
use crate::convert::denial;
use crate::imports::log::LogBudget;
use sandbox_broker_config::{Carry, Scheme};
use sandbox_broker_core::secret::Secret;
use sandbox_broker_secrets::{Secrets, ServiceSas};
use sandbox_stdx::words::clean;

/// Bytes of a secret's name that a message shows.
const NAME_BYTES: usize = 64;

/// What this capability sees of a Store.
#[derive(Clone, Copy)]
pub(crate) struct SecretsView<'a> {
    /// Name of the section, for messages.
    pub(crate) provider: &'a str,
    /// The section's secrets.
    pub(crate) secrets: &'a Secrets,
    /// Names of those that the plugin may see.
    pub(crate) reveal: &'a BTreeSet<String>,
    /// Name of the user for whom the guest works.
    pub(crate) user: Option<&'a str>,
    /// Bounds the warnings.
    pub(crate) log_budget: &'a LogBudget,
}

/// A Store whose guest may use secrets.
pub(crate) trait LendsSecrets: 'static {
    fn secrets(&mut self) -> SecretsView<'_>;
}

struct HasSecrets;

impl HasData for HasSecrets {
    type Data<'a> = SecretsView<'a>;
}

/// Adds `secrets` to what a guest may import, with the types that it speaks in.
pub(crate) fn link<T: LendsSecrets>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, HasSecrets>(linker, T::secrets)?;
    secrets::add_to_linker::<T, HasSecrets>(linker, T::secrets)
}

/// The interface has types and no function.
impl types::Host for SecretsView<'_> {}

impl secrets::Host for SecretsView<'_> {
    fn azure_service_sas(&mut self, name: String, request: secrets::SasRequest) -> Result<String, types::Error> {
        let secrets::SasRequest { container, permissions, life_ms, policy } = request;
        let life = Duration::from_millis(life_ms);
        if !self.secrets.has(&name) {
            return Err(self.not_its_own(&name));
        }
        let found = self.secrets.to_derive(&name, |bounds| bounds.admit(&container, life, self.user));
        let (key, binding) = found.ok_or_else(|| {
            let (provider, user, container) = (self.provider, self.user, clean(&container, NAME_BYTES));
            if self.log_budget.take(provider) {
                tracing::warn!(%provider, secret = %name, %container, life = ?life, user, "plugin asked for a token that `sas` does not allow");
            }
            denial(
                types::Code::PermissionDenied,
                format!(
                    "providers.{provider}.secrets.{name}.sas does not allow a token for the container {container} with a \
                     life of {} s: list it in `containers`, or raise `max_life`",
                    life.as_secs()
                ),
            )
        })?;
        let key = self.filled(&name, key)?;
        let Some(Carry::SharedKey(account)) = &binding.carry else {
            return Err(denial(types::Code::PermissionDenied, format!("the secret `{name}` is no key of an account")));
        };
        let https = binding.to.iter().all(|to| to.scheme == Scheme::Https);
        let (permissions, policy) = (permissions.as_str(), policy.as_deref());
        let sas = ServiceSas { account, container: &container, permissions, policy, life, https };
        sas.mint(&key, Timestamp::now()).map_err(|refused| {
            denial(types::Code::InvalidArgument, format!("no token is made with the secret `{name}`: {refused}"))
        })
    }

    fn reveal(&mut self, name: String) -> Result<String, types::Error> {
        if !self.reveal.contains(&name) {
            return Err(denial(
                types::Code::PermissionDenied,
                format!("the secret `{}` may not be revealed to this plugin", clean(&name, NAME_BYTES)),
            ));
        }
        let secret = self.secrets.to_reveal(&name).ok_or_else(|| self.not_its_own(&name))?;
        self.filled(&name, secret).map(|secret| secret.expose().to_owned())
    }
}

impl SecretsView<'_> {
    /// The error for a name that the section does not have.
    fn not_its_own(&self, name: &str) -> types::Error {
        let (provider, name) = (self.provider, clean(name, NAME_BYTES));
        if self.log_budget.take(provider) {
            tracing::warn!(%provider, secret = %name, "plugin asked for a secret that is not its own");
        }
        denial(
            types::Code::PermissionDenied,
            format!("the plugin asked for the secret `{name}`, which providers.{provider}.secrets does not have"),
        )
    }

    /// The secret, unless it is empty.
    fn filled(&self, name: &str, secret: Secret) -> Result<Secret, types::Error> {
        if secret.is_empty() {
            let message = format!("providers.{}.secrets.{name} is empty", self.provider);
            return Err(denial(types::Code::FailedPrecondition, message));
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sandbox_broker_config::{Binding, BoundSecret, EgressGrant, SasBounds};

    use super::secrets::{Host as _, SasRequest};
    use super::*;

    /// A Store that lends nothing else.
    #[derive(Default)]
    struct Alone {
        secrets: Secrets,
        reveal: BTreeSet<String>,
        log_budget: LogBudget,
    }

    impl LendsSecrets for Alone {
        fn secrets(&mut self) -> SecretsView<'_> {
            let Alone { secrets, reveal, log_budget } = self;
            SecretsView { provider: "p", secrets, reveal, user: Some("ada"), log_budget }
        }
    }

    #[test]
    fn it_links_without_the_other_capabilities_and_reveals_only_what_is_named() {
        link(&mut Linker::<Alone>::new(&wasmtime::Engine::default())).unwrap();
        let named = BTreeMap::from([("a", "1"), ("b", "2"), ("empty", "")]);
        let bound = |value| BoundSecret { value: Secret::new(value), binding: Binding::default() };
        let named: BTreeMap<_, _> = named.into_iter().map(|(k, v)| (k.to_owned(), bound(v))).collect();
        let reveal = ["a", "empty", "none"].map(str::to_owned).into();
        let mut store = Alone { secrets: named.into(), reveal, ..Alone::default() };
        let mut guest = store.secrets();
        assert_eq!(guest.reveal("a".to_owned()).unwrap(), "1");
        for (name, code) in [
            ("b", types::Code::PermissionDenied),
            ("none", types::Code::PermissionDenied),
            ("empty", types::Code::FailedPrecondition),
        ] {
            assert_eq!(guest.reveal(name.to_owned()).unwrap_err().code, code, "{name}");
        }
    }

    #[test]
    fn a_token_is_made_within_the_bounds_of_the_operator() {
        let sas = SasBounds { containers: vec!["files-{user}".to_owned()], max_life: Duration::from_secs(60) };
        let to = vec![EgressGrant::parse("https://acct.blob.core.windows.net").unwrap()];
        let binding = Binding { to, carry: Some(Carry::SharedKey("acct".to_owned())), sas: Some(sas) };
        let bound = |value: &str, binding: Binding| BoundSecret { value: Secret::new(value), binding };
        let secrets = BTreeMap::from([
            ("key".to_owned(), bound("a2V5", binding.clone())),
            ("plain".to_owned(), bound("a2V5", Binding { sas: None, ..binding.clone() })),
            ("empty".to_owned(), bound("", binding.clone())),
            ("text".to_owned(), bound("no base64", binding)),
        ]);
        let mut store = Alone { secrets: secrets.into(), ..Alone::default() };
        let mut mint = |name: &str, container: &str, life_ms, permissions: &str, policy: Option<&str>| {
            let (container, permissions, policy) = (container.into(), permissions.into(), policy.map(str::to_owned));
            store.secrets().azure_service_sas(name.to_owned(), SasRequest { container, permissions, life_ms, policy })
        };
        let token = mint("key", "files-ada", 60_000, "rl", None).unwrap();
        assert!(token.contains("&sr=c&sp=rl&") && token.contains("spr=https"), "{token}");
        let token = mint("key", "files-ada", 60_000, "rl", Some("one.p")).unwrap();
        assert!(token.contains("&si=one.p&") && !token.contains("sp="), "{token}");
        for (name, container, life, permissions, code) in [
            ("key", "files-bob", 60_000, "rl", types::Code::PermissionDenied),
            ("key", "files-{user}", 60_000, "rl", types::Code::PermissionDenied),
            ("key", "files-ada", 60_001, "rl", types::Code::PermissionDenied),
            ("key", "files-ada", u64::MAX, "rl", types::Code::PermissionDenied),
            ("key", "files-ada", 60_000, "rlx", types::Code::InvalidArgument),
            ("plain", "files-ada", 60_000, "rl", types::Code::PermissionDenied),
            ("other", "files-ada", 60_000, "rl", types::Code::PermissionDenied),
            ("empty", "files-ada", 60_000, "rl", types::Code::FailedPrecondition),
            ("text", "files-ada", 60_000, "rl", types::Code::InvalidArgument),
        ] {
            let refused = mint(name, container, life, permissions, None).unwrap_err();
            assert_eq!(refused.code, code, "{name} {container} {life} {permissions}: {}", refused.message);
        }
    }
}
