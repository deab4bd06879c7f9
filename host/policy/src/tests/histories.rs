//! The pure state machine over random histories, against rules that hold for
//! every history.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::machine::{Attendance, Effect, Machine, MachineEvent, PENDING_INPUT, Terms};
use crate::outcome::Outcome;
use crate::stage::{Stage, StageState, Step};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Code, Error, Exit, Fault, SandboxRef, Size};

const IDLE: Duration = Duration::from_secs(100);
const KEEP: Duration = Duration::from_secs(70);

/// What is typed. It is the most that one history can send.
static TYPED: LazyLock<Bytes> = LazyLock::new(|| {
    let byte = |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (0..(LONGEST * CHUNK_BYTES) as u64).map(byte).collect()
});

/// Number of acts in a history.
const LONGEST: usize = 40;

fn error(fault: Fault, code: Code) -> Error {
    Error::new(fault, code, format!("scripted {code:?}"))
}

/// What may happen next, if the world is in a state in which it can.
#[derive(Clone, Debug)]
enum Act {
    Prepared(bool),
    Created(Answer),
    Mounted(bool),
    News,
    Unmounted,
    Released,
    /// The shell runs in a terminal of the size that was asked for, of another
    /// size, or of an unknown size. Or it does not run.
    Opened(Opened),
    Resized(bool),
    Cleaned,
    Input(usize),
    Resize(u16),
    Output,
    Drained,
    Exited(bool),
    Replaced,
    Fetched,
    LeaseLost,
    Clients(usize),
    Aged,
    Kill,
    Shutdown,
    Wait(u64),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Made,
    SurelyNot,
    Unknown,
}

