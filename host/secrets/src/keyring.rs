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
//! 2. The generation that brought the value still binds it to what it is used for: a new key never goes to an origin that
//!    the new configuration took away, and never in another way than before.
//!
//! Otherwise the last value for which both held stays in force. It also stays when the secret or the section is removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sandbox_broker_config::{Binding, BoundSecret, Carry, EgressGrant, SasBounds};
use sandbox_broker_core::secret::Secret;
use sandbox_stdx::lock::lock;

/// Values of one section that are kept: one for each secret, each binding and each list of grants that open sessions may
/// have begun with. Beyond the bound, the oldest are dropped.
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
    /// What it may be used for, by the generation that brought it.
    binding: Arc<Binding>,
    /// What that generation grants.
    allow: Arc<[EgressGrant]>,
}

/// A secret for one request.
#[derive(Debug)]
pub struct Carried {
    /// Its name, for messages.
    pub name: String,
    /// How the request carries it.
    pub carry: Carry,
    /// The newest value that may go there in this way.
    pub secret: Secret,
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
        secrets: &BTreeMap<String, BoundSecret>,
    ) -> Secrets {
        let mut rings = lock(&self.0);
        // Nobody uses a ring that nobody else holds.
        rings.retain(|_, ring| Arc::strong_count(ring) > 1);
        let ring = Arc::clone(rings.entry(name.to_owned()).or_default());
        let (settings, allow): (_, Arc<[EgressGrant]>) = (settings.to_string(), allow.into());
        let values = ring.read().unwrap_or_else(PoisonError::into_inner);
        let value = |((name, bound), new): ((&String, &BoundSecret), u64)| {
            let before = values.kept.iter().rfind(|kept| kept.name == *name);
            let same = before.filter(|kept| values.settings == settings || kept.secret == bound.value);
            let account = same.map_or(values.accounts + new, |kept| kept.account);
            let value = Value {
                name: name.clone(),
                secret: bound.value.clone(),
                account,
                binding: Arc::new(bound.binding.clone()),
                allow: Arc::clone(&allow),
            };
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
            values.kept.retain(|kept| {
                let same = (&kept.name, kept.account) == (&value.name, value.account);
                !same || (&kept.binding, &kept.allow) != (&value.binding, &value.allow)
            });
            values.kept.push(value.clone());
        }
        let surplus = values.kept.len().saturating_sub(KEPT);
        values.kept.drain(..surplus);
        values.accounts += self.own.len() as u64;
        values.settings.clone_from(&self.settings);
    }

    /// The same secrets, for the same accounts, with what their files hold by now. `None` if that is what they held.
    pub fn renewed(&self, by_now: &BTreeMap<String, BoundSecret>) -> Option<Secrets> {
        let mut renewed = self.clone();
        let values = renewed.own.values_mut().filter_map(|value| Some((by_now.get(&value.name)?, value)));
        let changed = values.filter(|(by_now, value)| by_now.value != value.secret);
        let changed = changed.map(|(by_now, value)| value.secret = by_now.value.clone()).count();
        (changed > 0).then_some(renewed)
    }

    /// Adds a secret that no configuration has and no reload changes.
    pub fn insert(&mut self, name: &str, BoundSecret { value: secret, binding }: BoundSecret) {
        let (name, binding) = (name.to_owned(), Arc::new(binding));
        let value = Value { name: name.clone(), secret, account: u64::MAX, binding, allow: Arc::default() };
        self.own.insert(name, value);
    }

    /// The secrets that a request carries. `covers` says whether a binding covers its destination.
    pub fn carried(&self, covers: impl Fn(&EgressGrant) -> bool) -> Vec<Carried> {
        let goes = |binding: &Binding| binding.to.iter().any(&covers);
        let carried = |own: &Value| {
            let carry = own.binding.carry.clone().filter(|_| goes(&own.binding))?;
            let secret = self.newest(own, |kept| kept.binding.carry == own.binding.carry && goes(&kept.binding));
            Some(Carried { name: own.name.clone(), carry, secret })
        };
        self.own.values().filter_map(carried).collect()
    }

    /// The key from which to make a token, with its binding. `admit` says whether bounds allow that token. `None` when the
    /// section has no such secret or its bounds do not allow it.
    pub fn to_derive(&self, name: &str, admit: impl Fn(&SasBounds) -> bool) -> Option<(Secret, &Binding)> {
        let admits = |binding: &Binding| binding.sas.as_ref().is_some_and(&admit);
        let own = self.own.get(name).filter(|own| admits(&own.binding))?;
        let secret = self.newest(own, |kept| {
            let same =
                kept.binding.carry == own.binding.carry && own.binding.to.iter().all(|to| kept.binding.to.contains(to));
            same && admits(&kept.binding)
        });
        Some((secret, &own.binding))
    }

    /// The value to hand to the plugin, which may send it to any place that the section is granted. `None` when the section
    /// has no such secret.
    pub fn to_reveal(&self, name: &str) -> Option<Secret> {
        let own = self.own.get(name)?;
        Some(self.newest(own, |kept| {
            kept.binding.carry == own.binding.carry && self.allow.iter().all(|own| kept.allow.contains(own))
        }))
    }

    /// Whether the section has a secret of this name.
    pub fn has(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    fn newest(&self, own: &Value, bound: impl Fn(&Value) -> bool) -> Secret {
        let values = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &&Value| kept.name == own.name && kept.account == own.account && bound(kept);
        values.kept.iter().rfind(fits).unwrap_or(own).secret.clone()
    }
}

