/** What programs write: a corpus for comparing emulators. Knows neither of them. */
const E = "\x1b";
const C = "\x1b[";

/** @typedef {string | Buffer | { cols: number, rows: number }} Step Output, or a new size. */

/**
 * Each a name and steps.
 * @type {[string, Step[]][]}
 */
export const CORPUS = [
  ["plain lines that scroll", ["one\r\ntwo\r\nthree\r\n".repeat(6) + "$ "]],
  ["a line that wraps, and is made narrower and wider", ["0123456789".repeat(7) + "\r\nnext\r\n$ ", { cols: 25, rows: 10 }, { cols: 60, rows: 10 }, { cols: 40, rows: 10 }]],
  ["a cursor that is about to wrap", ["x".repeat(40), "y", `${C}3;1H` + "漢".repeat(20), "字", `${C}5;1H` + "a".repeat(39) + "漢"]],
  ["wide characters that do not fit, at other widths", [("a漢字かな" .repeat(12) + "\r\n").repeat(3) + "$ ", { cols: 21, rows: 10 }, { cols: 33, rows: 8 }, { cols: 50, rows: 12 }]],
  ["colours", [`${C}1;31mred${C}0m ${C}38;5;208morange${C}48;2;1;2;3mtrue${C}7;9minverse${C}0;2;3;4;5mfaint${C}0;8;53mhidden${C}m ${C}91;107mbright`]],
  ["underlines", [`${C}4:3mcurly${C}58:2::255:0:0mred${C}58;5;3mpalette${C}4:4mdotted${C}4:5mdashed${C}21mdouble${C}59mplain${C}24mnone${C}4:0m ${C}4mone`, `${C}0m after`]],
  ["colours in parts", [`${C}38:2:1:2:3ma${C}38:2::4:5:6mb${C}48:5:99mc${C}38;2;7;8md${C}38;5me${C}38mf${C}0m${C}38;5;300mg`]],
  ["links", [`${E}]8;;https://a.example/x;y${E}\\link${E}]8;;${E}\\ no ${E}]8;id=1:x=2;https://b.example\x07b${E}]8;id=1;https://b.example\x07more`, "\r\nstill a link", `${C}0m and still${E}]8;;\x07 not`]],
  ["colours of the palette", [`${E}]4;1;rgb:12/34/56;300;#fff;2;#abc${E}\\`, `${E}]10;#112233\x07${E}]11;rgb:ffff/0000/8080;#445566\x07`, `${E}]104;1\x07${E}]110\x07`, `${E}]104\x07${E}]111\x07${E}]112\x07`]],
  ["graphemes at the margin", ["a".repeat(38) + "👨‍👩‍👧‍👦x", "\r\n" + "a".repeat(39) + "☁", "\ufe0f", "y", "\r\n" + "a".repeat(40) + "\u0301", "\u0302z"]],
  ["a character in pieces", [Buffer.from("👨‍👩").subarray(0, 2), Buffer.from("👨‍👩").subarray(2, 5), Buffer.from("👨‍👩").subarray(5), "\u0301", "\x1b[3", "1mred\x1b]2;ti", "tle\x1b", "\\x\x9b".slice(0, 3)]],
  ["a character in pieces of which one ends in the byte 0x80", ["a👨\u200d👩b\u2000c", "é\u{1f000}"].flatMap((text) => [...Buffer.from(text)].map((byte) => Buffer.of(byte)))],
  ["titles put aside", [`${E}]2;one\x07${C}22;0;0t${E}]2;two\x07${C}22;2t${E}]2;three\x07`, `${C}23;0;0t`, `${C}23;2t${C}23t`]],
  ["an alternate screen after a smaller window", ["$ vi\r\n", { cols: 40, rows: 4 }, `${C}?1049h` + "line\r\n".repeat(12), { cols: 40, rows: 9 }, `${C}?1049l`]],
  ["bytes that are no text", [Buffer.from([0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82, 0x62, 0xf0, 0x9f, 0x98, 0x0d, 0x0a, 0xed, 0xa0, 0x80, 0xef, 0xbb, 0xbf, 0x7f, 0x63])]],
  ["joined and not", ["e\u0301e", `${C}C\u0301`, "\u0600a🇩", "🇪🇫", "\r\nกำนี้ ที่ 각 각 ", "\u1100\u1161\u11a8\u11a8", "👍🏽👍", "🏽 ☁︎☁️ 1️⃣ #️⃣ 🏴‍☠️", "\r\u0301x\u200dy"]],
  ["repeat", [`a${C}5b`, `漢${C}3b`, `e\u0301${C}2b`, `${C}2;1Hx${C}C${C}4b`, "-" + `${C}100b`]],
  ["a prompt that is drawn again", [`$ ls${C}2K\r$ make${C}K\r\nbuilding\r${C}1A${C}5Cup${C}1B`]],
  [
    "a pager, as less does",
    [
      `$ less a\r\n${C}?1049h${C}22;0;0t${C}?1h${E}=\rline 1${C}m\r\nline 2\r\n${C}7ma${C}27m${C}K`,
      { cols: 30, rows: 8 },
      `\r${C}K${C}?1l${E}>${C}?1049l${C}23;0;0t$ `,
    ],
  ],
  [
    "an editor, as vim does",
    [
      `$ vi\r\n${C}?1049h${C}22;0;0t${C}>4;2m${C}?1h${E}=${C}?2004h${C}?1004h${C}1;10r${C}?12h${C}?12l${C}22;2t${C}27m${C}23m${C}m${C}H${C}2J${C}?25l${C}10;1H"a" 3L, 12B${C}1;1Hone\r\ntwo\r\n~${C}94m~${C}m`,
      `${C}2 q${E}]2;a (~) - VIM\x07${C}1;1H${C}?25h${C}1;4r${C}1;1H${C}L${C}1;10r${C}2;2H`,
      `${C}?2004l${C}?1004l${C}?1l${E}>${C}10;1H${C}K${C}?1049l${C}23;2t${C} q$ `,
    ],
  ],
  ["stacks of the keyboard", [`${C}>1u${C}>5u${C}>4;2m${C}?1049h${C}>3u${C}=8;2u`, `${C}<u`, `${C}>4;1f${C}?1049l${C}<u`, `${C}<2u${C}>m${C}>4;9f`, `${C}>f${C}>4;3m`, `${C}>4n`, ...Array.from({ length: 20 }, (_, flags) => `${C}>${flags}u`), ...Array.from({ length: 16 }, () => `${C}<u`), `${C}>31u${E}c`]],
  ["modes of the mouse and keys", [`${C}?1000h${C}?1002h${C}?1006h`, `${C}?1003h${C}?1003l${C}?1016h${C}?9h${C}?66h${C}?45h${C}?2026h`, `${C}?1016l${C}=5u${C}>1u${C}>31u`]],
  ["no wrapping", [`${C}?7l` + "0123456789".repeat(5) + "漢", "x", `${C}?7h` + "abc"]],
  ["a scroll region and origin mode", [`${C}2;4r${C}?6h${C}1;1Htop\r\n\r\n\r\n\r\nbottom`, `${C}2A${C}3Gx${C}d`, `${C}?6l${C}10;1Hstatus${C}s`, { cols: 40, rows: 6 }, "after"]],
  ["lines that scroll out of a region at the top", ["a\r\nb\r\nc\r\n".repeat(4), `${C}1;5r${C}5;1H` + "x\r\ny\r\nz\r\n".repeat(5)]],
  ["inserted and deleted lines", [Array.from({ length: 9 }, (_, y) => `line ${y}`).join("\r\n"), `${C}3;3H${C}41m${C}2L`, `${C}5;7r${C}6;1H${C}M${C}9L`, `${C}r${C}S${C}2T${E}M`, `${C}H${E}M${E}M${E}D${E}E${E}M`]],
  ["inserted and deleted characters", [`abc漢字def${C}4G`, `${C}44m${C}2@`, `${C}P`, `${C}6G${C}P`, `${C}5G${C}3X`, `${C}4h${C}2;38Habc漢xyz${C}2;3Hnew`, `${C}4l${C}3;40H漢${C}3;40Hx${C}3;1H漢${C}3;2Hy`]],
  ["columns that move", [`abcdef\r\nghijkl\r\nmnopqr${C}2;3H${C}2'}`, `${C}'~`, `${C}3 @${C}1 A`]],
  ["erasing", [("x".repeat(40) + "\r\n").repeat(9), `${C}45m${C}5;5H${C}K${C}6;5H${C}1K${C}7;5H${C}2K`, `${C}3;3H${C}1J`, `${C}8;8H${C}J`, `${C}2J`, `${C}3J`]],
  ["erasing up to the last cell", ["x".repeat(400) + `${C}1J`, "abc\r\n" + "y".repeat(405) + `${C}10;40H${C}?1J`, `${C}?1049h` + "z".repeat(400) + `${C}1J!`]],
  ["erasing what wrapped", ["x".repeat(95), `${C}2;1H${C}K`, `${C}1;35H${C}K`, { cols: 20, rows: 10 }, { cols: 50, rows: 10 }, `${C}H${C}J`]],
  ["lines that wrap without text", ["x".repeat(85) + `${C}2;1H${C}40X${C}3;1H`, `${C}1;30H${C}42m${C}11X`, `${C}2;5H${C}m${C}X${C}8;1H` + "y".repeat(41) + `${C}8;40H${C}X`, { cols: 30, rows: 10 }]],
  ["protected text", [`${C}1"qkept${C}0"qlost${C}?2K`, `\r\n${C}1"qA${C}2"qB${C}?J${C}4Gz`, `${C}1"q`]],
  ["line drawing", [`${E}(0lqqk${E}(B\r\nabc${C}4h${C}2;1Hxy${C}4l\x0e${E})0q\x0fq`, `${E}(0`, "qqq\x0e", `${E}(K[]{}~${E}n${E}*0x${E}o`, `${E}%@abc`]],
  ["tab stops", [`${C}3g${C}5G${E}H${C}9G${E}H\ra\tb\tc\td`, `${C}g${C}2Z*${C}2I+`, { cols: 60, rows: 10 }, "\r\t\t\t!"]],
  ["a saved cursor", [`${C}3;5H${C}31m${E}7${C}1;1H${C}32mgreen`, `${E}8red`, `${C}9;1H${E}7` + "\r\n".repeat(3), `${E}8x`]],
  ["a saved cursor while a link is open", [`${C}4:3m${E}]8;;https://a.example\x07${E}7${E}8a${E}]8;;\x07b`, `${C}4:3m${E}]8;;https://a.example\x07${C}24m${E}8c`]],
  ["a saved cursor on each screen", [`${C}2;2H${C}31m${E}7${C}?1047h${C}4;4H${C}44m${E}(0${E}7${C}1;1Hq`, `${E}8x${E}(B`, `${C}?1047l${E}8y`]],
  ["the alternate screen in every way", [`a${C}?47hb`, `${C}?47lc${C}?1048h${C}5;5H${C}?1049h${C}3;3Hd`, `${C}?1049l`, `${C}?1048le`, `${C}41m${C}?1049h`, "filled"]],
  ["both screens change their size", [("line " + "x".repeat(50) + "\r\n").repeat(8) + `$ ${C}?1049h${C}H` + "y".repeat(80), { cols: 25, rows: 6 }, { cols: 60, rows: 14 }, `${C}?1049l`]],
  ["an alternate screen that hides columns, and shows them again", [`${C}?1049h${"x".repeat(40)}${C}2;1H${"y".repeat(40)}`, { cols: 20, rows: 10 }, `${C}2;1H${C}2P`, `${C}H${C}J`, { cols: 50, rows: 10 }]],
  ["a reset", [`${E}]2;old\x07${C}?1000;1006;2004h${E}=${C}4 q${C}31mx${C}3;4r${C}20h${C}?5h`, `${E}cy\n`, `${C}20l${C}?1h${C}4h`, `${C}!px`]],
  ["alignment", [`${C}3;4r${C}31;1m${E}#8`, `${C}5;5Hx`]],
  ["new lines", [`${C}20ha\nb\nc${C}20l\nd`, `\x0b\x0c\x84\x85\x88e`.replace(/[\x80-\x9f]/g, (c) => c)]],
  ["controls within sequences", [`a${C}3\n1mb${C}\x0832mc${C}1\x18md${C}?1;2$`, `pe${E}]0;x\x18y${E}[31\x1amz`, `${C}<=mf${C}1?mg${E}P1$r\x1b[0m${E}\\h${E}_app\x07lication${E}\\i${E}^pm${E}\\${E}Xsos${E}\\`]],
  ["many parameters", [`${C}${Array.from({ length: 40 }, () => "1").join(";")};31ma`, `${C}${"4:3;".repeat(40)}31mb${C}99999999999999Cc${C}99999999999;99999999999Hd`]],
  ["backspace", [`abc\b\b\bX${C}?45h` + "y".repeat(45) + "\b".repeat(10), `${C}2;1H\b\b`, `${C}?45l\b`]],
  ["moves beyond the edges", [`${C}99Aa${C}99Bb${C}99Cc${C}99Dd${C}0;0He${C}5;5f.${C}3e${C}2a*${C}7\`|${C}2E_${C}F^`]],
  ["sizes below and above", ["x".repeat(30) + "\r\ny\r\nz", { cols: 2, rows: 1 }, "ab", { cols: 100, rows: 40 }, "c", { cols: 40, rows: 3 }, { cols: 40, rows: 30 }]],
  ["a history that is longer than what is kept", [Array.from({ length: 2600 }, (_, n) => `${n} ${"x".repeat(n % 60)}`).join("\r\n"), `\r\n${C}?1049h`, `${C}?1049l`]],
  ["frames of an Ink program, made narrower", [inkFrames(40), { cols: 22, rows: 10 }, inkFrames(22)]],
  ["full lines with colours", [`${C}44m` + "x".repeat(40) + `${C}m\r\n${C}41m${C}K\r\n${C}0m` + `${C}7m` + " ".repeat(40) + `${C}m` + "y".repeat(40), "\r\n".repeat(12), `${C}42m\n\n`]],
];

