//! What every implementation promises, shown with two brokers that have one
//! journal. [`holds!`] runs it all against one implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{join, join_all};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{at, entry, intent, owner};
use crate::{Entry, Error, Journal, Owner, Record};

/// Two brokers' handles on the same journal, new and empty.
type Two = [Arc<dyn Journal>; 2];

/// Tests of an implementation. `$two` makes what keeps the journal and the
/// two handles on it.
macro_rules! holds {
    ($two:path) => {
        $crate::tests::contract::holds! { $two =>
            what_one_writes_the_other_reads
            an_id_is_taken_once
            an_update_changes_the_entry_alone
            who_comes_with_an_old_epoch_changes_nothing
            what_is_not_there_is_said_to_be_missing
            a_removed_session_is_gone_and_its_id_free
            a_lease_keeps_other_brokers_away_until_it_ends
            a_later_process_of_a_broker_claims_at_once
            of_claims_at_the_same_time_one_wins
            a_process_renews_its_own_sessions_alone
            many_calls_at_the_same_time_are_all_carried_out
        }

        #[test]
        fn random_histories_of_two_brokers_agree_with_a_model() {
            $crate::tests::contract::histories(|| {
                let (kept, two) = $two();
                (Box::new(kept), two)
            });
        }
    };
    ($two:path => $($promise:ident)*) => {
        $(#[tokio::test]
        async fn $promise() {
            let (_kept, two) = $two();
            $crate::tests::contract::$promise(two).await;
        })*
    };
}
pub(super) use holds;

pub(super) async fn what_one_writes_the_other_reads([one, other]: Two) {
    let owner = owner("a", "1");
    assert_eq!(one.create("s2", &owner, &entry("n2"), at(30)).await, Ok(1));
    assert_eq!(one.create("s1", &owner, &intent("n1"), at(60)).await, Ok(1));
    let record =
        |id: &str, entry, lease_ends| Record { id: id.into(), owner: owner.clone(), epoch: 1, lease_ends, entry };
    let all = vec![record("s1", intent("n1"), at(60)), record("s2", entry("n2"), at(30))];
    assert_eq!(other.list().await.unwrap(), all, "by id, every member as it was written");
}

pub(super) async fn an_id_is_taken_once([one, other]: Two) {
    one.create("s", &owner("a", "1"), &entry("first"), at(30)).await.unwrap();
    assert_eq!(other.create("s", &owner("b", "1"), &entry("second"), at(60)).await, Err(Error::AlreadyExists));
    let all = one.list().await.unwrap();
    assert_eq!((all.len(), &*all[0].entry.nonce, &*all[0].owner.broker), (1, "first", "a"));
}

pub(super) async fn an_update_changes_the_entry_alone([one, other]: Two) {
    one.create("s", &owner("a", "1"), &intent("n"), at(30)).await.unwrap();
    one.create("t", &owner("a", "1"), &intent("t"), at(30)).await.unwrap();
    one.update("s", 1, &entry("n")).await.unwrap();
    let all = other.list().await.unwrap();
    let same = |id: &str, entry| Record { id: id.into(), owner: owner("a", "1"), epoch: 1, lease_ends: at(30), entry };
    assert_eq!(all, [same("s", entry("n")), same("t", intent("t"))]);
}

pub(super) async fn who_comes_with_an_old_epoch_changes_nothing([one, other]: Two) {
    one.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    let claimed = other.claim("s", 1, &owner("b", "1"), at(30), at(90)).await.unwrap();
    assert_eq!(claimed.epoch, 2);
    assert_eq!(one.update("s", 1, &intent("late")).await, Err(Error::Stale));
    assert_eq!(one.remove("s", 1).await, Err(Error::Stale));
    assert_eq!(one.claim("s", 1, &owner("a", "1"), at(1000), at(2000)).await, Err(Error::Stale));
    // Nor does one that nobody has reached yet.
    assert_eq!(one.update("s", 3, &intent("early")).await, Err(Error::Stale));
    assert_eq!(one.list().await.unwrap(), [claimed]);
}

pub(super) async fn what_is_not_there_is_said_to_be_missing([one, _]: Two) {
    assert_eq!(one.update("s", 1, &entry("n")).await, Err(Error::NotFound));
    assert_eq!(one.claim("s", 1, &owner("a", "1"), at(0), at(30)).await, Err(Error::NotFound));
    assert_eq!(one.remove("s", 1).await, Ok(()), "gone is what was asked for");
    assert_eq!(one.renew(&owner("a", "1"), at(30)).await, Ok(0));
    assert_eq!(one.list().await.unwrap(), []);
}

