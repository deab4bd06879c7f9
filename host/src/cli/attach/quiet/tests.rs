//! What passes and what does not, however output is cut.

use proptest::prelude::*;

use super::*;

/// Everything that the filter lets through, and what it still holds.
fn filtered(bytes: &[u8], sizes: &[usize], quiet: bool) -> Vec<u8> {
    let (mut filter, mut out, mut rest) = (Filter::new(), Vec::new(), bytes);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        filter.push(piece, quiet, &mut out);
        assert!(filter.held.len() <= MAX_HELD + 1);
        rest = after;
    }
    out.extend_from_slice(&filter.held);
    out
}

fn quiet(bytes: &[u8]) -> Vec<u8> {
    filtered(bytes, &[usize::MAX], true)
}

/// Each is answered by some terminal.
const QUERIES: &[&[u8]] = &[
    b"\x05",
    b"\x1bZ",
    b"\xc2\x9a",
    b"\x1b[c",
    b"\x1b[0c",
    b"\x1b[>c",
    b"\x1b[>0c",
    b"\x1b[=c",
    b"\xc2\x9bc",
    b"\x1b[5n",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[?15n",
    b"\x1b[?996n",
    b"\x1b\n[6n",
    b"\x1b[\n6n",
    b"\x1b[4$p",
    b"\x1b[?2026$p",
    b"\x1b[x",
    b"\x1b[1x",
    b"\x1b[>q",
    b"\x1b[>0q",
    b"\x1b[11t",
    b"\x1b[14t",
    b"\x1b[14;2t",
    b"\x1b[16t",
    b"\x1b[18t",
    b"\x1b[21t",
    b"\x1b[?u",
    b"\x1b[?4m",
    b"\x1b[?4g",
    b"\x1b[?1;1;0S",
    b"\x1b[&u",
    b"\x1b[1$u",
    b"\x1b[1$w",
    b"\x1b[1;1;1;1;1;1*y",
    b"\x1b[\"v",
    b"\x1b['|",
    b"\x1b[1;1;1;1#|",
    b"\x1b[#R",
    b"\x1b[#S",
    b"\x1b]10;?\x07",
    b"\x1b]11;?\x1b\\",
    b"\x1b]11;?\xc2\x9c",
    b"\xc2\x9d11;?\x07",
    b"\x1b]011;?\x07",
    b"\x1b]10;?;?\x07",
    b"\x1b]4;1;?\x07",
    b"\x1b]4;1;?;2;?\x1b\\",
    b"\x1b]5;0;?\x07",
    b"\x1b]12;?\x07",
    b"\x1b]19;?\x07",
    b"\x1b]21;foreground=?\x1b\\",
    b"\x1b]22;?__current__\x1b\\",
    b"\x1b]50;?\x07",
    b"\x1b]52;c;?\x07",
    b"\x1b]60\x1b\\",
    b"\x1b]99;i=1:p=?;\x1b\\",
    b"\x1b]1337;ReportCellSize\x07",
    b"\x1b]1337;ReportVariable=bmFtZQ==\x07",
    b"\x1bP$qm\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\xc2\x90$q q\xc2\x9c",
    b"\x1bP+q544e;\xc2\xa0\x1b\\",
    b"\x1bP@kitty-cmd{}\x1b\\",
    b"\x1b_Gi=1,a=q;AAAA\x1b\\",
];

/// Each changes a terminal and is answered by none.
const OTHERS: &[&[u8]] = &[
    b"ls -la\r\n",
    "é😀\u{a0}€".as_bytes(),
    b"\xc2\xa0\xc2\xc2\xff\xc3",
    b"\x07\x08\t\x0e\x0f",
    b"\x1b[31;1m",
    b"\x1b[38:2::1:2:3m",
    b"\x1b[H\x1b[2J\x1b[3J",
    b"\x1b[\n2J",
    b"\x1b[?25l",
    b"\x1b[?1049h",
    b"\x1b[?2004h\x1b[?1006;1000h",
    b"\x1b[!p",
    b"\x1b[61\"p",
    b"\x1b[2 q",
    b"\x1b[q",
    b"\x1b[1\"q",
    b"\x1b[>4;2m",
    b"\x1b[>4n",
    b"\x1b[?1c",
    b"\x1b[s\x1b[u",
    b"\x1b[>1u\x1b[<u\x1b[=1;2u",
    b"\x1b[22;0t\x1b[23;0t",
    b"\x1b[8;24;80t",
    b"\x1b[>2t",
    b"\x1b[3S\x1b[3T",
    b"\x1b[1;1;2;2$x",
    b"\x1b[2*x",
    b"\x1b[#{\x1b[#}",
    b"\x1b[1;24r",
    b"\x1b7\x1b8\x1bc\x1bM\x1b=\x1b>",
    b"\x1b(B\x1b#8\x1b%G",
    b"\x1b F",
    b"\x1b]0;what?\x07",
    b"\x1b]2;?\x1b\\",
    b"\x1b]7;file://host/a\x1b\\",
    b"\x1b]8;;http://a/?\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]4;1;rgb:00/00/00\x07",
    b"\x1b]10;#ffffff\x1b\\",
    b"\x1b]104\x07\x1b]112\x07",
    b"\x1b]52;c;aGVsbG8=\x07",
    b"\x1b]133;A\x07",
    b"\x1b]1337;File=name=YQ==:AAAA\x07",
    b"\x1b]99;i=1;hello?\x1b\\",
    b"\x1b]\x07\x1b]\x1b\\",
    b"\x1b]2;cancelled\x18",
    b"\xc2\x9d2;title\xc2\x9c",
    b"\x1bPq#0;2;0;0;0~~\x1b\\",
    b"\x1bP0;1|17/ff\x1b\\",
    b"\x1bP1$tx\x1b\\",
    b"\x1bP\x1b\\",
    b"\x1bX\x1b\\\x1b^private [6n \xc2\x9c",
    b"\x1b_other\x1b\\\x1b_\x1b\\",
    b"\x1b[6\x18n",
    b"\x1b[6\x1b[m",
    b"\x1b\x1b[m",
    b"\x1b[\xc3\xa9",
];

#[test]
fn no_query_passes_and_everything_else_does() {
    for &query in QUERIES {
        let text = String::from_utf8_lossy(query);
        assert_eq!(quiet(query), b"", "{text:?}");
        assert_eq!(filtered(query, &[1], false), query, "{text:?} is live");
    }
    for &other in OTHERS {
        assert_eq!(quiet(other), other, "{:?}", String::from_utf8_lossy(other));
    }
}

#[test]
fn a_query_longer_than_any_does_not_pass() {
    let zeros = vec![b'0'; 2 * MAX_HELD];
    for (before, after) in [
        (&b"\x1b["[..], &b"6n"[..]),
        (b"\x1b]", b"11;?\x07"),
        (b"\x1b]11;", b";?\x1b\\"),
        (b"\x1bP", b"$qm\x1b\\"),
        (b"\x1bP$q", b"\x1b\\"),
    ] {
        let query = [before, &zeros, after].concat();
        assert_eq!(quiet(&[&query[..], b"x"].concat()), b"x", "{:?}", String::from_utf8_lossy(before));
        assert_eq!(filtered(&query, &[100], false), query);
    }
    // What is long and asks nothing is not held back.
    for before in [&b"\x1b]52;c;"[..], b"\x1b]2;", b"\x1b]1337;File=:", b"\x1bPq", b"\x1b_other"] {
        let long = [before, &zeros, b"\x1b\\"].concat();
        assert_eq!(quiet(&long), long, "{:?}", String::from_utf8_lossy(before));
    }
}

#[test]
fn a_query_counts_where_it_ends() {
    let (mut filter, mut out) = (Filter::new(), Vec::new());
    filter.push(b"a\x1b[6", true, &mut out);
    filter.push(b"n\x1b]11;", false, &mut out);
    assert_eq!(out, b"a\x1b[6n", "nobody has answered it yet");
    filter.push(b"?\x07b", true, &mut out);
    assert_eq!(out, b"a\x1b[6nb");
}

#[test]
fn modes_that_are_left_on_are_switched_off() {
    let (mut filter, mut out) = (Filter::new(), Vec::new());
    filter.push(b"\x1b[?1049;1006h\x1b[?25l\x1b=\x1b[>1u\x1b[?2004h\x1b[?2004l\x1b[?7h", false, &mut out);
    assert_eq!(filter.leave(), b"\x1b[m\x1b>\x1b[?1006l\x1b[?25h\x1b[<1u\x1b[?1049l");
    assert_eq!(filter.leave(), b"\x1b[m");
}

fn piece(of: &'static [&'static [u8]]) -> impl Strategy<Value = &'static [u8]> {
    (0..of.len()).prop_map(move |i| of[i])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn output_without_queries_passes_unchanged_however_it_is_cut(
        pieces in prop::collection::vec(piece(OTHERS), 0..20),
        sizes in prop::collection::vec(1usize..9, 1..20),
    ) {
        let bytes = pieces.concat();
        prop_assert_eq!(filtered(&bytes, &sizes, true), bytes);
    }

    #[test]
    fn live_output_passes_unchanged_whatever_it_is(
        bytes in prop::collection::vec(prop_oneof![Just(ESC), Just(C2), Just(b'['), Just(b']'), any::<u8>()], 0..200),
        sizes in prop::collection::vec(1usize..9, 1..20),
    ) {
        prop_assert_eq!(filtered(&bytes, &sizes, false), bytes);
    }

    #[test]
    fn queries_are_taken_out_of_what_is_around_them(
        pieces in prop::collection::vec((piece(OTHERS), prop::option::of(piece(QUERIES))), 0..20),
        sizes in prop::collection::vec(1usize..9, 1..20),
    ) {
        // A query after the beginning of a code point is one for every terminal.
        let asks = pieces.iter().flat_map(|(other, query)| [*other, query.unwrap_or_default()]);
        let (bytes, expected) = (asks.collect::<Vec<_>>().concat(), pieces.iter().map(|(other, _)| *other));
        prop_assert_eq!(filtered(&bytes, &sizes, true), expected.collect::<Vec<_>>().concat());
    }
}
