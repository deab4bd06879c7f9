//! One visit to a session, over as many connections as it takes.
//!
//! Owns what survives a connection: which session, how far its output is shown
//! here, and which input is under way. Input that a lost connection may have
//! swallowed is told and never sent again: what it would do twice is not ours
//! to know.
//!
//! ```text
//!  enter ──▶ serve ──▶ left
//!    ▲         │ lost
//!    └─ pause ─┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use url::Url;

use super::Target;
use super::key::DetachKey;
use super::left::Left;
use super::local::{Heard, Local};
use super::screen::{Screen, Unwritable};
use super::tty;
use crate::cli::remote::{Broker, Connection};
use sandbox_broker_terminal::CloseCode;
use sandbox_broker_terminal::client::{Control, Link, Lost, Person, Told};
use sandbox_broker_terminal::level1::Cells;

/// First and longest pause before a lost connection is made again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));

/// A broker that says nothing for this long is lost. It pings every 10 s.
const DEAD_AFTER: Duration = Duration::from_secs(25);

/// Time for the handshake.
const UPGRADE_WITHIN: Duration = Duration::from_secs(15);

/// Time to write the last output when we leave by ourselves.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// Input that is not acknowledged, at most. Less than what a broker holds for a
/// shell that takes none, so that it never stops to read.
const MAX_UNDER_WAY: usize = 32 * 1024;

/// Bytes of one message of input, at most.
const MAX_INPUT: usize = 8 * 1024;

/// Output after which it is acknowledged: an eighth of the window.
const ACK_EVERY: u64 = 64 * 1024;

/// Ctrl-D, by which a terminal knows the end of input.
const END_OF_INPUT: u8 = 0x04;

/// How often the end of a pipe is typed until it ends the shell: who reads from
/// a pipe that has ended sees the end each time, too.
const END_EVERY: Duration = Duration::from_millis(500);

type Socket = Link<Connection>;

/// How a connection ended.
enum Over {
    Left(Left),
    /// The session may be there yet. When to come back, if the broker says it.
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

/// The session once its shell was seen to run.
struct Seen {
    session: String,
    epoch: u64,
}

/// Why there is no socket.
enum NoEntry {
    /// For good.
    Left(Left),
    /// Perhaps for some time only.
    Again(String),
}

/// What is said to who may drive and does not.
const WATCHES: &str = "another client has control, so keys go nowhere; Enter takes it";

pub(super) struct Visit {
    broker: Broker,
    /// The session to come to first.
    target: Option<String>,
    /// It came to watch.
    viewer: bool,
    /// It is yet to take control.
    take: bool,
    invitation: Option<String>,
    /// This window's name.
    client: String,
    local: Local,
    screen: Screen,
    seen: Option<Seen>,
    /// Whether it may type now.
    drives: bool,
    /// Keys since the last Enter that went nowhere.
    blind_keys: usize,
    /// Nobody but this terminal answers what programs ask of one.
    answers: bool,
    /// The session's size that was said to be more than this terminal has.
    too_large: Option<Cells>,
    /// What comes before it is replay.
    live: u64,
    acked: u64,
    /// Number of the last input.
    seq: u64,
    /// Input that is not acknowledged: its number and how long it is.
    under_way: VecDeque<(u64, usize)>,
    /// Connections that failed in a row.
    failures: u32,
    /// An error that was not told yet: the words of a close that may follow.
    error: Option<String>,
    retry: Option<Duration>,
    exit: Option<Left>,
}

impl Visit {
    pub(super) fn new(target: Target, take: bool, key: DetachKey) -> anyhow::Result<Self> {
        let Target { broker, session, viewer, invitation } = target;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        Ok(Visit {
            broker,
            target: session,
            viewer,
            take,
            invitation,
            client: format!("attach-{:016x}", u64::from_be_bytes(random)),
            local: Local::listen(key)?,
            screen: Screen::start(),
            seen: None,
            drives: false,
            blind_keys: 0,
            answers: false,
            too_large: None,
            live: 0,
            acked: 0,
            seq: 0,
            under_way: VecDeque::new(),
            failures: 0,
            error: None,
            retry: None,
            exit: None,
        })
    }