pub(super) async fn a_removed_session_is_gone_and_its_id_free([one, other]: Two) {
    one.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    one.remove("s", 1).await.unwrap();
    assert_eq!(other.list().await.unwrap(), []);
    assert_eq!(other.create("s", &owner("b", "1"), &entry("m"), at(30)).await, Ok(1));
}

pub(super) async fn a_lease_keeps_other_brokers_away_until_it_ends([one, other]: Two) {
    one.create("s", &owner("a", "1"), &entry("n"), at(30)).await.unwrap();
    let before = at(30) - std::time::Duration::from_millis(1);
    assert_eq!(
        other.claim("s", 1, &owner("b", "1"), before, at(90)).await,
        Err(Error::Held { until: at(30) }),
        "held to the last moment"
    );
    one.renew(&owner("a", "1"), at(60)).await.unwrap();
    assert_eq!(other.claim("s", 1, &owner("b", "1"), at(30), at(90)).await, Err(Error::Held { until: at(60) }));
    let claimed = other.claim("s", 1, &owner("b", "1"), at(60), at(90)).await.unwrap();
    let expected = Record { id: "s".into(), owner: owner("b", "1"), epoch: 2, lease_ends: at(90), entry: entry("n") };
    assert_eq!(claimed, expected);
    assert_eq!(one.list().await.unwrap(), [expected]);
}

pub(super) async fn a_later_process_of_a_broker_claims_at_once([one, other]: Two) {
    one.create("s", &owner("a", "1"), &entry("n"), at(3600)).await.unwrap();
    let claimed = other.claim("s", 1, &owner("a", "2"), at(0), at(30)).await.unwrap();
    assert_eq!((claimed.epoch, claimed.owner, claimed.lease_ends), (2, owner("a", "2"), at(30)));
    assert_eq!(one.renew(&owner("a", "1"), at(60)).await, Ok(0), "the earlier process has nothing to renew");
}

pub(super) async fn of_claims_at_the_same_time_one_wins([one, other]: Two) {
    one.create("s", &owner("gone", "1"), &entry("n"), at(0)).await.unwrap();
    for epoch in 1..=20 {
        let (b, c) = (owner("b", &epoch.to_string()), owner("c", &epoch.to_string()));
        // Each lease has ended by the next round.
        let (now, ends) = (at(epoch * 10), at(epoch * 10 + 5));
        let claims = join_all(
            (0..4).flat_map(|_| [one.claim("s", epoch, &b, now, ends), other.claim("s", epoch, &c, now, ends)]),
        );
        let won: Vec<Record> = claims
            .await
            .into_iter()
            .filter_map(|claim| match claim {
                Ok(record) => Some(record),
                Err(error) => {
                    assert_eq!(error, Error::Stale);
                    None
                }
            })
            .collect();
        assert_eq!(won.len(), 1, "of epoch {epoch}");
        assert_eq!(one.list().await.unwrap(), won);
    }
}

pub(super) async fn a_process_renews_its_own_sessions_alone([one, other]: Two) {
    for (id, broker, instance) in [("1", "a", "1"), ("2", "a", "1"), ("3", "a", "0"), ("4", "b", "1")] {
        one.create(id, &owner(broker, instance), &entry(id), at(30)).await.unwrap();
    }
    assert_eq!(other.renew(&owner("a", "1"), at(60)).await, Ok(2));
    let leases: Vec<_> = one.list().await.unwrap().into_iter().map(|record| record.lease_ends).collect();
    assert_eq!(leases, [at(60), at(60), at(30), at(30)]);
}

pub(super) async fn many_calls_at_the_same_time_are_all_carried_out([one, other]: Two) {
    let live = |journal: Arc<dyn Journal>, id: String| async move {
        let epoch = journal.create(&id, &owner("a", "1"), &intent(&id), at(30)).await.unwrap();
        journal.update(&id, epoch, &entry(&id)).await.unwrap();
        if id.ends_with('0') {
            journal.remove(&id, epoch).await.unwrap();
        }
    };
    let lives = |journal: &Arc<dyn Journal>, name: &str| {
        join_all((0..100).map(|i| live(Arc::clone(journal), format!("{name}-{i:02}"))))
    };
    join(lives(&one, "one"), lives(&other, "other")).await;
    let all = one.list().await.unwrap();
    assert_eq!(all.len(), 180);
    assert!(all.iter().all(|record| record.entry == entry(&record.id)));
}

/// One call in a history; small numbers, so that calls meet.
#[derive(Clone, Debug)]
enum Call {
    Create(u8, u64),
    Update(u8, u64, u32),
    Remove(u8, u64),
    Renew(u64),
    Claim(u8, u64, u64, u64),
}

