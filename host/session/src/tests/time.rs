//! What time does: idling, leases, kills that take long, shutdown.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, advance, timeout};

use super::fake::{Reply, error, unavailable};
use super::*;
use crate::lifecycle::cleanup::KILL_DEADLINE;
use crate::{Refused, SHUTDOWN_DEADLINE, WINDOW};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Code, Exit, Fault, PIPE_CHUNKS};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_session_without_input_and_output_ends() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let _shell = bed.fake.shell().await;
    let began = Instant::now();
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.ended(), "the session ended after 1 h without input or output");
    assert_eq!(began.elapsed().as_secs(), IDLE.as_secs());
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn input_and_output_each_keep_a_session() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let mut shell = bed.fake.shell().await;
    until(|| bed.sessions.list()[0].phase == crate::Phase::Running).await;
    for _ in 0..5 {
        tokio::time::sleep(IDLE - MINUTE).await;
        soon(client.input(Bytes::from_static(b"x"))).await.unwrap();
        shell.read(1).await;
        tokio::time::sleep(IDLE - MINUTE).await;
        shell.print("y").await;
    }
    let quiet = Instant::now();
    let told = Told::read_to_end(reader).await;
    assert_eq!(told.output, b"yyyyy");
    assert!(matches!(told.outcome, Some(Outcome::Idle(IDLE))));
    assert_eq!(quiet.elapsed().as_secs(), IDLE.as_secs());
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_three_times_per_lease_while_the_session_lives() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    let began = Instant::now();
    tokio::time::sleep(LEASE * 4 + Duration::from_secs(1)).await;
    let asked = bed.fake.asked("extend");
    assert_eq!(asked.len(), 12);
    for (i, at) in asked.iter().enumerate() {
        assert_eq!((*at - began).as_secs(), (i as u64 + 1) * LEASE.as_secs() / 3);
    }
    shell.exit(Ok(Exit::Code(0)));
    Told::read_to_end(client.reader()).await;
    bed.all_gone().await;
    tokio::time::sleep(LEASE * 4).await;
    assert_eq!(bed.fake.asked("extend").len(), 12, "and not after it");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_the_moment_is_tried_sooner() {
    let bed = Bed::new();
    for _ in 0..3 {
        bed.fake.script("extend", Duration::ZERO, Reply::Fail(unavailable()));
    }
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    until(|| bed.fake.asked("extend").len() == 4).await;
    let asked = bed.fake.asked("extend");
    assert!(asked[3] - asked[0] < LEASE / 3 + Duration::from_secs(1), "four tries within one period");
    shell.print("alive").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_gone_ends_its_session_with_clear_words() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    shell.print("before").await;
    bed.fake.remove("sbx-1");
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
    let Some(Event::Ended(Outcome::Failed(error))) = soon(reader.next()).await else { panic!("it ends") };
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(error.message, "Lost the sandbox: scripted NotFound");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_tried_again_until_it_works() {
    let bed = Bed::new();
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::ResourceExhausted] {
        bed.fake.script("kill", Duration::from_secs(1), Reply::Fail(error(Fault::Provider, code)));
    }
    drop(bed.open(None).unwrap());
    bed.all_gone().await;
    let asked = bed.fake.asked("kill");
    assert_eq!(asked.len(), 5);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_secs(1)), "with a pause between");
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_cannot_work_is_given_up_at_once() {
    let bed = Bed::new();
    bed.fake.script("kill", Duration::ZERO, Reply::Fail(error(Fault::Operator, Code::Unauthenticated)));
    drop(bed.open(None).unwrap());
    until(|| bed.sessions.count() == 0).await;
    assert_eq!(bed.fake.asked("kill").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_never_answers_is_given_up_at_its_deadline() {
    let bed = Bed::new();
    bed.fake.script("kill", Duration::ZERO, Reply::Hang);
    drop(bed.open(None).unwrap());
    until(|| !bed.fake.asked("kill").is_empty()).await;
    until(|| bed.sessions.count() == 0).await;
    let waited = bed.fake.asked("kill")[0].elapsed();
    assert_eq!(waited.as_secs(), KILL_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_when_every_sandbox_is_killed() {
    let bed = Bed::new();
    for _ in 0..3 {
        bed.fake.script("kill", Duration::from_secs(3), Reply::Do);
    }
    let clients: Vec<_> = (0..3).map(|_| bed.open(None).unwrap()).collect();
    let readers: Vec<_> = clients.iter().map(|client| client.reader()).collect();
    let shells = [bed.fake.shell().await, bed.fake.shell().await, bed.fake.shell().await];
    for shell in &shells {
        shell.print("printed before").await;
    }
    // One more session, whose create has not answered yet.
    bed.fake.script("create", Duration::from_secs(5), Reply::Do);
    let late = bed.open(None).unwrap();
    until(|| bed.fake.asked("create").len() == 4).await;

    let began = Instant::now();
    bed.sessions.shutdown().await;
    assert_eq!(bed.fake.living(), Vec::<String>::new());
    assert_eq!(bed.sessions.count(), 0);
    assert!(began.elapsed() < Duration::from_secs(6), "they end side by side");
    assert_eq!(bed.open(None).unwrap_err(), Refused::ShuttingDown);
    for reader in readers {
        let told = Told::read_to_end(reader).await;
        assert_eq!(told.output, b"printed before");
        assert!(matches!(told.outcome, Some(Outcome::Shutdown)));
    }
    assert!(matches!(Told::read_to_end(late.reader()).await.outcome, Some(Outcome::Shutdown)));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_being_ended_is_not_kept_alive() {
    let bed = Bed::new();
    bed.fake.script("kill", LEASE * 2 / 5, Reply::Do);
    let client = bed.open(None).unwrap();
    bed.fake.shell().await.exit(Ok(Exit::Code(0)));
    Told::read_to_end(client.reader()).await;
    bed.all_gone().await;
    assert!(bed.fake.asked("kill")[0].elapsed() > LEASE / 3);
    assert!(bed.fake.asked("extend").is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_nothing_of_a_stalled_reader_behind() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    // The log is full, and so is the pipe behind it.
    let mut printed = 0;
    let stalled = async {
        loop {
            shell.output.send(pattern(printed, CHUNK_BYTES).into()).await.unwrap();
            printed += CHUNK_BYTES as u64;
        }
    };
    assert!(timeout(MINUTE, stalled).await.is_err(), "the shell waits");
    bed.sessions.shutdown().await;
    let mut read = 0;
    loop {
        match soon(reader.next()).await {
            Some(Event::Output { offset, bytes }) => {
                assert!(offset == read && bytes == pattern(read, bytes.len()));
                read += bytes.len() as u64;
            }
            Some(Event::Ended(Outcome::Shutdown)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read, printed, "all that the shell was relieved of is told");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_hide_how_the_shell_ended() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let shell = bed.fake.shell().await;
    for chunk in 0..PIPE_CHUNKS + WINDOW as usize / CHUNK_BYTES {
        shell.print(pattern((chunk * CHUNK_BYTES) as u64, CHUNK_BYTES)).await;
    }
    shell.exit(Ok(Exit::Code(7)));
    until(|| bed.fake.living().is_empty()).await;
    bed.sessions.shutdown().await;
    assert_eq!(Told::read_to_end(reader).await.ended(), "the shell ended with exit status 7");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_up_at_its_deadline() {
    let bed = Bed::new();
    bed.fake.script("create", Duration::ZERO, Reply::Hang);
    let _client = bed.open(None).unwrap();
    let began = Instant::now();
    bed.sessions.shutdown().await;
    assert_eq!(began.elapsed().as_secs(), SHUTDOWN_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_out_the_search_for_a_lost_sandbox() {
    let bed = Bed::new();
    bed.fake.script("create", Duration::ZERO, Reply::DoThenFail(unavailable()));
    bed.fake.script("list", Duration::ZERO, Reply::Fail(unavailable()));
    let client = bed.open(None).unwrap();
    until(|| bed.fake.asked("list").len() == 1).await;
    let began = Instant::now();
    bed.sessions.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    drop(client);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_that_never_comes_is_no_fault() {
    let bed = Bed::new();
    bed.blueprint.send_replace(Arc::new(Blueprint { idle_timeout: Duration::MAX, ..blueprint(&bed.fake) }));
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    advance(IDLE * 24 * 30).await;
    shell.print("alive").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
}

/// A session ends at its age, however busy it is: a byte now and then keeps
/// nothing alive for ever.
#[tokio::test(start_paused = true)]
async fn a_session_of_its_greatest_age_ends_and_says_so_before() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.max_age = Some(IDLE * 24));
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let shell = bed.fake.shell().await;
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        loop {
            shell.print("x").await;
            tokio::time::sleep(Duration::from_secs(29)).await;
        }
    });
    let told = Told::read_to_end(reader).await;
    dripping.abort();
    let _ = dripping.await;
    assert_eq!(began.elapsed().as_secs(), IDLE.as_secs() * 24);
    assert_eq!(told.ended(), "the session ended because it was 24 h old, the greatest age here");
    assert_eq!(told.news, ["This session ends in 5 min, for it will be 24 h old: save what is not saved"]);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_grows_older_with_its_brokers_and_its_end_is_kept_for_its_clients() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.max_age = Some(IDLE));
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let id = client.id().to_owned();
    let _shell = bed.fake.shell().await;
    until(|| bed.sessions.list()[0].phase == crate::Phase::Running).await;
    soon(bed.sessions.shutdown()).await;
    drop(client);
    // It was opened 50 minutes ago by the wall clock, which no test stops.
    let record = bed.journal.list().await.unwrap().remove(0);
    let mut entry = record.entry.clone();
    entry.created -= MINUTE * 50;
    bed.journal.update(&id, record.epoch, &entry).await.unwrap();

    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    next.change(|blueprint| blueprint.max_age = Some(IDLE));
    let began = Instant::now();
    claim_all(&next, "2").await;
    let client = next.sessions.join(&id, driver("one")).unwrap();
    let _shell = next.fake.shell().await;
    let told = Told::read_to_end(client.reader_at(0, false)).await;
    let lived = began.elapsed().as_secs();
    assert!((595..=600).contains(&lived), "{lived} s");
    assert!(matches!(told.outcome, Some(Outcome::Aged(IDLE))) && told.news.len() == 1, "{told:?}");
    drop(client);
    assert!(next.sessions.join(&id, driver("late")).is_ok(), "its end waits for clients");
    next.all_gone().await;
}
