//! The path of bytes in both directions: order, backpressure, bounds.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::fake::{Reply, unavailable};
use super::*;
use crate::{PENDING_INPUT, WINDOW};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Exit, PIPE_CHUNKS, Size};

const SLOW: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn input_and_size_from_before_the_shell_are_kept_in_order() {
    let bed = Bed::new();
    bed.fake.script("create", SLOW, Reply::Do);
    bed.fake.script("open", SLOW, Reply::Do);
    let client = bed.open(None).unwrap();
    client.resize(Size { cols: 100, rows: 30 });
    for word in ["echo ", "one", "\n"] {
        soon(client.input(Bytes::from(word))).await.unwrap();
    }
    client.resize(Size { cols: 120, rows: 40 });
    until(|| !bed.fake.asked("open").is_empty()).await;
    soon(client.input(Bytes::from_static(b"exit\n"))).await.unwrap();
    client.resize(Size { cols: 99, rows: 33 });

    let mut shell = bed.fake.shell().await;
    assert_eq!(shell.size, Size { cols: 120, rows: 40 }, "the shell starts with the latest size");
    assert_eq!(shell.resize().await.0, Size { cols: 99, rows: 33 }, "and gets what was asked for since");
    assert_eq!(shell.read(14).await, b"echo one\nexit\n");
}

#[tokio::test(start_paused = true)]
async fn input_from_before_the_shell_is_bounded_and_the_rest_waits() {
    let bed = Bed::new();
    bed.fake.script("open", SLOW, Reply::Do);
    let client = bed.open(None).unwrap();
    let session = client.session().clone();
    let sent = pattern(0, 2 * 1024 * 1024);
    let paste = Bytes::from(sent.clone());
    let paste = tokio::spawn(async move { session.input(paste).await });
    until(|| !bed.fake.asked("open").is_empty()).await;
    assert!(!paste.is_finished(), "a paste beyond {PENDING_INPUT} bytes waits");
    let mut shell = bed.fake.shell().await;
    assert!(!paste.is_finished());
    assert!(shell.read(sent.len()).await == sent, "nothing is lost and the order is kept");
    soon(paste).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_takes_no_input_holds_up_input_only() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut shell = bed.fake.shell().await;
    ready(&mut reader).await;
    let session = client.session().clone();
    let sent = pattern(0, 4 * 1024 * 1024);
    let paste = Bytes::from(sent.clone());
    let paste = tokio::spawn(async move { session.input(paste).await });
    // Each round trip gives the paste time to fill whatever there is.
    for round in 0..100_u32 {
        shell.print(round.to_string()).await;
        let Some(Event::Output { bytes, .. }) = soon(reader.next()).await else { panic!("output goes on") };
        assert_eq!(bytes, round.to_string());
    }
    client.resize(Size { cols: 5, rows: 5 });
    let (size, reply) = shell.resize().await;
    assert_eq!(size.cols, 5);
    reply.send(Ok(())).unwrap();
    assert!(!paste.is_finished(), "4 MiB do not fit the queues");
    assert!(shell.input.len() <= PIPE_CHUNKS);
    assert!(shell.read(sent.len()).await == sent);
    soon(paste).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn large_input_comes_in_chunks_of_the_port() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut shell = bed.fake.shell().await;
    let session = client.session().clone();
    tokio::spawn(async move { session.input(vec![7; 3 * CHUNK_BYTES + 1].into()).await });
    let mut left = 3 * CHUNK_BYTES + 1;
    while left > 0 {
        let chunk = soon(shell.input.recv()).await.unwrap();
        assert!(chunk.len() <= CHUNK_BYTES);
        left -= chunk.len();
    }
}

#[tokio::test(start_paused = true)]
async fn two_resizes_at_once_become_one_at_a_time_and_the_last_counts() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut shell = bed.fake.shell().await;
    ready(&mut reader).await;
    client.resize(Size { cols: 10, rows: 10 });
    let (first, reply) = shell.resize().await;
    assert_eq!(first.cols, 10);
    for cols in 11..=200 {
        client.resize(Size { cols, rows: 10 });
    }
    // The loop goes on while the resize is unanswered.
    shell.print("tick").await;
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
    assert!(shell.control.try_recv().is_err(), "one resize at a time");
    reply.send(Ok(())).unwrap();
    let (last, reply) = shell.resize().await;
    assert_eq!(last.cols, 200);
    reply.send(Err(unavailable())).unwrap();
    client.resize(Size { cols: 200, rows: 50 });
    assert_eq!(shell.resize().await.0, Size { cols: 200, rows: 50 }, "a failed resize does not stop the next");
}

#[tokio::test(start_paused = true)]
async fn a_resize_without_an_answer_does_not_stop_the_next_for_ever() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut shell = bed.fake.shell().await;
    client.resize(Size { cols: 10, rows: 10 });
    let (_, _unanswered) = shell.resize().await;
    client.resize(Size { cols: 20, rows: 20 });
    assert_eq!(shell.resize().await.0.cols, 20);
}