    /// To its end. Also returns the session, where there is one.
    pub(super) async fn run(mut self) -> (Left, Option<String>) {
        if self.broker.tells_token() {
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
                Err(Over::Lost(why, pause)) => {
                    if let Err(left) = self.lost(&why, pause).await {
                        break left;
                    }
                }
            }
        };
        let Visit { screen, mut local, seen, .. } = self;
        let signalled = async { while !matches!(local.hear(false).await, Heard::Signal(_)) {} };
        tokio::select! {
            () = screen.finish() => {}
            // The last output of a shell that ended is waited for.
            () = sleep(WRITE_WITHIN), if !matches!(left, Left::Exited { .. }) => {}
            () = signalled => {}
        }
        (left, seen.map(|seen| seen.session))
    }

    /// A socket, when there is one.
    async fn enter(&mut self) -> Result<Socket, Left> {
        loop {
            let address = self.address()?;
            // Two handshakes on their way are large, and a visit has few.
            let opened = Box::pin(open(&self.broker, &address));
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

    /// The address with what the broker has to know.
    fn address(&self) -> Result<Url, Left> {
        let mut address = self.broker.terminal().map_err(|error| Left::Failed(format!("{error:#}")))?;
        let mut query = address.query_pairs_mut();
        query.append_pair("client", &self.client);
        query.append_pair("role", if self.viewer { "viewer" } else { "driver" });
        match (&self.seen, &self.target) {
            (Some(Seen { session, epoch }), _) => {
                query.append_pair("session", session);
                query.append_pair("since", &self.screen.next().to_string());
                query.append_pair("epoch", &epoch.to_string());
            }
            (None, Some(session)) => _ = query.append_pair("session", session),
            (None, None) => {}
        }
        // A person wants to see what is there; a file wants every byte.
        if tty::shows() {
            query.append_pair("catch_up", "screen");
        }
        if let Some(invitation) = &self.invitation {
            query.append_pair("invitation", invitation);
        }
        if let Some(size) = tty::size() {
            query.append_pair("cols", &size.cols.to_string());
            query.append_pair("rows", &size.rows.to_string());
        }
        drop(query);
        Ok(address)
    }

    /// A connection is gone: what of it is lost, and a pause.
    async fn lost(&mut self, why: &str, pause: Option<Duration>) -> Result<(), Left> {
        if self.seen.is_none() {
            return Err(Left::Failed(format!("the connection broke before the shell ran: {why}")));
        }
        if self.failures == 0 {
            tty::say(&format!("{why}; connecting again"));
        }
        self.local.discard();
        self.pause(pause).await
    }

    /// Waits before the next try, longer after each that fails.
    async fn pause(&mut self, pause: Option<Duration>) -> Result<(), Left> {
        let longest = PAUSE.0.saturating_mul(1 << self.failures.min(16)).min(PAUSE.1);
        self.failures += 1;
        let pause = pause.unwrap_or_else(|| jittered(longest)).min(PAUSE.1);
        meanwhile(&mut self.local, true, sleep(pause)).await
    }

    /// Serves one connection.
    async fn serve(&mut self, link: &mut Socket) -> Result<std::convert::Infallible, Over> {
        let mut running = false;
        let mut dead_at = Instant::now() + DEAD_AFTER;
        let mut end = interval(END_EVERY);
        end.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ends = running && self.drives && self.local.over && self.local.typed.is_empty();
            tokio::select! {
                told = link.next() => {
                    dead_at = Instant::now() + DEAD_AFTER;
                    match told? {
                        None => self.tell_error(),
                        Some(Told::Output(offset, bytes)) => {
                            self.tell_error();
                            let live = if self.drives && self.answers { self.live } else { u64::MAX };
                            let missing = self.screen.output(offset, &bytes, live)?;
                            if missing > 0 {
                                tty::say(&format!("{missing} bytes of output are missing"));
                            }
                        }
                        Some(Told::Control(control)) => running |= self.control(control, running),
                        Some(Told::Closed(code, words)) => return Err(self.closed(code, words, running)),
                    }
                }
                heard = self.local.hear(running && self.drives) => match heard {
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
                written = self.screen.turn() => {
                    let written = written?;
                    if written.saturating_sub(self.acked) >= ACK_EVERY {
                        self.acked = written;
                        link.ack(written).await?;
                    }
                }
                _ = end.tick(), if ends && self.under_way.is_empty() && !self.local.is_tty => {
                    self.send(link, &[END_OF_INPUT]).await?;
                }
                () = sleep_until(dead_at) => {
                    let why = format!("the broker has been silent for {} s", DEAD_AFTER.as_secs());
                    return Err(Over::Lost(why, None));
                }
            }
            self.send_typed(link, running).await?;
        }
    }

    /// Sends of what was typed as much as may be under way.
    async fn send_typed(&mut self, link: &mut Socket, running: bool) -> Result<(), Over> {
        if !running {
            return Ok(());
        }
        // Enter alone, not at the end of a line that was typed blindly.
        let confirmed = !self.viewer && self.local.is_tty && &self.local.typed[..] == b"\r" && self.blind_keys == 0;
        if !self.drives && (confirmed || std::mem::take(&mut self.take)) {
            link.take_control().await?;
        }
        if !self.drives {
            self.blind_keys = if confirmed { 0 } else { self.blind_keys + self.local.typed.len() };
            if self.local.typed.ends_with(b"\r") {
                self.blind_keys = 0;
            }
            self.local.typed.clear();
            return Ok(());
        }
        while !self.local.typed.is_empty() {
            let under_way: usize = self.under_way.iter().map(|(_, len)| len).sum();
            let len = self.local.typed.len().min(MAX_INPUT).min(MAX_UNDER_WAY - under_way);
            if len == 0 {
                break;
            }
            let bytes = self.local.typed.split_to(len);
            self.send(link, &bytes).await?;
        }
        Ok(())
    }

    async fn send(&mut self, link: &mut Socket, bytes: &[u8]) -> Result<(), Over> {
        self.seq += 1;
        // Before it is sent: what is given up halfway may have arrived.
        self.under_way.push_back((self.seq, bytes.len()));
        Ok(link.input(self.seq, bytes).await?)
    }

    /// Follows what the broker says. True when the shell runs.
    fn control(&mut self, control: Control, running: bool) -> bool {
        self.tell_error();
        match control {
            Control::Stage { state, message } => {
                // How a session came to be is news to who made it.
                let making = self.seen.is_none() && self.target.is_none() && state != "done";
                if running || making {
                    tty::say(&message);
                }
            }
            Control::Ready { session, role, epoch, offset, live, input, answers, size } => {
                self.ready(session, epoch, offset, input);
                (self.live, self.drives, self.failures) = (live, role == "driver", 0);
                self.take &= !self.drives;
                if !self.drives && !self.viewer && !self.take {
                    tty::say(WATCHES);
                }
                self.answers = answers != "recorder";
                self.sized(size);
                return true;
            }
            Control::Screen { offset, data, size } => {
                self.sized(size);
                self.screen.draw(offset, &data);
            }
            Control::Size(size) => self.sized(Some(size)),
            Control::Gap { from, to, reason } => {
                self.screen.goes_on_at(to);
                tty::say(&format!("{} bytes of output are gone: {reason}", to.saturating_sub(from)));
            }
            Control::InputAck { seq } => while self.under_way.pop_front_if(|(sent, _)| *sent <= seq).is_some() {},
            Control::Clients { clients } => self.company(&clients),
            Control::Exit { code, signal, reason } => self.exit = Some(Left::Exited { code, signal, reason }),
            Control::Error { message, retry_ms } => {
                self.error = Some(message);
                self.retry = retry_ms.map(Duration::from_millis);
            }
            Control::Other => {}
        }
        false
    }

    /// The session's terminal has this size. Who drives has asked for another
    /// one where it does not fit.
    fn sized(&mut self, size: Option<Cells>) {
        let own = tty::size().filter(|_| tty::shows() && !self.drives);
        let (Some(size), Some(own)) = (size, own) else { return };
        let fits = size.cols <= own.cols && size.rows <= own.rows;
        if !fits && self.too_large != Some(size) {
            tty::say(&format!(
                "the session's terminal is {} by {} and this one {} by {}: make it larger to see what was written where",
                size.cols, size.rows, own.cols, own.rows
            ));
        }
        self.too_large = (!fits).then_some(size);
    }

    fn tell_error(&mut self) {
        if let Some(error) = self.error.take() {
            tty::say(&error);
        }
    }

    /// The shell runs, for the first time or still.
    fn ready(&mut self, session: String, epoch: u64, offset: u64, input: u64) {
        let Some(seen) = &self.seen else {
            let role = if self.viewer { "watching session" } else { "session" };
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
        while self.under_way.pop_front_if(|(sent, _)| *sent <= input).is_some() {}
        let unknown: usize = self.under_way.drain(..).map(|(_, len)| len).sum();
        if unknown > 0 {
            tty::say(&format!("{unknown} bytes of input may not have arrived; they are not sent again"));
        }
        let unsent = std::mem::take(&mut self.local.discarded);
        if unsent > 0 {
            tty::say(&format!("{unsent} bytes typed without a connection were not sent"));
        }
    }

    /// Who is there now; tells when that changes what we may do.
    fn company(&mut self, clients: &[Person]) {
        let Some(own) = clients.iter().find(|person| person.client == self.client) else { return };
        let drives = own.role == "driver";
        if drives != self.drives {
            self.drives = drives;
            tty::say(if drives { "you type now" } else { WATCHES });
        }
    }

    fn closed(&mut self, code: u16, words: String, running: bool) -> Over {
        let words = self.error.take().unwrap_or(words);
        let again = code == CloseCode::Draining as u16 || (code == CloseCode::TryLater as u16 && !running);
        if let Some(exit) = self.exit.take() {
            return Over::Left(exit);
        }
        // The broker's words are for those who see its page.
        if code == CloseCode::SignedOut as u16 {
            return Over::Left(Left::Unknown(self.broker.unknown()));
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

/// Opens a socket at this address.
async fn open(broker: &Broker, address: &Url) -> Result<Socket, NoEntry> {
    let connection = broker.connect().await;
    let unreachable = |error| NoEntry::Again(format!("cannot reach the broker at {}: {error:#}", broker.name()));
    let opened =
        timeout(UPGRADE_WITHIN, Link::open(connection.map_err(unreachable)?, address.as_str(), broker.token()));
    match opened.await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(error)) => Err(match Left::unless_transient(error, || broker.unknown()) {
            Ok(left) => NoEntry::Left(left),
            Err(error) => NoEntry::Again(error.to_string()),
        }),
        Err(_) => Err(NoEntry::Again(format!("no answer to the upgrade within {} s", UPGRADE_WITHIN.as_secs()))),
    }
}

/// Waits for something while there is no connection: only what ends the visit
/// counts. On the way back, what a person types is thrown away: they would not
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

/// Between half of a pause and all of it: brokers that come back are not
/// stormed.
fn jittered(longest: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness all come at once, and are served one after the other.
    let _ = getrandom::fill(&mut random);
    longest / 2 + (longest / 2).mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
}
