//! What the log says of a session, and what it must never say.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tracing::subscriber::DefaultGuard;

use super::fake::{Reply, error, unavailable};
use super::*;
use sandbox_broker_core::sandbox::{Code, Fault, Size};

/// Everything that this thread logs, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn capture(&self) -> DefaultGuard {
        // While there is one subscriber, tracing asks the subscriber of the
        // thread that comes to an event first whether anybody wants the event,
        // and keeps that answer for all threads. This keeps another test's
        // thread from saying no.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The line that holds `words`.
    fn line(&self, words: &str) -> String {
        let text = self.text();
        text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?} in\n{text}")).to_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_step_is_logged_with_its_session_its_sandbox_and_its_time_and_no_byte_of_the_person() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let bed = Bed::new();
    bed.fake.script("create", Duration::from_millis(1500), Reply::Do);
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let mut shell = bed.fake.shell().await;
    client.resize(Size { cols: 97, rows: 31 });
    let (_, reply) = shell.resize().await;
    reply.send(Ok(())).unwrap();
    soon(client.input(Bytes::from_static(b"typed-canary"))).await.unwrap();
    shell.read(12).await;
    shell.print("printed-canary").await;
    until(|| lines.text().contains("resized")).await;
    shell.exit(Ok(sandbox_broker_core::sandbox::Exit::Code(5)));
    Told::read_to_end(reader).await;
    bed.all_gone().await;

    for words in ["sandbox created", "shell started", "shell ended", "session ended", "sandbox ended"] {
        assert!(lines.line(words).contains(client.id()), "{words:?} names the session");
        assert!(lines.line(words).contains("provider=fake"), "{words:?} names the provider");
    }
    for words in ["sandbox created", "shell started", "sandbox ended"] {
        assert!(lines.line(words).contains("sbx-1") && lines.line(words).contains("elapsed="), "{words:?}");
    }
    assert!(lines.line("sandbox created").contains("elapsed=1.5"));
    assert!(lines.line("resized").contains("DEBUG") && lines.line("resized").contains("cols=97"));
    assert!(lines.line("shell ended").contains("exit status 5"));
    for canary in ["typed-canary", "printed-canary", "env-canary", "token"] {
        assert!(!lines.text().contains(canary), "{canary} is in the log");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_with_whose_turn_it_is_and_a_sandbox_given_up_by_name() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let bed = Bed::new();
    let mut refused = error(Fault::Operator, Code::FailedPrecondition);
    refused.attrs.push(("status".to_owned(), "418".to_owned()));
    bed.fake.script("open", Duration::ZERO, Reply::Fail(refused));
    bed.fake.script("kill", Duration::ZERO, Reply::Fail(unavailable()));
    bed.fake.script("kill", Duration::ZERO, Reply::Hang);
    let _client = bed.open(None).unwrap();
    until(|| bed.sessions.count() == 0).await;

    let line = lines.line("could not start the shell");
    assert!(line.contains("fault=Operator") && line.contains("code=FailedPrecondition") && line.contains("418"));
    let line = lines.line("gave up ending the sandbox");
    assert!(line.contains("ERROR") && line.contains("sbx-1") && line.contains("lease=300s"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_logs_what_it_gave_up() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let bed = Bed::new();
    bed.fake.script("kill", Duration::ZERO, Reply::Hang);
    let client = bed.open(None).unwrap();
    let _shell = bed.fake.shell().await;
    bed.sessions.shutdown().await;
    let line = lines.line("gave up waiting for the sandbox");
    assert!(line.contains("ERROR") && line.contains("sbx-1") && line.contains(client.id()), "{line}");
}

#[tokio::test(start_paused = true)]
async fn each_step_of_storage_is_logged_and_nothing_that_opens_it() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let (bed, mounter) = Bed::with_storage();
    mounter.set(|plan| plan.renew_after = Some(Duration::from_secs(30)));
    let client = bed.open(None).unwrap();
    let reader = client.reader();
    let shell = bed.fake.shell().await;
    until(|| bed.fake.asked("renew").len() == 3).await;
    bed.fake.end_daemons(sandbox_broker_core::sandbox::Exit::Code(1), "GET https://a.example/c?sig=query-canary 403\n");
    until(|| bed.fake.asked("verify").len() == 2).await;
    bed.fake.program("umount", Duration::ZERO, sandbox_broker_core::sandbox::Exit::Code(1), "not saved: a.txt\n");
    shell.exit(Ok(sandbox_broker_core::sandbox::Exit::Code(0)));
    let told = Told::read_to_end(reader).await;
    bed.all_gone().await;

    for words in ["storage prepared", "storage mounted", "credentials renewed", "a mount died", "mounted again"] {
        assert!(lines.line(words).contains(client.id()), "{words:?} names the session");
    }
    assert!(lines.line("storage mounted").contains(FILES) && lines.line("storage mounted").contains("elapsed="));
    let line = lines.line("could not unmount storage");
    assert!(line.contains("ERROR") && line.contains("not saved: a.txt"), "{line}");
    assert!(lines.line("storage released").contains("storage=\"azure\""));
    for canary in ["grant-canary", "file-canary", "query-canary"] {
        assert!(!lines.text().contains(canary), "{canary} is in the log");
        assert!(!told.news.concat().contains(canary), "{canary} is told");
    }
}