fn call() -> impl Strategy<Value = Call> {
    let (id, epoch, time) = (0..4_u8, 1..5_u64, 0..50_u64);
    prop_oneof![
        3 => (id.clone(), time.clone()).prop_map(|(id, ends)| Call::Create(id, ends)),
        3 => (id.clone(), epoch.clone(), any::<u32>()).prop_map(|(id, epoch, nonce)| Call::Update(id, epoch, nonce)),
        1 => (id.clone(), epoch.clone()).prop_map(|(id, epoch)| Call::Remove(id, epoch)),
        1 => time.clone().prop_map(Call::Renew),
        4 => (id, epoch, time.clone(), time).prop_map(|(id, epoch, now, ends)| Call::Claim(id, epoch, now, ends)),
    ]
}

/// What a journal is, in the fewest words.
#[derive(Default)]
struct Model(BTreeMap<String, Record>);

impl Model {
    fn current(&mut self, id: &str, epoch: u64) -> Result<&mut Record, Error> {
        let record = self.0.get_mut(id).ok_or(Error::NotFound)?;
        if record.epoch == epoch { Ok(record) } else { Err(Error::Stale) }
    }

    fn create(&mut self, id: &str, owner: &Owner, entry: Entry, ends: u64) -> Result<u64, Error> {
        if self.0.contains_key(id) {
            return Err(Error::AlreadyExists);
        }
        let record = Record { id: id.to_owned(), owner: owner.clone(), epoch: 1, lease_ends: at(ends), entry };
        self.0.insert(id.to_owned(), record);
        Ok(1)
    }

    fn remove(&mut self, id: &str, epoch: u64) -> Result<(), Error> {
        match self.current(id, epoch) {
            Err(Error::Stale) => return Err(Error::Stale),
            Err(_) => {}
            Ok(_) => drop(self.0.remove(id)),
        }
        Ok(())
    }

    fn claim(&mut self, id: &str, epoch: u64, owner: &Owner, now: u64, ends: u64) -> Result<Record, Error> {
        let record = self.current(id, epoch)?;
        if record.owner.broker != owner.broker && record.lease_ends > at(now) {
            return Err(Error::Held { until: record.lease_ends });
        }
        record.owner = owner.clone();
        record.epoch += 1;
        record.lease_ends = at(ends);
        Ok(record.clone())
    }

    fn renew(&mut self, owner: &Owner, ends: u64) -> u64 {
        let own = self.0.values_mut().filter(|record| record.owner == *owner);
        own.map(|record| record.lease_ends = at(ends)).count() as u64
    }
}

/// Random calls of three processes of two brokers, one after the other, each
/// answered as the model answers.
pub(super) fn histories(two: impl Fn() -> (Box<dyn std::any::Any>, Two)) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let processes = [owner("a", "1"), owner("a", "2"), owner("b", "1")];
    proptest!(ProptestConfig::with_cases(64), |(history in vec((0..3_usize, call()), 1..40))| {
        let (_kept, two) = two();
        let mut model = Model::default();
        runtime.block_on(async {
            for (process, call) in history {
                let (owner, journal) = (&processes[process], &two[process / 2]);
                match call {
                    Call::Create(id, ends) => {
                        let (id, entry) = (id.to_string(), intent(&ends.to_string()));
                        let told = journal.create(&id, owner, &entry, at(ends)).await;
                        prop_assert_eq!(told, model.create(&id, owner, entry, ends));
                    }
                    Call::Update(id, epoch, nonce) => {
                        let (id, entry) = (id.to_string(), entry(&nonce.to_string()));
                        let told = journal.update(&id, epoch, &entry).await;
                        prop_assert_eq!(told, model.current(&id, epoch).map(|record| record.entry = entry));
                    }
                    Call::Remove(id, epoch) => {
                        let id = id.to_string();
                        prop_assert_eq!(journal.remove(&id, epoch).await, model.remove(&id, epoch));
                    }
                    Call::Renew(ends) => {
                        prop_assert_eq!(journal.renew(owner, at(ends)).await, Ok(model.renew(owner, ends)));
                    }
                    Call::Claim(id, epoch, now, ends) => {
                        let id = id.to_string();
                        let told = journal.claim(&id, epoch, owner, at(now), at(ends)).await;
                        prop_assert_eq!(told, model.claim(&id, epoch, owner, now, ends));
                    }
                }
            }
            for journal in &two {
                prop_assert_eq!(journal.list().await.unwrap(), model.0.values().cloned().collect::<Vec<_>>());
            }
            Ok(())
        })?;
    });
}
