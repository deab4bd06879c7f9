//! The output log by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::*;
use crate::output::appender::Appender;
use crate::output::event::Readiness;
use crate::{Durability, Reader, Stage, WINDOW};
use sandbox_broker_core::sandbox::{Exit, Size};

fn log() -> Appender {
    keeping(0)
}

fn keeping(bytes: u64) -> Appender {
    let log = Appender::new(bytes);
    log.ready(Readiness {
        session: Arc::from("s"),
        provider: Arc::from("p"),
        isolation: None,
        size: Size::DEFAULT,
        durability: Durability::BestEffort,
    });
    log
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_hold_is_left_behind_and_told_what_it_missed() {
    let log = keeping(1000);
    let mut reader = log.source().reader_at(0, false);
    ready(&mut reader).await;
    for i in 0..100 {
        log.append(pattern(i * 100, 100).into());
        assert!(log.has_room(), "nobody waits for it");
    }
    for _ in 0..2 {
        let behind = soon(reader.next()).await;
        assert!(matches!(behind, Some(Event::Behind { from: 0, to: 9000, end: 10_000 })), "{behind:?}");
    }
    reader.go_to(9_950);
    let mut read = Vec::new();
    while read.len() < 50 {
        read.extend_from_slice(&reader.try_output(7).unwrap());
    }
    assert_eq!(read, pattern(9_950, 50));
}

/// What a reader is told until there is no more: sizes as columns, and output.
async fn told(reader: &mut Reader) -> Vec<(Option<u16>, Vec<u8>)> {
    let mut told = Vec::new();
    while let Some(event) = reader.next().now_or_never() {
        match event.unwrap() {
            Event::Size(size) => told.push((Some(size.cols), Vec::new())),
            Event::Output { bytes, .. } => told.push((None, bytes.to_vec())),
            other => panic!("{other:?}"),
        }
    }
    told
}

#[tokio::test(start_paused = true)]
async fn a_size_stands_between_what_was_written_for_it_and_what_was_not() {
    let log = keeping(1000);
    let size = |cols| Size { cols, rows: 24 };
    let mut live = log.source().reader_at(0, false);
    ready(&mut live).await;
    log.append(Bytes::from_static(b"eighty"));
    log.resized(None, size(100));
    log.resized(None, size(120));
    log.append(Bytes::from_static(b"more"));
    let all = [(None, b"eighty".to_vec()), (Some(120), vec![]), (None, b"more".to_vec())];
    assert_eq!(told(&mut live).await, all);
    // The news is told at its place, although nothing follows yet.
    log.resized(None, size(80));
    assert_eq!(told(&mut live).await, [(Some(80), vec![])]);
    log.append(Bytes::from_static(b"!"));
    for (since, cols, rest) in [
        (0, 80, &[(None, b"eighty".to_vec()), (Some(120), vec![]), (None, b"more".to_vec()), (Some(80), vec![])][..]),
        (3, 80, &[(None, b"hty".to_vec()), (Some(120), vec![]), (None, b"more".to_vec()), (Some(80), vec![])]),
        (6, 120, &[(None, b"more".to_vec()), (Some(80), vec![])]),
        (10, 80, &[]),
    ] {
        let mut reader = log.source().reader_at(since, false);
        ready(&mut reader).await;
        assert_eq!(reader.size_at(since), Some(size(cols)), "at {since}");
        let mut rest = rest.to_vec();
        rest.push((None, b"!".to_vec()));
        assert_eq!(told(&mut reader).await, rest, "from {since}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_screen_is_told_what_changed_after_it() {
    let log = keeping(1000);
    let size = |cols| Size { cols, rows: 24 };
    log.append(pattern(0, 100).into());
    let mut reader = log.source().reader_at(0, false);
    ready(&mut reader).await;
    // The size of a screen that is ahead of the log. The log has not heard of
    // that size yet.
    reader.go_to(110);
    reader.knows_size(110, size(120));
    assert!(reader.next().now_or_never().is_none());
    log.append(pattern(100, 10).into());
    assert!(reader.next().now_or_never().is_none(), "the size that the log knows is older");
    log.resized(None, size(120));
    log.append(pattern(110, 2).into());
    log.resized(None, size(90));
    assert_eq!(told(&mut reader).await, [(None, pattern(110, 2)), (Some(90), vec![])]);
    // A reader that continues after a gap is told the size that was set in the
    // gap.
    let mut reader = log.source().reader_at(0, false);
    ready(&mut reader).await;
    reader.go_to(112);
    assert_eq!(told(&mut reader).await, [(Some(90), vec![])]);
}

#[tokio::test(start_paused = true)]
async fn a_size_at_the_start_of_what_is_held_outlives_what_came_before() {
    let log = keeping(1000);
    let size = |cols| Size { cols, rows: 24 };
    for i in 0..50 {
        log.resized(None, size(80 + i));
        log.append(pattern(u64::from(i) * 100, 100).into());
    }
    let mut reader = log.source().reader_at(4_050, false);
    ready(&mut reader).await;
    assert_eq!(reader.size_at(4_050), Some(size(120)));
    let mut late = log.source().reader_at(0, false);
    ready(&mut late).await;
    assert!(matches!(soon(late.next()).await, Some(Event::Behind { to: 4000, .. })), "no size of what is gone");
    late.go_to(4_000);
    assert_eq!(late.size_at(0), Some(size(120)), "the oldest that is known");
    assert!(matches!(soon(late.next()).await, Some(Event::Output { offset: 4000, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_what_is_kept_from_any_byte_on() {
    let log = keeping(1000);
    drop(log.source().reader());
    log.append(pattern(0, 5000).into());
    for since in 4000..4010 {
        let mut reader = log.source().reader_at(since, false);
        assert!(matches!(soon(reader.next()).await, Some(Event::Ready { offset, live: 5000, .. }) if offset == since));
        let mut read = Vec::new();
        while let Some(more) = reader.try_output(usize::MAX) {
            read.extend_from_slice(&more);
        }
        assert_eq!(read, pattern(since, 5000 - since as usize));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_in_the_source_is_a_gap_in_its_place_for_every_reader() {
    let log = keeping(1000);
    let (mut one, mut two) = (log.source().reader_at(0, false), log.source().reader_at(2, true));
    log.append(Bytes::from_static(b"abcd"));
    log.append_at(2, Bytes::from_static(b"cdef"));
    log.append_at(100, Bytes::from_static(b"xyz"));
    for (reader, before) in [(&mut one, "abcdef"), (&mut two, "cdef")] {
        ready(reader).await;
        let mut read = Vec::new();
        while let Some(more) = reader.try_output(usize::MAX) {
            read.extend_from_slice(&more);
        }
        assert_eq!(String::from_utf8(read).unwrap(), before);
        assert!(matches!(soon(reader.next()).await, Some(Event::Gap { from: 6, to: 100 })));
        assert_eq!(reader.try_output(usize::MAX).unwrap(), "xyz");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_hold_and_no_longer() {
    let log = keeping(1000);
    let mut reader = log.source().reader_at(0, true);
    log.append(vec![0; WINDOW as usize].into());
    assert!(!log.has_room());
    reader.hold(false);
    soon(log.room()).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_hears_of_it_while_another_waits_for_readers() {
    let log = keeping(1000);
    let behind = log.source().reader_at(0, false);
    for i in 0..100 {
        log.append(pattern(i * 100, 100).into());
    }
    let mut holds = log.source().reader_at(log.offset(), true);
    log.append(vec![0; WINDOW as usize].into());
    log.end(Outcome::Exited(Exit::Code(0)));
    let mut settled = std::pin::pin!(log.source().settled());
    assert!(futures_util::poll!(&mut settled).is_pending(), "a reader is behind");
    let mut room = std::pin::pin!(log.room());
    assert!(futures_util::poll!(&mut room).is_pending());
    ready(&mut holds).await;
    assert!(matches!(soon(holds.next()).await, Some(Event::Output { .. })));
    soon(room).await;
    drop(behind);
    soon(settled).await;
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_is_none_changes_nothing() {
    let log = keeping(1000);
    log.append(Bytes::from_static(b"abc"));
    for offset in [u64::MAX, u64::MAX - 1] {
        log.append_at(offset, Bytes::from_static(b"xyz"));
    }
    log.append_at(1, Bytes::from_static(b"b"));
    assert_eq!(log.offset(), 3);
}

#[tokio::test(start_paused = true)]
async fn output_in_single_bytes_is_joined() {
    const BYTES: usize = 100_000;
    let log = keeping(0);
    let mut reader = log.source().reader();
    ready(&mut reader).await;
    for byte in pattern(0, BYTES) {
        log.append(vec![byte].into());
    }
    let (mut read, mut events) = (Vec::new(), 0);
    while let Some(more) = reader.try_output(usize::MAX) {
        read.extend_from_slice(&more);
        events += 1;
    }
    assert_eq!(read, pattern(0, BYTES));
    assert!(events < 5000, "{events} chunks were held");
}

#[tokio::test(start_paused = true)]
async fn every_reader_gets_every_byte_at_its_own_pace() {
    let log = log();
    let (mut fast, slow) = (log.source().reader(), log.source().reader());
    ready(&mut fast).await;
    for i in 0..50 {
        log.append(pattern(i * 100, 100).into());
        assert!(matches!(soon(fast.next()).await, Some(Event::Output { offset, .. }) if offset == i * 100));
    }
    log.end(Outcome::Exited(Exit::Code(0)));
    assert_eq!(Told::read_to_end(slow).await.output, pattern(0, 5000));
}

#[tokio::test(start_paused = true)]
async fn the_slowest_reader_makes_the_appender_wait_and_leaving_sets_it_free() {
    let log = log();
    let (mut fast, slow) = (log.source().reader(), log.source().reader());
    ready(&mut fast).await;
    log.append(vec![0; WINDOW as usize].into());
    soon(fast.next()).await;
    assert!(timeout(PATIENCE, log.room()).await.is_err());
    drop(slow);
    soon(log.room()).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_all_have_passed_are_let_go() {
    let log = log();
    let mut reader = log.source().reader();
    ready(&mut reader).await;
    let bytes = Bytes::from(vec![1; 1000]);
    log.append(bytes.clone());
    assert!(!bytes.is_unique());
    soon(reader.next()).await;
    assert!(bytes.is_unique(), "the log holds it no more");
    assert!(matches!(log.source().reader().next().await, Some(Event::Ready { offset: 1000, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_pump_takes_what_is_there_up_to_what_it_wants() {
    let log = log();
    let mut reader = log.source().reader();
    log.append(Bytes::from_static(b"early"));
    assert_eq!(reader.try_output(10), None, "ready comes first");
    ready(&mut reader).await;
    log.append(Bytes::from_static(b"0123456789"));
    assert_eq!(reader.try_output(0), None);
    assert_eq!(reader.try_output(100).unwrap(), "early");
    assert_eq!(reader.try_output(4).unwrap(), "0123");
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { offset: 9, bytes }) if bytes == "456789"));
    assert_eq!(reader.try_output(4), None);
}

fn news(message: impl Into<String>) -> Stage {
    Stage::failed(Step::Mount, message, Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn news_has_its_place_in_the_output_for_every_reader() {
    let log = log();
    let (mut early, mut late) = (log.source().reader(), log.source().reader());
    ready(&mut early).await;
    log.append(Bytes::from_static(b"before"));
    log.stage(news("lost"));
    log.stage(news("found"));
    log.append(Bytes::from_static(b"after"));
    ready(&mut late).await;
    for reader in [&mut early, &mut late] {
        assert_eq!(reader.try_output(100).unwrap(), "before");
        assert_eq!(reader.try_output(100), None, "news comes first");
        for words in ["lost", "found"] {
            assert!(matches!(soon(reader.next()).await, Some(Event::Stage(stage)) if stage.message == words));
        }
        assert_eq!(reader.try_output(100).unwrap(), "after");
    }
    log.stage(news("saved"));
    log.end(Outcome::Shutdown);
    for mut reader in [early, late] {
        assert!(matches!(soon(reader.next()).await, Some(Event::Stage(stage)) if stage.message == "saved"));
        assert!(matches!(soon(reader.next()).await, Some(Event::Ended(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn of_more_news_than_fits_a_frozen_reader_gets_the_latest() {
    let log = log();
    let (mut frozen, mut quick) = (log.source().reader(), log.source().reader());
    ready(&mut frozen).await;
    ready(&mut quick).await;
    for n in 0..1000 {
        log.stage(news(n.to_string()));
        assert!(matches!(soon(quick.next()).await, Some(Event::Stage(stage)) if stage.message == n.to_string()));
    }
    log.append(Bytes::from_static(b"x"));
    let mut told = Vec::new();
    while let Some(Event::Stage(stage)) = soon(frozen.next()).await {
        told.push(stage.message);
    }
    assert!((10..100).contains(&told.len()), "{}", told.len());
    assert_eq!(told.last().unwrap(), "999");
}

#[tokio::test(start_paused = true)]
async fn output_is_not_copied_on_the_way() {
    let log = log();
    let mut reader = log.source().reader();
    ready(&mut reader).await;
    let bytes = Bytes::from(vec![1; 1000]);
    let at = bytes.as_ptr();
    log.append(bytes);
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { bytes, .. }) if bytes.as_ptr() == at));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_nothing() {
    let log = log();
    let mut reader = log.source().reader();
    ready(&mut reader).await;
    for _ in 0..3 {
        assert!(timeout(PATIENCE, reader.next()).await.is_err());
    }
    log.append(Bytes::from_static(b"x"));
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { offset: 0, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_log_without_its_driver_ends() {
    let log = log();
    let reader = log.source().reader();
    log.append(Bytes::from_static(b"x"));
    drop(log);
    let told = Told::read_to_end(reader).await;
    assert_eq!(told.output, b"x");
    assert!(told.ended().contains("fault of the broker"));
}

/// Real threads, because a wake-up is lost between two threads or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_threads() {
    const BYTES: u64 = 200_000;
    let log = log();
    let readers: Vec<_> = (0..3).map(|_| tokio::spawn(Told::read_to_end(log.source().reader()))).collect();
    let write = async {
        for i in 0..BYTES {
            log.room().await;
            log.append(pattern(i, 1).into());
            if i % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        log.end(Outcome::Shutdown);
    };
    timeout(Duration::from_secs(60), write).await.expect("the appender is woken");
    for reader in readers {
        let told = timeout(Duration::from_secs(60), reader).await.expect("the reader is woken").unwrap();
        assert!(told.output == pattern(0, BYTES as usize));
    }
}

/// Each byte is added just when the reader, having told of the last one, looks
/// for the next. Nothing makes good for a wake-up that is lost there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    const ROUNDS: u64 = 200_000;
    let log = log();
    let mut reader = log.source().reader();
    let seen = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&seen);
    let read = tokio::spawn(async move {
        ready(&mut reader).await;
        for round in 1..=ROUNDS {
            assert!(matches!(reader.next().await, Some(Event::Output { offset, .. }) if offset == round - 1));
            told.store(round, Ordering::Release);
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            while seen.load(Ordering::Acquire) < round && !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            log.append(Bytes::from_static(b"x"));
        }
    });
    let read = timeout(Duration::from_secs(60), read).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    read.expect("the reader is woken each time").unwrap();
}
