//! Connections on which nobody was let in yet, so that they cannot take every
//! place.
//!
//! A connection is a stranger until somebody was let in on it to something that
//! is not open to everybody. Strangers may have a part of all places, and one
//! address a part of that. If there are too many, one is cut:
//!
//! 1. of the address that has the most,
//! 2. one that has not sent a request, if there is one,
//! 3. the oldest of those.
//!
//! So a flood cuts its own connections, and a client that asks at once is
//! answered. If every place is taken and no stranger has one, the oldest known
//! connection that waits for its next request gives way. Owns this choice.
//! Deliberately knows no socket and no request.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::access::proxy::counted;
use sandbox_stdx::lock::lock;

/// The strangers of one listener.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Strangers at a time, at most.
    most: usize,
    /// Strangers of one address at a time, at most.
    of_one: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// All strangers in the order in which they came.
    all: BTreeMap<u64, Stranger>,
    of_address: HashMap<IpAddr, usize>,
    /// Known connections that wait for a request.
    idle: BTreeMap<u64, CancellationToken>,
}

#[derive(Debug)]
struct Stranger {
    /// None for a trusted proxy, which serves many.
    address: Option<IpAddr>,
    /// It waits for the head of a request.
    waits: bool,
    cut: CancellationToken,
}

impl Strangers {
    pub(super) fn new(most: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Strangers { most, of_one, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Adds a connection, and cuts another one if there are too many. A `proxied`
    /// connection comes from a trusted proxy and is not counted for its address.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, proxied: bool) -> Stay {
        let address = (!proxied).then_some(counted(address).0);
        let cut = CancellationToken::new();
        let mut table = self.table();
        if address.is_some_and(|address| table.of_address.get(&address).is_some_and(|count| *count >= self.of_one)) {
            table.cut_one_of(address);
        }
        if table.all.len() >= self.most {
            table.cut_one();
        }
        let id = table.next;
        table.next += 1;
        if let Some(address) = address {
            *table.of_address.entry(address).or_default() += 1;
        }
        table.all.insert(id, Stranger { address, waits: true, cut: cut.clone() });
        Stay { strangers: Arc::clone(self), id, cut }
    }

    /// Cuts a connection to free its place. False if none gives way.
    pub(super) fn cut_one(&self) -> bool {
        let mut table = self.table();
        if table.cut_one() {
            return true;
        }
        let Some((_, idle)) = table.idle.pop_first() else { return false };
        idle.cancel();
        true
    }
}

impl Table {
    fn cut_one(&mut self) -> bool {
        let most = self.of_address.iter().max_by_key(|(_, count)| **count);
        let address = most.map(|(address, _)| *address);
        self.cut_one_of(address)
    }

    fn cut_one_of(&mut self, address: Option<IpAddr>) -> bool {
        let own = || self.all.iter().filter(|(_, stranger)| stranger.address == address);
        let chosen = own().find(|(_, stranger)| stranger.waits).or_else(|| own().next()).map(|(id, _)| *id);
        let Some(stranger) = chosen.and_then(|id| self.remove(id)) else { return false };
        stranger.cut.cancel();
        true
    }

    fn remove(&mut self, id: u64) -> Option<Stranger> {
        let stranger = self.all.remove(&id)?;
        if let Some(address) = stranger.address
            && let Some(count) = self.of_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        Some(stranger)
    }
}

/// A connection's stay among the strangers; it leaves them when dropped.
#[derive(Debug)]
pub(super) struct Stay {
    strangers: Arc<Strangers>,
    id: u64,
    /// Cancelled when the connection is to end at once.
    pub(super) cut: CancellationToken,
}

impl Stay {
    /// Notes whether it waits for a request, or for its answer.
    pub(super) fn waits(&self, waits: bool) {
        let mut table = self.strangers.table();
        if let Some(stranger) = table.all.get_mut(&self.id) {
            stranger.waits = waits;
        } else if waits {
            table.idle.insert(self.id, self.cut.clone());
        } else {
            table.idle.remove(&self.id);
        }
    }

    /// Notes that it is no stranger any more.
    pub(super) fn is_known(&self) {
        drop(self.strangers.table().remove(self.id));
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut table = self.strangers.table();
        drop(table.remove(self.id));
        table.idle.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn cut(stays: &[Stay]) -> Vec<usize> {
        stays.iter().enumerate().filter(|(_, stay)| stay.cut.is_cancelled()).map(|(n, _)| n).collect()
    }

    #[test]
    fn a_flood_of_one_address_cuts_its_own() {
        let strangers = Strangers::new(8, 5);
        let (honest, known) = (strangers.enter(ip(1), false), strangers.enter(ip(2), false));
        known.is_known();
        let flood: Vec<Stay> = (0..100).map(|_| strangers.enter(ip(2), false)).collect();
        assert_eq!(cut(&flood), Vec::from_iter(0..95));
        assert!(!honest.cut.is_cancelled() && !known.cut.is_cancelled());
    }

    #[test]
    fn of_one_address_who_has_asked_goes_last_and_the_oldest_first() {
        let strangers = Strangers::new(100, 4);
        let stays: Vec<Stay> = (0..4).map(|_| strangers.enter(ip(1), false)).collect();
        stays[0].waits(false);
        stays[1].waits(false);
        let more: Vec<Stay> = (0..2).map(|_| strangers.enter(ip(1), false)).collect();
        assert_eq!(cut(&stays), [2, 3]);
        more.iter().for_each(|stay| stay.waits(false));
        let _one = strangers.enter(ip(1), false);
        assert_eq!(cut(&stays), [0, 2, 3], "all have asked");
    }

    #[test]
    fn of_many_addresses_the_one_with_the_most_gives_way() {
        let strangers = Strangers::new(6, 5);
        let flood: Vec<Stay> = (0..4).map(|_| strangers.enter(ip(1), false)).collect();
        let others: Vec<Stay> = (2..6).map(|n| strangers.enter(ip(n), false)).collect();
        assert_eq!((cut(&flood), cut(&others)), (vec![0, 1], vec![]));
        assert!(strangers.cut_one(), "for a place");
        assert_eq!(cut(&flood), [0, 1, 2]);
    }

    #[test]
    fn who_comes_through_a_trusted_proxy_shares_no_bound_of_one_address() {
        let strangers = Strangers::new(10, 2);
        let proxied: Vec<Stay> = (0..8).map(|_| strangers.enter(ip(1), true)).collect();
        let flood: Vec<Stay> = (0..8).map(|_| strangers.enter(ip(2), false)).collect();
        assert_eq!((cut(&proxied), cut(&flood).len()), (vec![], 6));
        drop(flood);
        let more: Vec<Stay> = (0..4).map(|_| strangers.enter(ip(1), true)).collect();
        assert_eq!((cut(&proxied), cut(&more)), (vec![0, 1], vec![]), "when there is nobody else");
    }

    #[test]
    fn who_has_left_is_not_counted() {
        let strangers = Strangers::new(2, 2);
        for _ in 0..10 {
            let stay = strangers.enter(ip(1), false);
            assert!(!strangers.enter(ip(1), false).cut.is_cancelled());
            assert!(!stay.cut.is_cancelled());
        }
        let table = strangers.table();
        assert_eq!((table.all.len(), table.of_address.len()), (0, 0));
    }
}
