//! Sessions with storage that pass from one broker to the next, by a shutdown
//! or by a crash at any step.

use std::time::Duration;

use tokio::time::advance;

use super::fake::{DAEMON, Reply, Shell, UNMOUNT, grant, unavailable};
use super::*;
use crate::{Client, Phase};
use sandbox_broker_core::sandbox::Exit;
use sandbox_broker_core::storage::Grant;

/// A kept session with storage whose credentials run out.
async fn kept() -> (Bed, Arc<FakeMounter>, Client, Shell) {
    let (bed, mounter) = Bed::with_storage();
    mounter.set(|plan| plan.renew_after = Some(KEEP * 10));
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let shell = bed.fake.shell().await;
    until(|| bed.sessions.list()[0].phase == Phase::Running).await;
    (bed, mounter, client, shell)
}

/// Stops the broker, which leaves the session to the next one. Returns the
/// session's id.
async fn left_behind(bed: &Bed, client: Client) -> String {
    soon(bed.sessions.shutdown()).await;
    client.id().to_owned()
}

/// The next broker, which has the same storage.
fn next(bed: &Bed, mounter: &Arc<FakeMounter>) -> Bed {
    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    next.change(|blueprint| blueprint.mounts = vec![mount(mounter, FILES)]);
    next
}

/// The same broker after it has taken the session over, and a client that comes
/// back.
async fn taken_over(bed: &Bed, mounter: &Arc<FakeMounter>, instance: &str, id: &str) -> (Bed, Client) {
    let next = next(bed, mounter);
    claim_all(&next, instance).await;
    let client = next.sessions.join(id, driver("one")).unwrap();
    (next, client)
}

/// Where files were put into the sandbox.
fn put(bed: &Bed) -> Vec<String> {
    bed.fake.ran("put").into_iter().map(|ran| ran.command.argv[4].clone()).collect()
}

fn count(bed: &Bed, calls: &[&str]) -> Vec<usize> {
    calls.iter().map(|call| bed.fake.asked(call).len()).collect()
}

#[tokio::test(start_paused = true)]
async fn storage_is_handed_to_the_next_broker_as_it_is() {
    let (bed, mounter, client, _shell) = kept().await;
    let (id, reader) = (client.id().to_owned(), client.reader_at(0, false));
    soon(bed.sessions.shutdown()).await;
    assert!(matches!(Told::read_to_end(reader).await.outcome, Some(Outcome::Draining)));
    drop(client);
    let once = ["prepare", "make", DAEMON, "plan"];
    assert_eq!(count(&bed, &once), [1, 1, 1, 1]);
    let none = [UNMOUNT, "release", "kill", "renew", "clear"];
    assert_eq!(count(&bed, &none), [0; 5], "nothing is taken from it");

    let (next, client) = taken_over(&bed, &mounter, "2", &id).await;
    let _shell = next.fake.shell().await;
    ready(&mut client.reader_at(0, false)).await;
    // Only the earlier broker knows when the credentials end.
    until(|| put(&next).len() == 2).await;
    assert_eq!(count(&next, &once), [1, 1, 1, 2], "what is mounted is not mounted again");
    assert_eq!(count(&next, &["renew"]), [1]);
    let [first, second] = &mounter.targets()[..] else { panic!("two plans") };
    assert_eq!(first, second, "it is the same mount");
    let watched = next.fake.asked("watch").len();
    until(|| next.fake.asked("watch").len() > watched).await;

    client.kill();
    drop(client);
    next.all_gone().await;
    assert_eq!(count(&next, &[UNMOUNT, "release", "kill"]), [1, 1, 1]);
    assert_eq!(mounter.released(), [grant("grant-canary")]);
    assert!(next.journal.list().await.unwrap().is_empty());
}

/// Another broker claims all sessions, which this one does not know yet.
async fn claimed(bed: &Bed) -> sandbox_broker_journal::Record {
    let record = bed.journal.list().await.unwrap().remove(0);
    let owner = Owner { instance: "2".to_owned(), ..record.owner.clone() };
    let now = SystemTime::now();
    bed.journal.claim(&record.id, record.epoch, &owner, now, now + LEASE).await.unwrap()
}

/// Nothing was done to what another broker has claimed.
async fn is_left_alone(bed: &Bed, claimed: sandbox_broker_journal::Record) {
    until(|| bed.sessions.list().is_empty()).await;
    let once = ["prepare", "make", DAEMON, "plan"];
    assert_eq!(count(bed, &once), [1, 1, 1, 1]);
    assert_eq!(count(bed, &["clear", UNMOUNT, "release", "kill"]), [0; 4]);
    assert_eq!(bed.journal.list().await.unwrap(), [claimed]);
}

