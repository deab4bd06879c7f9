//! Whatever ends a session, its files are in the storage and its token opens
//! nothing any more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;

use super::{FILES, NO_HANG, Shell, Store, each_kind, released};
use crate::support::azurite::ACCOUNT;
use crate::support::faults::{Fault, Faults};
use crate::support::level1::{Visit, Window};
use crate::support::s3::Key;
use crate::support::service::Kind;
use crate::support::{Broker, Frame, Sandboxd, eventually};

each_kind!(
    after_exit_all_is_stored_and_the_token_is_dead,
    a_program_that_holds_on_to_a_file_is_ended_in_the_end,
    a_program_that_has_lost_its_first_thread_is_ended_too,
    after_a_client_vanished_all_is_stored,
    after_an_idle_session_all_is_stored,
    after_sigterm_of_the_broker_all_is_stored,
    after_kill_9_of_the_broker_a_kept_session_goes_on_with_its_storage,
    after_sigterm_of_the_broker_a_kept_session_goes_on_with_its_storage,
    after_kill_9_of_the_broker_the_lease_ends_it_in_order,
);

/// What a sandbox opens the storage with.
enum Token {
    Azure(String),
    S3(Key),
}

impl Token {
    /// Of the only mount.
    async fn of(store: &Store) -> Self {
        let mount = store.mount().await;
        match store.kind() {
            Kind::Azure => Token::Azure(mount.token()),
            Kind::S3 => Token::S3(mount.key()),
        }
    }

    async fn opens(&self, store: &Store) -> bool {
        match self {
            Token::Azure(token) => store.status_by(token).await == 200,
            Token::S3(key) => {
                let path = format!("/{}", store.container);
                store.service.s3().send(key, Method::GET, &path, &[("list-type", "2")], None).await.status() == 200
            }
        }
    }

    /// It opens nothing any more, where it can be taken back: S3 has nothing for
    /// that, and its credentials end by themselves.
    async fn is_dead(&self, store: &Store) {
        if let Token::Azure(_) = self {
            assert!(!self.opens(store).await, "the token is revoked");
        }
    }
}

/// A session that has closed one file, and holds another open in a program
/// that does not end by itself.
async fn busy(broker: &Broker) -> Shell {
    let mut shell = Shell::open(broker).await;
    shell.ok(&format!("printf closed | dd of={FILES}/closed conv=fsync status=none")).await;
    shell.ok(&format!("setsid bash -c 'exec 3> {FILES}/held; printf begun >&3; exec sleep 1000' &")).await;
    shell.ok(&format!("until [ \"$(cat {FILES}/held)\" = begun ]; do sleep 0.1; done")).await;
    shell
}

/// What the service has at the end: also the file that was open, because its
/// program is ended before the mount is.
async fn both_are_stored(store: &Store) {
    assert_eq!(store.text("closed").await.as_deref(), Some("closed"));
    assert_eq!(store.text("held").await.as_deref(), Some("begun"));
}

async fn after_exit_all_is_stored_and_the_token_is_dead(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = store.broker().await;
    let shell = busy(&broker).await;
    let token = Token::of(&store).await;
    assert!(token.opens(&store).await);
    let began = Instant::now();
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    // Nothing is left to do by then.
    both_are_stored(&store).await;
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    println!("saving and unmounting took {:.1} s", began.elapsed().as_secs_f32());
    released(&broker, 1).await;
    store.server.has(0).await;
    token.is_dead(&store).await;
}

async fn a_program_that_holds_on_to_a_file_is_ended_in_the_end(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = store.broker().await;
    let mut shell = busy(&broker).await;
    shell
        .ok(&format!(
            "setsid bash -c 'trap \"\" TERM; exec 3> {FILES}/stubborn; printf deaf >&3; while :; do sleep 1; done' & \
             until [ \"$(cat {FILES}/stubborn)\" = deaf ]; do sleep 0.1; done"
        ))
        .await;
    let began = Instant::now();
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    both_are_stored(&store).await;
    assert_eq!(store.text("stubborn").await.as_deref(), Some("deaf"));
    released(&broker, 1).await;
}

/// A store behind a network that fails when told to, and the configuration of
/// a broker that sends each upload twice.
async fn behind_faults() -> Option<(Store, Faults, String)> {
    let store = Store::azure().await?;
    let endpoint = store.service.endpoint();
    let origin = endpoint.strip_suffix(&format!("/{ACCOUNT}")).unwrap();
    let faults = Faults::start(origin).await;
    let port = faults.url.rsplit(':').next().unwrap();
    let store = Store { server: Sandboxd::start_with(&["--forward-port", port]).await, ..store };
    let config = store.config("", "retries = 1").replace(origin, &faults.url);
    Some((store, faults, config))
}

