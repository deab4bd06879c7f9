//! Sign-ins, tickets and wrong tokens: plain tables, bounded for each person, so
//! that nobody's entries push out another's.
//!
//! Owns how long each lasts and which gives way. Deliberately knows no request
//! and no configuration. The caller passes the time of a sign-in: sign-ins
//! outlive the process and are counted by the wall clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::credential::Digested;
use super::pass::Pass;
use super::store::SignIn;

/// How long an unused sign-in lasts: over a long weekend.
pub(super) const UNUSED: Duration = Duration::from_secs(72 * 60 * 60);

/// How long a sign-in lasts at most, however much it is used.
pub(super) const LASTS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How exactly the last use of a sign-in is known: it is noted at most this often.
const USE_KNOWN: Duration = Duration::from_secs(60);

/// Sign-ins of one token, at most: the browsers of one person. The one that was
/// unused for the longest time gives way.
pub(super) const MAX_SIGN_INS: usize = 16;

/// How long a ticket waits for its terminal: a page opens one at once.
pub(super) const TICKET_LASTS: Duration = Duration::from_secs(30);

/// Tickets of one token, at most. The server of a page elsewhere may take one for
/// each of its users at the same time. The oldest gives way.
pub(super) const MAX_TICKETS: usize = 256;

/// Wrong tokens that one address may try in [`ATTEMPTS_WINDOW`]. Tokens are random,
/// so this protects the log and not the tokens.
const MAX_ATTEMPTS: u32 = 10;

/// Time after which an address's wrong tokens are forgotten.
pub(super) const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered for wrong tokens, at most. The oldest gives way.
const MAX_ADDRESSES: usize = 1024;

/// Time since `then`; zero if the clock was set back.
fn since(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

impl SignIn {
    /// Whether it may open something new.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        !self.is_unused(now) && since(self.since, now) < LASTS
    }

    fn is_unused(&self, now: SystemTime) -> bool {
        since(self.used, now) >= UNUSED
    }
}

/// The sign-ins.
#[derive(Default)]
pub(super) struct SignIns(HashMap<Digested, SignIn>);

impl SignIns {
    pub(super) fn get(&self, cookie: &Digested) -> Option<&SignIn> {
        self.0.get(cookie)
    }

    /// Adds one and returns those that it replaces: the ones that have ended and, above
    /// [`MAX_SIGN_INS`] of this token, its least recently used ones.
    pub(super) fn add(&mut self, new: SignIn, now: SystemTime, known: impl Fn(&Digested) -> bool) -> Vec<Digested> {
        let ended = self.0.values().filter(|old| old.is_unused(now) || !known(&old.token));
        let mut gone: Vec<Digested> = ended.map(|old| old.cookie).collect();
        self.0.retain(|cookie, _| !gone.contains(cookie));
        let mut own: Vec<_> = self.0.values().filter(|old| old.token == new.token).collect();
        own.sort_by_key(|old| (old.used, old.since));
        let over = (own.len() + 1).saturating_sub(MAX_SIGN_INS);
        let least: Vec<Digested> = own.iter().take(over).map(|old| old.cookie).collect();
        self.0.retain(|cookie, _| !least.contains(cookie));
        gone.extend(least);
        self.0.insert(new.cookie, new);
        gone
    }

    /// Notes a use. True if the store has to be told.
    pub(super) fn touch(&mut self, cookie: &Digested, now: SystemTime) -> bool {
        let Some(sign_in) = self.0.get_mut(cookie) else { return false };
        // After a clock was set back, the old time must not hold for long.
        let due = sign_in.used > now || since(sign_in.used, now) >= USE_KNOWN;
        if due {
            sign_in.used = now;
        }
        due
    }

    pub(super) fn remove(&mut self, cookie: &Digested) -> bool {
        self.0.remove(cookie).is_some()
    }
}

struct Ticket {
    /// How the request for it was let in.
    pass: Pass,
    /// Whose it is: a token, if there are tokens.
    owner: Option<Digested>,
    since: Instant,
}

/// The tickets that wait for their terminals.
#[derive(Default)]
pub(super) struct Tickets(HashMap<Digested, Ticket>);

impl Tickets {
    pub(super) fn add(&mut self, ticket: Digested, pass: Pass, owner: Option<Digested>) {
        self.0.retain(|_, ticket| ticket.since.elapsed() < TICKET_LASTS);
        let own = self.0.iter().filter(|(_, ticket)| ticket.owner == owner);
        if own.clone().count() >= MAX_TICKETS
            && let Some(oldest) = own.min_by_key(|(_, ticket)| ticket.since).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(ticket, Ticket { pass, owner, since: Instant::now() });
    }

