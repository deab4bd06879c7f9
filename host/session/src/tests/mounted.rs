//! Storage of a live session: mounts that die, that do not answer, and whose
//! credentials run out.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fake::{DAEMON, Reply, Shell, UNMOUNT, error, unavailable};
use super::*;
use crate::Client;
use sandbox_broker_core::sandbox::{Code, Exit, Fault};

const MINUTE: Duration = Duration::from_secs(60);

/// A session whose shell runs in its storage.
async fn running(bed: &Bed) -> (Client, Reader, Shell) {
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    (client, reader, shell)
}

/// The next news of the storage.
async fn news(reader: &mut Reader) -> (StageState, String) {
    match soon(reader.next()).await {
        Some(Event::Stage(stage)) if stage.name == Step::Mount => (stage.state, stage.message),
        other => panic!("{other:?} instead of news"),
    }
}

async fn ends_well(bed: &Bed, reader: Reader, shell: Shell) -> Told {
    shell.exit(Ok(Exit::Code(0)));
    let mut reader = reader;
    let mut told = Told::default();
    while let Some(event) = soon(reader.next()).await {
        match event {
            Event::Stage(stage) => told.news.push(stage.message),
            Event::Ended(outcome) => told.outcome = Some(outcome),
            _ => {}
        }
    }
    bed.all_gone().await;
    assert_eq!(bed.fake.asked("release").len(), 1);
    told
}

