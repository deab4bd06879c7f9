//! The secrets of provider sections, over the generations of a configuration.
//!
//! Owns which value of a secret is in force. A session keeps the settings and the grants of the generation that it began
//! with. But a key may be rotated while it runs, and its provider may revoke the old value, so the new value must reach
//! it. Deliberately knows no file, no plugin and no wire.
//!
//! A section gets a newer value of a secret that it had from the start when both of these hold:
//!
//! 1. The value is for the same account, as far as we can tell: the section's settings and the secret did not change in
//!    one reload.
//! 2. The generation that brought the value still grants what the value is used for: a new key never goes to an origin
//!    that the new configuration took away.
//!
//! Otherwise the last value for which both held stays in force. It also stays when the secret or the section is removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sandbox_broker_config::EgressGrant;
use sandbox_broker_core::lock::lock;
use sandbox_broker_core::secret::Secret;

/// Values of one section that are kept: one for each secret and each list of grants that open sessions may have begun
/// with. Beyond the bound, the oldest are dropped.
const KEPT: usize = 64;

/// The secrets of all sections.
#[derive(Debug, Default)]
pub struct Keyring(Mutex<BTreeMap<String, Ring>>);

type Ring = Arc<RwLock<Values>>;

/// The values of one section's secrets, the newest last.
#[derive(Debug, Default)]
struct Values {
    /// Settings of the newest generation.
    settings: String,
    accounts: u64,
    kept: Vec<Value>,
}

#[derive(Clone, Debug)]
struct Value {
    name: String,
    secret: Secret,
    /// Values of different accounts must not replace each other.
    account: u64,
    /// What the generation that brought it grants.
    allow: Arc<[EgressGrant]>,
}

/// The secrets of one section at one generation. `Debug` shows their names.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    section: String,
    settings: String,
    allow: Arc<[EgressGrant]>,
    /// The values with which this generation began.
    own: BTreeMap<String, Value>,
    ring: Ring,
}

impl Keyring {
    /// The secrets of a section as just configured. [`Secrets::publish`] makes them known to older generations of the
    /// section.
    pub fn section(
        &self,
        name: &str,
        settings: &serde_json::Value,
        allow: &[EgressGrant],
        secrets: &BTreeMap<String, Secret>,
    ) -> Secrets {
        let mut rings = lock(&self.0);
        // Nobody uses a ring that nobody else holds.
        rings.retain(|_, ring| Arc::strong_count(ring) > 1);
        let ring = Arc::clone(rings.entry(name.to_owned()).or_default());
        let (settings, allow): (_, Arc<[EgressGrant]>) = (settings.to_string(), allow.into());
        let values = ring.read().unwrap_or_else(PoisonError::into_inner);
        let value = |((name, secret), new): ((&String, &Secret), u64)| {
            let before = values.kept.iter().rfind(|kept| kept.name == *name);
            let same = before.filter(|kept| values.settings == settings || kept.secret == *secret);
            let account = same.map_or(values.accounts + new, |kept| kept.account);
            let value = Value { name: name.clone(), secret: secret.clone(), account, allow: Arc::clone(&allow) };
            (name.clone(), value)
        };
        let own = secrets.iter().zip(0..).map(value).collect();
        drop(values);
        Secrets { section: name.to_owned(), settings, allow, own, ring }
    }
}

impl Secrets {
    /// Puts these values in force, also for sessions that began with older ones.
    pub fn publish(&self) {
        let mut values = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for value in self.own.values() {
            if values
                .kept
                .iter()
                .rfind(|kept| kept.name == value.name)
                .is_some_and(|kept| kept.account != value.account)
            {
                let (provider, secret) = (&self.section, &value.name);
                tracing::warn!(%provider, %secret, "this secret and the settings of its provider have changed together, \
                    so it may be for another account; open sessions go on with the one before it");
            }
            values
                .kept
                .retain(|kept| (&kept.name, kept.account, &kept.allow) != (&value.name, value.account, &value.allow));
            values.kept.push(value.clone());
        }
        let surplus = values.kept.len().saturating_sub(KEPT);
        values.kept.drain(..surplus);
        values.accounts += self.own.len() as u64;
        values.settings.clone_from(&self.settings);
    }

    /// Adds a secret that no configuration has and no reload changes.
    pub fn insert(&mut self, name: &str, secret: Secret) {
        let value = Value { name: name.to_owned(), secret, account: u64::MAX, allow: Arc::default() };
        self.own.insert(name.to_owned(), value);
    }

    /// The value to send. `covers` says whether a grant covers the destination. `None` when the section has no such
    /// secret.
    pub(crate) fn to_send(&self, name: &str, covers: impl Fn(&EgressGrant) -> bool) -> Option<Secret> {
        self.newest(name, |allow| allow.iter().any(&covers))
    }

