//! Storage on the way to the shell and at the end: the order of things, the
//! words of each failure, and that nothing is left of any.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fake::{DAEMON, Reply, UNMOUNT, error, grant, unavailable};
use super::*;
use crate::storage::{PREPARE_DEADLINE, SHUTDOWN_SHARE};
use crate::{Phase, SHUTDOWN_DEADLINE};
use sandbox_broker_core::sandbox::{Code, Exit, Fault};
use sandbox_broker_core::storage::Grant;

const SLOW: Duration = Duration::from_secs(5);

impl Bed {
    /// Where each of these calls is in the order of all.
    fn order<const N: usize>(&self, calls: [&str; N]) -> [usize; N] {
        let diary = self.fake.diary();
        calls.map(|call| diary.iter().position(|had| had == call).unwrap_or_else(|| panic!("no {call} in {diary:?}")))
    }

    /// The mounts are unmounted, then the sandbox is ended, and everything is
    /// released, each once.
    async fn all_saved_and_gone(&self) {
        self.all_gone().await;
        let [unmount, kill, release] = self.order([UNMOUNT, "kill", "release"]);
        assert!(unmount < kill && unmount < release, "{:?}", self.fake.diary());
        for call in [UNMOUNT, "kill", "release"] {
            assert_eq!(self.fake.asked(call).len(), 1, "{call}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn storage_is_prepared_before_the_sandbox_and_mounted_before_the_shell() {
    let (bed, mounter) = Bed::with_storage();
    bed.change(|blueprint| blueprint.command.cwd = Some("/workspace".to_owned()));
    bed.fake.program("verify", Duration::from_millis(50), Exit::Code(1), "not yet");
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    assert!(client.workspace().is_none(), "there is no sandbox yet");
    let shell = bed.fake.shell().await;
    assert_eq!(shell.command.cwd.as_deref(), Some(FILES), "the shell starts in its storage");
    let expected = ["prepare", "create", "plan", "make", "put", DAEMON, "verify", "verify", "open"];
    assert_eq!(bed.fake.diary(), expected);

    until(|| client.workspace().is_some()).await;
    let workspace = bed.sessions.get(client.id()).unwrap().workspace().unwrap();
    assert_eq!((workspace.roots, workspace.mounts), (vec![FILES.into(), "/workspace".into()], vec![FILES.into()]));
    assert_eq!(workspace.sandbox.id, "sbx-1");

    let [target] = &mounter.targets()[..] else { panic!("one plan") };
    assert!(target.id.len() == 32 && target.workspace.ends_with(&target.id) && !target.read_only);
    let [make] = &bed.fake.ran("make")[..] else { panic!("one mount point") };
    assert_eq!(make.command.argv[4..], [target.workspace.clone(), FILES.into()]);
    let [put] = &bed.fake.ran("put")[..] else { panic!("one file") };
    assert_eq!(put.command.argv[4..], [format!("{}/config", target.workspace), "0600".into(), "11".into()]);
    assert_eq!(put.stdin, b"file-canary");
    assert!(!put.command.argv.concat().contains("canary"), "everybody in the sandbox can read arguments");
    for name in ["make", "put", DAEMON, "verify"] {
        assert!(bed.fake.ran(name).iter().all(|ran| ran.command.user.as_deref() == Some("root")), "{name}");
    }

    shell.exit(Ok(Exit::Code(0)));
    let told = Told::read_to_end(reader).await;
    use {StageState::*, Step::*};
    assert_eq!(told.stages, [Storage, Create, Mount, Shell].map(|step| [(step, Started), (step, Done)]).concat());
    assert_eq!(told.news, [""; 0]);
    bed.all_saved_and_gone().await;
    assert!(client.workspace().is_none() && bed.sessions.get(client.id()).is_none());
    assert_eq!(mounter.released(), [grant("grant-canary")]);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_is_mounted_where() {
    let (bed, _) = Bed::with_storage();
    bed.fake.script("prepare", Duration::from_millis(250), Reply::Do);
    bed.fake.program("verify", Duration::from_millis(500), Exit::Code(0), "");
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut said = Vec::new();
    while let Some(Event::Stage(stage)) = soon(reader.next()).await {
        said.push(stage.message);
    }
    assert_eq!(said[0], "Checking Azure Blob Storage...");
    assert_eq!(said[1], "Azure Blob Storage checked in 0.25 s");
    assert_eq!(said[4], "Mounting Azure Blob Storage at /workspace/files...");
    assert!(said[5].starts_with("Azure Blob Storage mounted at /workspace/files in 0.50 s"), "{}", said[5]);
}

#[tokio::test(start_paused = true)]
async fn several_mounts_are_mounted_in_their_order_and_unmounted_together() {
    let (bed, mounter) = Bed::with_storage();
    bed.change(|blueprint| blueprint.mounts.push(mount(&mounter, "/workspace/more")));
    for _ in 0..2 {
        bed.fake.program(UNMOUNT, SLOW, Exit::Code(0), "");
    }
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    let paths: Vec<_> = mounter.targets().into_iter().map(|target| target.path).collect();
    assert_eq!(paths, [FILES, "/workspace/more"]);
    let ids: Vec<_> = mounter.targets().into_iter().map(|target| target.id).collect();
    assert_ne!(ids[0], ids[1]);
    let began = Instant::now();
    shell.exit(Ok(Exit::Code(0)));
    let told = Told::read_to_end(client.reader()).await;
    assert!(began.elapsed() < SLOW * 2);
    assert_eq!(told.stages.iter().filter(|(step, _)| *step == Step::Mount).count(), 4);
    bed.all_gone().await;
    assert_eq!(mounter.released().len(), 2);
}

/// The message of a start that fails, and which calls were made.
async fn fails(bed: &Bed) -> (Told, Vec<String>) {
    let client = bed.open(None).unwrap();
    let told = Told::read_to_end(client.reader()).await;
    bed.all_gone().await;
    assert_eq!(told.stages.last().map(|(_, state)| *state), Some(StageState::Failed));
    assert_eq!(bed.fake.asked("release").len(), 1, "whatever was prepared is given back");
    assert_eq!(bed.fake.asked("open").len(), 0, "no shell starts without its storage");
    (told, bed.fake.diary())
}

#[tokio::test(start_paused = true)]
async fn storage_that_cannot_be_used_costs_no_sandbox() {
    let (bed, mounter) = Bed::with_storage();
    bed.fake.script("prepare", Duration::ZERO, Reply::Fail(error(Fault::Operator, Code::Unauthenticated)));
    let (told, diary) = fails(&bed).await;
    assert_eq!(told.ended(), "Failed to prepare Azure Blob Storage: scripted Unauthenticated");
    assert_eq!(told.stages.last(), Some(&(Step::Storage, StageState::Failed)));
    assert_eq!(diary, ["prepare", "release"]);
    assert_eq!(mounter.released(), [Grant::default()]);
}

#[tokio::test(start_paused = true)]
async fn storage_that_does_not_answer_is_not_waited_for() {
    let (bed, mounter) = Bed::with_storage();
    bed.fake.script("prepare", Duration::ZERO, Reply::Hang);
    let began = Instant::now();
    let (told, diary) = fails(&bed).await;
    assert_eq!(told.ended(), "Failed to prepare Azure Blob Storage: no answer within 15 s");
    assert_eq!((began.elapsed().as_secs(), diary.len()), (PREPARE_DEADLINE.as_secs(), 2));
    assert_eq!(mounter.released(), [Grant::default()]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_gives_the_storage_back() {
    let (bed, _) = Bed::with_storage();
    bed.fake.script("create", Duration::ZERO, Reply::Fail(error(Fault::Operator, Code::Unauthenticated)));
    let (told, diary) = fails(&bed).await;
    assert_eq!(told.ended(), "Failed to create sandbox: scripted Unauthenticated");
    assert_eq!(diary, ["prepare", "create", "release"]);
}

#[tokio::test(start_paused = true)]
async fn every_step_of_a_mount_that_fails_is_told_and_leaves_nothing() {
    type Break = (&'static str, Box<dyn Fn(&Fake)>, &'static str);
    let breaks: [Break; 9] = [
        ("plan", Box::new(|f| f.script("plan", SLOW, Reply::Fail(unavailable()))), "scripted Unavailable"),
        (
            "no root",
            Box::new(|f| f.program("make", Duration::ZERO, Exit::Code(70), "")),
            "storage is mounted by a process of root, and the sandboxes of provider `fake` give none; \
             whoever runs that provider must allow it, or [storage] must be turned off",
        ),
        (
            "root refused",
            Box::new(|f| f.script("make", SLOW, Reply::Fail(error(Fault::Operator, Code::Unauthenticated)))),
            "storage is mounted by a process of root, and the sandboxes of provider `fake` give none; \
             whoever runs that provider must allow it, or [storage] must be turned off: scripted Unauthenticated",
        ),
        (
            "not empty",
            Box::new(|f| f.program("make", Duration::ZERO, Exit::Code(72), "")),
            "there are files in /workspace/files already, on the sandbox's own disk; move them away, or mount at \
             another path",
        ),
        (
            "put",
            Box::new(|f| f.program("put", Duration::ZERO, Exit::Code(1), "head: no space left\n")),
            "WORKSPACE/config could not be written in the sandbox: head: no space left",
        ),
        ("refused", Box::new(|f| f.script(DAEMON, SLOW, Reply::Fail(unavailable()))), "scripted Unavailable"),
        (
            "explained",
            Box::new(|f| f.program(DAEMON, SLOW, Exit::Code(1), "panic [AuthenticationFailed] at x\n\n")),
            "the storage refuses the token",
        ),
        (
            "last words",
            Box::new(|f| f.program(DAEMON, Duration::ZERO, Exit::Code(1), "one\ntwo https://a/b?sig=canary\n")),
            "`mountd` ended: two https://a/b?…",
        ),
        (
            "never real",
            Box::new(|f| (0..200).for_each(|_| f.program("verify", Duration::ZERO, Exit::Code(1), "no mount\n"))),
            "mounting did not finish within 10 s: `verify` failed: no mount",
        ),
    ];
    for (name, break_it, words) in breaks {
        let (bed, mounter) = Bed::with_storage();
        if ["explained", "last words"].contains(&name) {
            // The end of the process is noticed before the mount is proved.
            (0..200).for_each(|_| bed.fake.program("verify", Duration::ZERO, Exit::Code(1), ""));
        }
        break_it(&bed.fake);
        let (told, diary) = fails(&bed).await;
        let workspace = mounter.targets()[0].workspace.clone();
        let words = words.replace("WORKSPACE", &workspace);
        let said = told.ended();
        assert_eq!(said, format!("Failed to mount Azure Blob Storage at /workspace/files: {words}"), "{name}");
        assert_eq!(told.stages.last(), Some(&(Step::Mount, StageState::Failed)), "{name}");
        let at = |call| diary.iter().position(|had| had == call);
        assert!(at("kill").is_some() && at("kill") > at(UNMOUNT), "{name}: {diary:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_hangs_is_given_up_in_time() {
    let (bed, _) = Bed::with_storage();
    bed.fake.script(DAEMON, Duration::ZERO, Reply::Hang);
    let began = Instant::now();
    let (told, _) = fails(&bed).await;
    assert!(told.ended().ends_with("mounting did not finish within 10 s"), "{}", told.ended());
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_storage_is_prepared_costs_no_sandbox() {
    let (bed, _) = Bed::with_storage();
    bed.fake.script("prepare", Duration::ZERO, Reply::Hang);
    let client = bed.open(None).unwrap();
    until(|| !bed.fake.asked("prepare").is_empty()).await;
    assert_eq!(bed.sessions.list()[0].phase, Phase::Preparing);
    drop(client);
    bed.all_gone().await;
    assert_eq!(bed.fake.diary(), ["prepare", "release"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_storage_is_mounted_leaves_nothing() {
    let (bed, _) = Bed::with_storage();
    bed.fake.program("verify", SLOW, Exit::Code(0), "");
    let client = bed.open(None).unwrap();
    until(|| !bed.fake.asked("verify").is_empty()).await;
    assert_eq!(bed.sessions.list()[0].phase, Phase::Mounting);
    let left = Instant::now();
    drop(client);
    bed.all_saved_and_gone().await;
    assert!(left.elapsed() < SLOW);
}

#[tokio::test(start_paused = true)]
async fn input_from_before_the_mount_reaches_the_shell() {
    let (bed, _) = Bed::with_storage();
    bed.fake.script("prepare", SLOW, Reply::Do);
    let client = bed.open(None).unwrap();
    soon(client.input(Bytes::from_static(b"ls\n"))).await.unwrap();
    assert_eq!(bed.fake.shell().await.read(3).await, b"ls\n");
}

/// What ends a running session.
enum End {
    Exit,
    Idle,
    Shutdown,
    Detach,
    LostTerminal,
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_session_its_storage_is_saved_before_its_sandbox_is_ended() {
    for end in [End::Exit, End::Idle, End::Shutdown, End::Detach, End::LostTerminal] {
        let (bed, _) = Bed::with_storage();
        let saves = Duration::from_millis(700);
        bed.fake.program(UNMOUNT, saves, Exit::Code(0), "");
        let client = bed.open(None).unwrap();
        let mut reader = client.reader();
        let shell = bed.fake.shell().await;
        ready(&mut reader).await;
        shell.print("last words").await;
        let (mut client, mut shell) = (Some(client), Some(shell));
        let began = Instant::now();
        let (mut ended, detached) = (began, matches!(end, End::Detach));
        match end {
            End::Exit => shell.take().unwrap().exit(Ok(Exit::Code(4))),
            End::LostTerminal => shell.take().unwrap().exit(Err(unavailable())),
            End::Idle => ended += IDLE,
            End::Shutdown => bed.sessions.shutdown().await,
            End::Detach => drop(client.take()),
        }
        let told = async {
            let mut output = Vec::new();
            loop {
                match soon(reader.next()).await {
                    Some(Event::Output { bytes, .. }) => output.extend_from_slice(&bytes),
                    Some(Event::Ended(outcome)) => break (output, outcome),
                    other => panic!("{other:?}"),
                }
            }
        };
        let (output, outcome) = told.await;
        assert_eq!(output, b"last words");
        let waited = ended.elapsed();
        assert_eq!(waited >= saves, !detached, "{outcome:?} after {waited:?}");
        bed.all_saved_and_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn saving_that_takes_long_is_told_and_keeps_the_sandbox_alive() {
    let (bed, _) = Bed::with_storage();
    bed.change(|blueprint| blueprint.lease = Duration::from_secs(6));
    bed.fake.program("verify", SLOW, Exit::Code(0), "");
    bed.fake.program(UNMOUNT, SLOW, Exit::Code(0), "");
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    let renewed = bed.fake.asked("extend").len();
    assert_eq!(renewed, 2, "the sandbox is kept while its storage is mounted");
    shell.exit(Ok(Exit::Code(0)));
    let told = Told::read_to_end(client.reader()).await;
    assert_eq!(told.news, ["Saving files to Azure Blob Storage...", "Files saved to Azure Blob Storage in 5.00 s"]);
    assert_eq!(told.ended(), "the shell ended with exit status 0");
    assert!(bed.fake.asked("extend").len() >= renewed + 2, "and while it is saved");
    bed.all_saved_and_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_keeps_no_sandbox() {
    let (bed, _) = Bed::with_storage();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    let window = crate::WINDOW as usize;
    for _ in 0..window / 65536 + 1 {
        shell.print(vec![b'x'; 65536]).await;
    }
    shell.exit(Ok(Exit::Code(0)));
    until(|| bed.fake.living().is_empty()).await;
    assert_eq!(bed.sessions.count(), 1, "its output is still told");
    let mut output = 0;
    while let Some(event) = soon(reader.next()).await {
        if let Event::Output { bytes, .. } = event {
            output += bytes.len();
        }
    }
    assert_eq!(output, window + 65536);
    bed.all_saved_and_gone().await;
}

#[tokio::test(start_paused = true)]
async fn files_that_could_not_be_saved_are_told_before_the_end() {
    let (bed, _) = Bed::with_storage();
    bed.fake.program(UNMOUNT, Duration::ZERO, Exit::Code(1), "busy\nnot saved: report.txt\n");
    let client = bed.open(None).unwrap();
    bed.fake.shell().await.exit(Ok(Exit::Code(0)));
    let told = Told::read_to_end(client.reader()).await;
    let said =
        "Not all files are saved in Azure Blob Storage (/workspace/files): `umount` failed: not saved: report.txt";
    assert_eq!(told.news, [said]);
    assert_eq!(told.ended(), "the shell ended with exit status 0");
    bed.all_saved_and_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_mount_whose_process_does_not_end_well_is_not_taken_for_saved() {
    let (bed, _) = Bed::with_storage();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    bed.fake.program(UNMOUNT, SLOW, Exit::Code(0), "");
    shell.exit(Ok(Exit::Code(0)));
    until(|| !bed.fake.asked(UNMOUNT).is_empty()).await;
    bed.fake.end_daemons(Exit::Signal("SIGKILL".to_owned()), "");
    let told = Told::read_to_end(client.reader()).await;
    assert!(told.news.last().unwrap().ends_with("`mountd` ended: ended by SIGKILL"), "{:?}", told.news);
    bed.all_saved_and_gone().await;
}

/// A single step of `unmount` may take as long as all of it.
fn patiently(plan: &mut sandbox_broker_core::storage::Plan) {
    let [sandbox_broker_core::storage::Step::Run(command)] = &mut plan.unmount[..] else { panic!("one program") };
    command.timeout = Duration::MAX;
}

#[tokio::test(start_paused = true)]
async fn saving_is_given_up_when_its_time_is_over() {
    for (wanted, given) in [(Duration::from_secs(3), 3), (Duration::MAX, 120)] {
        let (bed, mounter) = Bed::with_storage();
        mounter.set(|plan| plan.unmount_timeout = wanted);
        mounter.set(patiently);
        bed.fake.script(UNMOUNT, Duration::ZERO, Reply::Hang);
        let client = bed.open(None).unwrap();
        let shell = bed.fake.shell().await;
        let began = Instant::now();
        shell.exit(Ok(Exit::Code(0)));
        let told = Told::read_to_end(client.reader()).await;
        assert_eq!(began.elapsed().as_secs(), given);
        let said = format!("saving did not finish within {given} s");
        assert!(told.news.last().unwrap().ends_with(&said), "{:?}", told.news);
        bed.all_saved_and_gone().await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_saves_all_sessions_at_the_same_time_and_in_time() {
    let (bed, mounter) = Bed::with_storage();
    mounter.set(patiently);
    for _ in 0..3 {
        bed.fake.script(UNMOUNT, Duration::ZERO, Reply::Hang);
    }
    let clients: Vec<_> = (0..3).map(|_| bed.open(None).unwrap()).collect();
    let readers: Vec<_> = clients.iter().map(|client| client.reader()).collect();
    let _shells = [bed.fake.shell().await, bed.fake.shell().await, bed.fake.shell().await];
    until(|| bed.sessions.list().iter().all(|session| session.phase == Phase::Running)).await;
    let began = Instant::now();
    bed.sessions.shutdown().await;
    assert!((SHUTDOWN_SHARE..SHUTDOWN_DEADLINE).contains(&began.elapsed()), "{:?}", began.elapsed());
    for reader in readers {
        let told = Told::read_to_end(reader).await;
        assert!(matches!(told.outcome, Some(Outcome::Shutdown)));
        assert!(told.news.last().unwrap().contains("saving did not finish within 9 s"), "{:?}", told.news);
    }
    bed.all_gone().await;
    assert_eq!((bed.fake.asked("kill").len(), mounter.released().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_gone_is_not_unmounted_and_its_storage_is_given_back() {
    let (bed, mounter) = Bed::with_storage();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let _shell = bed.fake.shell().await;
    ready(&mut reader).await;
    bed.fake.remove("sbx-1");
    let Some(Event::Stage(stage)) = soon(reader.next()).await else { panic!("it is told") };
    assert!(stage.message.contains("files that were still open are not saved"), "{}", stage.message);
    assert!(matches!(soon(reader.next()).await, Some(Event::Ended(Outcome::Failed(_)))));
    bed.all_gone().await;
    assert_eq!((bed.fake.asked(UNMOUNT).len(), mounter.released().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_while_that_may_help() {
    for (failure, tries) in [(unavailable(), 3), (error(Fault::Operator, Code::Unauthenticated), 1)] {
        let (bed, mounter) = Bed::with_storage();
        for _ in 0..2 {
            bed.fake.script("release", Duration::ZERO, Reply::Fail(failure.clone()));
        }
        let client = bed.open(None).unwrap();
        bed.fake.shell().await.exit(Ok(Exit::Code(0)));
        Told::read_to_end(client.reader()).await;
        bed.all_gone().await;
        assert_eq!((bed.fake.asked("release").len(), mounter.released().len()), (tries, usize::from(tries == 3)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_mounter_is_told_and_gives_the_place_back() {
    let (bed, mounter) = Bed::with_storage();
    let client = bed.open(None).unwrap();
    // From now on the fake's `plan` panics.
    std::thread::scope(|scope| {
        let poisons = scope.spawn(|| mounter.set(|_| panic!("on purpose")));
        assert!(poisons.join().is_err());
    });
    let told = Told::read_to_end(client.reader()).await;
    assert!(matches!(told.outcome, Some(Outcome::Failed(error)) if error.fault == Fault::Broker));
    until(|| bed.sessions.count() == 0).await;
}
