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

/** What is used of the emulator's inside. */
interface Inside {
  readonly _core?: { readonly _bufferService?: { readonly buffers?: { readonly alt?: { readonly lines?: { length: number; maxLength: number } } } } };
}

/**
 * Mends the alternate screen of xterm.js 6.0. Made smaller while it is not shown, it keeps room for the lines of before. What scrolls out
 * then is kept above it, and comes back into the picture once the terminal is larger. To be called before the first resize.
 */
export function mendAlternate(xterm: { readonly rows: number; onResize(listener: () => void): unknown }): void {
  const inside = xterm as unknown as Inside;
  xterm.onResize(() => {
    const lines = inside._core?._bufferService?.buffers?.alt?.lines;
    if (lines?.length === 0) lines.maxLength = xterm.rows;
  });
}
