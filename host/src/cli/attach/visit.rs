//! One visit to a session, over as many connections as it takes.
//!
//! Owns what survives a connection: which session it is, how far its output is
//! shown here, and which input is under way. Input that a lost connection may
//! have swallowed is reported and never sent again, because nobody here knows
//! what it would do twice.
//!
//! ```text
//!  enter ──▶ serve ──▶ left
//!    ▲         │ lost
//!    └─ pause ─┘
//! ```

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::key::DetachKey;
use super::left::Left;
use super::local::{Heard, Local};
use super::screen::{Screen, Unwritable};
use super::sent::SentInput;
use super::target::Target;
use super::tty;
use super::way::{NoEntry, Seen, Socket, Way, pause};
use sandbox_broker_terminal::client::{Lost, Received};
use sandbox_broker_terminal::frames::CloseCode;
use sandbox_broker_terminal::frames::level1::{Cells, Person, ServerFrame};

/// A broker that says nothing for this long is lost. It pings every 10 s.
const DEAD_AFTER: Duration = Duration::from_secs(25);

/// Time to write the last output when the session goes on without us.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes of one message of input, at most.
const MAX_INPUT: usize = 8 * 1024;

/// Output after which it is acknowledged: an eighth of the window.
const ACK_EVERY: u64 = 64 * 1024;

/// Ctrl-D, by which a terminal knows the end of input.
const END_OF_INPUT: u8 = 0x04;

/// How often the end of a pipe is typed until the shell ends. A program that
/// reads a pipe after its end sees the end each time, too.
const END_EVERY: Duration = Duration::from_millis(500);

/// How a connection ended.
enum Over {
    Left(Left),
    /// The session may still be there: why the connection ended, and the pause that
    /// the broker asked for.
    Lost(String, Option<Duration>),
}

impl From<Lost> for Over {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Broke(why) => Over::Lost(why, None),
            Lost::Strange(_) => Over::Left(Left::Failed(lost.to_string())),
        }
    }
}

impl From<Unwritable> for Over {
    fn from(error: Unwritable) -> Self {
        Over::Left(Left::Failed(error.to_string()))
    }
}

/// What is said to a client that may drive and does not.
const WATCHES: &str = "another client has control, so keys go nowhere; Enter takes it";
/// The same if standard input is no terminal: nobody can press Enter.
const WAITS: &str = "another client has control, so the input waits; --take takes control";
/// Why a visit ends that has no control and no way to get it.
const NO_CONTROL: &str = "another client has control and standard input is at its end, so nothing can be typed; \
                          --take takes control, --view watches";

/// How long a visit that can never type waits, once it has the replay. An end of the session that is on its way comes
/// sooner, and its exit status is what such a visit is for.
const HOPELESS: Duration = Duration::from_secs(2);

/// A visit and everything that survives its connections.
pub(super) struct Visit {
    way: Way,
    /// It has to take control once it is there.
    take: bool,
    /// It has asked for control and does not have it yet.
    asked: bool,
    local: Local,
    screen: Screen,
    seen: Option<Seen>,
    /// Whether it may type now.
    drives: bool,
    /// Number of keys since the last Enter that went nowhere.
    blind_keys: usize,
    /// Only this terminal answers what programs ask a terminal.
    answers: bool,
    /// The session's size at the output that came last.
    size: Option<Cells>,
    /// The session's size about which the person was told that it does not fit.
    too_large: Option<Cells>,
    /// How long the session lives on without a client.
    keep: Duration,
    /// Output before this offset is replay.
    live: u64,
    /// Output before this offset is acknowledged.
    acked: u64,
    sent: SentInput,
    /// Connections that failed in a row.
    failures: u32,
    /// An error that the person was not told yet. A close may follow, whose words it
    /// then is.
    error: Option<String>,
    /// The pause that the broker asked for.
    retry: Option<Duration>,
    /// How the session ended, if the broker said so.
    exit: Option<Left>,
}

impl Visit {
    /// Begins to listen to the local terminal.
    pub(super) fn new(target: Target, take: bool, key: DetachKey) -> anyhow::Result<Self> {
        Ok(Visit {
            way: Way::to(target)?,
            take,
            asked: false,
            local: Local::listen(key)?,
            screen: Screen::start(),
            seen: None,
            drives: false,
            blind_keys: 0,
            answers: false,
            size: None,
            too_large: None,
            keep: Duration::ZERO,
            live: 0,
            acked: 0,
            sent: SentInput::default(),
            failures: 0,
            error: None,
            retry: None,
            exit: None,
        })
    }

