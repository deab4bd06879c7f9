//! Sandboxes that no session knows: ended within a minute, and no other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::fake::{Fake, Reply, error, unavailable};
use super::*;
use crate::{LABEL_BROKER, LABEL_SESSION, reap};
use sandbox_broker_core::sandbox::{Call, Code, Fault, Listed, Provider, Spec};

/// How long an orphan may live.
const MINUTE: Duration = Duration::from_secs(60);

/// A reaper of `broker-1`, what it is told, and whom it asks.
struct Watch {
    known: Arc<Mutex<HashSet<String>>>,
    providers: Arc<Mutex<Vec<Arc<dyn Provider>>>>,
    _reaper: AbortOnDropHandle<()>,
}

impl Watch {
    fn over(fakes: &[&Arc<Fake>]) -> Self {
        let known = Arc::new(Mutex::new(HashSet::new()));
        let providers = fakes.iter().map(|fake| Arc::clone(fake) as Arc<dyn Provider>).collect();
        let providers: Arc<Mutex<Vec<Arc<dyn Provider>>>> = Arc::new(Mutex::new(providers));
        let (sessions, sections) = (Arc::clone(&known), Arc::clone(&providers));
        let knows = move |listed: &Listed| {
            listed.labels.get(LABEL_SESSION).is_some_and(|session| sessions.lock().unwrap().contains(session))
        };
        let reaper = reap("broker-1".to_owned(), move || sections.lock().unwrap().clone(), knows);
        Watch { known, providers, _reaper: AbortOnDropHandle::new(tokio::spawn(reaper)) }
    }

    fn know(&self, session: &str) {
        self.known.lock().unwrap().insert(session.to_owned());
    }

    fn forget(&self, session: &str) {
        self.known.lock().unwrap().remove(session);
    }
}

/// Labels of a sandbox of this broker.
fn ours(session: &str) -> [(&str, &str); 2] {
    [(LABEL_BROKER, "broker-1"), (LABEL_SESSION, session)]
}

