//! Frames survive any cut, and no bytes do harm.

use proptest::prelude::*;

use super::*;

const SIZE: Size = Size { cols: 80, rows: 24 };

fn to_broker() -> Vec<ToBroker<'static>> {
    vec![
        ToBroker::Hello(Hello { pid: 7, start: 1, end: MAX_OFFSET, input: 3, size: SIZE }),
        ToBroker::Output { offset: 9, bytes: b"some output" },
        ToBroker::Output { offset: 20, bytes: &[b'x'; MAX_DATA] },
        ToBroker::Output { offset: 21, bytes: b"" },
        ToBroker::Gap { from: 5, to: 6 },
        ToBroker::Taken { input: 1 << 40 },
        ToBroker::Exit { code: -1, signal: 9, end: 77 },
        ToBroker::Screen { offset: 7, size: SIZE, text: "\u{1b}[31mé漢" },
        ToBroker::Size { offset: MAX_OFFSET, size: SIZE },
        ToBroker::Title { text: "" },
        ToBroker::Directory { path: "/home/é" },
        ToBroker::Refused { reason: "since is above the end" },
    ]
}

fn to_recorder() -> Vec<ToRecorder<'static>> {
    vec![
        ToRecorder::Input(b"ls\r"),
        ToRecorder::Input(&[b'y'; MAX_DATA]),
        ToRecorder::Resize(Size { cols: 1, rows: MAX_SIDE }),
        ToRecorder::Ack { offset: 12345 },
        ToRecorder::Colors { foreground: [1, 2, 3], background: [0, 255, 7], cursor: [8, 9, 10] },
        ToRecorder::Signal { number: 15 },
    ]
}

fn all_to_broker() -> Vec<u8> {
    let mut bytes = Vec::new();
    to_broker().iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn all_to_recorder() -> Vec<u8> {
    let mut bytes = Vec::new();
    to_recorder().iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

/// Decodes pieces that end at `cuts`, and shows each frame as text.
fn decode(
    bytes: &[u8],
    cuts: &[usize],
    mut next: impl FnMut(&mut Decoder, &mut &[u8]) -> Option<String>,
) -> Vec<String> {
    let (mut decoder, mut shown, mut from) = (Decoder::default(), Vec::new(), 0);
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = &bytes[from..to];
        while let Some(text) = next(&mut decoder, &mut piece) {
            shown.push(text);
        }
        assert!(piece.is_empty(), "a decoder without a frame used up its input");
        from = to;
    }
    shown
}

fn shown_to_broker(decoder: &mut Decoder, piece: &mut &[u8]) -> Option<String> {
    decoder.next::<ToBroker<'_>>(piece).unwrap().map(|frame| format!("{frame:?}"))
}

fn shown_to_recorder(decoder: &mut Decoder, piece: &mut &[u8]) -> Option<String> {
    decoder.next::<ToRecorder<'_>>(piece).unwrap().map(|frame| format!("{frame:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn frames_survive_any_cut(mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let (broker, recorder) = (all_to_broker(), all_to_recorder());
        let mut places = |length| {
            let mut places: Vec<usize> = cuts.iter_mut().map(|cut| cut.index(length)).collect();
            places.sort_unstable();
            places
        };
        let expected: Vec<String> = to_broker().iter().map(|frame| format!("{frame:?}")).collect();
        prop_assert!(decode(&broker, &places(broker.len()), shown_to_broker) == expected);
        let expected: Vec<String> = to_recorder().iter().map(|frame| format!("{frame:?}")).collect();
        prop_assert!(decode(&recorder, &places(recorder.len()), shown_to_recorder) == expected);
    }
}

#[test]
fn a_frame_that_lies_whole_is_not_copied() {
    let bytes = all_to_broker();
    let (mut decoder, mut rest) = (Decoder::default(), &bytes[..]);
    let hello: Option<ToBroker<'_>> = decoder.next(&mut rest).unwrap();
    assert!(matches!(hello, Some(ToBroker::Hello(_))));
    assert_eq!(decoder.held.capacity(), 0);
}

