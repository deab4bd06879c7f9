//! No byte of output is lost, doubled or changed, whatever happens to brokers.

use sandbox_recorder::wire::{MAX_DATA, ToRecorder};
use sha2::{Digest as _, Sha256};

use crate::client::{Client, Frame, Random, Recording, flood, until};

/// More than one flood of a terminal, and less than a ring.
const FLOOD: usize = 36_000_000;

/// What a broker that is there may leave unacknowledged of a ring of 64 MiB.
const WINDOW: u64 = 16 * 1024 * 1024;

/// A broker that has all output from the first byte on.
#[derive(Default)]
struct History {
    hash: Sha256,
    end: u64,
    exit: Option<(i32, u64)>,
}

impl History {
    /// Takes a frame; any byte out of its place is named.
    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Output(offset, bytes) => {
                assert_eq!(offset, self.end, "output follows what was there");
                assert!(!bytes.is_empty() && bytes.len() <= MAX_DATA);
                self.hash.update(&bytes);
                self.end += bytes.len() as u64;
            }
            Frame::Exit { code, end, .. } => {
                assert_eq!(end, self.end, "an exit comes after the last byte");
                self.exit = Some((code, end));
            }
            other => panic!("{other:?} has no place in this history"),
        }
    }

    fn ack(&self, client: &mut Client) {
        client.send(ToRecorder::Ack { offset: self.end });
    }

    fn sum(self) -> Vec<u8> {
        self.hash.finalize().to_vec()
    }
}

#[test]
fn cut_attachments_add_up_to_every_byte() {
    let mut random = Random(0x5eed_0001);
    let recording = Recording::new();
    let bytes = random.bytes(FLOOD);
    let script = flood(&recording.file("flood", &bytes), &recording.path("done"));

    let mut history = History::default();
    let mut client = recording.run(&script);
    client.hello();
    let mut cuts = 0;
    'attachments: loop {
        let stop = history.end + random.below(3_000_000);
        let how = random.below(4);
        while history.end < stop || how == 3 {
            history.take(client.next().unwrap());
            if history.exit.is_some() {
                break 'attachments;
            }
            history.ack(&mut client);
            if how == 3 && history.end >= stop {
                break;
            }
        }
        cuts += 1;
        match how {
            0 => client.kill(),
            1 => assert_eq!(client.leave(), Some(0)),
            // The next one takes its place.
            _ => {}
        }
        let mut next = recording.attach(history.end);
        let hello = next.hello();
        assert_eq!(hello.start, 0, "a ring of 64 MiB holds all of it");
        assert!(hello.end >= history.end);
        if how >= 2 {
            assert_eq!(client.status(), Some(4), "a newer attachment ended it");
        }
        client = next;
    }
    assert!(cuts >= 10, "{cuts} cuts");
    assert_eq!(history.exit, Some((0, FLOOD as u64)));
    assert_eq!(history.sum(), Sha256::digest(&bytes).to_vec());
    assert_eq!(client.leave(), Some(0));
}

#[test]
fn the_shell_waits_for_a_broker_that_is_there_and_runs_on_when_it_is_killed() {
    let mut random = Random(0x5eed_0002);
    let recording = Recording::new();
    let bytes = random.bytes(FLOOD);
    let done = recording.path("done");
    let script = flood(&recording.file("flood", &bytes), &done);

    let mut client = recording.run(&script);
    client.hello();
    let mut history = History::default();
    // Reads all that comes and acknowledges none of it.
    while history.end <= WINDOW {
        history.take(client.next().unwrap());
    }
    let end = recording.end();
    assert!(end <= WINDOW + MAX_DATA as u64, "the shell wrote {} bytes beyond its window", end - WINDOW);
    while history.end < end {
        history.take(client.next().unwrap());
    }
    assert_eq!(recording.end(), end, "it waits");
    history.ack(&mut client);
    while history.end < WINDOW + 1_000_000 {
        history.take(client.next().unwrap());
    }
    client.kill();
    until("the shell's end without a broker", || done.exists());

    let mut client = recording.attach(history.end);
    client.hello();
    while history.exit.is_none() {
        history.take(client.next().unwrap());
        history.ack(&mut client);
    }
    assert_eq!(history.sum(), Sha256::digest(&bytes).to_vec());
}

#[test]
fn a_broker_that_does_not_read_stops_nothing_for_longer_than_its_patience() {
    let recording = Recording::with(&["--patience", "300"]);
    let bytes = Random(0x5eed_0003).bytes(FLOOD);
    let done = recording.path("done");
    let mut client = recording.run(&flood(&recording.file("flood", &bytes), &done));
    until("the shell's end beside a stalled broker", || done.exists());
    assert_eq!(client.status(), Some(5));
}

#[test]
fn a_ring_that_wrapped_says_what_is_gone() {
    const RING: u64 = 1024 * 1024;
    let recording = Recording::with(&["--ring", "1048576"]);
    let bytes = Random(0x5eed_0004).bytes(8_000_000);
    let done = recording.path("done");
    recording.run_alone(&flood(&recording.file("flood", &bytes), &done));
    until("the shell's end with nobody attached", || done.exists());
    let end = bytes.len() as u64;
    until("the last output", || recording.end() == end);
    let start = end - RING;

    let mut client = recording.attach(0);
    assert_eq!(client.hello().start, start);
    assert_eq!(client.next(), Some(Frame::Gap(0, start)));
    let (held, exit) = client.until_exit();
    assert!(held == bytes[start as usize..], "what is held is the end of what was written");
    assert_eq!(exit, Frame::Exit { code: 0, signal: 0, end });

    let mut client = recording.attach_with(&["--tail", "1000"]);
    client.hello();
    let (tail, _) = client.until_exit();
    assert!(tail == bytes[bytes.len() - 1000..]);
    let mut client = recording.attach_with(&["--tail", "99999999"]);
    client.hello();
    let (tail, _) = client.until_exit();
    assert!(tail == bytes[start as usize..], "a longer tail is all that is held");
}

#[test]
fn a_broker_that_is_too_slow_for_a_small_ring_loses_nothing() {
    let recording = Recording::with(&["--ring", "262144"]);
    let bytes = Random(0x5eed_0005).bytes(3_000_000);
    let mut client = recording.run(&flood(&recording.file("flood", &bytes), &recording.path("done")));
    client.hello();
    let (all, _) = client.until_exit();
    assert!(all == bytes, "the shell waited for it");
}