#[tokio::test(start_paused = true)]
async fn the_last_byte_comes_before_the_end() {
    const LEN: usize = 8 * 1024 * 1024;
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    tokio::spawn(async move {
        for chunk in 0..LEN / CHUNK_BYTES {
            shell.print(pattern((chunk * CHUNK_BYTES) as u64, CHUNK_BYTES)).await;
        }
        shell.exit(Ok(Exit::Code(0)));
    });
    let told = Told::read_to_end(client.reader()).await;
    assert!(told.output == pattern(0, LEN));
    assert_eq!(told.ended(), "the shell ended with exit status 0");
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_stops_the_shell_and_loses_nothing() {
    const CHUNKS: u64 = 1000;
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut shell = bed.fake.shell().await;
    ready(&mut reader).await;
    // How much the shell can print while nobody reads. The short first chunk
    // keeps the window from being filled exactly.
    shell.print(pattern(0, CHUNK_BYTES / 2)).await;
    shell.print(pattern(CHUNK_BYTES as u64 / 2, CHUNK_BYTES / 2)).await;
    let mut printed = 1;
    let stalled = async {
        loop {
            let chunk = pattern(printed * CHUNK_BYTES as u64, CHUNK_BYTES);
            shell.output.send(chunk.into()).await.unwrap();
            printed += 1;
        }
    };
    assert!(timeout(Duration::from_secs(60), stalled).await.is_err(), "the shell waits");
    let bound = WINDOW + ((PIPE_CHUNKS + 1) * CHUNK_BYTES) as u64;
    assert!(printed * CHUNK_BYTES as u64 <= bound, "{printed} chunks in memory");

    // Input goes on all the same.
    soon(client.input(Bytes::from_static(b"\x03"))).await.unwrap();
    assert_eq!(shell.read(1).await, b"\x03");

    tokio::spawn(async move {
        for chunk in printed..CHUNKS {
            shell.print(pattern(chunk * CHUNK_BYTES as u64, CHUNK_BYTES)).await;
        }
        shell.exit(Ok(Exit::Code(0)));
    });
    let mut at = 0;
    loop {
        match soon(reader.next()).await {
            Some(Event::Output { offset, bytes }) => {
                assert_eq!(offset, at);
                assert!(bytes == pattern(at, bytes.len()));
                at += bytes.len() as u64;
            }
            Some(Event::Ended(Outcome::Exited(Exit::Code(0)))) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(at, CHUNKS * CHUNK_BYTES as u64);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn output_in_single_bytes_is_bounded_too() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    let mut printed = 0;
    let stalled = async {
        loop {
            shell.output.send(Bytes::from_static(b"x")).await.unwrap();
            printed += 1;
        }
    };
    assert!(timeout(Duration::from_secs(60), stalled).await.is_err(), "the shell waits");
    assert!(printed <= WINDOW as usize + PIPE_CHUNKS + 1, "{printed} bytes in memory");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_does_not_keep_the_sandbox_of_a_shell_that_has_ended() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let shell = bed.fake.shell().await;
    ready(&mut reader).await;
    for chunk in 0..(WINDOW as usize / CHUNK_BYTES + PIPE_CHUNKS) {
        shell.print(pattern((chunk * CHUNK_BYTES) as u64, CHUNK_BYTES)).await;
    }
    shell.exit(Ok(Exit::Code(0)));
    until(|| bed.fake.living().is_empty()).await;
    let mut len = 0;
    while let Some(event) = soon(reader.next()).await {
        if let Event::Output { bytes, .. } = event {
            len += bytes.len();
        }
    }
    assert_eq!(len, WINDOW as usize + PIPE_CHUNKS * CHUNK_BYTES);
    bed.all_gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_shell_whose_input_has_closed_still_prints_and_ends() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let mut reader = client.reader();
    let mut shell = bed.fake.shell().await;
    ready(&mut reader).await;
    shell.input.close();
    let session = client.session().clone();
    let typing = tokio::spawn(async move { session.input(vec![0; 1024 * 1024].into()).await });
    bed.fake.script("kill", SLOW, Reply::Do);
    shell.print("last words").await;
    shell.exit(Ok(Exit::Signal("SIGHUP".to_owned())));
    assert!(matches!(soon(reader.next()).await, Some(Event::Output { .. })));
    assert!(matches!(soon(reader.next()).await, Some(Event::Ended(outcome)) if outcome.to_string().contains("SIGHUP")));
    assert!(soon(typing).await.unwrap().is_err(), "who waits to type is told");
    assert_eq!(bed.sessions.count(), 1, "before the sandbox is gone");
    bed.all_gone().await;
}
