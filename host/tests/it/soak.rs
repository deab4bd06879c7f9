//! Sessions under a nemesis, for as long as one likes: `cargo xtask soak`.
//!
//! Every decision is drawn from a seed that is told first and replays the same
//! decisions; what the machine makes of their timing differs.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use crate::support::level1::{Told, Visit, Window};
use crate::support::proxy::{Place, Proxy};
use crate::support::stream::{LINE, check};
use crate::support::{Broker, Sandboxd, eventually};

/// Lines that one session prints, a part every twentieth of a second: about
/// ten seconds, so that every session lives through some faults.
const PARTS: u64 = 200;
const PART: u64 = 2000;
const BYTES: u64 = PARTS * PART * LINE;

/// A broker that cannot be reached is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

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
fn config(sandboxd: &Sandboxd, server: &str, timeout: u64) -> String {
    let shell = format!(
        "stty -opost -echo; echo 0000000; read go; i=0; while [ $i -lt {PARTS} ]; do \
         seq -f %07.0f $((i*{PART}+(i==0))) $((i*{PART}+{last})); i=$((i+1)); sleep 0.05; done; read end; exit 7",
        last = PART - 1
    );
    let sections = sandboxd.section("box").replace(&sandboxd.url, server);
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\ntimeout = \"{timeout}s\"\n\
         keep_after_disconnect = \"10s\"\nshell = [\"/bin/bash\", \"-c\", \"{shell}\"]\n{sections}"
    )
}

/// What became of one session.
#[derive(Debug, Default)]
struct Tally {
    whole: u64,
    connections: u64,
    /// Ended by a fault before its shell ran: nobody was promised anything.
    unborn: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.whole += other.whole;
        self.connections += other.connections;
        self.unborn += other.unborn;
    }
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

    /// One session from its first byte to the exit of its shell.
    async fn session(&mut self) {
        let (mut known, mut end): (Option<(String, u64)>, u64) = (None, 0);
        let (mut started, mut asked) = (false, false);
        // Connections that the client has forgotten and the broker has not.
        let mut half_open = Vec::new();
        'connection: loop {
            let mut visit = Visit::default().client(&self.name);
            if let Some((session, epoch)) = &known {
                visit = Visit::to(session).client(&self.name).since(end, *epoch);
            }
            let mut window = self.reach(&visit).await;
            loop {
                let told = match window.next().await {
                    Ok(told) => told,
                    Err(closed) if closed.code == 4404 => {
                        // The broker went between the exit and its telling.
                        assert!(asked || known.is_none(), "{}: {known:?} is gone at {end}: {closed:?}", self.name);
                        self.tally.whole += 1;
                        return;
                    }
                    Err(_) if known.is_none() => {
                        self.tally.unborn += 1;
                        return;
                    }
                    Err(_) => continue 'connection,
                };
                match told {
                    Told::Said(said) if said["type"] == "ready" => {
                        let (session, epoch) = (text(&said["session"]), said["epoch"].as_u64().unwrap());
                        assert!(known.as_ref().is_none_or(|known| *known == (session.clone(), epoch)), "{said}");
                        assert_eq!(said["durability"], "durable", "{}: {said}", self.name);
                        window.seq = said["input"].as_u64().unwrap() + 1000;
                        known = Some((session, epoch));
                        // Unknown input is the person's to type again; twice is one line too many, which the shell ignores.
                        if started && end == LINE {
                            window.input("go\n").await;
                        }
                        if asked {
                            window.input("end\n").await;
                        }
                    }
                    Told::Said(said) if said["type"] == "exit" => {
                        assert_eq!(
                            (said["code"].as_i64(), said["offset"].as_u64()),
                            (Some(7), Some(BYTES)),
                            "{}: {said}",
                            self.name
                        );
                        self.tally.whole += 1;
                        return;
                    }
                    Told::Said(said) => assert_ne!(said["type"], "gap", "{}: {said}", self.name),
                    Told::Output(offset, bytes) => {
                        assert_eq!(offset, end, "{} in {known:?}: nothing is lost or doubled", self.name);
                        check(offset, &bytes);
                        end += bytes.len() as u64;
                        if !started {
                            started = true;
                            window.input("go\n").await;
                        }
                        if end == BYTES && !asked {
                            asked = true;
                            window.input("end\n").await;
                        }
                    }
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
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Sandboxes that are left when every session had its time.
async fn eventually_none(server: &Sandboxd) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(45);
    loop {
        let left = server.sandboxes().await;
        if left.is_empty() || Instant::now() > until {
            return left;
        }
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
    let place = Place::find().await;
    let address = place.url().replace("localhost", "127.0.0.1");
    let network = Proxy::start(place, &server.url, None);
    let config = |timeout| config(&server, &address, timeout);
    let mut broker = Broker::start_quiet(&config(3600)).await;
    let (urls, url) = watch::channel(broker.url.clone());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    for i in 0..people {
        let dice = Dice::new(seed ^ (i + 1) << 32);
        let person = Person { name: format!("p{i}"), dice, url: url.clone(), until, tally: Tally::default() };
        clients.spawn(person.live());
    }
    let (mut dice, mut all) = (Dice::new(seed), Tally::default());
    let mut deeds = [0; 6];
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1000 + dice.below(3000))).await;
        let deed = dice.below(6) as usize;
        deeds[deed] += 1;
        match deed {
            0 | 1 => {
                broker.signal(if deed == 0 { "KILL" } else { "TERM" });
                let directory = broker.into_directory().await;
                broker = Broker::start_in(directory, &config(3600)).await;
                urls.send_replace(broker.url.clone());
            }
            2 => {
                broker.signal("STOP");
                tokio::time::sleep(Duration::from_millis(dice.below(8000))).await;
                broker.signal("CONT");
            }
            3 => broker.edit(&config(3600 + dice.below(100))),
            4 => network.cut(),
            _ => broker.edit("[sandbox]\nprovider = 7\n"),
        }
        while let Some(ended) = clients.try_join_next() {
            all.add(ended.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
        }
    }
    // What the last edit left may be broken; the last good one is in force.
    while let Some(ended) = clients.join_next().await {
        all.add(ended.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
    }
    println!(
        "soak: {} sessions whole over {} connections, {} ended before their shell ran; {} kills, {} stops, {} freezes, {} reloads, {} cuts before sandboxd, {} bad reloads",
        all.whole, all.connections, all.unborn, deeds[0], deeds[1], deeds[2], deeds[3], deeds[4], deeds[5]
    );
    assert!(all.whole > 0, "no session lived to its end");
    let left = eventually_none(&server).await;
    assert!(left.is_empty(), "seed {seed}: {left:?} are left");
    let status = async || -> Value { broker.get("/api/status").await.json().await.unwrap() };
    eventually("no session", async || status().await["sessions"].as_array().unwrap().is_empty().then_some(())).await;
}
