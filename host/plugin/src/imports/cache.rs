//! The import `cache`: what a plugin got in one call is there in the next one of the same section.
//!
//! Owns what a section's plugin may keep in the host's memory, and for how long. Deliberately never shows any of it: what
//! is kept may be a credential.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker};

use crate::bindings::host::{cache, types as wit};
use crate::convert::denial;
use sandbox_stdx::lock::lock;

/// Bytes of a key. The contract names this and the next four.
const KEY_BYTES: usize = 256;
/// Bytes of a value.
const VALUE_BYTES: usize = 64 << 10;
/// Entries of a section.
const ENTRIES: usize = 256;
/// Bytes of all keys and values of a section.
const CACHE_BYTES: usize = 1 << 20;
/// Life of an entry.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// What the plugin of one section keeps, in the order in which it was put there.
#[derive(Default)]
pub(crate) struct Cache(Mutex<VecDeque<Entry>>);

struct Entry {
    /// Whose it is, where the settings of each user differ.
    user: Option<String>,
    key: String,
    value: Vec<u8>,
    ends: Instant,
}

impl Entry {
    fn is(&self, user: Option<&str>, key: &str) -> bool {
        self.user.as_deref() == user && self.key == key
    }

    fn bytes(&self) -> usize {
        self.user.as_ref().map_or(0, String::len) + self.key.len() + self.value.len()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    fn get(&self, now: Instant, user: Option<&str>, key: &str) -> Option<Vec<u8>> {
        let entries = lock(&self.0);
        entries.iter().find(|e| e.is(user, key) && e.ends > now).map(|e| e.value.clone())
    }

    /// Makes room for `new`: what has expired goes first, then what was put first.
    fn put(&self, now: Instant, new: Entry) {
        let mut entries = lock(&self.0);
        entries.retain(|e| e.ends > now && !e.is(new.user.as_deref(), &new.key));
        entries.push_back(new);
        while entries.len() > ENTRIES || entries.iter().map(Entry::bytes).sum::<usize>() > CACHE_BYTES {
            entries.pop_front();
        }
    }

    fn remove(&self, user: Option<&str>, key: &str) {
        lock(&self.0).retain(|e| !e.is(user, key));
    }
}

/// What this capability sees of a Store.
#[derive(Clone, Copy)]
pub(crate) struct CacheView<'a> {
    /// The section's.
    pub(crate) cache: &'a Cache,
    /// The user for whom the guest works, where the settings of each user differ.
    pub(crate) user: Option<&'a str>,
}

/// A Store whose guest may keep something.
pub(crate) trait LendsCache: 'static {
    fn cache(&mut self) -> CacheView<'_>;
}

struct HasCache;

impl HasData for HasCache {
    type Data<'a> = CacheView<'a>;
}

/// Adds `cache` to what a guest may import.
pub(crate) fn link<T: LendsCache>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    cache::add_to_linker::<T, HasCache>(linker, T::cache)
}

impl cache::Host for CacheView<'_> {
    fn get(&mut self, key: String) -> Option<Vec<u8>> {
        self.cache.get(Instant::now(), self.user, &key)
    }

    fn put(&mut self, key: String, value: Vec<u8>, life_ms: u64) -> Result<(), wit::Error> {
        if !(1..=KEY_BYTES).contains(&key.len()) || value.len() > VALUE_BYTES {
            let message = "the cache takes a key of 1 to 256 bytes and a value of at most 64 KiB";
            return Err(denial(wit::Code::InvalidArgument, message));
        }
        let (now, user) = (Instant::now(), self.user.map(str::to_owned));
        let ends = now + Duration::from_millis(life_ms).min(LIFE);
        self.cache.put(now, Entry { user, key, value, ends });
        Ok(())
    }

    fn remove(&mut self, key: String) {
        self.cache.remove(self.user, &key);
    }
}