    /// Runs the visit to its end. Also returns the session's id, if there was one, and how long it lives on without a client.
    pub(super) async fn run(mut self) -> (Left, Option<(String, Duration)>) {
        if self.way.broker.tells_token() {
            tty::say("the token crosses the network without encryption; use https");
        }
        let left = loop {
            let mut link = match self.enter().await {
                Ok(link) => link,
                Err(left) => break left,
            };
            match self.serve(&mut link).await {
                Ok(never) => match never {},
                Err(Over::Left(left @ (Left::Detached | Left::Signalled(_)))) => {
                    link.detach().await;
                    break left;
                }
                Err(Over::Left(left)) => {
                    link.close().await;
                    break left;
                }
                Err(Over::Lost(why, asked)) => {
                    if let Err(left) = self.lost(&why, asked).await {
                        break left;
                    }
                }
            }
        };
        let Visit { screen, mut local, seen, keep, .. } = self;
        let signalled = async { while !matches!(local.hear(false).await, Heard::Signal(_)) {} };
        tokio::select! {
            () = screen.finish() => {}
            // If the shell ended, wait for its last output.
            () = sleep(WRITE_WITHIN), if !matches!(left, Left::Exited { .. }) => {}
            () = signalled => {}
        }
        (left, seen.map(|seen| (seen.session, keep)))
    }

    /// Tries until there is a socket.
    async fn enter(&mut self) -> Result<Socket, Left> {
        loop {
            let address = self.way.address(self.seen.as_ref(), self.screen.next())?;
            // On the heap: the state of a handshake is large, and a visit has few.
            let opened = Box::pin(self.way.open(&address));
            match meanwhile(&mut self.local, self.seen.is_some(), opened).await? {
                Ok(link) => {
                    self.local.go_raw().map_err(|error| Left::Failed(format!("{error:#}")))?;
                    return Ok(link);
                }
                Err(NoEntry::Left(left)) => return Err(left),
                Err(NoEntry::Again(why)) if self.seen.is_none() => return Err(Left::Failed(why)),
                Err(NoEntry::Again(_)) => self.pause(None).await?,
            }
        }
    }

    /// Reports that a connection is gone, drops what was typed, and pauses.
    async fn lost(&mut self, why: &str, asked: Option<Duration>) -> Result<(), Left> {
        if self.seen.is_none() {
            return Err(Left::Failed(format!("the connection broke before the shell ran: {why}")));
        }
        if self.failures == 0 {
            tty::say(&format!("{why}; connecting again"));
        }
        self.local.discard();
        self.pause(asked).await
    }

    /// Waits before the next try, longer after each that fails.
    async fn pause(&mut self, asked: Option<Duration>) -> Result<(), Left> {
        let pause = pause(self.failures, asked);
        self.failures += 1;
        meanwhile(&mut self.local, true, sleep(pause)).await
    }

