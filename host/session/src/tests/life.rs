//! From the request to the end: order of events, failures at every step,
//! clients that leave at every moment, limits and swaps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fake::{Fake, Reply, error, unavailable};
use super::*;
use crate::{Ended, LABEL_BROKER, LABEL_SESSION, Phase, Refused};
use sandbox_broker_core::sandbox::{Code, Exit, Fault, Size};

const SLOW: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn stages_then_ready_then_output_then_the_end() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::Do);
    let client = bed.open(Size::new(132, 43)).unwrap();
    let reader = client.reader();
    let shell = bed.fake.shell().await;
    assert_eq!((shell.size, shell.sandbox.as_str()), (Size { cols: 132, rows: 43 }, "sbx-1"));
    assert_eq!(shell.command.argv, ["/bin/bash"]);
    shell.print("hello ").await;
    shell.print("world").await;
    shell.exit(Ok(Exit::Code(3)));

    let told = Told::read_to_end(reader).await;
    use {StageState::*, Step::*};
    assert_eq!(told.stages, [(Create, Started), (Create, Done), (Shell, Started), (Shell, Done)]);
    assert!(matches!(&told.ready, Some(Event::Ready { session, offset: 0, provider, isolation: Some(_), live: 0, .. })
        if **session == *client.id() && &**provider == "fake"));
    assert_eq!(told.output, b"hello world");
    assert_eq!(told.ended(), "the shell ended with exit status 3");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_says_how_long_it_took() {
    let bed = Bed::new();
    bed.fake.script("create", Duration::from_millis(1500), Reply::Do);
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut stages = Vec::new();
    while let Some(Event::Stage(stage)) = soon(reader.next()).await {
        stages.push(stage);
    }
    assert_eq!(stages[0].elapsed, Duration::ZERO);
    assert_eq!(stages[0].message, "Initializing sandbox...");
    assert_eq!(stages[1].elapsed.as_millis() / 10, 150);
    assert_eq!(stages[1].message, "Sandbox created in 1.50 s");
}

#[tokio::test(start_paused = true)]
async fn every_call_names_its_session_and_the_sandbox_carries_its_labels() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let id = client.id().to_owned();
    assert!(id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    let shell = bed.fake.shell().await;
    shell.exit(Ok(Exit::Code(0)));
    bed.all_gone().await;
    let [spec] = &bed.fake.specs()[..] else { panic!("one create") };
    assert_eq!(spec.labels[LABEL_BROKER], "broker-1");
    assert_eq!(spec.labels[LABEL_SESSION], id);
    assert_eq!(spec.env["NAME"], "env-canary");
    assert_eq!(spec.choices.image.as_deref(), Some("image-1"));
    assert_eq!(spec.ttl, LEASE);
    assert!(bed.fake.callers().iter().all(|session| session.as_deref() == Some(&*id)));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_for_certain_is_told_and_nothing_is_looked_for() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::Fail(error(Fault::Operator, Code::Unauthenticated)));
    let client = bed.open(None).unwrap();
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.stages, [(Step::Create, StageState::Started), (Step::Create, StageState::Failed)]);
    assert_eq!(told.ended(), "Failed to create sandbox: scripted Unauthenticated");
    assert!(matches!(&told.outcome, Some(Outcome::Failed(error)) if error.fault == Fault::Operator));
    bed.all_gone().await;
    assert!(bed.fake.asked("list").is_empty() && bed.fake.asked("kill").is_empty());
    assert_eq!(client.input(Bytes::from_static(b"x")).await, Err(Ended));
}

