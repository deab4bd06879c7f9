/**
 * Sequences by the classes of the standards (ECMA-48, the VT510 manual, xterm's ctlseqs), each in every situation that changes what it does,
 * and with parameters at the edges. Knows no emulator.
 */
const E = "\x1b";
const C = "\x1b[";

const SCREEN = `${E}c${"line of text 漢字 \r\n".repeat(9)}`;

/** A cursor, and modes. */
const SITUATIONS = {
  "in the middle": `${C}5;10H`,
  "within margins, from their origin": `${C}3;8r${C}?6h${C}3;4H`,
  "below the margins": `${C}2;6r${C}9;9H`,
  "about to wrap, after wide text": `${C}4;1H${"漢".repeat(20)}`,
  "without wrapping, at the end": `${C}?7l${C}6;39Habcdef`,
  "with reverse wrapping, after a line that wrapped": `${C}?45h${C}2;35H${"w".repeat(8)}${C}3;2H`,
  "inserting, in colour, within a wide character": `${C}4h${C}42m${C}7;2H漢字${C}7;3H`,
};

/** Without their parameter. */
const SEQUENCES = {
  "cursor by steps (CUU, CUD, CUF, CUB, CNL, CPL, HPR, VPR)": [..."ABCDEFae"],
  "cursor to a place (CHA, HPA, VPA, CUP, HVP)": [..."G`dHf"],
  "tabs (CHT, CBT, TBC)": [..."IZg"],
  "erasing (ED, EL, ECH, DECSED, DECSEL)": ["J", "K", "X", "?J", "?K"],
  "characters (ICH, DCH, REP)": [..."@Pb"],
  "lines (IL, DL, SU, SD)": [..."LMST"],
  "columns (SL, SR, DECIC, DECDC)": [" @", " A", "'}", "'~"],
  "margins and attributes (DECSTBM, SGR)": [..."rm"],
};

/** None, those that mean the first, a few; and too many for the screen and for a number. */
const PARAMETERS = [
  ["", "0", "1", "3"],
  ["99", "99999999999"],
];

/** Without parameters, or with their own. */
const WHOLE = {
  "lines and tabs (IND, NEL, RI, HTS, LF, VT, FF, BS, HT, C1)": [`${E}D`, `${E}E`, `${E}M`, `${E}H`, "\n", "\v\f", "\b", "\b".repeat(50), "\t", "\x84\x85", "\x8d\x88"],
  "saved cursors (DECSC, DECRC, SCOSC, SCORC, 1048)": [`${E}7${C}1;1H${C}?6l${C}0m${E}8`, `${C}s${C}1;1H${C}4:3;41m${C}u`, `${E}]8;;https://a.example\x07${C}?1048h${C}9;9H${C}4m${C}?7h${C}?1048l`, `${E}8`],
  "screens (47, 1047, 1049)": ["47", "1047", "1049"].flatMap((mode) => [`${C}?${mode}hb`, `${C}?${mode}ha\r\n漢${C}?${mode}l`, `${C}?1047h${C}?${mode}l`, `${C}?${mode}h${C}?1049ha${C}?${mode}l`]),
  "resets, patterns and titles (DECALN, DECSTR, RIS, XTWINOPS, DECCOLM, DECSLRM)": [`${E}#8`, `${C}?1047h${E}#8`, `${C}!p`, `${E}c`, `${E}]2;a\x07${C}22t${E}]2;b\x07${C}23t`, `${C}22;1t${C}23;1t`, `${C}8;5;20t`, `${C}?3h`, `${C}?69h${C}5;20s`, `${E}#6${E}#3`, `${E}V${E}W${C}2"q`],
};

/**
 * Each a name and steps, with text around each sequence.
 * @type {[string, string[]][]}
 */
export const CLASSES = [
  ...Object.entries(SEQUENCES).map(
    /** @returns {[string, string[]]} */ ([name, sequences]) => [
      name,
      sequences.flatMap((sequence) => {
        const prefix = sequence.startsWith("?") ? "?" : "";
        const written = PARAMETERS.map((some) => some.map((parameter) => `x${C}${prefix}${parameter}${sequence.slice(prefix.length)}Y漢z`).join(""));
        return written.flatMap((text) => Object.values(SITUATIONS).map((situation) => `${SCREEN}${situation}${text}`));
      }),
    ],
  ),
  ...Object.entries(WHOLE).map(
    /** @returns {[string, string[]]} */ ([name, sequences]) => [name, sequences.flatMap((sequence) => Object.values(SITUATIONS).map((situation) => `${SCREEN}${situation}x${sequence}Y漢z`))],
  ),
];
