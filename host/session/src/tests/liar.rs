//! A recorder that lies. Whoever owns the shell's user may have replaced it. It
//! harms its own session at most, and the error names it.

use bytes::Bytes;
use sandbox_recorder::wire::{self, Hello, MAX_DATA, MAX_OFFSET, ToBroker};
use tokio::sync::mpsc;

use super::fake::Fake;
use super::*;
use crate::Tape;
use crate::live_sandbox::LiveSandbox;
use crate::{Asker, MAX_SCREEN, Piece};
use sandbox_broker_core::sandbox::{Call, Code, Error, Exit, Fault, Result, SandboxRef};
use sandbox_broker_fallback::program::SH;

const SIZE: wire::Size = wire::Size { cols: 80, rows: 24 };

fn tape(fake: &Arc<Fake>) -> Tape {
    let sandbox = LiveSandbox::new(SandboxRef { id: "s".to_owned(), state: Bytes::new() });
    Tape { provider: fake.clone(), call: Call::default(), sandbox, user: None, screens: Arc::default() }
}

fn frame(frame: ToBroker<'_>) -> Bytes {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes.into()
}

fn output(offset: u64, bytes: &[u8]) -> Bytes {
    frame(ToBroker::Output { offset, bytes })
}

fn hello(end: u64) -> Bytes {
    frame(ToBroker::Hello(Hello { pid: 1, start: 0, end, input: 0, size: SIZE }))
}

#[tokio::test(start_paused = true)]
async fn a_screen_that_is_too_large_is_given_up_in_words() {
    let fake = Fake::new("fake");
    let part = "x".repeat(MAX_DATA);
    let parts = 2 * MAX_SCREEN / MAX_DATA;
    fake.prints(SH, (0..parts).map(|_| frame(ToBroker::Screen { offset: 7, size: SIZE, text: &part })).collect());
    let error = tape(&fake).screen(7, Asker::Own).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (Code::OutOfRange, "the recorder's screen has more than 8 MiB"));
    assert_eq!(fake.asked(SH).len(), 1, "time does not mend it");
}

#[tokio::test(start_paused = true)]
async fn a_screen_is_what_was_drawn_and_nothing_after_its_end() {
    let fake = Fake::new("fake");
    let screen = |text| frame(ToBroker::Screen { offset: 7, size: SIZE, text });
    fake.prints(SH, vec![screen("\u{1b}[1m"), screen("hi"), screen("")]);
    let picture = tape(&fake).screen(7, Asker::Own).await.unwrap();
    assert_eq!((picture.offset, picture.parts.concat().as_str()), (7, "\u{1b}[1mhi"));
    for said in [vec![screen("a"), screen(""), screen("b")], vec![screen("a"), output(0, b"b")]] {
        fake.prints(SH, said);
        assert_eq!(tape(&fake).screen(7, Asker::Own).await.unwrap_err().code, Code::DataLoss);
    }
    // A screen that never ends.
    fake.prints(SH, vec![screen("a")]);
    fake.program(SH, Duration::from_secs(3600), Exit::Code(0), "");
    assert_eq!(tape(&fake).screen(7, Asker::Own).await.unwrap_err().code, Code::DeadlineExceeded);
}

/// What is read between two offsets if the recorder says this.
async fn read(said: Vec<Bytes>) -> Result<Vec<Piece>> {
    let fake = Fake::new("fake");
    fake.prints(SH, said);
    let (mut playback, mut pieces) = (tape(&fake).read(10, 14), Vec::new());
    while let Some(piece) = playback.next().await? {
        pieces.push(piece);
    }
    Ok(pieces)
}