/// The next upload of the file `held` meets this fault, at both tries, and so
/// does the one that is made when the file is let go of.
fn fails(faults: &Faults, store: &Store, fault: Fault) {
    let (blob, met) = (format!("/{}/held", store.container), AtomicU32::new(0));
    faults.begin(Duration::from_secs(600), move |method, path| {
        (method == "PUT" && path.ends_with(&blob) && met.fetch_add(1, Ordering::Relaxed) < 4).then_some(fault)
    });
}

/// A program that is killed gives up its files before it is gone: nobody sees
/// any more that it holds one, and the upload is still on its way. It fails
/// here, long after that.
#[tokio::test]
async fn an_upload_of_a_killed_program_that_fails_late_is_made_again() {
    let Some((store, faults, config)) = behind_faults().await else { return };
    let broker = Broker::start(&config).await;
    let mut shell = Shell::open(&broker).await;
    // A working directory in the mount is given up last, and would show the program.
    shell.ok("cd /").await;
    // Of its output nothing is uploaded before the program ends. Whoever opened the file would have it uploaded.
    shell.ok(&format!("(printf begun; exec sleep 1000) | setsid dd bs=4k of={FILES}/held status=none &")).await;
    shell.ok(&format!("until [ -s {FILES}/held ]; do sleep 0.1; done")).await;
    // Together more than programs have to end by themselves.
    let late = Fault::Breaks(Duration::from_secs(1));
    fails(&faults, &store, late);
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    assert_eq!(faults.met().get(&late), Some(&4));
    assert_eq!(store.text("held").await.as_deref(), Some("begun"), "{:?}", client.said);
    let unsaved = |frame: &Frame| matches!(frame, Frame::Status(told) if told.contains("Not all files are saved"));
    assert!(!client.said.iter().any(unsaved), "{:?}", client.said);
    released(&broker, 1).await;
}

/// A program that is closing a file does not hold it any more either, and lives. Where there is no time for a second try,
/// the loss is told.
#[tokio::test]
async fn an_upload_that_fails_while_it_is_unmounted_is_made_again_or_told() {
    let Some((store, faults, config)) = behind_faults().await else { return };
    let broker = Broker::start(&config).await;
    let mut shell = Shell::open(&broker).await;
    shell.ok("cd /; printf begun > /tmp/begun").await;
    let late = Fault::Breaks(Duration::from_secs(2));
    fails(&faults, &store, late);
    shell.ok(&format!("setsid cp /tmp/begun {FILES}/held >/dev/null 2>&1 &")).await;
    eventually("the upload", async || faults.met().get(&late).copied()).await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    let told = client.said.iter().any(|frame| matches!(frame, Frame::Status(told) if told.contains("lost: held")));
    assert!(told || store.text("held").await.as_deref() == Some("begun"), "{:?}", client.said);
    released(&broker, 1).await;
}

/// By its own name such a process shows no files.
async fn a_program_that_has_lost_its_first_thread_is_ended_too(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    let program = format!(
        "import ctypes, os, threading, signal\n\
         def hold():\n \
          stat = f\"/proc/{{os.getpid()}}/stat\"\n \
          while \") Z \" not in open(stat).read(): os.sched_yield()\n \
          file = os.open(\"{FILES}/held\", os.O_CREAT | os.O_WRONLY)\n \
          os.write(file, b\"begun\")\n \
          while True: signal.sigwait([signal.SIGUSR1])\n\
         threading.Thread(target=hold).start()\n\
         ctypes.CDLL(None).pthread_exit(None)\n"
    );
    shell.ok(&format!("setsid /usr/bin/python3 -c '{program}' & until [ -s {FILES}/held ]; do sleep 0.1; done")).await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    assert_eq!(store.text("held").await.as_deref(), Some("begun"), "{:?}", client.said);
    let unsaved = |frame: &Frame| matches!(frame, Frame::Status(told) if told.contains("Not all files are saved"));
    assert!(!client.said.iter().any(unsaved), "{:?}", client.said);
    released(&broker, 1).await;
}

async fn after_a_client_vanished_all_is_stored(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = store.broker().await;
    busy(&broker).await.client.vanish();
    released(&broker, 1).await;
    store.server.has(0).await;
    both_are_stored(&store).await;
}

async fn after_an_idle_session_all_is_stored(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = Broker::start(&store.config("timeout = \"3s\"", "")).await;
    let mut shell = busy(&broker).await;
    assert_eq!(shell.client.closed().await.code, 4408);
    both_are_stored(&store).await;
    released(&broker, 1).await;
    store.server.has(0).await;
}

async fn after_sigterm_of_the_broker_all_is_stored(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let mut broker = store.broker().await;
    let mut shell = busy(&broker).await;
    let token = Token::of(&store).await;
    let began = Instant::now();
    broker.signal("TERM");
    assert_eq!(shell.client.closed().await.code, 1001);
    assert!(broker.ended().await.success());
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    both_are_stored(&store).await;
    token.is_dead(&store).await;
    store.server.has(0).await;
}

