//! Sessions under a nemesis, for as long as one likes: `cargo xtask soak`.
//!
//! Every decision is drawn from a seed that is told first and replays the same
//! decisions; what the machine makes of their timing differs.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::support::faults::{Fault, Faults};
use crate::support::level1::{Told, Visit, Window};
use crate::support::proxy::{Place, Proxy};
use crate::support::stream::{LINE, check};
use crate::support::{Broker, Closed, Sandboxd};

/// Lines that one session prints, a part every twentieth of a second: about
/// ten seconds, so that every session lives through some faults.
const PARTS: u64 = 200;
const PART: u64 = 2000;
const BYTES: u64 = PARTS * PART * LINE;

/// A broker that cannot be reached is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// And a session that could not be had, for the provider may be in trouble.
const LATER: Duration = Duration::from_secs(1);

/// How long what is left of sessions may be there when all have ended: the
/// sandbox of a create whose answer was lost is looked for this long.
const LEFT: Duration = Duration::from_secs(75);

/// Output that a late client reads before it leaves again: several windows of a
/// socket, so that it also falls behind.
const LOOKS_AT: u64 = 2 << 20;

/// Late clients of one session at a time. Each may have the sandbox draw a screen.
const LATE_CLIENTS: usize = 3;

/// What a provider in trouble may do to a request.
const FAULTS: [Fault; 9] = [
    Fault::Refused(429),
    Fault::Refused(500),
    Fault::Refused(502),
    Fault::Refused(503),
    Fault::Hangs,
    Fault::Drips,
    Fault::Lost,
    Fault::Torn(20),
    Fault::Torn(200_000),
];

/// xorshift64*: the same seed, the same decisions.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// `server` is where the broker finds `sandboxd`: behind a network that breaks.
///
/// The shell prints a line, then the others from the first line on that it
/// reads. Meanwhile it reads more, up to `end`, and tells at last what it has
/// read, in one line.
fn config(sandboxd: &Sandboxd, server: &str, timeout: u64) -> String {
    let shell = format!(
        r#"stty -opost -echo; echo 0000000; read -r typed
           stream() {{
             i=0; while [ $i -lt {PARTS} ]; do
               seq -f %07.0f $((i*{PART}+(i==0))) $((i*{PART}+{last})); i=$((i+1)); sleep 0.05; done; }}
           stream & while read -r line && [ "$line" != end ]; do typed="$typed $line"; done
           wait; echo "$typed"; while read -r line && [ "$line" != bye ]; do :; done; exit 7"#,
        last = PART - 1
    );
    let sections = sandboxd.section_by(server, "box");
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\ntimeout = \"{timeout}s\"\n\
         keep_after_disconnect = \"10s\"\nsize = \"smallest\"\nshell = [\"/bin/bash\", \"-c\", '''{shell}''']\n{sections}"
    )
}

/// What a client has typed in one session, each line its own number, and what
/// it knows of it.
#[derive(Debug, Default)]
struct Typing {
    /// Of the last input, over all connections.
    seq: u64,
    lines: BTreeSet<u64>,
    /// Typed over this connection, and not told of yet.
    open: BTreeSet<u64>,
    /// Told to be handed to the sandbox.
    handed: BTreeSet<u64>,
    /// What the shell has read, once it has told.
    read: BTreeSet<u64>,
}

impl Typing {
    /// Types the next line, `twice` as a client does that is not sure.
    async fn line(&mut self, window: &mut Window, twice: bool) {
        self.seq += 1;
        self.lines.insert(self.seq);
        self.open.insert(self.seq);
        for _ in 0..=u8::from(twice) {
            window.input_as(self.seq, format!("{:07}\n", self.seq).as_bytes()).await;
        }
    }

    /// Types what is no line of these.
    async fn word(&mut self, window: &mut Window, word: &str) {
        self.seq += 1;
        window.input_as(self.seq, word.as_bytes()).await;
    }

    /// The broker tells that this connection's input was handed on up to here.
    fn told(&mut self, seq: u64) {
        let later = self.open.split_off(&(seq + 1));
        self.handed.append(&mut std::mem::replace(&mut self.open, later));
    }

    /// The next connection tells of the last one's input. What it does not tell
    /// of is unknown and stays so: a client must not send it again.
    fn resumed(&mut self, seq: u64) {
        self.told(seq);
        self.open.clear();
    }