/// Lets time pass on the stopped clock, and lets everything happen that is due
/// in it.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits until only this sandbox lives, and returns when that was.
async fn left(fake: &Fake, ids: &[&str]) -> Instant {
    until(|| fake.living() == ids).await;
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn of_200_creates_with_20_lost_answers_no_orphan_is_left_after_a_minute() {
    let fake = Fake::new("fake");
    // Pages of one: more than 200 of them.
    fake.plant("a-strangers", &[]);
    fake.plant("another-brokers", &[(LABEL_BROKER, "broker-2"), (LABEL_SESSION, "s-0")]);
    let watch = Watch::over(&[&fake]);
    let mut expected = HashSet::from(["a-strangers".to_owned(), "another-brokers".to_owned()]);
    let mut orphans: Vec<(String, Instant)> = Vec::new();
    let gone_in_time = |orphans: &[(String, Instant)]| {
        let living = fake.living();
        let late = |(id, made): &&(String, Instant)| made.elapsed() > MINUTE && living.contains(id);
        assert_eq!(orphans.iter().find(late), None, "lives on after {MINUTE:?}");
    };
    for i in 0..200 {
        let session = format!("s-{i}");
        let labels = ours(&session).map(|(key, value)| (key.to_owned(), value.to_owned()));
        let spec = Spec { labels: labels.into(), ttl: LEASE, ..Spec::default() };
        let lost = i % 10 == 3;
        // The orphan is made at another moment of the reaper's period each
        // time.
        let reply = if lost { Reply::DoThenFail(unavailable()) } else { Reply::Do };
        fake.script("create", Duration::from_millis(730), reply);
        watch.know(&session);
        let made = fake.create(&Call::default(), &spec).await;
        assert_eq!(made.is_err(), lost);
        match made {
            Ok(sandbox) => assert!(expected.insert(sandbox.id)),
            Err(_) => {
                watch.forget(&session);
                orphans.push((format!("sbx-{}", i + 1), Instant::now()));
            }
        }
        gone_in_time(&orphans);
    }
    assert!(fake.living().iter().any(|id| !expected.contains(id)), "the last orphans were just made");
    pass(MINUTE).await;
    assert_eq!(fake.living().into_iter().collect::<HashSet<_>>(), expected);
    assert_eq!(fake.asked("kill").len(), orphans.len(), "and nothing was ended twice");
    assert!(fake.asked("list").len() > 1000);
}

/// The listing that shows it first takes longer than the next one. So there is
/// less time between its two sightings than between the starts of the looks.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_give_an_orphan_another_round() {
    let fake = Fake::new("fake");
    let _watch = Watch::over(&[&fake]);
    until(|| fake.asked("list").len() == 1).await;
    let made = Instant::now();
    fake.plant("orphan", &ours("gone"));
    fake.script("list", Duration::from_secs(5), Reply::Do);
    assert!(left(&fake, &[]).await - made <= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_labelled_as_ours_is_never_touched() {
    let fake = Fake::new("fake");
    fake.plant("1-none", &[]);
    fake.plant("2-other", &[(LABEL_BROKER, "broker-2")]);
    fake.plant("3-longer", &[(LABEL_BROKER, "broker-12")]);
    fake.plant("4-case", &[(LABEL_BROKER, "Broker-1")]);
    fake.plant("5-session-alone", &[(LABEL_SESSION, "gone")]);
    fake.plant("6-swapped", &[(LABEL_SESSION, "broker-1"), ("broker-1", LABEL_BROKER)]);
    fake.plant("7-ours", &ours("gone"));
    let began = Instant::now();
    let _watch = Watch::over(&[&fake]);
    let foreign = ["1-none", "2-other", "3-longer", "4-case", "5-session-alone", "6-swapped"];
    assert!(left(&fake, &foreign).await - began <= MINUTE);
    pass(Duration::from_secs(3600)).await;
    assert_eq!(fake.living(), foreign);
    assert_eq!(fake.asked("kill").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_becomes_known_in_time_lives_on_and_starts_anew_when_forgotten() {
    let fake = Fake::new("fake");
    fake.plant("late", &ours("s"));
    let watch = Watch::over(&[&fake]);
    pass(Duration::from_secs(15)).await;
    watch.know("s");
    pass(Duration::from_secs(3600)).await;
    assert_eq!(fake.living(), ["late"]);
    let forgotten = Instant::now();
    watch.forget("s");
    let gone = left(&fake, &[]).await - forgotten;
    assert!(gone >= Duration::from_secs(20) && gone <= MINUTE, "{gone:?}: sighted twice, 20 s apart");
}

#[tokio::test(start_paused = true)]
async fn running_sessions_are_left_alone_and_one_that_gave_up_is_cleaned_after() {
    let bed = Bed::new();
    let sessions = bed.sessions.clone();
    let knows = move |listed: &Listed| listed.labels.get(LABEL_SESSION).is_some_and(|id| sessions.get(id).is_some());
    let fake = Arc::clone(&bed.fake) as Arc<dyn Provider>;
    let reaper = AbortOnDropHandle::new(tokio::spawn(reap("broker-1".to_owned(), move || vec![fake.clone()], knows)));
    let clients: Vec<_> = (0..20).map(|_| bed.open(None).unwrap()).collect();
    let mut shells = Vec::new();
    for _ in &clients {
        shells.push(bed.fake.shell().await);
    }
    pass(IDLE / 2).await;
    assert_eq!((bed.fake.living().len(), bed.fake.asked("kill").len()), (20, 0));

    // The provider refuses the session's own kill for good, so the session
    // gives up.
    bed.fake.script("kill", Duration::ZERO, Reply::Fail(error(Fault::Operator, Code::PermissionDenied)));
    shells.pop().unwrap().exit(Ok(sandbox_broker_core::sandbox::Exit::Code(0)));
    until(|| bed.sessions.count() == 19).await;
    let gave_up = Instant::now();
    until(|| bed.fake.living().len() == 19).await;
    assert!(gave_up.elapsed() <= MINUTE);
    drop((clients, shells));
    until(|| bed.sessions.count() == 0).await;
    drop(reaper);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_or_breaks_off_ends_nothing_and_is_tried_again() {
    let fake = Fake::new("fake");
    for id in ["1", "2", "3"] {
        fake.plant(id, &ours(id));
    }
    // The first look fails at once, the second on its second page.
    for reply in [Reply::Fail(unavailable()), Reply::Do, Reply::Fail(error(Fault::Plugin, Code::Internal))] {
        fake.script("list", Duration::ZERO, reply);
    }
    let began = Instant::now();
    let _watch = Watch::over(&[&fake]);
    until(|| fake.asked("list").len() == 3).await;
    assert_eq!(fake.living().len(), 3);
    let healthy = began + Duration::from_secs(30);
    assert!(left(&fake, &[]).await - healthy <= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_a_failed_look_still_counts() {
    let fake = Fake::new("fake");
    fake.plant("1", &ours("1"));
    fake.script("list", Duration::ZERO, Reply::Do);
    fake.script("list", Duration::ZERO, Reply::Fail(unavailable()));
    let began = Instant::now();
    let _watch = Watch::over(&[&fake]);
    assert_eq!((left(&fake, &[]).await - began).as_secs(), 40, "seen at 0 s, not at 20 s, ended at 40 s");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_does_not_keep_the_others_orphans_alive() {
    let (hangs, well) = (Fake::new("hangs"), Fake::new("well"));
    hangs.plant("1", &ours("1"));
    well.plant("2", &ours("2"));
    hangs.script("list", Duration::ZERO, Reply::Hang);
    let began = Instant::now();
    let _watch = Watch::over(&[&hangs, &well]);
    assert!(left(&well, &[]).await - began <= MINUTE);
    left(&hangs, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_fails_or_hangs_is_tried_again_and_a_sandbox_gone_is_gone() {
    let fake = Fake::new("fake");
    for id in ["1", "2", "3"] {
        fake.plant(id, &ours(id));
    }
    fake.script("kill", Duration::ZERO, Reply::Fail(unavailable()));
    fake.script("kill", Duration::ZERO, Reply::Hang);
    fake.script("kill", Duration::ZERO, Reply::DoThenFail(error(Fault::Provider, Code::NotFound)));
    let _watch = Watch::over(&[&fake]);
    left(&fake, &[]).await;
    assert_eq!(fake.asked("kill").len(), 5);
    pass(MINUTE).await;
    assert_eq!(fake.asked("kill").len(), 5, "nothing is ended that is not listed");
}

#[tokio::test(start_paused = true)]
async fn providers_of_a_reload_are_looked_at_from_the_next_look_on() {
    let (old, new) = (Fake::new("old"), Fake::new("new"));
    let watch = Watch::over(&[&old]);
    pass(Duration::from_secs(100)).await;
    *watch.providers.lock().unwrap() = vec![Arc::clone(&new) as _];
    let reloaded = Instant::now();
    new.plant("1", &ours("1"));
    old.plant("2", &ours("2"));
    assert!(left(&new, &[]).await - reloaded <= MINUTE);
    pass(MINUTE * 10).await;
    assert_eq!(old.living(), ["2"], "its section is gone, and with it the key to end it; its lease does");
}

#[tokio::test(start_paused = true)]
async fn without_orphans_a_provider_is_asked_twice_a_minute() {
    let fake = Fake::new("fake");
    fake.plant("1", &ours("s"));
    let watch = Watch::over(&[&fake]);
    watch.know("s");
    pass(MINUTE * 10 - Duration::from_secs(1)).await;
    assert_eq!(fake.asked("list").len(), 20);
}
