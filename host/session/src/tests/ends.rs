//! Ends of sessions for which no client was there.

use tokio::time::{Instant, advance};

use super::*;
use crate::Phase;
use sandbox_broker_core::sandbox::Exit;

/// A kept session whose client has left.
async fn left(bed: &Bed) -> (String, fake::Shell) {
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let shell = bed.fake.shell().await;
    let id = client.id().to_owned();
    ready(&mut client.reader_at(0, false)).await;
    (id, shell)
}

/// What a client that comes now is told, up to the end.
async fn told(bed: &Bed, id: &str) -> Told {
    let client = bed.sessions.join(id, driver("late")).unwrap();
    Told::read_to_end(client.reader_at(0, false)).await
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_exits_with_nobody_there_is_told_to_who_comes() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.max_sessions = 1);
    let (id, shell) = left(&bed).await;
    shell.print("bye").await;
    shell.exit(Ok(Exit::Code(3)));
    let ended = Instant::now();
    until(|| bed.fake.living().is_empty()).await;
    let session = bed.sessions.list().remove(0);
    assert_eq!((session.phase, session.sandbox), (Phase::Ended, None));
    assert!(matches!(session.outcome, Some(Outcome::Exited(Exit::Code(3)))));
    // The ended session takes nobody's place.
    let other = bed.open(None).unwrap();
    for _ in 0..3 {
        let told = told(&bed, &id).await;
        assert_eq!(told.output, b"bye");
        assert!(matches!(told.outcome, Some(Outcome::Exited(Exit::Code(3)))));
    }
    drop(other);
    bed.all_gone().await;
    assert!(ended.elapsed() >= KEEP && ended.elapsed() < KEEP * 2, "{:?}", ended.elapsed());
    assert_eq!(bed.sessions.join(&id, driver("late")).unwrap_err(), Refused::NoSession);
    assert!(bed.journal.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_storage_of_a_shell_that_exits_with_nobody_there_is_saved_at_once() {
    let (bed, mounter) = Bed::with_storage();
    let (id, shell) = left(&bed).await;
    shell.print("bye").await;
    let exited = Instant::now();
    shell.exit(Ok(Exit::Code(3)));
    until(|| bed.sessions.list()[0].phase == Phase::Ended).await;
    until(|| mounter.released().len() == 1).await;
    assert!(bed.fake.asked(fake::UNMOUNT)[0] - exited < Duration::from_secs(1));
    let told = told(&bed, &id).await;
    assert_eq!(told.output, b"bye");
    assert!(matches!(told.outcome, Some(Outcome::Exited(Exit::Code(3)))));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_by_hand_is_kept_for_nobody() {
    let bed = Bed::new();
    let (id, shell) = left(&bed).await;
    shell.exit(Ok(Exit::Code(0)));
    until(|| bed.sessions.list()[0].phase == Phase::Ended).await;
    bed.sessions.get(&id).unwrap().kill();
    until(|| bed.sessions.count() == 0).await;
    assert_eq!(bed.sessions.join(&id, driver("late")).unwrap_err(), Refused::NoSession);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_an_end_is_told_too() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.idle_timeout = KEEP / 2);
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let _shell = bed.fake.shell().await;
    let id = client.id().to_owned();
    ready(&mut client.reader_at(0, false)).await;
    advance(KEEP / 2).await;
    until(|| bed.sessions.list()[0].phase == Phase::Ended).await;
    drop(client);
    assert!(matches!(told(&bed, &id).await.outcome, Some(Outcome::Idle(_))));

    let (id, shell) = left(&bed).await;
    drop(shell);
    until(|| bed.sessions.list().iter().all(|session| session.phase == Phase::Ended)).await;
    assert!(matches!(told(&bed, &id).await.outcome, Some(Outcome::Failed(_))));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn ends_that_are_kept_are_so_many_at_most() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.keep = PATIENCE);
    let mut ids = Vec::new();
    for _ in 0..70 {
        let (id, shell) = left(&bed).await;
        shell.exit(Ok(Exit::Code(0)));
        let ended = |id: &str| bed.sessions.get(id).is_some_and(|one| one.summary().phase == Phase::Ended);
        until(|| ended(&id)).await;
        until(|| bed.fake.living().is_empty()).await;
        advance(Duration::from_secs(1)).await;
        ids.push(id);
    }
    until(|| bed.sessions.count() <= 64).await;
    assert!(bed.sessions.get(&ids[0]).is_none() && bed.sessions.get(&ids[69]).is_some(), "the oldest went");
    soon(bed.sessions.shutdown()).await;
    bed.all_gone().await;
}

/// A session that is left to the next broker is no orphan of the broker that
/// stops.
#[tokio::test(start_paused = true)]
async fn a_broker_that_shuts_down_takes_no_sandbox_for_an_orphan() {
    let bed = Bed::new();
    let (id, _shell) = left(&bed).await;
    soon(bed.sessions.shutdown()).await;
    assert_eq!((bed.sessions.count(), bed.fake.living().len()), (0, 1));
    assert!(bed.sessions.knows(&id));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_served_elsewhere_is_told_to_its_user_alone() {
    let bed = Bed::new();
    let join = |user: Option<&str>| Join { user: user.map(Arc::from), ..driver("one") };
    bed.sessions.set_absent("far", Some("ada"), Refused::Elsewhere);
    assert!(bed.sessions.knows("far"));
    assert_eq!(bed.sessions.join("far", join(Some("ada"))).unwrap_err(), Refused::Elsewhere);
    assert_eq!(bed.sessions.join("far", join(Some("bob"))).unwrap_err(), Refused::NoSession);
    let invitation = Some(Invitations::new(&[1; 32]).to("far"));
    let guest = Join { invitation, ..join(Some("bob")) };
    assert_eq!(bed.sessions.join("far", guest).unwrap_err(), Refused::Elsewhere);
}