#[tokio::test(start_paused = true)]
async fn the_sandbox_of_a_create_with_a_lost_answer_is_found_by_label_among_others() {
    let bed = Bed::new();
    bed.fake.plant("a-foreign", &[(LABEL_BROKER, "broker-2")]);
    bed.fake.plant("a-sibling", &[(LABEL_BROKER, "broker-1"), (LABEL_SESSION, "another")]);
    bed.fake.script("create", SLOW, Reply::DoThenFail(unavailable()));
    let client = bed.open(None).unwrap();
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.ended(), "Failed to create sandbox: scripted Unavailable");
    until(|| bed.sessions.count() == 0).await;
    assert_eq!(bed.fake.living(), ["a-foreign", "a-sibling"]);
    assert_eq!(bed.fake.asked("kill").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_appears_after_the_lost_answer_is_found_too() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::Fail(error(Fault::Plugin, Code::Internal)));
    bed.fake.script("list", Duration::ZERO, Reply::Fail(unavailable()));
    let client = bed.open(None).unwrap();
    Told::read_to_end(client.reader()).await;
    until(|| !bed.fake.asked("list").is_empty()).await;
    bed.fake.plant("late", &[(LABEL_BROKER, "broker-1"), (LABEL_SESSION, client.id())]);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_cannot_start_is_told_and_its_sandbox_killed() {
    let bed = Bed::new();
    bed.fake.script("open", SLOW, Reply::Fail(error(Fault::Provider, Code::FailedPrecondition)));
    let client = bed.open(None).unwrap();
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.stages.last(), Some(&(Step::Shell, StageState::Failed)));
    assert_eq!(told.ended(), "Failed to start the shell: scripted FailedPrecondition");
    bed.all_gone().await;
    assert_eq!(bed.fake.asked("kill").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_terminal_is_told_after_all_output_that_came_before() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    shell.print("before").await;
    shell.exit(Err(unavailable()));
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.output, b"before");
    assert_eq!(told.ended(), "Lost the terminal: scripted Unavailable");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_dies_in_mid_output_is_told_after_that_output() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    for i in 0..4 {
        shell.print(pattern(i * 1000, 1000)).await;
    }
    drop(shell);
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.output, pattern(0, 4000));
    assert!(matches!(&told.outcome, Some(Outcome::Failed(error)) if error.fault == Fault::Plugin));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_at_once_costs_no_sandbox() {
    let bed = Bed::new();
    drop(bed.open(None).unwrap());
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_create_is_not_waited_for_and_the_late_sandbox_is_killed() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::Do);
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    until(|| !bed.fake.asked("create").is_empty()).await;
    let began = tokio::time::Instant::now();
    drop(client);
    let told = Told::read_to_end(reader).await;
    assert!(began.elapsed() < Duration::from_secs(1), "the end is told before the create answers");
    assert!(matches!(told.outcome, Some(Outcome::Detached)));
    assert_eq!(bed.sessions.list()[0].phase, Phase::Ending);
    bed.all_gone().await;
    assert_eq!((bed.fake.asked("kill").len(), bed.fake.asked("open").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_a_create_that_then_fails_leaves_nothing() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::DoThenFail(error(Fault::Provider, Code::DeadlineExceeded)));
    let client = bed.open(None).unwrap();
    until(|| !bed.fake.asked("create").is_empty()).await;
    drop(client);
    bed.all_gone().await;
    assert_eq!(bed.fake.asked("kill").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_the_shell_starts_ends_the_sandbox_at_once() {
    let bed = Bed::new();
    bed.fake.script("open", Duration::ZERO, Reply::Hang);
    let client = bed.open(None).unwrap();
    until(|| !bed.fake.asked("open").is_empty()).await;
    let left = tokio::time::Instant::now();
    drop(client);
    bed.all_gone().await;
    assert!(bed.fake.asked("kill")[0] - left < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_a_busy_shell_ends_it() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let shell = bed.fake.shell().await;
    let flood = tokio::spawn(async move { while shell.output.send(vec![b'x'; 65536].into()).await.is_ok() {} });
    until(|| !bed.sessions.list().is_empty() && bed.sessions.list()[0].phase == Phase::Running).await;
    drop((client, reader));
    soon(flood).await.unwrap();
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_and_a_reader_do_not_keep_it_alive() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let (session, mut reader) = (client.session().clone(), client.reader());
    let _shell = bed.fake.shell().await;
    ready(&mut reader).await;
    drop(client);
    bed.all_gone().await;
    assert_eq!(session.input(Bytes::from_static(b"x")).await, Err(Ended));
    assert!(matches!(soon(reader.next()).await, Some(Event::Ended(Outcome::Detached))));
    assert!(soon(reader.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kill_never_holds_up_the_end_for_the_client() {
    let bed = Bed::new();
    bed.fake.script("kill", SLOW, Reply::Do);
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    let began = tokio::time::Instant::now();
    shell.exit(Ok(Exit::Code(0)));
    Told::read_to_end(client.reader()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(bed.sessions.count(), 1, "it has its place until the sandbox is gone");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn one_person_does_not_take_every_session() {
    let bed = Bed::new();
    bed.change(|blueprint| blueprint.max_sessions_per_user = 2);
    let open = |user: Option<&str>| bed.sessions.open(Join { user: user.map(Into::into), ..Join::default() }, false);
    let adas = [open(Some("ada")).unwrap(), open(Some("ada")).unwrap()];
    assert_eq!(open(Some("ada")).unwrap_err(), Refused::FullForUser { limit: 2 });
    drop(open(Some("bob")).unwrap());
    drop(adas);
    bed.all_gone().await;
    open(Some("ada")).unwrap();
    // If nobody signs in, there are no people to tell apart.
    (0..3).for_each(|_| drop(open(None).unwrap()));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_people_who_are_gone_end() {
    let bed = Bed::new();
    let open = |user: Option<&str>| bed.sessions.open(Join { user: user.map(Into::into), ..Join::default() }, true);
    let [ada, bob, nobody] = [open(Some("ada")), open(Some("bob")), open(None)].map(Result::unwrap);
    assert_eq!(bed.sessions.end_unknown(|user| user == "ada"), 1);
    until(|| bed.sessions.get(bob.id()).is_none()).await;
    assert!(bed.sessions.get(ada.id()).is_some() && bed.sessions.get(nobody.id()).is_some());
    bed.sessions.end_unknown(|_| false);
    bed.sessions.get(nobody.id()).unwrap().kill();
    drop((ada, bob, nobody));
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_sessions_than_allowed() {
    let bed = Bed::new();
    let clients: Vec<_> = (0..MAX_SESSIONS).map(|_| bed.open(None).unwrap()).collect();
    assert_eq!(bed.open(None).unwrap_err(), Refused::Full { limit: MAX_SESSIONS });
    assert_eq!((bed.sessions.count(), bed.sessions.list().len()), (MAX_SESSIONS, MAX_SESSIONS));
    drop(clients);
    bed.all_gone().await;
    bed.open(None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_swap_of_the_provider_touches_only_later_sessions() {
    let bed = Bed::new();
    let old = bed.open(None).unwrap();
    let mut old_reader = old.reader();
    let shell = bed.fake.shell().await;
    ready(&mut old_reader).await;

    let other = Fake::new("other");
    bed.blueprint.send_replace(Arc::new(Blueprint { generation: 2, ..blueprint(&other) }));
    let new = bed.open(None).unwrap();
    let mut new_reader = new.reader();
    let new_shell = other.shell().await;
    ready(&mut new_reader).await;
    let list = bed.sessions.list();
    let providers: Vec<_> = list.iter().map(|s| (&*s.provider, s.generation)).collect();
    assert!(providers.contains(&("fake", 1)) && providers.contains(&("other", 2)));

    shell.print("still here").await;
    shell.exit(Ok(Exit::Code(0)));
    assert!(matches!(soon(old_reader.next()).await, Some(Event::Output { bytes, .. }) if bytes == "still here"));
    new_shell.exit(Ok(Exit::Code(0)));
    until(|| bed.sessions.count() == 0).await;
    assert_eq!((bed.fake.asked("kill").len(), other.asked("kill").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_provider_is_told_and_gives_the_place_back() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    // The fake's `open` panics when nobody can take its shell.
    bed.fake.close_shells().await;
    let event = loop {
        match soon(reader.next()).await {
            Some(Event::Stage(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(event, Some(Event::Ended(Outcome::Failed(error))) if error.fault == Fault::Broker));
    until(|| bed.sessions.count() == 0).await;
}