/**
 * Frames that are drawn over each other, as by Ink: up by the lines before, each erased.
 * @param {number} cols
 */
function inkFrames(cols) {
  /** @param {number} frame @param {number} row */
  const line = (frame, row) => `frame ${frame} row ${row} `.padEnd(cols - 2, "·");
  const up = `${C}2K${C}1A`.repeat(3) + `${C}2K${C}G`;
  return Array.from({ length: 20 }, (_, frame) => (frame > 0 ? up : "") + [0, 1, 2].map((row) => line(frame, row) + "\r\n").join("")).join("");
}

/** One of each class of characters that join or do not. */
const CLASSES = ["a", "漢", "\u0600", "\u0301", "\ufe0f", "🇩", "\u0903", "\u1100", "\u1161", "\u11a8", "가", "각", "\u200d", "👍"];

/** Families, flags, skin tones, presentation, scripts that join, and one of everything else. */
export const FAMILIES = [
  ...["👨‍👩‍👧‍👦", "👩🏽‍🚀", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👁️‍🗨️", "🧑🏿‍❤️‍💋‍🧑🏻", "🇩🇪", "🇩🇪🇫", "👍", "👍🏽", "☝🏽", "❤", "❤️", "❤︎", "☁️", "☁︎", "1️⃣", "#️⃣", "©️", "™️", "⌚︎", "🀄︎"],
  ...["é", "é̂̃̄", "ñ", "Å", "Å", "각", "각", "ᄀ각ᆨ", "กำ", "ที่", "นี้", "ກຳ", "நி", "क्षि", "ক্ষ", "ಕ್ಷ", "မြန်မာ", "ཧྐྵ", "عربي", "שָׁלוֹם", "‮abc", "a‍b", "​", "­", "﻿x", " "],
  ...CLASSES.flatMap((a) => CLASSES.flatMap((b) => CLASSES.map((c) => a + b + c))),
  ...Array.from({ length: 0x2f00 }, (_, n) => String.fromCodePoint(0xa1 + n * 11)).filter((c) => !/[\ud800-\udfff]/.test(c)),
  ...Array.from({ length: 0x400 }, (_, n) => String.fromCodePoint(0x1f000 + n * 2)),
  ...Array.from({ length: 200 }, (_, n) => String.fromCodePoint(0x10000 + n * 4999)),
];

/**
 * What programs ask, and what they are told where the page's emulator says nothing or something else.
 * @type {string[][]}
 */
export const QUERIES = [
  [`${C}c`],
  [`${C}0c`],
  [`${E}[1c${C}5n`],
  [`${C}>c`],
  [`${C}=c`, `${E}P!|00000000${E}\\`],
  [`${C}5n`],
  [`${C}7;13H${C}6n`],
  [`${C}?6n`],
  [`${C}?996n`, `${C}?997;1n`],
  [`${C}x`, `${C}2;1;1;128;128;1;0x`],
  [`${C}>q`, `${E}P>|sandbox-broker(0.1.0)${E}\\`],
  [`${C}?u`, `${C}?0u`],
  [`${C}>5u${C}?u`, `${C}?5u`],
  [`${C}=2;2u${C}?u`, `${C}?7u`],
  [`${C}<u${C}?u`, `${C}?0u`],
  [`${C}?4m`, `${C}>4;0m`],
  [`${C}>4;2m${C}?4m`, `${C}>4;2m`],
  [`${C}?4g`, `${C}>4;0f`],
  [`${C}>4;1f${C}?4g`, `${C}>4;1f`],
  [`${E}]10;?\x07`, `${E}]10;rgb:d7d7/dcdc/e5e5${E}\\`],
  [`${E}]11;?${E}\\`, `${E}]11;rgb:1111/1414/1a1a${E}\\`],
  [`${E}]12;?\x07`, `${E}]12;rgb:8a8a/b4b4/ffff${E}\\`],
  [`${E}]10;?;?\x07`, `${E}]10;rgb:d7d7/dcdc/e5e5${E}\\${E}]11;rgb:1111/1414/1a1a${E}\\`],
  [`${E}]4;1;?;196;?;255;?\x07`, `${E}]4;1;rgb:f2f2/7777/7a7a${E}\\${E}]4;196;rgb:ffff/0000/0000${E}\\${E}]4;255;rgb:eeee/eeee/eeee${E}\\`],
  [`${E}]4;1;#102030\x07${E}]4;1;?\x07`, `${E}]4;1;rgb:1010/2020/3030${E}\\`],
  ...["m", "r", '"q', '"p', " q", "x"].map((of) => [`${E}P$q${of}${E}\\`]),
  [`${C}3;7r${E}P$qr${E}\\`],
  ...[1, 2, 3, 6, 7, 8, 9, 12, 25, 45, 47, 66, 67, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1048, 1049, 2004, 2026, 2027, 9999].map((mode) => [`${C}?${mode}$p`]),
  ...[2, 4, 12, 20, 99].map((mode) => [`${C}${mode}$p`]),
  [`${C}?1;1000;1006;2004h${C}4h${C}?1$p${C}?1000$p${C}?1006$p${C}?2004$p${C}4$p`],
];

/**
 * Random output and sizes from a seed.
 * @param {number} seed
 */
export function fuzz(seed) {
  let state = (seed * 0x9e3779b1) >>> 0 || 1;
  /** @param {number} bound */
  const below = (bound) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % bound;
  };
  /** @template T @param {T[]} all */
  const of = (all) => /** @type {T} */ (all[below(all.length)]);
  // Of an alternate screen of one row the emulator writes into the row that it has just scrolled away: it uses one object for both.
  const size = () => ({ cols: 2 + below(50), rows: 2 + below(13) });
  const number = () => of(["", "0", "1", "2", "3", "5", "9", "20", "99"]);
  const parts = [
    () => "abcdefgh ijklm".slice(below(8)),
    () => "x".repeat(below(90)),
    () => of(["漢字", "👨‍👩‍👧", "e\u0301", "\u0301", "🇩🇪", "☁\ufe0f", "\ufe0f", "각", "กำ", "👍🏽", "─│", "\u200d", "ａ"]),
    () => of(["\r\n", "\r\n\r\n", "\n", "\r", "\b", "\t", "\x0b"]),
    () => C + number() + of([..."ABCDEFGHIJKLMPSTXZ`abdefg@"]),
    () => C + number() + of(["J", "K", "J", "K", "?J", "?K"].map((name) => name)).replace(/^\?(.)/, "$1"),
    () => `${C}${number()};${number()}H`,
    () => `${C}${below(6)};${below(12)}r`,
    () => `${C}${of(["0", "1", "7", "31", "44", "4:3", "38;5;99", "48;2;9;8;7", "58:5:3", "59", "39", "49", "22", "24", "27", "53", "9", "8"])}m`,
    () => C + of(["?7h", "?7h", "?7l", "?6h", "?6l", "?6l", "4h", "4l", "4l", "?45h", "?45l", "20h", "20l", "?1h", "?25l", "?2004h"]),
    () => of([`${E}7`, `${E}8`, `${E}M`, `${E}D`, `${E}E`, `${E}H`, `${C}s`, `${C}u`]),
    () => of([`${C}?1049h`, `${C}?1049l`, `${C}?1047h`, `${C}?1047l`, `${C}?1049l`]),
    () => of([`${E}(0`, `${E}(B`, `${E}(B`, "\x0e", "\x0f", `${E})0`]),
    () => of([`${E}]2;title\x07`, `${E}]4;3;#123\x07`]),
    () => of([`${E}]8;;https://a.example\x07`, `${E}]8;id=1;https://b.example\x07`, `${E}]8;;\x07`]),
    () => `${C}${number()}${of([" @", " A", "'}", "'~"])}`,
    () => of([`${C}!p`, `${E}#8`, `${C}3g`, `${C}1"q`, `${C}0"q`, "漢"]),
  ];
  /** @type {Step[]} */
  const steps = Array.from({ length: 8 }, () => (below(4) === 0 ? size() : Array.from({ length: 1 + below(30) }, () => of(parts)()).join("")));
  return { size: size(), steps };
}
