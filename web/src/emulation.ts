/**
 * How xterm.js is set up, as far as it decides what a screen holds. The page and the test that compares the recorder's emulator with the
 * page's take it from here. Knows nothing of looks, and of xterm.js what its headless build has as well.
 */

/** Options of a terminal. */
export const EMULATION = {
  allowProposedApi: true, // unicode-graphemes needs it
  // Programs put the title aside and bring it back; nothing else of a window is theirs.
  windowOptions: { pushTitle: true, popTitle: true },
};

/** What is used of the emulator, and of its inside. */
interface Emulator {
  readonly rows: number;
  readonly cols: number;
  readonly parser: { registerCsiHandler(id: { prefix?: string; final: string }, handler: (params: (number | number[])[]) => boolean): unknown };
  onResize(listener: () => void): unknown;
}
interface Line {
  isWrapped: boolean;
  readonly length: number;
  resize(cols: number, fill: unknown): void;
}
interface Lines {
  length: number;
  maxLength: number;
  get(at: number): Line | undefined;
}
interface Buffer {
  getNullCell(): unknown;
  readonly x: number;
  readonly y: number;
  readonly ybase: number;
  readonly lines: Lines;
}
interface Core {
  readonly _bufferService: { readonly buffers: { readonly active: Buffer; readonly alt: Buffer } };
  readonly _inputHandler: {
    readonly _parser: { precedingJoinState: number };
    readonly _dirtyRowTracker: { markDirty(row: number): void };
    _restrictCursor(most: number): void;
    _eraseInBufferLine(row: number, from: number, to: number, clearsWrap: boolean, protects: boolean): void;
    _resetBufferLine(row: number, protects: boolean): void;
  };
}

/** Mends xterm.js 6.0 where no screen could draw what it does. Reaches into the emulator, since nothing public does; to be called once. */
export function mend(xterm: Emulator): void {
  const core = (xterm as unknown as { readonly _core: Core })._core;
  xterm.onResize(() => {
    // Made smaller while it is not shown, the alternate screen keeps room for the lines of before. What scrolls out then is kept above it, and
    // comes back into the picture once the terminal is larger.
    const { alt } = core._bufferService.buffers;
    const { lines } = alt;
    if (lines.length === 0) lines.maxLength = xterm.rows;
    // Made narrower, it keeps the columns that are out of sight, and a wider window brings back what a program has since erased, or not.
    for (let at = 0; at < lines.length; at++) {
      const line = lines.get(at);
      if (line !== undefined && line.length > xterm.cols) line.resize(xterm.cols, alt.getNullCell());
    }
    // The cursor may not be behind what was written last any more, so that nothing joins that.
    core._inputHandler._parser.precedingJoinState = 0;
  });
  for (const protects of [false, true]) {
    const id = { ...(protects && { prefix: "?" }), final: "J" };
    xterm.parser.registerCsiHandler(id, ([what]) => what === 1 && eraseAbove(xterm, core, protects));
  }
}

/**
 * Erases all up to the cursor where that is at the end of its line. The emulator would look for the next line in the wrong place, and stop for
 * ever where there is none.
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