    /// Takes a ticket and returns what it stands for. It is used up, even if it is too
    /// old.
    pub(super) fn take(&mut self, ticket: &Digested) -> Option<Pass> {
        let Ticket { pass, since, .. } = self.0.remove(ticket)?;
        (since.elapsed() < TICKET_LASTS).then_some(pass)
    }
}

/// Number of wrong tokens by address, and when the count began.
#[derive(Default)]
pub(super) struct Attempts(HashMap<IpAddr, (u32, Instant)>);

impl Attempts {
    /// Counts a wrong token. False if the address has tried too many; then it is not
    /// worth a line in the log.
    pub(super) fn count(&mut self, address: IpAddr) -> bool {
        self.0.retain(|_, (_, since)| since.elapsed() < ATTEMPTS_WINDOW);
        if !self.0.contains_key(&address)
            && self.0.len() >= MAX_ADDRESSES
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        let (count, _) = self.0.entry(address).or_insert((0, Instant::now()));
        *count = count.saturating_add(1);
        *count <= MAX_ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn digest(text: &str) -> Digested {
        Digested::of(text.as_bytes())
    }

    /// A sign-in of this token at a time, and whose place it took.
    fn add(table: &mut SignIns, token: &str, n: u64) -> (Digested, Vec<Digested>) {
        let cookie = digest(&format!("{token} {n}"));
        let new = SignIn { cookie, token: digest(token), since: at(n), used: at(n) };
        (cookie, table.add(new, at(n), |_| true))
    }

    #[test]
    fn one_persons_sign_ins_push_out_only_their_own() {
        let mut table = SignIns::default();
        let (ada, _) = add(&mut table, "ada", 0);
        let mut bobs = Vec::new();
        for n in 1..=4096 {
            let (bob, gone) = add(&mut table, "bob", n);
            let oldest = (bobs.len() == MAX_SIGN_INS).then(|| bobs.remove(0));
            assert_eq!(gone, Vec::from_iter(oldest));
            bobs.push(bob);
        }
        assert!(table.get(&ada).is_some());
        assert_eq!(table.0.len(), 1 + MAX_SIGN_INS);
        // The one in use stays.
        assert!(table.touch(&bobs[0], at(5000)));
        assert_eq!(add(&mut table, "bob", 5001).1, [bobs[1]]);
    }

    #[test]
    fn a_sign_in_lasts_while_it_is_used_and_not_for_ever() {
        let mut table = SignIns::default();
        let (cookie, _) = add(&mut table, "ada", 0);
        assert!(!table.touch(&cookie, at(59)), "written down at most once a minute");
        assert!(table.touch(&cookie, at(60)));
        let used = table.get(&cookie).unwrap();
        assert!(used.is_fresh(at(60 + UNUSED.as_secs() - 1)));
        assert!(!used.is_fresh(at(60 + UNUSED.as_secs())));
        let day = 24 * 60 * 60;
        for n in 1..30 {
            assert!(table.get(&cookie).unwrap().is_fresh(at(n * day)));
            table.touch(&cookie, at(n * day));
        }
        assert!(!table.get(&cookie).unwrap().is_fresh(at(30 * day)));
        // A terminal may still stand on it; unused, it makes room.
        assert_eq!(add(&mut table, "bob", 31 * day).1, []);
        assert_eq!(add(&mut table, "bob", 40 * day).1.len(), 2);
        // A clock that is set back signs nobody out.
        assert!(SignIn { cookie, token: cookie, since: at(50), used: at(50) }.is_fresh(at(0)));
    }

    #[test]
    fn a_sign_in_of_a_token_that_is_gone_makes_room() {
        let mut table = SignIns::default();
        let (old, _) = add(&mut table, "old", 0);
        let new = SignIn { cookie: digest("c"), token: digest("new"), since: at(1), used: at(1) };
        assert_eq!(table.add(new, at(1), |token| *token == digest("new")), [old]);
    }

    #[test]
    fn one_persons_tickets_push_out_only_their_own() {
        let mut table = Tickets::default();
        table.add(digest("ada's"), Pass::Token(digest("ada")), Some(digest("ada")));
        for n in 0..=MAX_TICKETS {
            table.add(digest(&n.to_string()), Pass::Token(digest("bob")), Some(digest("bob")));
        }
        assert!(table.take(&digest("0")).is_none(), "bob's oldest");
        assert!(table.take(&digest("1")).is_some());
        assert!(table.take(&digest("ada's")).is_some());
    }

    #[test]
    fn wrong_tokens_are_counted_for_each_address() {
        let mut table = Attempts::default();
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        for n in 1..=20 {
            assert_eq!(table.count(address(1)), n <= MAX_ATTEMPTS, "{n}");
        }
        for n in 2..5000 {
            assert!(table.count(address(n)));
        }
        assert_eq!(table.0.len(), MAX_ADDRESSES);
    }
}
