//! The import `secrets`: a plugin signs with a secret, or sees one that the operator reveals.
//!
//! Owns which secret a plugin may use in its own code. Deliberately knows no request: a secret in a header is filled in
//! by the [`Sender`](crate::net::sender::Sender).

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::component::{HasData, Linker};

use crate::bindings::host::{secrets, types};
use crate::convert::denial;
use crate::imports::log::LogBudget;
use crate::keyring::Secrets;
use sandbox_broker_core::secret::Secret;
use sandbox_broker_core::words::clean;

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
    fn hmac_sha256(&mut self, name: String, form: secrets::KeyForm, message: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        let key = self.find(&name)?;
        let key = key.expose();
        let key = match form {
            secrets::KeyForm::Text => key.as_bytes().to_vec(),
            secrets::KeyForm::Base64 => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.decode(key).map_err(|_| {
                    denial(types::Code::FailedPrecondition, format!("the secret `{name}` is not valid base64"))
                })?
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(&message);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    fn reveal(&mut self, name: String) -> Result<String, types::Error> {
        if !self.reveal.contains(&name) {
            return Err(denial(
                types::Code::PermissionDenied,
                format!("the secret `{}` may not be revealed to this plugin", clean(&name, NAME_BYTES)),
            ));
        }
        self.find(&name).map(|secret| secret.expose().to_owned())
    }
}

impl SecretsView<'_> {
    /// The newest value of a secret of the section; an error for the guest when it has none.
    fn find(&self, name: &str) -> Result<Secret, types::Error> {
        let provider = self.provider;
        let secret = self.secrets.to_use(name).ok_or_else(|| {
            let name = clean(name, NAME_BYTES);
            if self.log_budget.take(provider) {
                tracing::warn!(%provider, secret = %name, "plugin asked for a secret that is not its own");
            }
            denial(
                types::Code::PermissionDenied,
                format!("the plugin asked for the secret `{name}`, which providers.{provider}.secrets does not have"),
            )
        })?;
        if secret.is_empty() {
            return Err(denial(
                types::Code::FailedPrecondition,
                format!("providers.{provider}.secrets.{name} is empty"),
            ));
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::secrets::{Host as _, KeyForm};
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
            SecretsView { provider: "p", secrets, reveal, log_budget }
        }
    }

    #[test]
    fn it_links_without_the_other_capabilities_and_reveals_only_what_is_named() {
        link(&mut Linker::<Alone>::new(&wasmtime::Engine::default())).unwrap();
        let named = BTreeMap::from([("a", "1"), ("b", "2"), ("empty", "")]);
        let named: BTreeMap<_, _> = named.into_iter().map(|(k, v)| (k.to_owned(), Secret::new(v))).collect();
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
    fn a_signature_is_that_of_rfc_4231() {
        let secrets = BTreeMap::from([("key".to_owned(), Secret::new("Jefe"))]);
        let mut store = Alone { secrets: secrets.into(), ..Alone::default() };
        let message = b"what do ya want for nothing?".to_vec();
        let mac = store.secrets().hmac_sha256("key".to_owned(), KeyForm::Text, message).unwrap();
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}