#[tokio::test(start_paused = true)]
async fn a_mount_whose_process_ends_is_told_and_mounted_again_in_a_fresh_workspace() {
    let (bed, mounter) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    shell.print("before").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
    until(|| bed.fake.asked("watch").len() == 10).await;
    let died = Instant::now();
    bed.fake.end_daemons(Exit::Code(2), "panic: AuthenticationFailed\n");
    let (state, said) = news(&mut reader).await;
    assert_eq!(state, StageState::Failed);
    assert_eq!(
        said,
        "Azure Blob Storage at /workspace/files stopped working: the storage refuses the token. Mounting it again..."
    );
    let (state, said) = news(&mut reader).await;
    assert_eq!(state, StageState::Done);
    assert!(said.starts_with("Azure Blob Storage mounted again at /workspace/files"), "{said}");
    assert!(died.elapsed() < Duration::from_secs(1), "at once");

    let diary = bed.fake.diary();
    let again = diary.iter().position(|call| call == "clear").unwrap();
    assert_eq!(diary[again..again + 6], ["clear", "plan", "make", "put", DAEMON, "verify"]);
    let [first, second] = &mounter.targets()[..] else { panic!("two plans") };
    assert_eq!((&second.id, &second.workspace), (&first.id, &format!("{}-2", first.workspace)));
    shell.print("after").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { bytes, .. }) if bytes == "after"));
    let told = ends_well(&bed, reader, shell).await;
    assert_eq!(told.news, [""; 0], "it is saved as ever");
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_does_not_answer_twice_is_mounted_again() {
    let (bed, _) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    let mounted = Instant::now();
    // One failed check means nothing.
    bed.fake.program("watch", Duration::ZERO, Exit::Code(1), "stale\n");
    until(|| bed.fake.asked("watch").len() == 3).await;
    assert_eq!(mounted.elapsed().as_secs(), 30);
    assert_eq!(bed.fake.asked("plan").len(), 1);
    bed.fake.program("watch", Duration::ZERO, Exit::Code(1), "stale\n");
    bed.fake.program("watch", Duration::from_secs(9), Exit::Code(0), "");
    let (state, said) = news(&mut reader).await;
    assert_eq!(state, StageState::Failed);
    assert!(said.contains("stopped working: `watch` did not end within 8 s"), "{said}");
    assert_eq!(mounted.elapsed().as_secs(), 58);
    assert_eq!(news(&mut reader).await.0, StageState::Done);
    ends_well(&bed, reader, shell).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_to_the_process_of_a_mount_is_not_its_end() {
    let (bed, _) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    bed.fake.lose_daemons();
    until(|| bed.fake.asked("watch").len() == 10).await;
    assert_eq!(bed.fake.asked("plan").len(), 1, "it still answers");
    for _ in 0..2 {
        bed.fake.program("watch", Duration::ZERO, Exit::Code(1), "stale\n");
    }
    assert_eq!(news(&mut reader).await.0, StageState::Failed);
    assert_eq!(news(&mut reader).await.0, StageState::Done);
    bed.fake.lose_daemons();
    let told = ends_well(&bed, reader, shell).await;
    assert_eq!(told.news, [""; 0], "that it is saved is said by its steps");
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_cannot_come_back_is_told_once_and_tried_on() {
    let (bed, mounter) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    until(|| bed.fake.asked("watch").len() == 10).await;
    for _ in 0..10 {
        bed.fake.script("plan", Duration::ZERO, Reply::Fail(unavailable()));
    }
    let died = Instant::now();
    bed.fake.end_daemons(Exit::Code(1), "gone\n");
    assert_eq!(news(&mut reader).await.0, StageState::Failed);
    let (state, said) = news(&mut reader).await;
    assert_eq!(state, StageState::Failed);
    assert_eq!(
        said,
        "Azure Blob Storage could not be mounted again at /workspace/files: scripted Unavailable. Files in \
         /workspace/files are not available; it is tried again every minute"
    );
    assert!(died.elapsed() < Duration::from_secs(10));
    let (state, said) = news(&mut reader).await;
    assert!(state == StageState::Done && said.contains("mounted again"), "{said}");
    let tries = bed.fake.asked("plan");
    assert!(tries.windows(2).skip(7).all(|pair| pair[1] - pair[0] >= MINUTE), "slowly, once it is told");
    assert_eq!(mounter.targets().last().unwrap().workspace, format!("{}-12", mounter.targets()[0].workspace));
    ends_well(&bed, reader, shell).await;
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_keeps_dying_is_mounted_again_ever_more_slowly() {
    let (bed, _) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    let mut last = Duration::ZERO;
    for _ in 0..8 {
        let died = Instant::now();
        bed.fake.end_daemons(Exit::Code(1), "again\n");
        assert_eq!(news(&mut reader).await.0, StageState::Failed);
        assert_eq!(news(&mut reader).await.0, StageState::Done);
        assert!(died.elapsed() >= last && died.elapsed() <= MINUTE + Duration::from_secs(1), "{:?}", died.elapsed());
        last = died.elapsed();
    }
    assert!(last >= MINUTE);
    ends_well(&bed, reader, shell).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_with_its_mount_dead_says_what_is_not_saved() {
    let (bed, _) = Bed::with_storage();
    let (_client, mut reader, shell) = running(&bed).await;
    bed.fake.script("plan", Duration::ZERO, Reply::Hang);
    bed.fake.end_daemons(Exit::Code(1), "out of memory\n");
    assert_eq!(news(&mut reader).await.0, StageState::Failed);
    until(|| bed.fake.asked("plan").len() == 2).await;
    let told = ends_well(&bed, reader, shell).await;
    let said = "Not all files are saved in Azure Blob Storage (/workspace/files): it had stopped working: \
                `mountd` ended: out of memory";
    assert_eq!(told.news, [said]);
    assert_eq!(bed.fake.asked(UNMOUNT).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_on_schedule() {
    let (bed, mounter) = Bed::with_storage();
    mounter.set(|plan| plan.renew_after = Some(MINUTE / 2));
    let (_client, reader, shell) = running(&bed).await;
    let planned = bed.fake.asked("plan")[0];
    until(|| bed.fake.asked("renew").len() == 5).await;
    for (n, at) in (1..).zip(bed.fake.asked("renew")) {
        assert_eq!((at - planned).as_secs(), n * 30);
    }
    until(|| bed.fake.ran("put").len() == 6).await;
    assert_eq!(bed.fake.ran("put")[5].stdin, b"file-canary");
    let told = ends_well(&bed, reader, shell).await;
    assert_eq!(told.news, [""; 0], "nobody needs to know");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_retried_and_told_when_the_credentials_have_ended() {
    let (bed, mounter) = Bed::with_storage();
    mounter.set(|plan| plan.renew_after = Some(MINUTE / 2));
    let (_client, mut reader, shell) = running(&bed).await;
    let planned = bed.fake.asked("plan")[0];
    for _ in 0..3 {
        bed.fake.script("renew", Duration::ZERO, Reply::Fail(unavailable()));
    }
    until(|| bed.fake.asked("renew").len() == 4).await;
    assert_eq!(planned.elapsed().as_secs(), 30 + 1 + 2 + 4, "with a pause between, and soon enough");
    let renewed = bed.fake.asked("renew")[3];
    for _ in 0..8 {
        bed.fake.script("renew", Duration::ZERO, Reply::Fail(error(Fault::Operator, Code::PermissionDenied)));
    }
    let (state, said) = news(&mut reader).await;
    assert_eq!(state, StageState::Failed);
    assert_eq!(
        said,
        "The access to Azure Blob Storage (/workspace/files) could not be renewed: scripted PermissionDenied; until \
         it is, files may not be saved"
    );
    assert_eq!(renewed.elapsed().as_secs(), 60, "when they have ended, and not before");
    let (state, said) = news(&mut reader).await;
    assert!(state == StageState::Done && said.contains("is renewed"), "told once, and when it is over: {said}");
    ends_well(&bed, reader, shell).await;
}

#[tokio::test(start_paused = true)]
async fn use_of_the_files_counts_as_use_of_the_session() {
    let (bed, _) = Bed::with_storage();
    let (client, mut reader, _shell) = running(&bed).await;
    // Some part of its idle time has passed.
    until(|| bed.fake.asked("watch").len() == 100).await;
    let touched = Instant::now();
    client.touch();
    assert!(matches!(soon(reader.next()).await, Some(Event::Ended(Outcome::Idle(IDLE)))));
    assert_eq!(touched.elapsed().as_secs(), IDLE.as_secs());
    assert_eq!(client.input(Bytes::from_static(b"x")).await, Err(crate::Ended));
    bed.all_gone().await;
}