fn act() -> impl Strategy<Value = Act> {
    let answer = prop_oneof![4 => Just(Answer::Made), 1 => Just(Answer::SurelyNot), 1 => Just(Answer::Unknown)];
    prop_oneof![
        8 => prop::bool::weighted(0.9).prop_map(Act::Prepared),
        8 => answer.prop_map(Act::Created),
        8 => prop::bool::weighted(0.9).prop_map(Act::Mounted),
        1 => Just(Act::News),
        2 => Just(Act::Unmounted),
        2 => Just(Act::Released),
        8 => prop_oneof![
            5 => Just(Opened::AsAsked),
            1 => (1..4_u16).prop_map(Opened::With),
            1 => Just(Opened::Unknown),
            2 => Just(Opened::Failed),
        ].prop_map(Act::Opened),
        3 => any::<bool>().prop_map(Act::Resized),
        2 => Just(Act::Cleaned),
        6 => (1..100_usize).prop_map(Act::Input),
        2 => (1..=CHUNK_BYTES).prop_map(Act::Input),
        5 => (1..4_u16).prop_map(Act::Resize),
        4 => Just(Act::Output),
        1 => Just(Act::Drained),
        2 => any::<bool>().prop_map(Act::Exited),
        1 => Just(Act::Replaced),
        2 => Just(Act::Fetched),
        1 => Just(Act::LeaseLost),
        2 => (0..3_usize).prop_map(Act::Clients),
        1 => Just(Act::Aged),
        1 => Just(Act::Kill),
        1 => Just(Act::Shutdown),
        2 => (1..60_u64).prop_map(Act::Wait),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Opened {
    AsAsked,
    With(u16),
    Unknown,
    Failed,
}

/// The world around the machine: what it was asked and has not yet answered,
/// and what it has seen.
struct World {
    machine: Machine,
    now: Instant,
    storage: bool,
    /// Its clients may come back.
    stays: bool,
    away: Option<Instant>,
    /// An earlier broker has begun it.
    taken_over: bool,
    left: bool,
    /// Another broker took its place.
    replaced: bool,
    /// Asked and not yet answered, whether or not anybody still wants to know.
    preparing: bool,
    mounting: bool,
    unmounting: bool,
    releasing: bool,
    prepared: bool,
    /// Mounting has begun; all is mounted.
    mount_begun: bool,
    mounted: bool,
    /// There is something to save. It is not known yet whether it is saved or
    /// lost.
    unsaved: bool,
    unmounts: usize,
    releases: usize,
    creating: bool,
    /// A create has said that it made one.
    made: bool,
    opening: bool,
    opened: bool,
    resizing: bool,
    cleaning: bool,
    /// The terminal's output has not ended. Its shell has not ended.
    flowing: bool,
    alive: bool,
    /// The shell has ended, well or not, and when.
    exited: Option<bool>,
    exited_at: Option<Instant>,
    /// Somebody has ended it by hand.
    killed: bool,
    stopped: bool,
    /// The machine waits for clients that have not been told the end.
    awaiting: bool,
    /// When the outcome was told.
    told: Option<Instant>,
    closed: usize,
    kept: bool,
    input_closed: bool,
    hung_up: bool,
    sent: usize,
    /// What the shell got.
    written: usize,
    wanted: Size,
    size: Option<Size>,
    failed: Option<Size>,
    ready: usize,
    kills: usize,
    finds: usize,
    ended: usize,
    failed_stages: usize,
    last_activity: Instant,
}

impl World {
    fn new(storage: bool, stays: bool, taken_over: bool) -> Self {
        let now = Instant::now();
        let terms = Terms { idle_timeout: IDLE, keep: stays.then_some(KEEP), storage, taken_over };
        let (machine, effects) = Machine::start(Size::DEFAULT, terms, now);
        let mut world = World {
            machine,
            now,
            storage,
            stays,
            taken_over,
            away: taken_over.then_some(now),
            left: false,
            replaced: false,
            preparing: false,
            mounting: false,
            unmounting: false,
            releasing: false,
            prepared: false,
            mount_begun: false,
            mounted: false,
            unsaved: false,
            unmounts: 0,
            releases: 0,
            creating: false,
            made: false,
            opening: false,
            opened: false,
            resizing: false,
            cleaning: false,
            flowing: false,
            alive: false,
            exited: None,
            exited_at: None,
            killed: false,
            stopped: false,
            awaiting: false,
            told: None,
            closed: 0,
            kept: false,
            input_closed: false,
            hung_up: false,
            sent: 0,
            written: 0,
            wanted: Size::DEFAULT,
            size: None,
            failed: None,
            ready: 0,
            kills: 0,
            finds: 0,
            ended: 0,
            failed_stages: 0,
            last_activity: now,
        };
        world.apply(effects);
        world
    }

    fn step(&mut self, event: MachineEvent) {
        let effects = self.machine.step(event, self.now);
        self.apply(effects);
        if self.ended == 0 && self.opened && self.alive && !self.resizing && self.failed != Some(self.wanted) {
            assert_eq!(self.size, Some(self.wanted), "the last size wins");
        }
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if self.ended > 0 {
                let cleans =
                    matches!(effect, Effect::Kill(_) | Effect::FindAndKill | Effect::Unmount | Effect::Release);
                let keeps = matches!(effect, Effect::Await | Effect::Leave(_) | Effect::Close) && self.closed == 0;
                assert!(cleans || keeps, "{effect:?} after the end");
            }
            match effect {
                Effect::Prepare => {
                    assert!(self.storage && !self.preparing);
                    self.preparing = true;
                }
                Effect::Create => {
                    assert_eq!(self.prepared, self.storage, "no sandbox is made for storage that is not there");
                    self.creating = true;
                }
                Effect::Mount(sandbox) => {
                    assert!(self.prepared && self.kept && sandbox.id == "made");
                    (self.mounting, self.mount_begun, self.unsaved) = (true, true, true);
                }
                Effect::Unmount => {
                    assert!(self.mount_begun && self.unsaved && self.kills == 0);
                    assert!(self.input_closed, "nothing more is typed to what is being saved");
                    (self.unmounting, self.opening) = (true, false);
                    self.unmounts += 1;
                }
                Effect::Release => {
                    assert!(self.storage && !self.unsaved, "nothing is taken back that is still needed");
                    self.releasing = true;
                    self.releases += 1;
                }
                Effect::KeepAlive(sandbox) => {
                    assert!(!self.kept && sandbox.id == "made");
                    self.kept = true;
                }
                Effect::Open(_, size) => {
                    assert!(!self.opening && !self.opened && self.kept);
                    assert_eq!(self.mounted, self.storage, "no shell starts without its storage");
                    assert_eq!(size, self.wanted);
                    self.opening = true;
                    self.size = Some(size);
                }
                Effect::Write(bytes) => {
                    assert!(self.ready == 1 && !self.input_closed);
                    assert!(!bytes.is_empty() && bytes.len() <= CHUNK_BYTES);
                    let end = self.written + bytes.len();
                    assert!(bytes == TYPED[self.written..end], "input keeps its order");
                    self.written = end;
                }
                Effect::Resize(size) => {
                    assert!(!self.resizing && self.opened && !self.hung_up, "one resize at a time");
                    assert_eq!(size, self.wanted);
                    self.resizing = true;
                    self.size = Some(size);
                    self.failed = None;
                }
                Effect::CloseInput => {
                    assert!(!self.input_closed);
                    self.input_closed = true;
                }
                Effect::HangUp => {
                    assert!(!self.hung_up);
                    self.hung_up = true;
                    self.resizing = false;
                    (self.flowing, self.alive) = (false, false);
                }
                Effect::Kill(sandbox) => {
                    assert_eq!(sandbox.id, "made");
                    assert!(self.input_closed, "no input goes to a sandbox that is being ended");
                    assert!(!self.unsaved, "no sandbox is ended before its storage is saved, or given up");
                    self.kills += 1;
                    self.cleaning = true;
                    (self.opening, self.awaiting) = (false, false);
                }
                Effect::FindAndKill => {
                    self.finds += 1;
                    self.cleaning = true;
                }
                Effect::Leave(sandbox) => {
                    assert!(self.stays && self.input_closed && self.hung_up);
                    let ours = self.made && !self.replaced;
                    assert_eq!(sandbox.map(|sandbox| sandbox.id == "made"), ours.then_some(true));
                    (self.left, self.cleaning, self.awaiting) = (true, true, false);
                    (self.preparing, self.mounting, self.creating, self.opening) = (false, false, false, false);
                }
                Effect::Await => {
                    assert!(self.stays && self.exited == Some(true) && self.ended == 1 && !self.unsaved);
                    self.awaiting = true;
                }
                Effect::Close => {
                    assert!(self.ended == 1 && self.closed == 0);
                    self.closed += 1;
                }
                Effect::Stage(stage) => {
                    assert!(self.ready == 0 || stage.name == Step::Mount, "stages come before ready, but news");
                    self.failed_stages += usize::from(stage.state == StageState::Failed);
                }
                Effect::Ready(size) => {
                    assert_eq!(size, self.size.unwrap_or(self.wanted));
                    self.ready += 1;
                }
                Effect::End(outcome) => {
                    assert!(self.hung_up && self.input_closed);
                    if let Some(ok) = self.exited {
                        let stands =
                            matches!(outcome, Outcome::Exited(_)) && ok || matches!(outcome, Outcome::Failed(_)) && !ok;
                        assert!(stands, "{outcome:?} hides how the shell ended");
                    }
                    self.ended += 1;
                    self.told = Some(self.now);
                }
            }
        }
    }

    /// The sandbox stays: the machine waits for the shell's last output, or for
    /// a client that has not been told.
    fn is_kept(&self) -> bool {
        self.stays && self.exited.is_some() && (self.flowing || self.awaiting)
    }

    /// Does it, if it can happen.
    fn act(&mut self, act: Act) {
        match act {
            Act::Prepared(ok) if self.preparing && self.releases == 0 => {
                (self.preparing, self.prepared) = (false, ok);
                self.step(MachineEvent::Prepared(if ok {
                    Ok(())
                } else {
                    Err(error(Fault::Operator, Code::NotFound))
                }));
                assert_eq!((self.creating, self.ended, self.releases), (ok, usize::from(!ok), usize::from(!ok)));
            }
            Act::Mounted(ok) if self.mounting && self.releases == 0 && self.unmounts == 0 => {
                (self.mounting, self.mounted) = (false, ok);
                self.step(MachineEvent::Mounted(if ok { Ok(()) } else { Err(error(Fault::Operator, Code::NotFound)) }));
                assert_eq!((self.opening, self.ended, self.unmounts), (ok, usize::from(!ok), usize::from(!ok)));
            }
            // An answer that crossed with an order changes nothing.
            Act::Prepared(ok) if self.preparing && self.releasing => {
                self.preparing = false;
                self.ignored(MachineEvent::Prepared(if ok {
                    Ok(())
                } else {
                    Err(error(Fault::Operator, Code::NotFound))
                }));
            }
            Act::Mounted(ok) if self.mounting && (self.unmounting || self.releasing) => {
                self.mounting = false;
                self.ignored(MachineEvent::Mounted(if ok {
                    Ok(())
                } else {
                    Err(error(Fault::Operator, Code::NotFound))
                }));
            }
            Act::Unmounted if self.unmounting && !self.unsaved && self.releasing => {
                self.unmounting = false;
                self.ignored(MachineEvent::Unmounted);
            }
            Act::Unmounted if self.unmounting && self.unsaved => {
                (self.unmounting, self.unsaved) = (false, false);
                self.step(MachineEvent::Unmounted);
                let kills = usize::from(!self.is_kept());
                assert_eq!((self.kills, self.releases), (kills, 1), "the sandbox goes when its storage is saved");
                let awaited = self.stays && self.exited == Some(true) && !self.flowing;
                assert_eq!(self.awaiting, awaited && !self.killed && !self.stopped);
                assert_eq!(self.ended, usize::from(!self.flowing), "the end is told when all was saved and told");
            }
            Act::Released if self.releasing => {
                self.releasing = false;
                self.step(MachineEvent::Released);
            }
            Act::News if self.storage => {
                let stage = Stage::failed(Step::Mount, "the mount died", Duration::ZERO);
                let effects = self.machine.step(MachineEvent::News(stage), self.now);
                assert_eq!(effects.len(), 1 - self.ended, "news is told until the end");
            }
            Act::Created(answer) if self.creating => {
                self.creating = false;
                self.made = matches!(answer, Answer::Made);
                let (abandoned, before) = (self.ended > 0, (self.kills, self.finds));
                self.step(MachineEvent::Created(match answer {
                    Answer::Made => Ok(SandboxRef { id: "made".to_owned(), state: Bytes::new() }),
                    Answer::SurelyNot => Err(error(Fault::Operator, Code::PermissionDenied)),
                    Answer::Unknown => Err(error(Fault::Provider, Code::DeadlineExceeded)),
                }));
                match answer {
                    Answer::Made => assert_eq!(self.kills, before.0 + usize::from(abandoned)),
                    Answer::SurelyNot => assert_eq!((self.kills, self.finds), before),
                    Answer::Unknown => assert_eq!(self.finds, before.1 + 1),
                }
            }
            Act::Opened(how) if self.opening => {
                self.opening = false;
                let ok = !matches!(how, Opened::Failed);
                match how {
                    Opened::With(cols) => self.size = Some(Size { cols, rows: 24 }),
                    Opened::Unknown => self.size = None,
                    Opened::AsAsked | Opened::Failed => {}
                }
                if ok {
                    (self.opened, self.flowing, self.alive) = (true, true, true);
                    self.last_activity = self.now;
                }
                let error = || error(Fault::Plugin, Code::Internal);
                self.step(MachineEvent::Opened(ok.then_some(self.size).ok_or_else(error)));
                if ok {
                    assert_eq!(self.written, self.sent, "all that was kept is sent");
                }
            }
            Act::Resized(ok) if self.resizing => {
                self.resizing = false;
                self.failed = if ok { None } else { self.size.take() };
                self.step(MachineEvent::Resized(if ok {
                    Ok(())
                } else {
                    Err(error(Fault::Provider, Code::Unavailable))
                }));
            }
            Act::Cleaned if self.cleaning => {
                self.cleaning = false;
                self.step(MachineEvent::Cleaned);
            }
            Act::Input(len) if self.machine.wants_input() => {
                assert!(!self.input_closed);
                let bytes = TYPED.slice(self.sent..self.sent + len);
                self.sent += len;
                if self.alive {
                    self.last_activity = self.now;
                }
                self.step(MachineEvent::Input(bytes));
                assert!(self.sent - self.written < PENDING_INPUT + CHUNK_BYTES, "what is kept is bounded");
            }
            Act::Resize(cols) => {
                self.wanted = Size { cols, rows: 24 };
                // A wish after a failure is a new wish, even for the same size.
                self.failed = self.failed.filter(|_| self.resizing);
                self.step(MachineEvent::Resize(self.wanted));
            }
            Act::Output if self.flowing => {
                self.last_activity = self.now;
                self.step(MachineEvent::Output);
            }
            Act::Drained if self.flowing => {
                self.flowing = false;
                self.step(MachineEvent::Drained);
            }
            Act::Exited(ok) if self.alive => {
                self.alive = false;
                (self.exited, self.exited_at) = (Some(ok), Some(self.now));
                self.resizing = false;
                self.step(MachineEvent::Exited(if ok {
                    Ok(Exit::Code(0))
                } else {
                    Err(error(Fault::Plugin, Code::Internal))
                }));
                if self.storage {
                    assert_eq!((self.unmounts, self.kills, self.ended), (1, 0, 0), "the storage is saved first");
                } else {
                    assert_eq!(self.kills, usize::from(!self.is_kept()), "the sandbox goes with its shell");
                    assert_eq!(self.ended, usize::from(!self.flowing), "the end is told when all output was");
                    assert_eq!(self.awaiting, self.stays && ok && !self.flowing, "and kept for who was not there");
                }
            }
            Act::Replaced if self.stays && (self.opening || self.alive) => {
                (self.opening, self.replaced) = (false, true);
                self.step(MachineEvent::Replaced);
                assert!(self.left && (self.ended, self.closed) == (1, 1), "it is left alone at once");
            }
            Act::Fetched if self.awaiting => {
                self.awaiting = false;
                self.step(MachineEvent::Fetched);
                assert_eq!((self.kills, self.closed), (1, 0), "the end is kept without the sandbox");
            }
            Act::LeaseLost if self.kept && self.kills == 0 && !self.left => {
                self.unsaved = false;
                self.step(MachineEvent::LeaseLost(error(Fault::Provider, Code::NotFound)));
                assert_eq!((self.ended, self.kills, self.releases), (1, 1, usize::from(self.storage)));
            }
            Act::Clients(0) if self.stays => {
                self.away = self.away.or(Some(self.now));
                let before = (self.ended, self.hung_up);
                self.step(MachineEvent::Clients(Attendance::Away));
                assert_eq!(before, (self.ended, self.hung_up), "it waits for its clients");
            }
            Act::Clients(0) => {
                self.step(MachineEvent::Clients(Attendance::Away));
                assert_eq!(self.ended, 1, "it ends at once, whatever it was doing");
            }
            Act::Clients(_) => {
                if self.away.take().is_some() {
                    self.last_activity = self.now;
                }
                self.step(MachineEvent::Clients(Attendance::Here));
            }
            Act::Aged => {
                let (before, closed) = (self.ended, self.closed);
                self.step(MachineEvent::Aged(IDLE));
                assert!(self.ended == 1 || self.opened && self.hung_up && self.unsaved, "at once, or when it is saved");
                assert!(before == 0 || self.closed == closed, "an end that is kept stays so");
            }
            Act::Kill => {
                self.killed = true;
                self.step(MachineEvent::Kill);
                assert_eq!(self.closed, self.ended, "nobody comes for what was ended by hand");
                assert!(!self.left || self.ended == 1);
                assert!(self.ended == 1 || self.opened && self.hung_up && self.unsaved, "at once, or when it is saved");
            }
            Act::Shutdown => {
                let begins = !self.opened && self.exited.is_none();
                let stays = self.ended == 0 && self.stays && (self.alive || self.taken_over && begins);
                let released = !self.storage || self.releases == 1 && !self.releasing;
                let exited = self.stays && self.exited == Some(true) && self.kills == 0 && self.closed == 0;
                let before = self.left;
                self.stopped = true;
                self.step(MachineEvent::Shutdown);
                assert!(self.ended == 1 || self.opened && self.hung_up && self.unsaved, "at once, or when it is saved");
                assert_eq!(self.closed, self.ended);
                assert_eq!(self.left, before || stays || exited && released, "what can be gone on with stays");
            }
            Act::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                let alone = self.stays && self.away.is_some();
                let idle = self.opened && !self.hung_up && !alone && self.now - self.last_activity >= IDLE;
                let waits = self.stays && self.ended == 0 && self.exited.is_none() && !self.hung_up;
                let away = waits && self.away.is_some_and(|since| self.now - since >= KEEP);
                let passed = |since: Option<Instant>| since.is_some_and(|since| self.now - since >= KEEP);
                let late = self.stays && self.flowing && passed(self.exited_at);
                let closes = self.ended == 1 && self.closed == 0 && passed(self.told);
                let due = self.machine.deadline().is_some_and(|deadline| self.now >= deadline);
                assert_eq!(idle || away || late || closes, due, "the deadline is the first of these");
                let before = self.ended;
                self.step(MachineEvent::Time);
                assert_eq!(self.ended - before, usize::from(away || (idle || late) && !self.unsaved));
                assert!(self.hung_up || !idle && !late);
                assert!(self.closed == 1 || !closes, "nobody comes for it any more");
            }
            _ => {}
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.ready <= 1 && self.kills <= 1 && self.finds <= 1 && self.ended <= 1);
        assert!(self.kills + self.finds <= 1);
        assert!(self.unmounts <= 1 && self.releases <= usize::from(self.storage));
        let undone = self.unmounts + self.releases == 0 || self.exited == Some(true) && self.releases == 1;
        assert!(!self.left || undone && self.kills + self.finds == 0, "what is left stays whole");
        assert!(self.closed <= self.ended && (self.closed == 1 || self.ended == 0 || self.stays));
        let released = self.left || self.releases == usize::from(self.storage);
        let waits = self.creating || self.cleaning || self.releasing || !released;
        assert_eq!(self.machine.is_finished(), self.closed == 1 && !waits, "finished when nothing is left");
        if self.hung_up {
            assert!(!self.machine.wants_input());
            assert_eq!(self.machine.deadline().is_some(), self.ended == 1 && self.closed == 0);
        }
    }

    fn ignored(&mut self, event: MachineEvent) {
        let effects = self.machine.step(event, self.now);
        assert!(effects.is_empty(), "{effects:?} for an answer that nobody waits for");
    }

    /// Answers everything that is unanswered, until the machine is finished.
    fn settle(&mut self) {
        self.act(Act::Kill);
        self.act(Act::Created(Answer::Made));
        self.act(Act::Unmounted);
        self.act(Act::Released);
        self.act(Act::Cleaned);
        assert!(self.machine.is_finished());
        assert_eq!(self.ended, 1);
        assert_eq!(
            self.kills,
            usize::from(self.made && !self.left),
            "every sandbox made is killed, or left to a broker"
        );
        assert_eq!(
            self.releases,
            usize::from(self.storage && !self.left),
            "what was prepared is released, once, or left to a broker"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn every_history_keeps_the_rules(
        storage in any::<bool>(),
        stays in any::<bool>(),
        taken_over in any::<bool>(),
        acts in vec(act(), 0..=LONGEST),
    ) {
        let mut world = World::new(storage, stays, taken_over && stays);
        for act in acts {
            world.act(act);
        }
        world.settle();
    }
}
