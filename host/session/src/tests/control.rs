//! Who has control of a session, and how long it is kept, by how its clients
//! left.

use bytes::Bytes;
use tokio::time::{Instant, advance};

use super::fake::{Reply, Shell};
use super::*;
use crate::{Denied, Leaving, Role};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A kept session with the client "one", which drives. It is kept for two
/// hours.
async fn opened(bed: &Bed) -> (Client, Shell) {
    bed.change(|blueprint| blueprint.keep = 2 * HOUR);
    let one = bed.sessions.open(driver("one"), true).unwrap();
    let shell = bed.fake.shell().await;
    ready(&mut one.reader_at(0, false)).await;
    (one, shell)
}

fn leave(client: Client, how: Leaving) {
    client.leaves(how);
    drop(client);
}

fn roles(clients: [&Client; 2]) -> [Option<Role>; 2] {
    clients.map(Client::role)
}

const FIRST: [Option<Role>; 2] = [Some(Role::Driver), Some(Role::Viewer)];
const SECOND_ONE: [Option<Role>; 2] = [Some(Role::Viewer), Some(Role::Driver)];

#[tokio::test(start_paused = true)]
async fn who_comes_back_has_what_it_had() {
    let bed = Bed::new();
    let (one, _shell) = opened(&bed).await;
    let id = one.id().to_owned();
    let back = |name: &str| bed.sessions.join(&id, driver(name)).unwrap();
    let two = back("two");
    for how in [Leaving::Lost, Leaving::Closed] {
        leave(back("one"), how);
        assert_eq!(two.role(), Some(Role::Viewer), "{how:?}: the driver is waited for");
        let one = back("one");
        assert_eq!(roles([&one, &two]), FIRST);
    }
    // Only a client that took control on purpose keeps it.
    let one = back("one");
    assert!(two.take_control());
    leave(one, Leaving::Lost);
    let one = back("one");
    assert_eq!(roles([&one, &two]), SECOND_ONE);
    let two_again = back("two");
    assert_eq!(roles([&one, &two_again]), SECOND_ONE, "nor does a reconnect of its own change that");
    drop((one, two, two_again));
    soon(bed.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn who_was_left_alone_gets_control_and_gives_it_back_unused() {
    let bed = Bed::new();
    let (one, mut shell) = opened(&bed).await;
    let id = one.id().to_owned();
    let back = |name: &str| bed.sessions.join(&id, driver(name)).unwrap();
    let two = back("two");
    for (how, grace) in [(Leaving::Lost, 30 * SECOND), (Leaving::Closed, 5 * SECOND)] {
        leave(back("one"), how);
        advance(grace - SECOND).await;
        assert_eq!(two.role(), Some(Role::Viewer), "{how:?}");
        advance(SECOND).await;
        until(|| two.role() == Some(Role::Driver)).await;
        advance(10 * MINUTE).await;
        let one = back("one");
        assert_eq!(roles([&one, &two]), FIRST, "it was not used");
    }
    drop(one);
    leave(back("one"), Leaving::Lost);
    until(|| two.role() == Some(Role::Driver)).await;
    soon(two.typed(1, Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(shell.read(1).await, b"x");
    let one = back("one");
    assert_eq!(roles([&one, &two]), SECOND_ONE, "who uses control keeps it");
    assert_eq!(soon(one.typed(1, Bytes::from_static(b"y"))).await, Err(Denied::Viewer));
    leave(two, Leaving::Detached);
    assert_eq!(one.role(), Some(Role::Driver), "who says that it leaves is not waited for");
    drop(one);
    soon(bed.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_name_of_its_own_is_not_waited_for() {
    let bed = Bed::new();
    let (one, _shell) = opened(&bed).await;
    let id = one.id().to_owned();
    let unnamed = |name: &str| Join { returns: false, ..driver(name) };
    let first = bed.sessions.join(&id, unnamed("made-up-1")).unwrap();
    leave(one, Leaving::Detached);
    assert_eq!(first.role(), Some(Role::Driver));
    let second = bed.sessions.join(&id, unnamed("made-up-2")).unwrap();
    assert_eq!(roles([&first, &second]), FIRST);
    leave(first, Leaving::Lost);
    assert_eq!(second.role(), Some(Role::Driver));
    drop(second);
    soon(bed.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_broker_knows_who_drives() {
    let bed = Bed::new();
    let (one, _shell) = opened(&bed).await;
    let id = one.id().to_owned();
    let two = bed.sessions.join(&id, driver("two")).unwrap();
    assert!(two.take_control());
    let noted = async || bed.journal.list().await.unwrap().remove(0).entry.driver;
    while soon(noted()).await.as_deref() != Some("two") {
        tokio::task::yield_now().await;
    }
    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    claim_all(&next, "2").await;
    let one = next.sessions.join(&id, driver("one")).unwrap();
    assert_eq!(one.role(), Some(Role::Viewer), "the first to come back is not the one that drove");
    let two = next.sessions.join(&id, driver("two")).unwrap();
    assert_eq!(roles([&one, &two]), SECOND_ONE);
    leave(two, Leaving::Detached);
    assert_eq!(one.role(), Some(Role::Driver));
    drop(one);
    soon(next.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_watches_changes_no_size_and_all_are_told_whose_it_is() {
    let bed = Bed::new();
    let (one, mut shell) = opened(&bed).await;
    one.resize(Size { cols: 163, rows: 40 });
    let (size, reply) = shell.resize().await;
    assert_eq!(size, Size { cols: 163, rows: 40 });
    reply.send(Ok(())).unwrap();
    let phone = Join { size: Some(Size { cols: 48, rows: 20 }), ..driver("phone") };
    let phone = bed.sessions.join(one.id(), phone).unwrap();
    phone.resize(Size { cols: 40, rows: 20 });
    let whose = async |client: &Client| {
        let (_, present) = soon(client.company().changed()).await;
        present.into_iter().filter(|one| one.sets_size).map(|one| one.client.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((whose(&one).await, whose(&phone).await), (vec!["one".to_owned()], vec!["one".to_owned()]));
    assert!(phone.take_control());
    assert_eq!(shell.resize().await.0, Size { cols: 40, rows: 20 }, "the phone's size at once, and none before it");
    assert_eq!(whose(&one).await, ["phone"]);
    drop((one, phone));
    soon(bed.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_line_is_waited_for_and_a_closed_window_as_long_as_something_works() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.idle_timeout = 10 * MINUTE);
    for (how, works, expected) in [
        (Leaving::Lost, Duration::ZERO, 2 * HOUR),
        (Leaving::Detached, Duration::ZERO, 2 * HOUR),
        (Leaving::Closed, Duration::ZERO, 15 * MINUTE),
        (Leaving::Closed, 40 * MINUTE, 55 * MINUTE),
        (Leaving::Closed, 3 * HOUR, 2 * HOUR),
    ] {
        let (one, shell) = opened(&bed).await;
        let reader = one.reader_at(0, false);
        let began = Instant::now();
        leave(one, how);
        let works = async {
            while began.elapsed() < works {
                advance(MINUTE).await;
                if shell.output.send(Bytes::from_static(b".")).await.is_err() {
                    break;
                }
            }
        };
        let (told, ()) = tokio::join!(Told::read_to_end(reader), works);
        assert!(matches!(told.outcome, Some(Outcome::Detached)), "{how:?}: {:?}", told.outcome);
        let lasted = began.elapsed();
        assert!(lasted >= expected && lasted < expected + 3 * MINUTE, "{how:?}: {lasted:?} instead of {expected:?}");
        drop(shell);
        bed.all_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_without_use_begins_anew_when_a_client_comes_back() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.idle_timeout = 10 * MINUTE);
    let (one, _shell) = opened(&bed).await;
    let id = one.id().to_owned();
    drop(one);
    advance(HOUR).await;
    let back = bed.sessions.join(&id, driver("one")).unwrap();
    let (reader, began) = (back.reader_at(0, false), Instant::now());
    let told = Told::read_to_end(reader).await;
    assert!(matches!(told.outcome, Some(Outcome::Idle(_))));
    assert_eq!(began.elapsed(), 10 * MINUTE);
    drop(back);
    soon(bed.sessions.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_found_again_while_it_is_made_and_made_once() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.keep = 2 * HOUR);
    let id = "0123456789abcdef0123456789abcdef";
    let first = bed.sessions.join_or_open(id, driver("one")).unwrap();
    assert_eq!(first.id(), id);
    drop(first);
    let again = bed.sessions.join_or_open(id, driver("one")).unwrap();
    assert_eq!((again.role(), bed.sessions.count()), (Some(Role::Driver), 1));
    let _shell = bed.fake.shell().await;
    ready(&mut again.reader_at(0, false)).await;
    let stranger = Join { user: Some("bob".into()), ..driver("one") };
    assert_eq!(bed.sessions.join_or_open(id, stranger).unwrap_err(), Refused::NoSession);
    again.kill();
    drop(again);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_shell_nobody_saw_costs_minutes() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.keep = 2 * HOUR);
    let client = bed.sessions.open(driver("one"), true).unwrap();
    drop(client);
    let _shell = bed.fake.shell().await;
    let began = Instant::now();
    bed.all_gone().await;
    assert!(began.elapsed() <= 3 * MINUTE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_broker_began_to_make_is_told_as_that() {
    let bed = Bed::new();
    let id = "0123456789abcdef0123456789abcdef";
    bed.fake.script("create", Duration::ZERO, Reply::Hang);
    let client = bed.sessions.join_or_open(id, driver("one")).unwrap();
    while soon(bed.journal.list()).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    claim_all(&next, "2").await;
    assert_eq!(next.sessions.join_or_open(id, driver("one")).unwrap_err(), Refused::Interrupted);
    until(|| !next.sessions.knows(id)).await;
    let again = next.sessions.join_or_open(id, driver("one")).unwrap();
    assert_eq!(again.id(), id, "then it is made anew");
    drop((client, again));
    soon(next.sessions.shutdown()).await;
    soon(bed.sessions.shutdown()).await;
}