#[test]
fn what_breaks_a_bound_is_refused() {
    fn broker(bytes: &[u8]) -> Malformed {
        Decoder::default().next::<ToBroker<'_>>(&mut &*bytes).unwrap_err()
    }
    fn recorder(bytes: &[u8]) -> Malformed {
        Decoder::default().next::<ToRecorder<'_>>(&mut &*bytes).unwrap_err()
    }
    assert_eq!(broker(&[0x11, 0, 0, 0, 0]), Malformed::Kind(0x11), "input goes the other way");
    assert_eq!(recorder(&[0x02, 0, 0, 0, 0]), Malformed::Kind(0x02), "output goes the other way");
    let length = MAX_PAYLOAD as u32 + 1;
    let [a, b, c, d] = length.to_be_bytes();
    assert_eq!(broker(&[0x02, a, b, c, d]), Malformed::TooLong { kind: 0x02, length }, "before it is buffered");
    assert_eq!(recorder(&[0x12, 0, 0, 0, 4, 0, 0, 0, 24]), Malformed::Payload { kind: 0x12 }, "no columns");
    assert_eq!(recorder(&[0x12, 0, 0, 0, 4, 3, 0xe9, 0, 24]), Malformed::Payload { kind: 0x12 }, "1001 columns");
    assert_eq!(recorder(&[0x13, 0, 0, 0, 1, 0]), Malformed::Payload { kind: 0x13 }, "short");
    assert_eq!(recorder(&[0x14, 0, 0, 0, 5, 0, 0, 0, 9, 9]), Malformed::Payload { kind: 0x14 }, "long");
    assert_eq!(broker(&[0x07, 0, 0, 0, 1, 0xff]), Malformed::Payload { kind: 0x07 }, "no UTF-8");
    assert_eq!(broker(&[0x01, 0, 0, 0, 1, 1]), Malformed::Version(1));
    for (kind, most) in [(0x09, MAX_TITLE), (0x0a, MAX_DIRECTORY)] {
        let mut text = vec![kind, 0, 0];
        text.extend((most as u16 + 1).to_be_bytes());
        text.resize(HEADER + most + 1, b'x');
        assert_eq!(broker(&text), Malformed::Payload { kind }, "above its bound");
    }
    let mut gap = Vec::new();
    ToBroker::Gap { from: 2, to: 1 }.encode(&mut gap);
    assert_eq!(broker(&gap), Malformed::Payload { kind: 0x03 });
    for above in [MAX_OFFSET + 1, u64::MAX - 1, u64::MAX] {
        let hello = Hello { pid: 1, start: 0, end: 0, input: 0, size: SIZE };
        for frame in [
            ToBroker::Hello(Hello { end: above, ..hello }),
            ToBroker::Hello(Hello { input: above, ..hello }),
            ToBroker::Hello(Hello { start: 1, ..hello }),
            ToBroker::Output { offset: above, bytes: b"" },
            ToBroker::Output { offset: MAX_OFFSET - 1, bytes: b"ab" },
            ToBroker::Gap { from: 0, to: above },
            ToBroker::Taken { input: above },
            ToBroker::Exit { code: 0, signal: 0, end: above },
            ToBroker::Screen { offset: above, size: SIZE, text: "" },
            ToBroker::Size { offset: above, size: SIZE },
        ] {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert!(matches!(broker(&bytes), Malformed::Payload { .. }), "{frame:?}");
        }
        let mut bytes = Vec::new();
        ToRecorder::Ack { offset: above }.encode(&mut bytes);
        assert!(matches!(recorder(&bytes), Malformed::Payload { .. }));
    }
}

/// A stream of mutated frames, fed in pieces, a million in all.
#[test]
fn a_million_mutated_frames_do_no_harm() {
    const FRAMES: usize = 1_000_000;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let seeds: Vec<Vec<u8>> = to_broker()
        .iter()
        .filter(|frame| !matches!(frame, ToBroker::Output { offset: 20, .. }))
        .map(|frame| {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            bytes
        })
        .chain(to_recorder().iter().filter(|frame| !matches!(frame, ToRecorder::Input(b) if b.len() > 9)).map(
            |frame| {
                let mut bytes = Vec::new();
                frame.encode(&mut bytes);
                bytes
            },
        ))
        .collect();
    let (mut broker, mut recorder) = (Decoder::default(), Decoder::default());
    let (mut understood, mut refused) = (0_u64, 0_u64);
    for _ in 0..FRAMES {
        let mut bytes = seeds[(next() % seeds.len() as u64) as usize].clone();
        for _ in 0..next() % 4 {
            let at = (next() % bytes.len() as u64) as usize;
            match next() % 4 {
                0 => bytes[at] = next() as u8,
                1 => bytes[at] ^= 1 << (next() % 8),
                2 => bytes.insert(at, next() as u8),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        let cut = (next() % (bytes.len() as u64 + 1)) as usize;
        for mut piece in [&bytes[..cut], &bytes[cut..]] {
            let mut rest = piece;
            loop {
                match broker.next::<ToBroker<'_>>(&mut rest) {
                    Ok(Some(_)) => understood += 1,
                    Ok(None) => break,
                    Err(_) => {
                        refused += 1;
                        broker = Decoder::default();
                        break;
                    }
                }
            }
            loop {
                match recorder.next::<ToRecorder<'_>>(&mut piece) {
                    Ok(Some(_)) => understood += 1,
                    Ok(None) => break,
                    Err(_) => {
                        refused += 1;
                        recorder = Decoder::default();
                        break;
                    }
                }
            }
            for decoder in [&broker, &recorder] {
                assert!(decoder.held.len() <= HEADER + MAX_PAYLOAD, "a decoder holds one frame");
            }
        }
    }
    assert!(understood > 1000 && refused > 1000, "{understood} understood, {refused} refused");
}
