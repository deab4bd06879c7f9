/**
 * The page's emulator without a page (xterm.js with its graphemes, as `src/terminal/terminal.ts` sets it up), and all of its state as a value that
 * two of them can be compared by.
 */
import { fileURLToPath } from "node:url";
import headless from "@xterm/headless";

// Not statically: loaded together with the addon, it keeps node 20 from starting.
const { build } = await import("vite");

// Node puts small buffers into one pool. The addon reads the head of its table from the beginning of that, and would take all beyond U+FFFF
// for narrow, as it does in no browser.
const { poolSize } = Buffer;
Buffer.poolSize = 0;
const { default: graphemes } = await import("@xterm/addon-unicode-graphemes");
Buffer.poolSize = poolSize;

/** @typedef {any} Inside What is inside of the emulator, which has no types. */

/**
 * @typedef {object} Emulator
 * @property {headless.Terminal} terminal
 * @property {string} answers What it told programs.
 * @property {string} title
 * @property {Map<number, string>} colors
 * @property {Record<string, unknown>} keyboard
 * @property {(output: string | Uint8Array) => Promise<void>} write
 */

/** @param {headless.Terminal} terminal @returns {Inside} */
const inside = (terminal) => /** @type {Inside} */ (terminal)._core;

/**
 * A module of the page.
 * @param {string} name
 */
async function ofPage(name) {
  const entry = fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));
  const built = await build({ configFile: false, logLevel: "error", build: { write: false, lib: { entry, formats: ["es"] } } });
  const [{ output }] = /** @type {[import("vite").Rolldown.RolldownOutput]} */ (built);
  return import(`data:text/javascript,${encodeURIComponent(output[0].code)}`);
}

const { EMULATION, mend } = await ofPage("terminal/emulation");
const { WholeCodePoints } = await ofPage("terminal/utf8");
const { KeyboardModes } = await ofPage("keyboard/modes");

/** Lines of scrollback that the recorder keeps. */
const HISTORY = 2000;

/** @param {{ cols: number, rows: number }} size @returns {Emulator} */
export function emulator({ cols, rows }) {
  const terminal = new headless.Terminal({ ...EMULATION, cols, rows, scrollback: 10_000, cursorBlink: true, logLevel: "off" });
  mend(terminal);
  terminal.loadAddon(new graphemes.UnicodeGraphemesAddon());
  const { parser } = terminal;
  const isAlternate = () => terminal.buffer.active.type === "alternate";
  const whole = new WholeCodePoints();
  /** @type {Emulator} */
  const seen = {
    terminal,
    answers: "",
    title: "",
    colors: new Map(),
    keyboard: new KeyboardModes({ parser, isAlternate, answer: (/** @type {string} */ text) => (seen.answers += text) }),
    write: (output) => new Promise((done) => terminal.write(typeof output === "string" ? output : whole.take(output), done)),
  };
  terminal.onData((text) => (seen.answers += text));
  terminal.onTitleChange((title) => (seen.title = title));
  inside(terminal)._inputHandler.onColor((/** @type {{ type: number, index?: number, color: number[] }[]} */ events) => {
    for (const { type, index, color } of events) {
      if (type === 1 && index !== undefined) seen.colors.set(index, color.join());
      if (type === 2 && index === undefined) [...seen.colors.keys()].filter((index) => index < 256).forEach((index) => seen.colors.delete(index));
      if (type === 2 && index !== undefined) seen.colors.delete(index);
    }
  });
  return seen;
}

/**
 * Class and width of a code point that comes after nothing, as the addon has them.
 * @param {number} code
 */
export function charProperties(code) {
  const found = inside(judge.terminal).unicodeService.charProperties(code, 0);
  return `${(found >> 3) & 15} ${(found >> 1) & 3}`;
}

/** Of the keyboard's modes. */
const KEYS = ["flags", "otherKeys", "otherFormat"];

/**
 * Everything that output can set, as plain values.
 * @param {Emulator} emulator
 */