#[tokio::test(start_paused = true)]
async fn storage_that_another_broker_has_claimed_is_neither_unmounted_nor_taken_back() {
    let (bed, _mounter, client, _shell) = kept().await;
    let claimed = claimed(&bed).await;
    let reader = client.reader_at(0, false);
    client.kill();
    assert!(matches!(Told::read_to_end(reader).await.outcome, Some(Outcome::Replaced)));
    drop(client);
    is_left_alone(&bed, claimed).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_mount_that_another_broker_has_claimed_is_not_mounted_again() {
    let (bed, _mounter, client, _shell) = kept().await;
    let claimed = claimed(&bed).await;
    let mut reader = client.reader_at(0, false);
    bed.fake.end_daemons(Exit::Code(1), "gone\n");
    let stopped = |event| matches!(event, Some(Event::Stage(stage)) if stage.message.contains("stopped working"));
    while !stopped(soon(reader.next()).await) {}
    // Longer than the pause before a mount is made again.
    advance(KEEP).await;
    client.kill();
    assert!(matches!(Told::read_to_end(reader).await.outcome, Some(Outcome::Replaced)));
    drop(client);
    is_left_alone(&bed, claimed).await;
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_was_mounted_again_is_found_where_it_is() {
    let (bed, mounter, client, _shell) = kept().await;
    let id = client.id().to_owned();
    bed.fake.end_daemons(Exit::Code(1), "gone\n");
    until(|| bed.fake.asked("verify").len() == 2).await;
    // Its credentials go where it is now, too.
    let again = format!("{}-2", mounter.targets()[0].workspace);
    advance(KEEP * 10).await;
    until(|| bed.fake.asked("renew").len() == 1).await;
    until(|| put(&bed).len() == 3).await;
    assert_eq!(put(&bed)[2], format!("{again}/config"));
    soon(bed.sessions.shutdown()).await;
    drop(client);

    let (next, client) = taken_over(&bed, &mounter, "2", &id).await;
    until(|| put(&next).len() == 4).await;
    assert_eq!(put(&next)[3], format!("{again}/config"));
    // When it dies, it is mounted in yet another one.
    for _ in 0..2 {
        next.fake.program("watch", Duration::ZERO, Exit::Code(1), "not mounted\n");
    }
    until(|| next.fake.asked("verify").len() == 3).await;
    let workspaces: Vec<_> = mounter.targets().into_iter().map(|target| target.workspace).collect();
    assert_eq!(workspaces[2..], [again.clone(), again.replace("-2", "-3")]);
    client.kill();
    drop(client);
    next.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn storage_that_cannot_be_taken_up_is_told_and_tried_again() {
    let (bed, mounter, client, _shell) = kept().await;
    let id = left_behind(&bed, client).await;
    for _ in 0..5 {
        bed.fake.script("plan", Duration::ZERO, Reply::Fail(unavailable()));
    }
    let (next, client) = taken_over(&bed, &mounter, "2", &id).await;
    let mut reader = client.reader_at(0, false);
    let mut told = Vec::new();
    loop {
        match soon(reader.next()).await {
            Some(Event::Ready { .. }) => break,
            Some(Event::Stage(stage)) => told.push(stage.message),
            other => panic!("{other:?} instead of ready"),
        }
    }
    let news = "Azure Blob Storage (/workspace/files) is not looked after until its plugin works again: scripted \
                Unavailable";
    assert_eq!(told.iter().filter(|said| *said == news).count(), 1, "{told:?}");
    until(|| next.fake.asked("renew").len() == 1).await;
    assert_eq!(count(&next, &["plan", "make", "clear"]), [7, 1, 0], "it was mounted all the time");
    client.kill();
    drop(client);
    next.all_gone().await;
    assert_eq!(count(&next, &[UNMOUNT, "release"]), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_killed_before_it_is_taken_up_is_saved_all_the_same() {
    let (bed, mounter, client, _shell) = kept().await;
    let id = left_behind(&bed, client).await;
    bed.fake.script("plan", Duration::ZERO, Reply::Hang);
    let (next, client) = taken_over(&bed, &mounter, "2", &id).await;
    until(|| next.fake.asked("plan").len() == 2).await;
    client.kill();
    drop(client);
    next.all_gone().await;
    assert_eq!(count(&next, &["plan", UNMOUNT, "release", "kill"]), [3, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_while_it_takes_a_session_over_leaves_it() {
    let (bed, mounter, client, _shell) = kept().await;
    let id = left_behind(&bed, client).await;
    for (instance, hangs) in [("2", "connect"), ("3", "attach")] {
        bed.fake.script(hangs, Duration::ZERO, Reply::Hang);
        let asked = bed.fake.asked(hangs).len();
        let next = next(&bed, &mounter);
        claim_all(&next, instance).await;
        until(|| next.fake.asked(hangs).len() > asked).await;
        soon(next.sessions.shutdown()).await;
        until(|| next.sessions.count() == 0).await;
    }
    let (last, client) = taken_over(&bed, &mounter, "4", &id).await;
    ready(&mut client.reader_at(0, false)).await;
    assert_eq!(count(&last, &[UNMOUNT, "release", "kill", "make"]), [0, 0, 0, 1]);
    client.kill();
    drop(client);
    last.all_gone().await;
}

/// A crash between the sandbox and the first step of its mount: nothing is
/// mounted, and what was prepared is released all the same.
#[tokio::test(start_paused = true)]
async fn storage_that_was_prepared_and_not_mounted_is_given_back() {
    let (bed, mounter) = Bed::with_storage();
    bed.fake.script("plan", Duration::ZERO, Reply::Hang);
    let client = bed.sessions.open(driver("one"), true).unwrap();
    until(|| !bed.fake.asked("plan").is_empty()).await;
    let record = bed.journal.list().await.unwrap().remove(0);
    let mut entry = record.entry;
    entry.storage[0].begun = 0;
    bed.journal.update(&record.id, record.epoch, &entry).await.unwrap();

    let next = next(&bed, &mounter);
    claim_all(&next, "2").await;
    advance(LEASE).await;
    until(|| !next.sessions.knows(&record.id)).await;
    let kept = Grant { sealed: bytes::Bytes::new(), ..grant("grant-canary") };
    assert_eq!(mounter.released(), [kept], "the secret part went with the broker that prepared it");
    drop(client);
}

/// A broker that is killed at any step of the storage leaves one of two things:
/// a session that the next one continues, or a session that its lease ends and
/// whose storage the next one releases.
#[test]
fn a_crash_at_any_step_of_storage_leaves_a_record_of_every_mount() {
    type Script = Option<(&'static str, Reply)>;
    let hang = |call: &'static str| Some((call, Reply::Hang));
    // Which call hangs when the broker is killed, and whether the shell runs by
    // then.
    let steps: [(&str, Script, bool); 9] = [
        ("before prepare is answered", hang("prepare"), false),
        ("before create is carried out", hang("create"), false),
        ("after create, its answer on the way", Some(("create", Reply::DoThenFail(unavailable()))), false),
        ("before it is planned", hang("plan"), false),
        ("while it is mounted", hang(DAEMON), false),
        ("before the shell is opened", hang("open"), false),
        ("while the shell runs", None, true),
        ("while it is unmounted", hang(UNMOUNT), true),
        ("before it is released", hang("release"), true),
    ];
    for kept in [false, true] {
        for (step, script, ran) in &steps {
            let step = format!("{step}, kept: {kept}");
            let runtime =
                || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let (bed, mounter, client, _shell) = {
                let first = runtime();
                let left = first.block_on(async {
                    let (bed, mounter) = Bed::with_storage();
                    if let Some((call, reply)) = script {
                        bed.fake.script(call, Duration::ZERO, reply.clone());
                    }
                    let client = bed.sessions.open(driver("one"), kept).unwrap();
                    let mut shell = None;
                    if *ran {
                        shell = Some(bed.fake.shell().await);
                        until(|| bed.sessions.list()[0].phase == Phase::Running).await;
                        if script.is_some() {
                            client.kill();
                        }
                    }
                    let reached = script.as_ref().map_or("open", |(call, _)| call);
                    until(|| !bed.fake.asked(reached).is_empty()).await;
                    (bed, mounter, client, shell)
                });
                // Everything that ran is gone, wherever it was.
                drop(first);
                left
            };
            let id = client.id().to_owned();
            runtime().block_on(async {
                let records = bed.journal.list().await.unwrap();
                let living = bed.fake.living();
                if records.is_empty() {
                    assert_eq!(living, Vec::<String>::new(), "{step}: every sandbox is written down");
                    let prepared = step.starts_with("before prepare");
                    let over = step.starts_with("before it is released");
                    assert!(prepared || over, "{step}: every mount is written down");
                    return;
                }
                assert_eq!((records.len(), &*records[0].id), (1, &*id), "{step}");
                let next = next(&bed, &mounter);
                claim_all(&next, "2").await;
                let goes_on = next.sessions.count() > 0;
                assert_eq!(goes_on, kept && *ran && !living.is_empty(), "{step}");
                if !goes_on && records[0].entry.sandbox.is_some() {
                    assert_eq!(next.fake.living(), living, "{step}: its files are saved by its lease");
                    advance(LEASE).await;
                    until(|| !mounter.released().is_empty()).await;
                    living.iter().for_each(|id| next.fake.remove(id));
                }
                next.all_gone().await;
                until(|| !next.sessions.knows(&id)).await;
                assert!(next.journal.list().await.unwrap().is_empty(), "{step}");
                let grants = mounter.released();
                assert!(grants.iter().all(|grant| grant.kept == "grant-canary"), "{step}: {grants:?}");
                if goes_on {
                    assert!(!next.fake.asked(UNMOUNT).is_empty(), "{step}: it is saved");
                    assert!(!mounter.released().is_empty(), "{step}: it is released");
                }
            });
        }
    }
}