    /// The value to sign with, or to hand to the plugin. The plugin may send the result to any place that the section is
    /// granted.
    pub(crate) fn to_use(&self, name: &str) -> Option<Secret> {
        self.newest(name, |allow| self.allow.iter().all(|own| allow.contains(own)))
    }

    fn newest(&self, name: &str, granted: impl Fn(&[EgressGrant]) -> bool) -> Option<Secret> {
        let own = self.own.get(name)?;
        let values = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &&Value| kept.name == name && kept.account == own.account && granted(&kept.allow);
        Some(values.kept.iter().rfind(fits).unwrap_or(own).secret.clone())
    }
}

impl From<BTreeMap<String, Secret>> for Secrets {
    /// Secrets that no reload changes.
    fn from(secrets: BTreeMap<String, Secret>) -> Self {
        let mut fixed = Secrets::default();
        for (name, secret) in secrets {
            fixed.insert(&name, secret);
        }
        fixed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OLD: &str = "https://old.example";
    const NEW: &str = "https://new.example";

    #[derive(Default)]
    struct Bed(Keyring);

    impl Bed {
        /// A reload: settings, grants and the key, if there is one.
        fn reload(&self, settings: &str, allow: &[&str], key: Option<&str>) -> Secrets {
            let allow: Vec<_> = allow.iter().map(|text| EgressGrant::parse(text).unwrap()).collect();
            let keys = key.map(|key| ("key".to_owned(), Secret::new(key))).into_iter().collect();
            let secrets = self.0.section("box", &json!(settings), &allow, &keys);
            secrets.publish();
            secrets
        }
    }

    fn sent(secrets: &Secrets, host: &str) -> Option<String> {
        secrets.to_send("key", |grant| grant.covers("https", host, 443, "/")).map(|key| key.expose().to_owned())
    }

    fn old(secrets: &Secrets) -> String {
        sent(secrets, "old.example").unwrap()
    }

    fn used(secrets: &Secrets) -> String {
        secrets.to_use("key").unwrap().expose().to_owned()
    }

    #[test]
    fn a_rotated_key_reaches_what_began_before_it() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        let second = bed.reload("same", &[OLD], Some("k2"));
        assert_eq!((old(&first), old(&second), used(&first)), ("k2".into(), "k2".into(), "k2".into()));
        bed.reload("other", &[OLD], Some("k2"));
        bed.reload("other", &[OLD], Some("k3"));
        assert_eq!((old(&first), used(&first)), ("k3".into(), "k3".into()), "settings may change in between");
    }

    #[test]
    fn a_new_key_never_goes_where_the_new_configuration_grants_nothing() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        let second = bed.reload("same", &[OLD, NEW], Some("k2"));
        let third = bed.reload("same", &[NEW], Some("k3"));
        assert_eq!((old(&first), old(&second)), ("k2".into(), "k2".into()), "the last that was granted there");
        assert_eq!(sent(&second, "new.example").as_deref(), Some("k3"));
        assert_eq!(sent(&third, "new.example").as_deref(), Some("k3"));
        assert_eq!((used(&first), used(&second), used(&third)), ("k2".into(), "k2".into(), "k3".into()));
    }

    #[test]
    fn the_key_of_another_account_does_not_take_the_place_of_a_key() {
        let bed = Bed::default();
        let first = bed.reload("account a", &["https://*.old.example"], Some("a1"));
        let second = bed.reload("account b", &["https://*.old.example"], Some("b1"));
        let third = bed.reload("account b", &["https://*.old.example"], Some("b2"));
        let a = |secrets: &Secrets| sent(secrets, "a.old.example").unwrap();
        assert_eq!((a(&first), a(&second), a(&third)), ("a1".into(), "b2".into(), "b2".into()));
        assert_eq!((used(&first), used(&second)), ("a1".into(), "b2".into()));
    }

    #[test]
    fn without_the_secret_or_the_section_the_last_value_stays() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        bed.reload("same", &[OLD], Some("k2"));
        let without = bed.reload("same", &[OLD], None);
        assert_eq!(old(&first), "k2");
        assert_eq!(sent(&without, "old.example"), None, "what begins now has none");
        bed.reload("same", &[OLD], Some("k3"));
        assert_eq!(old(&first), "k3", "it is there again");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k"));
        for n in 0..1000 {
            bed.reload("same", &[OLD, &format!("https://{n}.example")], Some(&format!("k{n}")));
        }
        assert_eq!(old(&first), "k999");
        assert_eq!(first.ring.read().unwrap().kept.len(), KEPT);
    }
}