/// A session that is kept, with storage: what its shell does goes on while no
/// broker lives and at the next one, and is saved when the session ends.
async fn goes_on_after(kind: Kind, signal: &str) {
    let Some(store) = Store::new(kind).await else { return };
    // Who was there before the takeover is unknown, so an end is kept this long.
    let config = store.config("keep_after_disconnect = \"20s\"", "");
    let mut broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    let files = format!(
        "exec 3> {FILES}/held; printf first >&3; (n=0; while sleep 0.2; do n=$((n + 1)); \
         printf $n | dd of={FILES}/n$n conv=fsync status=none || echo broken; done) &\n"
    );
    window.input(&files).await;
    let there = async |name: &str| {
        eventually(&format!("{name} in the storage"), async || store.text(name).await.map(drop)).await;
    };
    there("n1").await;
    let (token, pid) = (Token::of(&store).await, store.mount().await.pid());
    broker.signal(signal);
    broker.ended().await;
    let directory = broker.into_directory().await;
    // Nobody looks after it, and it works.
    let counted = store.service.list(&store.container).await.len();
    there(&format!("n{}", counted + 3)).await;

    let broker = Broker::start_in(directory, &config).await;
    // Another session's mount takes nothing from it.
    let other = Shell::open(&broker).await;
    let visit = Visit::to(&ready.session).client("w").since(0, ready.epoch);
    let mut window = Window::open(&broker.url, visit).await;
    window.ready().await;
    eventually("fresh credentials", async || broker.log().contains("storage credentials renewed").then_some(())).await;
    let (closed, client) = other.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    store.server.has(1).await;
    assert!(token.opens(&store).await, "it stays");
    assert_eq!(store.mount().await.pid(), pid, "it was not mounted again");
    let counted = store.service.list(&store.container).await.len();
    there(&format!("n{}", counted + 3)).await;
    window.input("printf second >&3; echo $((40 + 2))\n").await;
    window.expect("42").await;
    assert!(!window.text().contains("broken\r"), "{}", window.text());
    window.input("kill %1; exec 3>&-; exit\n").await;
    window.told("exit").await;
    assert_eq!(store.text("held").await.as_deref(), Some("firstsecond"));
    released(&broker, 2).await;
    store.server.has(0).await;
    token.is_dead(&store).await;
}

async fn after_kill_9_of_the_broker_a_kept_session_goes_on_with_its_storage(kind: Kind) {
    goes_on_after(kind, "KILL").await;
}

async fn after_sigterm_of_the_broker_a_kept_session_goes_on_with_its_storage(kind: Kind) {
    goes_on_after(kind, "TERM").await;
}

/// The next broker has no way to renew what the earlier one mounted.
#[tokio::test]
async fn after_a_change_of_its_settings_a_kept_session_ends_in_order() {
    let Some(store) = Store::azure().await else { return };
    let broker = Broker::start(&store.config("lease = \"5s\"", "")).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input(&format!("exec 3> {FILES}/held; printf begun >&3; echo $((40 + 2))\n")).await;
    window.expect("42").await;
    let token = Token::of(&store).await;
    broker.signal("KILL");
    let changed = store.config("lease = \"5s\"", "umask = \"027\"");
    let next = Broker::start_in(broker.into_directory().await, &changed).await;
    assert!(next.log().contains("the settings of this session's storage have changed"), "{}", next.log());
    let gone = Window::try_open(&next.url, Visit::to(&ready.session).client("w")).await;
    drop(gone);
    store.server.has(0).await;
    assert_eq!(store.text("held").await.as_deref(), Some("begun"), "its lease saves it");
    released(&next, 1).await;
    token.is_dead(&store).await;
}

async fn after_kill_9_of_the_broker_the_lease_ends_it_in_order(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let config = store.config("lease = \"5s\"", "");
    let broker = Broker::start(&config).await;
    let _shell = busy(&broker).await;
    let token = Token::of(&store).await;
    broker.signal("KILL");
    let directory = broker.into_directory().await;
    store.server.has(0).await;
    // Nobody finds the sandbox any more while it still stores what was open.
    eventually("what was open, in the storage", async || store.text("held").await).await;
    both_are_stored(&store).await;
    // Nobody was there to revoke it; the next process of the same broker does.
    assert!(token.opens(&store).await);
    let next = Broker::start_in(directory, &config).await;
    released(&next, 1).await;
    token.is_dead(&store).await;
    let mut shell = Shell::open(&next).await;
    assert_eq!(shell.ok(&format!("cat {FILES}/closed {FILES}/held")).await, "closedbegun");
}