    /// The shell tells what it has read.
    fn check(&mut self, told: &[u8], name: &str) {
        let told = str::from_utf8(told).unwrap();
        let read: Vec<u64> = told.split_whitespace().map(|line| line.parse().unwrap()).collect();
        assert!(read.is_sorted_by(|a, b| a < b), "{name}: read twice or out of order: {told:?}");
        self.read = read.into_iter().collect();
        let foreign: Vec<_> = self.read.difference(&self.lines).collect();
        assert!(foreign.is_empty(), "{name}: nobody has typed {foreign:?}");
        let lost: Vec<_> = self.handed.difference(&self.read).collect();
        assert!(lost.is_empty(), "{name}: told to be handed on, and not read: {lost:?} of {told:?}");
    }
}

/// What became of one session.
#[derive(Debug, Default)]
struct Tally {
    whole: u64,
    connections: u64,
    /// Lines that were typed, told to be handed on, and read by a shell.
    lines: [u64; 3],
    /// Ended by a fault before its shell ran: nobody was promised anything.
    unborn: u64,
    /// Of these, those of which the provider's fault was told.
    refused: u64,
    /// Clients that came late, and the screens that they were shown.
    late: u64,
    screens: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.whole += other.whole;
        self.connections += other.connections;
        self.lines = std::array::from_fn(|i| self.lines[i] + other.lines[i]);
        self.unborn += other.unborn;
        self.refused += other.refused;
        self.late += other.late;
        self.screens += other.screens;
    }

    /// A late client left. What it found wrong ends the soak.
    fn visited(&mut self, joined: Result<(bool, bool), JoinError>) {
        let (came, shown) = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.late += u64::from(came);
        self.screens += u64::from(shown);
    }
}

/// A client that joins a running session with nothing, at a width of its own. It
/// checks the screen that it is shown and the output after that, and leaves.
/// Returns whether it got in, and whether there was a screen.
async fn late_client(url: String, session: String, size: (u16, u16)) -> (bool, bool) {
    let visit = Visit::to(&session).viewer().size(size.0, size.1);
    let Ok(mut window) = Window::try_open(&url, visit).await else { return (false, false) };
    let (mut came, mut shown, mut from) = (false, false, None);
    // The session may end meanwhile, and so may its broker.
    while let Ok(told) = window.next().await {
        match told {
            Told::Said(said) if said["type"] == "ready" => came = true,
            Told::Said(said) if said["type"] == "screen" => {
                shown = true;
                check_screen(&said, &session);
            }
            Told::Said(_) => {}
            Told::Output(offset, bytes) => {
                let begins = *from.get_or_insert(offset);
                let end = offset + bytes.len() as u64;
                check(offset, &bytes[..(BYTES.clamp(offset, end) - offset) as usize]);
                if end >= BYTES || end - begins >= LOOKS_AT {
                    break;
                }
            }
        }
    }
    (came, shown)
}

/// A screen of the stream shows the last whole line before its offset. Each line
/// begins in the column where the last one ended, so rows join without a seam.
fn check_screen(said: &Value, session: &str) {
    let (offset, size) = (said["offset"].as_u64().unwrap(), &said["size"]);
    let side = |name: &str| size[name].as_u64().unwrap() as usize;
    let mut terminal = avt::Terminal::new(side("cols"), side("rows")).unwrap();
    terminal.feed(said["data"].as_str().unwrap().chars());
    let rows: String = terminal.screen().text().iter().map(|row| row.trim()).collect();
    let last = format!("{:07}", (offset.min(BYTES) / LINE).saturating_sub(1));
    assert!(
        offset < LINE || rows.contains(&last),
        "{session}: no {last} on the screen at {offset}: {rows:?} of {said}"
    );
}

/// One client, and the sessions that it opens one after the other.
struct Person {
    name: String,
    dice: Dice,
    url: watch::Receiver<String>,
    until: Instant,
    tally: Tally,
}

impl Person {
    async fn live(mut self) -> Tally {
        while Instant::now() < self.until {
            self.session().await;
        }
        self.tally
    }