#[cfg(test)]
mod tests {
    use super::cache::Host as _;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A Store that lends nothing else.
    #[derive(Default)]
    struct Alone(Cache);

    impl LendsCache for Alone {
        fn cache(&mut self) -> CacheView<'_> {
            CacheView { cache: &self.0, user: None }
        }
    }

    fn entry(key: &str, bytes: usize, ends: Instant) -> Entry {
        Entry { user: None, key: key.to_owned(), value: vec![7; bytes], ends }
    }

    #[test]
    fn it_links_without_the_other_capabilities_and_bounds_a_key_and_a_value() {
        link(&mut Linker::<Alone>::new(&wasmtime::Engine::default())).unwrap();
        let mut store = Alone::default();
        let mut guest = store.cache();
        for (key, value) in [(0, 1), (KEY_BYTES + 1, 1), (1, VALUE_BYTES + 1)] {
            let refused = guest.put("k".repeat(key), vec![0; value], 1000).unwrap_err();
            assert_eq!(refused.code, wit::Code::InvalidArgument, "{key} {value}");
        }
        let key = "k".repeat(KEY_BYTES);
        guest.put(key.clone(), vec![0; VALUE_BYTES], u64::MAX).unwrap();
        assert_eq!(guest.get(key.clone()).map(|value| value.len()), Some(VALUE_BYTES));
        guest.remove(key.clone());
        assert_eq!(guest.get(key), None);
    }

    #[test]
    fn an_entry_lives_as_long_as_was_said_and_a_new_one_takes_its_place() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.put(now, entry("a", 1, now + 9 * SECOND));
        cache.put(now, entry("a", 2, now + 2 * SECOND));
        assert_eq!(cache.get(now + SECOND, None, "a"), Some(vec![7; 2]));
        assert_eq!(cache.get(now + 2 * SECOND, None, "a"), None, "the older one does not come back");
    }

    #[test]
    fn what_expired_makes_room_first_and_then_what_was_put_first() {
        let (cache, now) = (Cache::default(), Instant::now());
        let most = CACHE_BYTES / VALUE_BYTES;
        for n in 0..most {
            let life = if n == 1 { SECOND } else { 9 * SECOND };
            cache.put(now, entry(&n.to_string(), VALUE_BYTES - 2, now + life));
        }
        let has = |at| (0..2 * most).filter(|n| cache.get(at, None, &n.to_string()).is_some()).collect::<Vec<_>>();
        assert_eq!(has(now), (0..most).collect::<Vec<_>>());
        let later = now + SECOND;
        cache.put(later, entry(&most.to_string(), VALUE_BYTES - 2, later + SECOND));
        assert_eq!(has(later).first_chunk(), Some(&[0, 2]), "the one that had expired");
        cache.put(later, entry(&(most + 1).to_string(), VALUE_BYTES - 2, later + SECOND));
        assert_eq!(has(later), (2..most + 2).collect::<Vec<_>>(), "the oldest");
    }

    #[test]
    fn small_entries_are_counted_too() {
        let (cache, now) = (Cache::default(), Instant::now());
        for n in 0..=ENTRIES {
            cache.put(now, entry(&n.to_string(), 0, now + SECOND));
        }
        assert_eq!((cache.get(now, None, "0"), cache.get(now, None, "1")), (None, Some(Vec::new())));
    }

    #[test]
    fn what_is_of_one_user_is_not_of_another_and_nothing_is_printed() {
        let cache = Cache::default();
        let of = |user| CacheView { cache: &cache, user };
        of(Some("ada")).put("token".to_owned(), b"canary".to_vec(), 60_000).unwrap();
        assert_eq!((of(Some("bob")).get("token".to_owned()), of(None).get("token".to_owned())), (None, None));
        of(Some("bob")).remove("token".to_owned());
        assert_eq!(of(Some("ada")).get("token".to_owned()), Some(b"canary".to_vec()));
        assert_eq!(format!("{cache:?}"), "Cache { .. }");
    }
}
