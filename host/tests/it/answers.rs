//! What programs ask of the terminal is answered once: by the recorder, or
//! where it cannot run by the terminal of whoever drives.

use futures_util::future::join_all;
use sandbox_broker_terminal::frames::level1::ClientFrame;

use crate::support::level1::{Ready, Told, Visit, Window};
use crate::support::{Broker, Client, Sandboxd};

/// The first thing that the shell does is to ask. It takes what comes within a
/// second after the first byte, and shows it with E for ESC.
const ASKS: &str = r#"shell = ["/bin/bash", "-c", '''
stty -icanon -echo min 1 time 0; printf '\033[c'
a=$(dd bs=1 count=1 2>/dev/null; stty min 0 time 10; cat)
printf 'answers=%s!' "$(printf %s "$a" | tr '\033' E)"; read hold''']"#;

/// The question, and the answer of a VT100 with advanced video.
const QUESTION: &[u8] = b"\x1b[c";
const ANSWER: &str = "\u{1b}[?1;2c";

/// Sessions that ask at the same time.
const TOGETHER: usize = 20;

fn config(server: &Sandboxd) -> String {
    let sections = server.section("box");
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{ASKS}\n{sections}")
}

/// How many sessions ask in all: `ANSWERS_SESSIONS`, or few.
fn sessions() -> usize {
    std::env::var("ANSWERS_SESSIONS").map_or(2 * TOGETHER, |count| count.parse().expect("a number"))
}

/// A window with a terminal that keeps to the protocol.
struct Terminal {
    window: Window,
    ready: Ready,
    answered: usize,
}

impl Terminal {
    async fn open(url: &str, visit: Visit) -> Self {
        let mut window = Window::open(url, visit).await;
        let ready = window.ready().await;
        Terminal { window, ready, answered: 0 }
    }

    /// What the shell says that it was answered.
    async fn answers(&mut self) -> String {
        loop {
            let Told::Output(offset, bytes) = self.window.next().await.unwrap() else { continue };
            let asked = bytes.windows(QUESTION.len()).position(|window| window == QUESTION);
            let drives = self.ready.role == "driver" && self.ready.answers == "client";
            if asked.is_some_and(|at| drives && offset + at as u64 >= self.ready.live) {
                self.answered += 1;
                self.window.input(ANSWER).await;
            }
            if let Some(answers) = told(&self.window.text()) {
                return answers;
            }
        }
    }
}

fn told(text: &str) -> Option<String> {
    let (_, answers) = text.split_once("answers=")?;
    answers.split_once('!').map(|(answers, _)| answers.to_owned())
}

/// Whether it is one answer to DA1.
fn is_one(answers: &str) -> bool {
    answers.starts_with("E[?") && answers.ends_with('c') && answers.matches('E').count() == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorder_answers_each_session_once() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    for _ in 0..sessions().div_ceil(TOGETHER) {
        let all = (0..TOGETHER).map(|_| async {
            let mut terminal = Terminal::open(&broker.url, Visit::default()).await;
            assert_eq!(terminal.ready.answers, "recorder");
            let answers = terminal.answers().await;
            assert!(is_one(&answers), "{answers:?}");
            assert_eq!(terminal.answered, 0);
            terminal.window.send_frame(ClientFrame::Kill).await;
            terminal.window.closed().await;
        });
        join_all(all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_recorder_the_driver_answers_once() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_without_recorder(&config(&server)).await;
    let all = (0..TOGETHER).map(|n| {
        let url = &broker.url;
        async move {
            let mut terminal = Terminal::open(url, Visit::default().client("one")).await;
            let Ready { session, epoch, offset, .. } = terminal.ready.clone();
            assert_eq!((terminal.ready.answers.as_str(), terminal.ready.live), ("client", 0));
            let mut watches = Terminal::open(url, Visit::to(&session).viewer()).await;
            if n % 2 == 0 {
                // Cut off before it has got anything, it comes back.
                terminal.window.cut();
                terminal = Terminal::open(url, Visit::to(&session).client("one").since(offset, epoch)).await;
            }
            let answers = terminal.answers().await;
            assert!(is_one(&answers), "{answers:?}");
            assert_eq!(watches.answers().await, answers);
            assert_eq!((terminal.answered, watches.answered), (1, 0));
            // Nobody answers again: neither a page that was loaded again, nor another that takes control.
            for name in ["one", "two"] {
                let mut late = Terminal::open(url, Visit::to(&session).client(name)).await;
                assert_eq!((late.answers().await, late.answered), (answers.clone(), 0));
            }
        }
    });
    join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_level_0_the_question_reaches_its_only_client() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    let all = (0..TOGETHER).map(|_| async {
        let mut client = Client::connect(&broker.url).await;
        client.expect("\u{1b}[c").await;
        client.input(ANSWER).await;
        client.expect("answers=E[?1;2c!").await;
    });
    join_all(all).await;
}