    async fn reach(&mut self, visit: &Visit) -> Window {
        loop {
            let url = self.url.borrow().clone();
            if let Ok(window) = Window::try_open(&url, visit.clone()).await {
                self.tally.connections += 1;
                return window;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// A session that had no shell yet. Who broke it off by a word gave a reason.
    async fn unborn(&mut self, window: &Window, closed: &Closed) {
        self.tally.unborn += 1;
        if closed.code != 1006 {
            let last = window.said.last().unwrap_or(&Value::Null);
            let told = last["type"] == "error" && !text(&last["message"]).is_empty();
            assert!(told && matches!(closed.code, 1001 | 1013 | 4500), "{}: {closed:?} after {last}", self.name);
            self.tally.refused += u64::from(closed.code == 4500);
        }
        tokio::time::sleep(LATER).await;
    }

    /// One session from its first byte to the exit of its shell.
    async fn session(&mut self) {
        let (mut known, mut end): (Option<(String, u64)>, u64) = (None, 0);
        let (mut typing, mut told) = (Typing::default(), Vec::new());
        // Connections that the client has forgotten and the broker has not.
        let mut half_open = Vec::new();
        let mut late = JoinSet::new();
        'connection: loop {
            let mut visit = Visit::default().client(&self.name);
            if let Some((session, epoch)) = &known {
                visit = Visit::to(session).client(&self.name).since(end, *epoch);
            }
            let mut window = self.reach(&visit).await;
            loop {
                let next = match window.next().await {
                    Ok(next) => next,
                    Err(closed) if known.is_none() => return self.unborn(&window, &closed).await,
                    // The broker went between the exit and its telling.
                    Err(closed) if closed.code == 4404 && !typing.read.is_empty() => break 'connection,
                    Err(closed) => {
                        let passes = matches!(closed.code, 1001 | 1006);
                        assert!(passes, "{}: {known:?} ended at {end}: {closed:?}", self.name);
                        continue 'connection;
                    }
                };
                match next {
                    Told::Said(said) if said["type"] == "ready" => {
                        let (session, epoch) = (text(&said["session"]), said["epoch"].as_u64().unwrap());
                        assert!(known.as_ref().is_none_or(|known| *known == (session.clone(), epoch)), "{said}");
                        assert_eq!(said["durability"], "durable", "{}: {said}", self.name);
                        known = Some((session, epoch));
                        let input = said["input"].as_u64().unwrap();
                        typing.resumed(input);
                        // What was handed on is ignored.
                        if input > 0 && self.dice.below(4) == 0 {
                            window.input_as(input, format!("{input:07}\n").as_bytes()).await;
                        }
                        // What is unknown is the person's to type anew.
                        if end == LINE {
                            typing.line(&mut window, false).await;
                        }
                        if end >= BYTES {
                            typing.word(&mut window, if typing.read.is_empty() { "end\n" } else { "bye\n" }).await;
                        }
                    }
                    Told::Said(said) if said["type"] == "input-ack" => typing.told(said["seq"].as_u64().unwrap()),
                    Told::Said(said) if said["type"] == "exit" => {
                        let exit = (said["code"].as_i64(), said["offset"].as_u64());
                        assert_eq!(exit, (Some(7), Some(end)), "{}: {said}", self.name);
                        break 'connection;
                    }
                    Told::Said(said) => assert_ne!(said["type"], "gap", "{}: {said}", self.name),
                    Told::Output(offset, mut bytes) => {
                        assert_eq!(offset, end, "{} in {known:?}: nothing is lost or doubled", self.name);
                        let began = end;
                        end += bytes.len() as u64;
                        let stream = bytes.split_to((BYTES.clamp(began, end) - began) as usize);
                        check(offset, &stream);
                        told.extend_from_slice(&bytes);
                        if began < BYTES && (began == 0 || self.dice.below(4) == 0) {
                            typing.line(&mut window, self.dice.below(4) == 0).await;
                        }
                        if began < BYTES && end >= BYTES {
                            typing.word(&mut window, "end\n").await;
                        }
                        if told.ends_with(b"\n") && typing.read.is_empty() {
                            typing.check(&told, &self.name);
                            typing.word(&mut window, "bye\n").await;
                        }
                    }
                }
                while late.try_join_next().map(|joined| self.tally.visited(joined)).is_some() {}
                if let Some((session, _)) = known.as_ref().filter(|_| late.len() < LATE_CLIENTS)
                    && (LINE + 1..BYTES).contains(&end)
                    && self.dice.below(100) == 0
                {
                    let size = (8 + self.dice.below(292) as u16, 4 + self.dice.below(96) as u16);
                    late.spawn(late_client(self.url.borrow().clone(), session.clone(), size));
                }
                match self.dice.below(400) {
                    0 => {
                        window.cut();
                        continue 'connection;
                    }
                    // Reads nothing for a while, as a page in the background.
                    1 => {
                        half_open.push(window);
                        continue 'connection;
                    }
                    2 => tokio::time::sleep(Duration::from_millis(self.dice.below(3000))).await,
                    _ => {}
                }
            }
        }
        while let Some(joined) = late.join_next().await {
            self.tally.visited(joined);
        }
        self.whole(&typing);
    }

    /// All that the shell printed came, and it told what it has read.
    fn whole(&mut self, typing: &Typing) {
        assert!(!typing.read.is_empty(), "{}: the shell ended by itself", self.name);
        self.tally.whole += 1;
        let lines = [&typing.lines, &typing.handed, &typing.read].map(|lines| lines.len() as u64);
        self.tally.lines = std::array::from_fn(|i| self.tally.lines[i] + lines[i]);
    }
}

/// What the nemesis does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Kill,
    Stop,
    Freeze,
    Reload,
    BreakReload,
    Cut,
    Fault,
}

/// A fault is the likeliest: there are most of them.
const DEEDS: [Deed; 8] =
    [Deed::Kill, Deed::Stop, Deed::Freeze, Deed::Reload, Deed::BreakReload, Deed::Cut, Deed::Fault, Deed::Fault];

/// For some seconds, a share of all requests meets a fault, which is another
/// one each time or the same.
fn trouble(faults: &Faults, dice: &mut Dice) {
    let (share, lasting) = ([10, 30, 60, 100][dice.below(4) as usize], Duration::from_millis(1000 + dice.below(7000)));
    let always = dice.below(FAULTS.len() as u64 * 2) as usize;
    let requests = Mutex::new(Dice::new(dice.below(u64::from(u32::MAX))));
    faults.begin(lasting, move |_, _| {
        let mut dice = requests.lock().unwrap();
        let any = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        (dice.below(100) < share).then(|| FAULTS.get(always).copied().unwrap_or(any))
    });
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Waits until nothing is left of any session.
async fn nothing_is_left(server: &Sandboxd, broker: &Broker, seed: u64) {
    let until = Instant::now() + LEFT;
    loop {
        let status: Value = broker.get("/api/status").await.json().await.unwrap();
        let (sandboxes, sessions) = (server.sandboxes().await, &status["sessions"]);
        if sandboxes.is_empty() && sessions.as_array().unwrap().is_empty() {
            return;
        }
        assert!(Instant::now() < until, "seed {seed}: {sandboxes:?} and {sessions} are left");
        tokio::time::sleep(RETRY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as one likes: cargo xtask soak"]
async fn sessions_survive_a_nemesis() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = variable("SOAK_SEED", now.as_secs());
    let (seconds, people) = (variable("SOAK_SECONDS", 60), variable("SOAK_SESSIONS", 10));
    println!("soak: seed {seed}, {people} clients, {seconds} s");
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let place = Place::find().await;
    let address = place.url().replace("localhost", "127.0.0.1");
    let network = Proxy::start(place, &faults.url, None);
    let config = |timeout| config(&server, &address, timeout);
    let mut broker = Broker::start_quiet(&config(3600)).await;
    let (urls, url) = watch::channel(broker.url.clone());
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for i in 0..people {
        let dice = Dice::new(seed ^ (i + 1) << 32);
        let person = Person { name: format!("p{i}"), dice, url: url.clone(), until, tally: Tally::default() };
        clients.spawn(person.live());
    }
    let (mut dice, mut all) = (Dice::new(seed), Tally::default());
    let mut deeds = [0; DEEDS.len()];
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1000 + dice.below(3000))).await;
        let deed = DEEDS[dice.below(DEEDS.len() as u64) as usize];
        deeds[deed as usize] += 1;
        println!("soak: {deed:?} after {:.1} s", began.elapsed().as_secs_f64());
        match deed {
            Deed::Kill | Deed::Stop => {
                broker.signal(if matches!(deed, Deed::Kill) { "KILL" } else { "TERM" });
                let directory = broker.into_directory().await;
                broker = Broker::start_in(directory, &config(3600)).await;
                urls.send_replace(broker.url.clone());
            }
            Deed::Freeze => {
                broker.signal("STOP");
                tokio::time::sleep(Duration::from_millis(dice.below(8000))).await;
                broker.signal("CONT");
            }
            Deed::Reload => broker.edit(&config(3600 + dice.below(100))),
            // The last good one stays in force.
            Deed::BreakReload => broker.edit("[sandbox]\nprovider = 7\n"),
            Deed::Cut => network.cut(),
            Deed::Fault => trouble(&faults, &mut dice),
        }
        while let Some(ended) = clients.try_join_next() {
            all.add(ended.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
        }
    }
    while let Some(ended) = clients.join_next().await {
        all.add(ended.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
    }
    let [kills, stops, freezes, reloads, bad_reloads, cuts, ..] = deeds;
    let [typed, handed, read] = all.lines;
    println!(
        "soak: {} sessions whole over {} connections; of {typed} lines {handed} told to be handed on and {read} read; \
         {} sessions ended before their shell ran, {} of them by the provider's fault; \
         {} late clients of other widths got in, {} of them by a screen; \
         {kills} kills, {stops} stops, {freezes} freezes, {reloads} reloads, {bad_reloads} bad reloads, \
         {cuts} cuts before sandboxd; requests that met a fault: {:?}",
        all.whole,
        all.connections,
        all.unborn,
        all.refused,
        all.late,
        all.screens,
        faults.met()
    );
    assert!(all.whole > 0, "no session lived to its end");
    nothing_is_left(&server, &broker, seed).await;
}