export function state({ terminal, title, colors, keyboard }) {
  const core = inside(terminal);
  const { buffers, cols, rows } = core._bufferService;
  const { decPrivateModes, modes, isCursorHidden } = core.coreService;
  const pen = core._inputHandler._curAttrData;
  const join = core._inputHandler._parser.precedingJoinState;
  const buffer = buffers.active;
  return {
    size: [cols, rows],
    shown: buffer === buffers.alt ? "alternate" : "normal",
    cursor: [buffer.x, buffer.y],
    normal: lines(core, buffers.normal),
    alternate: lines(core, buffers.alt),
    // A screen is never left half drawn.
    modes: { ...decPrivateModes, synchronizedOutput: false, ...modes, isCursorHidden, convertEol: terminal.options.convertEol, blink: terminal.options.cursorBlink },
    mouse: [core.coreMouseService.activeProtocol, core.coreMouseService.activeEncoding],
    pen: look(core, pen.fg, pen.bg, pen.extended),
    charset: charset(core._charsetService.charset),
    charsets: [0, 1, 2, 3].map((level) => charset(core._charsetService._charsets[level])),
    level: core._charsetService.glevel,
    // In insert mode the last character cannot be written again. Nor can it within itself, where a
    // new size may have put the cursor.
    join: modes.insertMode || buffer.lines.get(buffer.ybase + buffer.y)?.getWidth(buffer.x - 1) === 2 || join === 0 ? null : [(join >> 3) & 15, (join >> 1) & 3],
    keyboard: KEYS.map((key) => keyboard[key]),
    title,
    colors: Object.fromEntries([...colors].sort()),
  };
}

const judge = emulator({ cols: 2, rows: 1 });

/** @param {Record<string, string> | undefined} set */
function charset(set) {
  return set === undefined ? null : Object.entries(set).flat().join("");
}

/**
 * @param {Inside} core
 * @param {number} fg
 * @param {number} bg
 * @param {Inside} extended
 */
function look(core, fg, bg, extended) {
  const has = (bg & 0x10000000) !== 0;
  const link = has ? core._oscLinkService.getLinkData(extended.urlId)?.uri : undefined;
  const underlined = (fg & 0x10000000) !== 0;
  return [
    color(fg),
    color(bg & ~0x10000000),
    underlined ? (has ? (extended._ext >>> 26) & 7 : 1) || 1 : 0,
    underlined && has ? color(extended.underlineColor) : 0,
    link ?? "",
  ].join("/");
}

/**
 * Without what xterm.js leaves of an earlier colour of three parts beside a number of the palette.
 * @param {number} value
 */
function color(value) {
  const kind = (value >>> 24) & 3;
  return (kind === 1 || kind === 2 ? value & ~0x00ffff00 : value) >>> 0;
}

/**
 * Half of a wide character, without the other. A new width and columns that are moved leave those, but no text draws them.
 * @param {Inside} line
 * @param {number} x
 * @param {number} cols
 */
function isHalf(line, x, cols) {
  const width = line.getWidth(x);
  return width === 2 ? x + 1 >= cols || line.getWidth(x + 1) !== 0 : width === 0 && (x === 0 || line.getWidth(x - 1) !== 2);
}

/**
 * @param {Inside} core
 * @param {Inside} buffer
 */
function lines(core, buffer) {
  const first = Math.max(0, buffer.ybase - HISTORY);
  const all = [];
  for (let y = first; y < buffer.lines.length; y++) {
    const line = buffer.lines.get(y);
    const cells = [];
    for (let x = 0; x < buffer._cols; x++) {
      const text = isHalf(line, x, buffer._cols) ? " |1" : `${line.getString(x) || " "}|${line.getWidth(x)}`;
      cells.push(`${text}|${look(core, line.getFg(x), line.getBg(x), line._extendedAttrs[x] ?? {})}`);
    }
    all.push({ wrapped: y > first && line.isWrapped, cells });
  }
  if (buffer.lines.length === 0) return { lines: [] };
  const tabs = Object.keys(buffer.tabs).map(Number).filter((x) => x < buffer._cols && buffer.tabs[x]);
  const saved = [Math.min(buffer.savedX, buffer._cols - 1), Math.max(0, Math.min(buffer.savedY - buffer.ybase, buffer._rows - 1)), color(buffer.savedCurAttrData.fg), color(buffer.savedCurAttrData.bg & ~0x10000000), charset(buffer.savedCharset)];
  return { above: buffer.ybase - first, lines: all, margins: [buffer.scrollTop, buffer.scrollBottom], tabs, saved };
}

/** @typedef {ReturnType<typeof state>} State */

/**
 * Where a screen that was drawn differs from one that stayed, in words; nothing where it does not.
 * @param {State} drawn
 * @param {State} stayed
 */
export function differs(drawn, stayed) {
  // A restored cursor brings back the characters' set without the level that it had. No text makes the two contradict each other so.
  const contradicts = stayed.charset !== stayed.charsets[stayed.level];
  return difference(contradicts ? { ...drawn, charset: stayed.charset } : drawn, stayed);
}

/**
 * Where two values differ, in words.
 * @param {any} one
 * @param {any} other
 * @returns {string | undefined}
 */
function difference(one, other, path = "") {
  if (Object.is(one, other)) return undefined;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) {
    return `${path}: ${JSON.stringify(one)} where ${JSON.stringify(other)} was expected`;
  }
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const found = difference(one[key], other[key], `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