impl From<BTreeMap<String, BoundSecret>> for Secrets {
    /// Secrets that no reload changes.
    fn from(secrets: BTreeMap<String, BoundSecret>) -> Self {
        let mut fixed = Secrets::default();
        for (name, secret) in secrets {
            fixed.insert(&name, secret);
        }
        fixed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const OLD: &str = "https://old.example";
    const NEW: &str = "https://new.example";

    #[derive(Default)]
    struct Bed(Keyring);

    impl Bed {
        /// A reload: settings, where the key goes and the key, if there is one.
        fn reload(&self, settings: &str, to: &[&str], key: Option<&str>) -> Secrets {
            self.carried(settings, to, key, Carry::Bearer)
        }

        fn carried(&self, settings: &str, to: &[&str], key: Option<&str>, carry: Carry) -> Secrets {
            let to: Vec<_> = to.iter().map(|text| EgressGrant::parse(text).unwrap()).collect();
            let sas = SasBounds { containers: vec!["c".into()], max_life: Duration::from_secs(60) };
            let binding = Binding { to: to.clone(), carry: Some(carry), sas: Some(sas) };
            let bound = |key| ("key".to_owned(), BoundSecret { value: Secret::new(key), binding });
            let keys = key.map(bound).into_iter().collect();
            let secrets = self.0.section("box", &json!(settings), &to, &keys);
            secrets.publish();
            secrets
        }
    }

    fn sent(secrets: &Secrets, host: &str) -> Option<String> {
        let mut carried = secrets.carried(|grant| grant.covers("https", host, 443, "/"));
        assert!(carried.len() < 2);
        carried.pop().map(|carried| carried.secret.expose().to_owned())
    }

    fn old(secrets: &Secrets) -> String {
        sent(secrets, "old.example").unwrap()
    }

    fn used(secrets: &Secrets) -> String {
        let (key, _) = secrets.to_derive("key", |_| true).unwrap();
        assert_eq!(secrets.to_reveal("key").unwrap(), key);
        key.expose().to_owned()
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
    fn a_renewed_key_reaches_what_is_open_and_what_begins() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        let by_now = |key: &str| {
            let bound = BoundSecret { value: Secret::new(key), ..BoundSecret::default() };
            BTreeMap::from([("key".to_owned(), bound)])
        };
        assert!(first.renewed(&by_now("k1")).is_none());
        let renewed = first.renewed(&by_now("k2")).unwrap();
        assert_eq!(old(&first), "k1", "it is not in force yet");
        renewed.publish();
        assert_eq!((old(&first), old(&renewed)), ("k2".into(), "k2".into()));
        bed.reload("other", &[OLD], Some("k2"));
        bed.reload("other", &[OLD], Some("k3"));
        assert_eq!(old(&first), "k3", "it is still the same account");
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
        let first = bed.reload("account a", &[OLD], Some("a1"));
        let second = bed.reload("account b", &[OLD], Some("b1"));
        let third = bed.reload("account b", &[OLD], Some("b2"));
        assert_eq!((old(&first), old(&second), old(&third)), ("a1".into(), "b2".into(), "b2".into()));
        assert_eq!((used(&first), used(&second)), ("a1".into(), "b2".into()));
    }

    #[test]
    fn a_new_key_is_never_carried_in_another_way_than_before() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        let second = bed.carried("same", &[OLD], Some("k2"), Carry::Header("x-key".to_owned()));
        assert_eq!((old(&first), used(&first)), ("k1".into(), "k1".into()));
        assert_eq!(old(&second), "k2");
        bed.reload("same", &[OLD], Some("k3"));
        assert_eq!((old(&first), old(&second)), ("k3".into(), "k2".into()));
    }

    #[test]
    fn a_token_is_made_from_no_key_whose_bounds_do_not_allow_it() {
        let bed = Bed::default();
        let first = bed.reload("same", &[OLD], Some("k1"));
        assert!(first.to_derive("key", |bounds| bounds.containers == ["other"]).is_none());
        assert!(first.to_derive("other", |_| true).is_none());
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