    /// Serves one connection.
    async fn serve(&mut self, link: &mut Socket) -> Result<std::convert::Infallible, Over> {
        let mut running = false;
        let mut dead_at = Instant::now() + DEAD_AFTER;
        let mut hopeless_since: Option<Instant> = None;
        let mut end = interval(END_EVERY);
        end.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ends = running && self.drives && self.local.over && self.local.typed.is_empty();
            let hopeless = running && self.is_hopeless();
            hopeless_since = hopeless_since.filter(|_| hopeless).or(hopeless.then(Instant::now));
            tokio::select! {
                received = link.next() => {
                    dead_at = Instant::now() + DEAD_AFTER;
                    match received? {
                        None => self.tell_error(),
                        Some(Received::Output(offset, bytes)) => {
                            self.tell_error();
                            let live = if self.drives && self.answers { self.live } else { u64::MAX };
                            let missing = self.screen.output(offset, &bytes, live)?;
                            if missing > 0 {
                                tty::say(&format!("{missing} bytes of output are missing"));
                            }
                            self.tell_size();
                        }
                        Some(Received::Control(frame)) => running |= self.control(frame, running),
                        Some(Received::Closed(code, words)) => return Err(self.closed(code, words, running)),
                    }
                }
                // Also without control: the end of the input has to be seen.
                heard = self.local.hear(running && !self.way.viewer) => match heard {
                    Heard::Typed => {}
                    Heard::Detach => {
                        self.send_typed(link, running).await?;
                        return Err(Over::Left(Left::Detached));
                    }
                    Heard::Signal(number) => return Err(Over::Left(Left::Signalled(number))),
                    Heard::Resized => {
                        if let Some(size) = tty::size() {
                            link.resize(size).await?;
                        }
                    }
                },
                written = self.screen.write_on() => {
                    let written = written?;
                    if written.saturating_sub(self.acked) >= ACK_EVERY {
                        self.acked = written;
                        link.ack(written).await?;
                    }
                }
                _ = end.tick(), if ends && self.sent.is_empty() && !self.local.is_tty => {
                    self.send(link, &[END_OF_INPUT]).await?;
                }
                () = sleep_until(hopeless_since.unwrap_or(dead_at) + HOPELESS), if hopeless => {
                    return Err(Over::Left(Left::Failed(NO_CONTROL.to_owned())));
                }
                () = sleep_until(dead_at) => {
                    let why = format!("the broker has been silent for {} s", DEAD_AFTER.as_secs());
                    return Err(Over::Lost(why, None));
                }
            }
            self.send_typed(link, running).await?;
        }
    }

    /// Whether it has the replay and can never type: its input has ended, and another client has control.
    fn is_hopeless(&self) -> bool {
        let wants_control = !self.drives && !self.way.viewer && !self.asked && !self.take;
        wants_control && self.local.over && !self.local.is_tty && self.screen.next() >= self.live
    }

    /// Sends as much of what was typed as may be under way.
    async fn send_typed(&mut self, link: &mut Socket, running: bool) -> Result<(), Over> {
        if !running {
            return Ok(());
        }
        // Enter alone confirms, not Enter at the end of a line that was typed blindly.
        let confirmed = !self.way.viewer && self.local.is_tty && &self.local.typed[..] == b"\r" && self.blind_keys == 0;
        if !self.drives && (confirmed || std::mem::take(&mut self.take)) {
            self.asked = true;
            link.take_control().await?;
        }
        if !self.drives {
            if !self.local.is_tty {
                // It waits for control.
                return Ok(());
            }
            self.blind_keys = if confirmed { 0 } else { self.blind_keys + self.local.typed.len() };
            if self.local.typed.ends_with(b"\r") {
                self.blind_keys = 0;
            }
            self.local.typed.clear();
            return Ok(());
        }
        while !self.local.typed.is_empty() {
            let len = self.local.typed.len().min(MAX_INPUT).min(self.sent.room());
            if len == 0 {
                break;
            }
            let bytes = self.local.typed.split_to(len);
            self.send(link, &bytes).await?;
        }
        Ok(())
    }

    async fn send(&mut self, link: &mut Socket, bytes: &[u8]) -> Result<(), Over> {
        let seq = self.sent.begin(bytes.len());
        Ok(link.input(seq, bytes).await?)
    }

    /// Follows what the broker says. True if it says that the shell runs.
    fn control(&mut self, frame: ServerFrame<String>, running: bool) -> bool {
        self.tell_error();
        match frame {
            ServerFrame::Stage { state, message, .. } => {
                // Only the client that makes a session wants to know how that goes.
                let making = self.seen.is_none() && self.way.session.is_none() && state != "done";
                if running || making {
                    tty::say(&message);
                }
            }
            ServerFrame::Ready { session, role, epoch, offset, live, input, answers, keep_ms, size, .. } => {
                self.ready(session, epoch, offset, input);
                (self.live, self.drives, self.failures) = (live, role == "driver", 0);
                (self.take, self.asked) = (self.take && !self.drives, false);
                if !self.drives && !self.way.viewer && !self.take {
                    tty::say(self.watches());
                }
                self.answers = answers != "recorder";
                self.keep = Duration::from_millis(keep_ms);
                self.sized(size);
                return true;
            }
            ServerFrame::Screen { offset, data, size } => {
                self.screen.draw(offset, &data);
                self.sized(size);
            }
            ServerFrame::Size { size, .. } => self.sized(Some(size)),
            ServerFrame::Gap { from, to, reason } => {
                self.screen.goes_on_at(to);
                tty::say(&format!("{} bytes of output are gone: {reason}", to.saturating_sub(from)));
            }
            ServerFrame::InputAck { seq } => self.sent.acknowledged(seq),
            ServerFrame::Clients { clients } => self.company(&clients),
            ServerFrame::Exit { code, signal, reason, .. } => self.exit = Some(Left::Exited { code, signal, reason }),
            ServerFrame::Error { message, retry_ms, .. } => {
                self.error = Some(message);
                self.retry = retry_ms.map(Duration::from_millis);
            }
            ServerFrame::Pong {} | ServerFrame::Unknown => {}
        }
        false
    }

    /// Notes the size that the session's terminal has from here on.
    fn sized(&mut self, size: Option<Cells>) {
        self.size = size.or(self.size);
        self.tell_size();
    }

    /// Tells a person whose terminal is smaller than the session's. Sizes of the
    /// past, in output that is replayed, matter to nobody. A client that drives
    /// has asked for another size where it does not fit.
    fn tell_size(&mut self) {
        if self.screen.next() < self.live || self.drives || !tty::shows() {
            return;
        }
        let (Some(size), Some(own)) = (self.size, tty::size()) else { return };
        let fits = size.cols <= own.cols && size.rows <= own.rows;
        if !fits && self.too_large != Some(size) {
            tty::say(&format!(
                "the session's terminal is {} by {} and this one {} by {}: make it larger to see what was written where",
                size.cols, size.rows, own.cols, own.rows
            ));
        }
        self.too_large = (!fits).then_some(size);
    }

    /// Tells the person an error after which no close came.
    fn tell_error(&mut self) {
        if let Some(error) = self.error.take() {
            tty::say(&error);
        }
    }

    /// The shell runs: it has started, or it still does after a lost connection.
    fn ready(&mut self, session: String, epoch: u64, offset: u64, input: u64) {
        let Some(seen) = &self.seen else {
            let role = if self.way.viewer { "watching session" } else { "session" };
            let leave = self.local.key.is_some() && self.local.is_tty;
            let leave = if leave { format!("; {} leaves it", self.local.key) } else { String::new() };
            tty::say(&format!("{role} {session}{leave}"));
            self.screen.goes_on_at(offset);
            self.seen = Some(Seen { session, epoch });
            return;
        };
        if seen.epoch == epoch {
            tty::say("connected again");
        } else {
            tty::say("connected again; the broker has begun a new count of the output and shows what it has");
            self.screen.clear();
            self.screen.goes_on_at(offset);
            self.acked = 0;
        }
        self.seen = Some(Seen { session, epoch });
        self.sent.acknowledged(input);
        let unknown = self.sent.give_up();
        if unknown > 0 {
            tty::say(&format!("{unknown} bytes of input may not have arrived; they are not sent again"));
        }
        let unsent = std::mem::take(&mut self.local.discarded);
        if unsent > 0 {
            tty::say(&format!("{unsent} bytes typed without a connection were not sent"));
        }
    }

    /// Tells the person when control comes or goes.
    fn company(&mut self, clients: &[Person<String>]) {
        let Some(own) = clients.iter().find(|person| person.client == self.way.client) else { return };
        let drives = own.role == "driver";
        if drives != self.drives {
            self.drives = drives;
            self.asked &= !drives;
            tty::say(if drives { "you type now" } else { self.watches() });
        }
    }

    /// What a client is told that may drive and does not.
    fn watches(&self) -> &'static str {
        if self.local.is_tty { WATCHES } else { WAITS }
    }

    /// What a close means for the visit.
    fn closed(&mut self, code: u16, words: String, running: bool) -> Over {
        let words = self.error.take().unwrap_or(words);
        let again = code == CloseCode::Draining as u16 || (code == CloseCode::TryLater as u16 && !running);
        if let Some(exit) = self.exit.take() {
            return Over::Left(exit);
        }
        // The broker's own words are for people who see its page.
        if code == CloseCode::SignedOut as u16 {
            return Over::Left(Left::Unknown(self.way.broker.unknown()));
        }
        if again && self.seen.is_some() {
            return Over::Lost(words, self.retry.take());
        }
        Over::Left(if code == CloseCode::Exited as u16 {
            Left::Exited { code: None, signal: None, reason: words }
        } else {
            Left::Closed(code, words)
        })
    }
}

/// Waits for something while there is no connection. Only what ends the visit
/// counts. On the way `back`, what a person types is thrown away: they would not
/// see what it does.
async fn meanwhile<T>(local: &mut Local, back: bool, what: impl Future<Output = T>) -> Result<T, Left> {
    let mut what = std::pin::pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return Ok(done),
            heard = local.hear(false) => match heard {
                Heard::Detach => return Err(Left::Detached),
                Heard::Signal(number) => return Err(Left::Signalled(number)),
                Heard::Typed if back => local.discard(),
                Heard::Typed | Heard::Resized => {}
            },
        }
    }
}