#[tokio::test(start_paused = true)]
async fn old_output_is_what_was_asked_for() {
    let good = read(vec![frame(ToBroker::Gap { from: 10, to: 12 }), output(12, b"ab")]).await.unwrap();
    assert_eq!(good, [Piece::Gap(10, 12), Piece::Output(12, Bytes::from_static(b"ab"))]);
    for said in [
        output(9, b"abcde"),
        output(10, b"abcde"),
        output(u64::MAX - 1, b"ab"),
        output(MAX_OFFSET, b""),
        frame(ToBroker::Gap { from: 10, to: u64::MAX }),
        hello(u64::MAX),
        Bytes::from_static(&[0x02, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(read(vec![said.clone()]).await.unwrap_err().code, Code::DataLoss, "{said:?}");
    }
}

/// How a session's connection ends if the recorder says this each time, and the
/// output until then.
async fn attached(said: &[Bytes]) -> (Error, Vec<Piece>) {
    let fake = Fake::new("fake");
    for _ in 0..100 {
        fake.prints(SH, said.to_vec());
    }
    let tape = tape(&fake);
    let attachment = tape.resume(4).await.unwrap();
    let (_input, keys) = mpsc::channel(1);
    let mut recorded = tape.keep(attachment, keys, Duration::ZERO);
    let mut got = Vec::new();
    while let Some(chunk) = recorded.output.recv().await {
        got.push(chunk);
    }
    let error = recorded.done.await.unwrap().unwrap_err();
    assert!(fake.asked(SH).len() < 20, "it does not go on for ever");
    (error, got)
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_lies_ends_its_own_session_in_words() {
    let good = output(10, b"abcd");
    for lie in [
        output(12, b"back"),
        output(u64::MAX - 3, b"abcd"),
        output(u64::MAX, b"a"),
        output(MAX_OFFSET, b"a"),
        frame(ToBroker::Taken { input: u64::MAX }),
        frame(ToBroker::Exit { code: 0, signal: 0, end: u64::MAX }),
        frame(ToBroker::Gap { from: 11, to: 12 }),
        frame(ToBroker::Size { offset: 13, size: SIZE }),
        hello(14),
        Bytes::from_static(b"\x00not a frame"),
    ] {
        let (error, got) = attached(&[hello(14), good.clone(), lie.clone()]).await;
        assert_eq!(error.code, Code::DataLoss, "{lie:?}");
        assert!(error.message.contains("says what it must not"), "{error}");
        assert_eq!(got[0], Piece::Output(10, Bytes::from_static(b"abcd")), "what was good is told");
        assert!(got.iter().all(|piece| matches!(piece, Piece::Output(..20, _))), "{got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_cannot_be_is_refused() {
    for end in [u64::MAX, MAX_OFFSET + 1] {
        let fake = Fake::new("fake");
        fake.prints(SH, vec![hello(end)]);
        let error = tape(&fake).resume(4).await.map(drop).unwrap_err();
        assert_eq!(error.code, Code::DataLoss);
    }
}

/// A recorder of an older or a newer broker, whatever else it says differently.
#[tokio::test(start_paused = true)]
async fn a_recorder_of_another_version_is_refused_in_words() {
    for (version, more) in [(wire::VERSION - 1, &b""[..]), (wire::VERSION + 1, b"what else there is then")] {
        let fake = Fake::new("fake");
        let payload = [&[version][..], more].concat();
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        fake.prints(SH, vec![[&[hello(0)[0]][..], &length, &payload].concat().into()]);
        let error = tape(&fake).resume(4).await.map(drop).unwrap_err();
        // The operator must act. Time alone does not help.
        assert_eq!((error.fault, error.code), (Fault::Operator, Code::FailedPrecondition));
        assert_eq!(
            error.message,
            format!(
                "another version of the broker has begun this session: the recorder in its sandbox speaks version \
                 {version}, and this broker version {}; run that broker to go on with it",
                wire::VERSION
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn its_words_are_one_short_line() {
    let forged = "no\n2026-01-01T00:00:00Z ERROR \u{1b}[2J all is lost";
    let fake = Fake::new("fake");
    fake.program(SH, Duration::ZERO, Exit::Code(1), forged);
    let complaint = tape(&fake).screen(0, Asker::Own).await.unwrap_err();
    fake.prints(SH, vec![frame(ToBroker::Refused { reason: &forged.repeat(1000) })]);
    let refusal = tape(&fake).resume(4).await.map(drop).unwrap_err();
    for error in [complaint, refusal] {
        assert!(!error.message.contains(char::is_control) && error.message.len() < 2000, "{error:?}");
        assert!(error.message.contains("all is lost"), "{error:?}");
    }
}
