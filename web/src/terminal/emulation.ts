/**
 * The settings and repairs of xterm.js that decide what a screen holds. The page uses them, and so does the test that compares the recorder's
 * emulator with the page's. Uses only what xterm.js's headless build has as well, and knows nothing of looks.
 */

/** Options for xterm.js. */
export const EMULATION = {
  allowProposedApi: true, // unicode-graphemes needs it
  // Programs may save and restore the title. They control nothing else of the window.
  windowOptions: { pushTitle: true, popTitle: true },
};

/** The parts of the emulator that are used, and then of its inside. */
interface Emulator {
  readonly rows: number;
  readonly cols: number;
  readonly parser: {
    registerCsiHandler(id: { prefix?: string; final: string }, handler: (params: (number | number[])[]) => boolean): unknown;
    registerEscHandler(id: { intermediates?: string; final: string }, handler: () => boolean): unknown;
  };
  onResize(listener: () => void): unknown;
}
interface Attributes {
  fg: number;
  extended: { readonly urlId: number; readonly _ext: number; underlineStyle: number; clone(): Attributes["extended"] };
  updateExtended(): void;
}
interface Line {
  isWrapped: boolean;
  readonly length: number;
  readonly _extendedAttrs: Record<number, Attributes["extended"] | undefined>;
  resize(cols: number, fill: unknown): void;
}
interface Lines {
  length: number;
  maxLength: number;
  get(at: number): Line | undefined;
}
interface Buffer {
  x: number;
  readonly y: number;
  readonly ybase: number;
  readonly lines: Lines;
  scrollTop: number;
  scrollBottom: number;
  getNullCell(): unknown;
}
interface Link {
  readonly id?: string | undefined;
  readonly uri: string;
}
interface Counts {
  readonly params: Int32Array;
}
interface Core {
  readonly _bufferService: { readonly buffers: { readonly active: Buffer; readonly alt: Buffer; readonly normal: Buffer } };
  readonly coreService: { readonly decPrivateModes: { origin: boolean; readonly wraparound: boolean } };
  readonly unicodeService: { charProperties(code: number, before: number): number };
  readonly _oscLinkService: {
    registerLink(link: Link): number;
    addLineToLink(): void;
    getLinkData(number: number): Link | undefined;
  };
  readonly _inputHandler: {
    readonly _curAttrData: Attributes;
    readonly _parser: { precedingJoinState: number };
    readonly _dirtyRowTracker: { markDirty(row: number): void };
    print(text: Uint32Array, from: number, to: number): void;
    restoreCursor(): boolean;
    cursorForwardTab(params: Counts): boolean;
    cursorBackwardTab(params: Counts): boolean;
    insertLines(params: Counts): boolean;
    deleteLines(params: Counts): boolean;
    scrollUp(params: Counts): boolean;
    scrollDown(params: Counts): boolean;
    repeatPrecedingCharacter(params: Counts): boolean;
    cursorCharAbsolute(params: Counts): boolean;
    charPosAbsolute(params: Counts): boolean;
    _setCursor(x: number, y: number): void;
    _moveCursor(x: number, y: number): void;
    _restrictCursor(most?: number): void;
    _eraseInBufferLine(row: number, from: number, to: number, clearsWrap: boolean, protects: boolean): void;
    _resetBufferLine(row: number, protects: boolean): void;
  };
}

/** Most bytes of a link's address. Text with a longer address is not a link. The recorder has the same bound. */
const MAX_ADDRESS = 4096;

/** At this number of links, those that no cell has any more are forgotten. */
const COLLECT_LINKS = 1024;

/** The bit of `fg` for underlined text. */
const UNDERLINED = 0x10000000;

/**
 * Mends xterm.js 6.0 where no screen could draw what it does, and where it differs from xterm. Reaches into the emulator, because its public
 * interface has no way to do this. To be called once.
 */
export function mend(xterm: Emulator): void {
  const core = (xterm as unknown as { readonly _core: Core })._core;
  xterm.onResize(() => {
    // If it is made smaller while it is not shown, the alternate screen keeps room for its former lines. Lines that scroll out are then kept
    // above it, and come back when the terminal is made larger.
    const { alt } = core._bufferService.buffers;
    const { lines } = alt;
    if (lines.length === 0) lines.maxLength = xterm.rows;
    // If it is made narrower, it keeps the hidden columns. Made wider again, it would show text that a program may have erased since.
    for (let at = 0; at < lines.length; at++) {
      const line = lines.get(at);
      if (line !== undefined && line.length > xterm.cols) line.resize(xterm.cols, alt.getNullCell());
    }
    // The cursor may no longer be right after the last character, so nothing may join that character.
    core._inputHandler._parser.precedingJoinState = 0;
  });
  for (const protects of [false, true]) {
    const id = { ...(protects && { prefix: "?" }), final: "J" };
    xterm.parser.registerCsiHandler(id, ([what]) => what === 1 && eraseAbove(xterm, core, protects));
  }
  xterm.parser.registerEscHandler({ intermediates: "#", final: "8" }, () => {
    // The test pattern (DECALN) fills the whole screen, and ends margins and origin mode.
    const { active } = core._bufferService.buffers;
    [active.scrollTop, active.scrollBottom] = [0, xterm.rows - 1];
    core.coreService.decPrivateModes.origin = false;
    return false;
  });
  moveInOriginMode(core);
  boundCounts(xterm, core);
  keepLinks(core);
  restoreWhole(core);
  printWithoutWrapping(xterm, core);
}

