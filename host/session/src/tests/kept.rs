//! Sessions whose clients may come back, and that outlive their broker.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::{Instant, advance, timeout};

use super::fake::{Reply, Shell, error, unavailable};
use super::*;
use crate::Tape;
use crate::live_sandbox::LiveSandbox;
use crate::{Asker, Denied, Leaving, Role, SlowClient, WINDOW};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Call, Code, Exit, Fault, SandboxRef, Size};
use sandbox_broker_fallback::program::SH;
use sandbox_broker_journal::Journal;

const MINUTE: Duration = Duration::from_secs(60);

fn join(client: &str, role: Role, size: Option<Size>) -> Join {
    Join { client: client.into(), returns: true, role, size, ..Join::default() }
}

/// A kept session with its first client and its shell.
async fn kept(bed: &Bed) -> (Client, Shell) {
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let shell = bed.fake.shell().await;
    until(|| bed.sessions.list()[0].phase == crate::Phase::Running).await;
    (client, shell)
}

#[tokio::test(start_paused = true)]
async fn clients_that_join_together_get_one_screen() {
    const TAKES: Duration = Duration::from_secs(1);
    let fake = Fake::new("fake");
    let sandbox = LiveSandbox::new(SandboxRef { id: "s".to_owned(), state: Vec::new().into() });
    let tape = Tape { provider: fake.clone(), call: Call::default(), sandbox, user: None, screens: Default::default() };
    for _ in 0..10 {
        fake.program(SH, TAKES, Exit::Code(2), "no");
    }
    let drawn = futures_util::future::join_all((0..10).map(|at| tape.screen(at, Asker::Own))).await;
    assert!(drawn.iter().all(Result::is_err));
    let asked = fake.asked(SH);
    assert_eq!(asked.len(), 2, "the first, and one for all who came while it was drawn");
    assert!(asked.windows(2).all(|two| two[1] - two[0] >= TAKES), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_for_its_clients_and_no_longer() {
    let bed = Bed::new();
    let (client, _shell) = kept(&bed).await;
    let (id, reader) = (client.id().to_owned(), client.reader_at(0, false));
    drop(client);
    advance(KEEP - Duration::from_secs(1)).await;
    let back = bed.sessions.join(&id, driver("one")).unwrap();
    advance(KEEP * 3).await;
    drop(back);
    let left = Instant::now();
    let told = Told::read_to_end(reader).await;
    assert!(matches!(told.outcome, Some(Outcome::Detached)));
    assert_eq!(left.elapsed(), KEEP);
    bed.all_gone().await;
    assert_eq!(bed.sessions.join(&id, driver("one")).unwrap_err(), Refused::NoSession);
    assert!(bed.journal.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_misses_nothing() {
    let bed = Bed::new();
    let (client, mut shell) = kept(&bed).await;
    let id = client.id().to_owned();
    shell.print(pattern(0, 1000)).await;
    drop(client);
    shell.print(pattern(1000, 1000)).await;
    let back = bed.sessions.join(&id, driver("one")).unwrap();
    shell.print(pattern(2000, 1000)).await;
    let mut reader = back.reader_at(700, false);
    ready(&mut reader).await;
    let mut read = Vec::new();
    while read.len() < 2300 {
        match soon(reader.next()).await {
            Some(Event::Output { offset, bytes }) => {
                assert_eq!(offset, 700 + read.len() as u64);
                read.extend_from_slice(&bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read, pattern(700, 2300));
    soon(back.typed(1, Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(shell.read(1).await, b"x");
    back.kill();
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn one_drives_and_the_others_watch() {
    let bed = Bed::new();
    let (one, mut shell) = kept(&bed).await;
    let id = one.id().to_owned();
    let small = Size { cols: 40, rows: 20 };
    let two = bed.sessions.join(&id, join("two", Role::Driver, Some(small))).unwrap();
    assert_eq!((one.role(), two.role()), (Some(Role::Driver), Some(Role::Viewer)), "nobody takes control by joining");
    assert!(two.take_control());
    assert_eq!((one.role(), two.role()), (Some(Role::Viewer), Some(Role::Driver)));
    assert_eq!(shell.resize().await.0, small, "the terminal has the driver's size");
    assert_eq!(soon(one.typed(1, Bytes::from_static(b"no"))).await, Err(Denied::Viewer));
    let viewer = bed.sessions.join(&id, join("three", Role::Viewer, None)).unwrap();
    assert!(!viewer.take_control());
    assert!(one.take_control());
    soon(one.typed(1, Bytes::from_static(b"yes"))).await.unwrap();
    assert_eq!(shell.read(3).await, b"yes");
    one.leaves(Leaving::Detached);
    drop(one);
    assert_eq!(
        (two.role(), viewer.role()),
        (Some(Role::Driver), Some(Role::Viewer)),
        "the last that may drive follows"
    );

    let again = bed.sessions.join(&id, driver("two")).unwrap();
    assert_eq!((two.role(), again.role()), (None, Some(Role::Driver)), "the same window took its own place");
    let (role, present) = soon(again.company().changed()).await;
    assert_eq!((role, present.len()), (Some(Role::Driver), 2));
    drop((again, viewer, two));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_typed_after_another_took_control() {
    let bed = Bed::new();
    let (one, mut shell) = kept(&bed).await;
    let paste = vec![b'a'; 64 * CHUNK_BYTES];
    let mut pasting = std::pin::pin!(one.typed(1, paste.into()));
    assert!(timeout(MINUTE, &mut pasting).await.is_err(), "the shell takes nothing");
    let two = bed.sessions.join(one.id(), driver("two")).unwrap();
    assert!(two.take_control());
    let typing = async {
        two.typed(1, Bytes::from_static(b"b")).await.unwrap();
    };
    let reading = async {
        let mut read = Vec::new();
        while read.last() != Some(&b'b') {
            read.extend(shell.input.recv().await.unwrap());
        }
        assert!(timeout(MINUTE, shell.input.recv()).await.is_err(), "nothing of the paste comes after it");
        read.len()
    };
    let (pasted, (), read) = tokio::join!(pasting, typing, reading);
    assert_eq!(pasted, Err(Denied::Viewer));
    assert!(read < 64 * CHUNK_BYTES);
}

#[tokio::test(start_paused = true)]
async fn sizes_that_come_fast_are_joined() {
    let bed = Bed::new();
    let (client, mut shell) = kept(&bed).await;
    let (mut resizes, began) = (0, Instant::now());
    let last = Size { cols: 999, rows: 24 };
    let flood = async {
        for cols in 100..=999 {
            client.resize(Size { cols, rows: 24 });
            advance(Duration::from_millis(1)).await;
        }
    };
    let taking = async {
        loop {
            let (size, reply) = shell.resize().await;
            reply.send(Ok(())).unwrap();
            resizes += 1;
            if size == last {
                return;
            }
        }
    };
    tokio::join!(flood, taking);
    let most = began.elapsed().as_millis() / 40 + 2;
    assert!(resizes <= most && resizes > 5, "{resizes} resizes of at most {most}");
}

#[tokio::test(start_paused = true)]
async fn the_smallest_client_may_decide() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.size = SizeRule::Smallest);
    let (one, mut shell) = kept(&bed).await;
    one.resize(Size { cols: 100, rows: 20 });
    let (size, reply) = shell.resize().await;
    assert_eq!(size, Size { cols: 100, rows: 20 });
    reply.send(Ok(())).unwrap();
    let viewer = join("two", Role::Viewer, Some(Size { cols: 40, rows: 30 }));
    let two = bed.sessions.join(one.id(), viewer).unwrap();
    assert_eq!(shell.resize().await.0, Size { cols: 40, rows: 20 });
    drop((one, two));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn input_is_taken_once_and_told() {
    let bed = Bed::new();
    let (client, mut shell) = kept(&bed).await;
    let mut handed = client.handed();
    for (seq, bytes) in [(1, "a"), (2, "b"), (2, "b"), (1, "a"), (5, "c")] {
        soon(client.typed(seq, Bytes::from(bytes))).await.unwrap();
    }
    assert_eq!(shell.read(3).await, b"abc");
    soon(handed.wait_for(|seq| *seq == 5)).await.unwrap();
    let id = client.id().to_owned();
    drop(client);
    let back = bed.sessions.join(&id, driver("one")).unwrap();
    assert_eq!(*back.handed().borrow(), 5, "what a window has typed is known when it comes back");
    soon(back.typed(5, Bytes::from_static(b"again"))).await.unwrap();
    soon(back.typed(6, vec![b'x'; CHUNK_BYTES + 1].into())).await.unwrap();
    assert_eq!(shell.read(CHUNK_BYTES + 1).await, vec![b'x'; CHUNK_BYTES + 1]);
    drop(back);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn input_that_the_shell_does_not_take_is_not_told() {
    let bed = Bed::new();
    let (client, shell) = kept(&bed).await;
    let mut seq = 0;
    let full = async {
        loop {
            client.typed(seq + 1, Bytes::from_static(b"x")).await.unwrap();
            seq += 1;
        }
    };
    assert!(timeout(MINUTE, full).await.is_err(), "the shell takes nothing");
    let told = *client.handed().borrow();
    assert!(told < seq, "{told} of {seq} were told");
    drop((shell, client));
}

#[tokio::test(start_paused = true)]
async fn frozen_viewers_stop_nobody() {
    let bed = Bed::new();
    let (client, shell) = kept(&bed).await;
    let id = client.id().to_owned();
    let viewers: Vec<_> =
        (0..10).map(|i| bed.sessions.join(&id, join(&format!("v{i}"), Role::Viewer, None)).unwrap()).collect();
    let mut frozen: Vec<_> = viewers.iter().map(|viewer| viewer.reader_at(0, false)).collect();
    let mut reader = client.reader_at(0, false);
    ready(&mut reader).await;
    let mut read = 0;
    for chunk in 0..200_u64 {
        shell.print(pattern(chunk * 50_000, 50_000)).await;
        while read < (chunk + 1) * 50_000 {
            let Some(Event::Output { bytes, .. }) = soon(reader.next()).await else { panic!("it goes on") };
            assert_eq!(bytes, pattern(read, bytes.len()));
            read += bytes.len() as u64;
        }
    }
    for reader in &mut frozen {
        ready(reader).await;
        let told = soon(reader.next()).await;
        let Some(Event::Behind { from: 0, to, end: 10_000_000 }) = told else { panic!("{told:?}") };
        assert!(to >= 10_000_000 - crate::KEPT - 50_000, "what is held is bounded");
    }
    drop((viewers, client));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_size_stands_in_the_output_without_a_recorder_too() {
    let bed = Bed::new();
    let (client, mut shell) = kept(&bed).await;
    let size = Size { cols: 100, rows: 30 };
    let mut reader = client.reader_at(0, false);
    ready(&mut reader).await;
    shell.print("before").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
    client.resize(size);
    let (wanted, reply) = shell.resize().await;
    assert_eq!(wanted, size);
    assert!(reader.next().now_or_never().is_none(), "the terminal does not have it yet");
    reply.send(Ok(())).unwrap();
    assert!(matches!(soon(reader.next()).await, Some(Event::Size(told)) if told == size));
    shell.print("after").await;
    let mut late = client.reader_at(3, false);
    ready(&mut late).await;
    assert_ne!(late.size_at(3), Some(size));
    for reader in [&mut reader, &mut late] {
        let mut told = Vec::new();
        while told.last() != Some(&"after".to_owned()) {
            match soon(reader.next()).await.unwrap() {
                Event::Output { bytes, .. } => told.push(String::from_utf8_lossy(&bytes).into_owned()),
                Event::Size(size) => told.push(size.cols.to_string()),
                other => panic!("{other:?}"),
            }
        }
        assert!(told == ["after"] || told == ["ore", "100", "after"], "{told:?}");
    }
    assert_eq!(client.summary().size, Some(size));
    drop((reader, late, client));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_shell_may_wait_for_its_driver() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.slow = SlowClient::Pause);
    let (client, shell) = kept(&bed).await;
    assert!(client.shell_waits());
    let mut reader = client.reader_at(0, true);
    ready(&mut reader).await;
    let flood = async {
        loop {
            shell.output.send(vec![0; CHUNK_BYTES].into()).await.unwrap();
        }
    };
    assert!(timeout(MINUTE, flood).await.is_err(), "the shell waits");
    let mut read = 0;
    while read < WINDOW {
        let Some(Event::Output { bytes, .. }) = soon(reader.next()).await else { panic!("nothing is lost") };
        read += bytes.len() as u64;
    }
    shell.print("more").await;
    drop((reader, client));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_kept_sessions_to_the_next_broker() {
    let bed = Bed::new();
    let (client, shell) = kept(&bed).await;
    let (id, reader) = (client.id().to_owned(), client.reader_at(0, false));
    let other = bed.open(None).unwrap();
    let _other_shell = bed.fake.shell().await;
    shell.print("before").await;
    soon(bed.sessions.shutdown()).await;
    let told = Told::read_to_end(reader).await;
    assert!(matches!(told.outcome, Some(Outcome::Draining)), "{:?}", told.outcome);
    drop((client, other));
    assert_eq!(bed.fake.living().len(), 1, "the sandbox of the one that is not kept is ended");

    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    claim_all(&next, "2").await;
    // At once, while its shell is still looked for.
    let client = next.sessions.join(&id, driver("one")).unwrap();
    assert_eq!(client.epoch(), 2, "the provider's own terminal numbers anew");
    let mut reader = client.reader_at(0, false);
    let shell = next.fake.shell().await;
    ready(&mut reader).await;
    shell.print("after").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { offset: 0, bytes }) if bytes == "after"));
    client.kill();
    drop(client);
    next.all_gone().await;
    assert!(next.journal.list().await.unwrap().is_empty());
}

/// A session that a broker has left to the next one.
async fn left_behind(bed: &Bed) -> String {
    let (client, _shell) = kept(bed).await;
    soon(bed.sessions.shutdown()).await;
    client.id().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_provider_in_trouble_does_not_cost_the_sessions_of_an_earlier_broker() {
    let bed = Bed::new();
    let id = left_behind(&bed).await;
    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    for code in [Code::Internal, Code::ResourceExhausted, Code::Unavailable, Code::Unknown] {
        next.fake.script("connect", Duration::ZERO, Reply::Fail(error(Fault::Provider, code)));
    }
    claim_all(&next, "2").await;
    let client = next.sessions.join(&id, driver("one")).unwrap();
    ready(&mut client.reader_at(0, false)).await;
    assert_eq!(next.fake.living().len(), 1);
    client.kill();
    drop(client);
    next.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_before_it_has_found_its_sessions_leaves_them_too() {
    for hangs in ["connect", "attach"] {
        let bed = Bed::new();
        let id = left_behind(&bed).await;
        let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
        next.fake.script(hangs, Duration::ZERO, Reply::Hang);
        claim_all(&next, "2").await;
        let reader = next.sessions.join(&id, driver("one")).unwrap().reader_at(0, false);
        until(|| !next.fake.asked(hangs).is_empty()).await;
        soon(next.sessions.shutdown()).await;
        let told = Told::read_to_end(reader).await;
        assert!(matches!(told.outcome, Some(Outcome::Draining)), "{hangs}: {:?}", told.outcome);
        assert_eq!(next.fake.living().len(), 1, "{hangs}");

        let last = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
        claim_all(&last, "3").await;
        let client = last.sessions.join(&id, driver("one")).unwrap();
        ready(&mut client.reader_at(0, false)).await;
        client.kill();
        drop(client);
        last.all_gone().await;
    }
}

/// A broker that is killed at any step leaves nothing that the next one neither
/// ends nor continues.
#[test]
fn a_crash_at_any_step_leaves_a_record_of_every_sandbox() {
    // Which call of the provider hangs, having done its work or not, when the
    // broker is killed.
    let steps: [(&str, Option<(&'static str, Reply)>); 6] = [
        ("before create is carried out", Some(("create", Reply::Hang))),
        ("after create, its answer on the way", Some(("create", Reply::DoThenFail(unavailable())))),
        ("before open is carried out", Some(("open", Reply::Hang))),
        ("while the shell runs", None),
        ("before kill is carried out", Some(("kill", Reply::Hang))),
        ("after kill failed", Some(("kill", Reply::Fail(unavailable())))),
    ];
    for kept in [false, true] {
        for (step, script) in &steps {
            let runtime =
                || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let (fake, journal, _client) = {
                let first = runtime();
                let left = first.block_on(async {
                    let bed = Bed::new();
                    if let Some((call, reply)) = script {
                        bed.fake.script(call, Duration::ZERO, reply.clone());
                    }
                    let client = bed.sessions.open(driver("one"), kept).unwrap();
                    let reached = script.as_ref().map_or("open", |(call, _)| call);
                    if reached == "kill" {
                        let _shell = bed.fake.shell().await;
                        client.kill();
                    }
                    until(|| !bed.fake.asked(reached).is_empty()).await;
                    if script.is_none() {
                        until(|| bed.sessions.list()[0].phase == crate::Phase::Running).await;
                    }
                    (Arc::clone(&bed.fake), Arc::clone(&bed.journal), client)
                });
                // Everything that ran is gone, wherever it was.
                drop(first);
                left
            };
            runtime().block_on(async {
                let known: BTreeSet<_> = journal.list().await.unwrap().into_iter().map(|record| record.id).collect();
                assert_eq!(known.len(), 1, "{step}, kept: {kept}: the session is written down");
                let bed = Bed::on(fake, journal);
                claim_all(&bed, "2").await;
                bed.all_gone().await;
                assert!(bed.journal.list().await.unwrap().is_empty(), "{step}, kept: {kept}");
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_no_sandbox_is_made() {
    let bed = Bed::new();
    bed.journal.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let client = bed.open(None).unwrap();
    let told = Told::read_to_end(client.reader()).await;
    assert!(told.ended().contains("the disk is full"), "{}", told.ended());
    assert!(bed.fake.specs().is_empty(), "nothing was asked of the provider");
    drop(client);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_person_is_none() {
    let bed = Bed::new();
    let join = |user: Option<&str>| Join { user: user.map(Arc::from), ..driver("one") };
    let client = bed.sessions.open(join(Some("ada")), true).unwrap();
    for user in [None, Some("bob")] {
        assert_eq!(bed.sessions.join(client.id(), join(user)).unwrap_err(), Refused::NoSession);
    }
    drop(bed.sessions.join(client.id(), join(Some("ada"))).unwrap());
    client.kill();
    drop(client);
    bed.all_gone().await;
}

/// The rights of an invitation, and what it must not do to the session's user.
#[tokio::test(start_paused = true)]
async fn a_guest_watches_and_changes_nothing() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.size = SizeRule::Smallest);
    let large = Size { cols: 100, rows: 40 };
    let user = || Join { user: Some("ada".into()), ..join("one", Role::Driver, Some(large)) };
    let client = bed.sessions.open(user(), true).unwrap();
    let shell = bed.fake.shell().await;
    let invitation = client.invitation().unwrap().clone();
    let invited = |client: &str, invitation: &Invitation| Join {
        client: client.into(),
        returns: true,
        role: Role::Driver,
        size: Some(Size { cols: 10, rows: 5 }),
        user: Some("bob".into()),
        invitation: Some(invitation.clone()),
    };
    let other = bed.sessions.open(driver("other"), true).unwrap();
    for wrong in [other.invitation().unwrap(), &Invitation::shown(&"A".repeat(Invitation::LEN)).unwrap()] {
        assert_eq!(bed.sessions.join(client.id(), invited("two", wrong)).unwrap_err(), Refused::NoSession);
    }
    other.kill();
    drop(other);

    // A guest with the driver's own name, who asks to drive.
    let guest = bed.sessions.join(client.id(), invited("one", &invitation)).unwrap();
    assert_ne!(guest.name(), client.name());
    let whose: Vec<_> = client.summary().clients.into_iter().map(|one| one.guest).collect();
    assert_eq!(whose, [None, Some("bob".into())]);
    assert_eq!((client.role(), guest.role()), (Some(Role::Driver), Some(Role::Viewer)));
    assert!(guest.is_guest() && !client.is_guest() && !guest.take_control());
    assert_eq!(soon(guest.typed(1, Bytes::from_static(b"no"))).await, Err(Denied::Viewer));
    soon(client.typed(1, Bytes::from_static(b"yes"))).await.unwrap();
    assert_eq!(client.summary().size, Some(large), "a guest has no say in it");
    let reader = guest.reader_at(0, false);

    // A guest that leaves takes nothing along that the user's next window would
    // take for its own.
    drop(guest);
    let mut guests: Vec<_> =
        (0..32).map(|i| bed.sessions.join(client.id(), invited(&format!("g{i}"), &invitation)).unwrap()).collect();
    assert_eq!(bed.sessions.join(client.id(), invited("last", &invitation)).unwrap_err(), Refused::Crowded);
    let again = bed.sessions.join(client.id(), user()).unwrap();
    assert_eq!((again.role(), client.role()), (Some(Role::Driver), None), "there is room for the user");
    soon(again.typed(1, Bytes::from_static(b"twice"))).await.unwrap();
    soon(again.typed(2, Bytes::from_static(b"!"))).await.unwrap();
    let mut shell = shell;
    assert_eq!(shell.read(4).await, b"yes!");

    drop((client, again));
    assert!(guests.iter().all(|guest| guest.role() == Some(Role::Viewer)), "nobody follows but one who may");
    let left = Instant::now();
    let told = Told::read_to_end(reader).await;
    assert!(matches!(told.outcome, Some(Outcome::Detached)));
    assert_eq!(left.elapsed(), KEEP, "a guest keeps nothing alive");
    guests.clear();
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_with_its_client_cannot_be_joined() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    assert_eq!(bed.sessions.join(client.id(), driver("two")).unwrap_err(), Refused::NoSession);
    assert_eq!(client.invitation(), None);
    drop(client);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn the_shells_end_is_told_to_everybody_once() {
    let bed = Bed::new();
    let (client, shell) = kept(&bed).await;
    let viewer = bed.sessions.join(client.id(), join("two", Role::Viewer, None)).unwrap();
    let readers = [client.reader_at(0, false), viewer.reader_at(0, false)];
    shell.print("bye").await;
    shell.exit(Ok(Exit::Code(3)));
    for reader in readers {
        let told = Told::read_to_end(reader).await;
        assert_eq!(told.output, b"bye");
        assert!(matches!(told.outcome, Some(Outcome::Exited(Exit::Code(3)))));
    }
    drop((client, viewer));
    bed.all_gone().await;
}