/** In origin mode the emulator adds the top margin to the row again with each move, so that moving right also moves down. */
function moveInOriginMode({ _bufferService: { buffers }, _inputHandler: input, coreService }: Core): void {
  input._moveCursor = (x, y) => {
    input._restrictCursor();
    const { active } = buffers;
    input._setCursor(active.x + x, active.y + y - (coreService.decPrivateModes.origin ? active.scrollTop : 0));
  };
  input.cursorCharAbsolute = input.charPosAbsolute = ({ params }) => {
    input._restrictCursor();
    input._moveCursor((params[0] || 1) - 1 - buffers.active.x, 0);
    return true;
  };
}

/** Bounds the counts of sequences by the number of cells. The emulator would repeat up to two billion times, and the page would hang. */
function boundCounts(xterm: Emulator, { _inputHandler: input }: Core): void {
  const counted = ["cursorForwardTab", "cursorBackwardTab", "insertLines", "deleteLines", "scrollUp", "scrollDown", "repeatPrecedingCharacter"] as const;
  for (const name of counted) {
    const original = input[name].bind(input);
    input[name] = (counts) => {
      counts.params[0] = Math.min(counts.params[0] ?? 0, xterm.cols * xterm.rows);
      return original(counts);
    };
  }
}

/**
 * Keeps the address of a link as long as a cell or the pen has the link. The emulator forgets it when the lines are gone on which the link was
 * first written. By then the text may have moved, or a program may have erased the line and written it again.
 */
function keepLinks({ _bufferService: { buffers }, _inputHandler: input, _oscLinkService: service }: Core): void {
  const links = new Map<number, Link>();
  const numbers = new Map<string, number>();
  const encoder = new TextEncoder();
  const keyOf = ({ id, uri }: Link) => `${id};;${uri}`;
  let next = 1;
  let collectAt = COLLECT_LINKS;

  const collect = () => {
    const used = new Set([input._curAttrData.extended.urlId]);
    for (const { lines } of [buffers.normal, buffers.alt]) {
      for (let at = 0; at < lines.length; at++) {
        for (const extended of Object.values(lines.get(at)?._extendedAttrs ?? {})) if (extended !== undefined) used.add(extended.urlId);
      }
    }
    for (const [number, link] of links) {
      if (used.has(number)) continue;
      links.delete(number);
      if (link.id !== undefined) numbers.delete(keyOf(link));
    }
    collectAt = Math.max(COLLECT_LINKS, 2 * links.size);
  };

  service.registerLink = (link) => {
    if (encoder.encode(link.uri).length > MAX_ADDRESS) return 0;
    const known = link.id === undefined ? undefined : numbers.get(keyOf(link));
    if (known !== undefined) return known;
    if (links.size >= collectAt) collect();
    links.set(next, link);
    if (link.id !== undefined) numbers.set(keyOf(link), next);
    return next++;
  };
  service.addLineToLink = () => {};
  service.getLinkData = (number) => links.get(number);
}

/** Restoring the cursor keeps the link that is open, because a saved cursor has none, and restores whether text is underlined. */
function restoreWhole({ _inputHandler: input }: Core): void {
  const restore = input.restoreCursor.bind(input);
  input.restoreCursor = () => {
    restore();
    const pen = input._curAttrData;
    pen.extended = pen.extended.clone();
    // Not `underlineStyle`: while a link is open, that is the link's.
    const style = (pen.extended._ext >>> 26) & 7;
    pen.extended.underlineStyle = (pen.fg & UNDERLINED) === 0 ? 0 : style || 1;
    pen.updateExtended();
    return true;
  };
}

/**
 * Without wrapping, text at the margin replaces the last column. The emulator leaves half of a wide character there, and lets combining
 * characters join characters that were never written.
 */
function printWithoutWrapping(xterm: Emulator, { _bufferService: { buffers }, _inputHandler: input, coreService, unicodeService }: Core): void {
  const print = input.print.bind(input);
  input.print = (text, from, to) => {
    if (coreService.decPrivateModes.wraparound) return print(text, from, to);
    for (let at = from; at < to; at++) {
      const { active } = buffers;
      const before = input._parser.precedingJoinState;
      const properties = unicodeService.charProperties(text[at] ?? 0, before);
      const joins = (properties & 1) !== 0;
      const width = (properties >> 1) & 3;
      if (active.x + width - (joins ? (before >> 1) & 3 : 0) > xterm.cols) {
        if (joins) continue;
        active.x = xterm.cols - 1;
        if (width === 2) {
          input._parser.precedingJoinState = 0;
          continue;
        }
      }
      print(text, at, at + 1);
    }
  };
}

/**
 * Erases everything up to a cursor at the end of its line. There the emulator would look for the next line in the wrong place, and hang
 * forever if there is none.
 */
function eraseAbove({ cols }: Emulator, { _bufferService, _inputHandler }: Core, protects: boolean): boolean {
  const { active } = _bufferService.buffers;
  if (active.x + 1 < cols) return false;
  _inputHandler._restrictCursor(cols);
  _inputHandler._eraseInBufferLine(active.y, 0, cols, true, protects);
  const next = active.lines.get(active.ybase + active.y + 1);
  if (next !== undefined && active.ybase + active.y + 1 < active.lines.length) next.isWrapped = false;
  for (let row = 0; row < active.y; row++) _inputHandler._resetBufferLine(row, protects);
  _inputHandler._dirtyRowTracker.markDirty(0);
  _inputHandler._dirtyRowTracker.markDirty(active.y);
  return true;
}
