/** What is on a page's terminal, cell by cell. Needs the renderer `dom`, with which the page gives the emulator away. */
import assert from "node:assert/strict";

/**
 * @typedef {object} Cells
 * @property {number} cols
 * @property {number} rows
 * @property {string} type Of the buffer: `normal` or `alternate`.
 * @property {[number, number]} cursor Column and row on the screen.
 * @property {string[]} screen Each row as text with its looks.
 * @property {string[]} history What was scrolled out of it, the oldest first.
 */

/**
 * All cells of a page's terminal. Each is its text, its width and its looks; equal neighbours are written once.
 * @param {import("./page.mjs").TerminalPage} terminal
 * @returns {Promise<Cells>}
 */
export function cells({ page }) {
  return page.evaluate(() => {
    const { xterm } = /** @type {{ xterm: import("@xterm/xterm").Terminal }} */ (/** @type {unknown} */ (document.getElementById("terminal")));
    const { active } = xterm.buffer;
    const looks = (/** @type {import("@xterm/xterm").IBufferCell} */ cell) =>
      [
        cell.getFgColorMode(),
        cell.getFgColor(),
        cell.getBgColorMode(),
        cell.getBgColor(),
        [cell.isBold(), cell.isDim(), cell.isItalic(), cell.isUnderline(), cell.isBlink(), cell.isInverse(), cell.isInvisible(), cell.isStrikethrough(), cell.isOverline()].map(Number).join(""),
      ].join(",");
    const row = (/** @type {number} */ y) => {
      const line = active.getLine(y);
      let [text, last] = [line?.isWrapped ? "\u21aa" : "", "0,-1,0,-1,000000000"];
      for (let x = 0; x < xterm.cols; x++) {
        const cell = line?.getCell(x);
        if (cell === undefined) continue;
        const now = looks(cell);
        if (now !== last) text += `{${now}}`;
        last = now;
        if (cell.getWidth() !== 0) text += (cell.getChars() || " ") + (cell.getWidth() === 2 ? "\u00ab2\u00bb" : "");
      }
      return text.trimEnd();
    };
    const all = Array.from({ length: active.length }, (_, y) => row(y));
    return {
      cols: xterm.cols,
      rows: xterm.rows,
      type: active.type,
      cursor: /** @type {[number, number]} */ ([active.cursorX, active.cursorY]),
      screen: all.slice(active.baseY),
      history: all.slice(0, active.baseY),
    };
  });
}

/**
 * Waits until a page shows what another one does: the same screen, and the same above it as far as both have it.
 * @param {import("./page.mjs").TerminalPage} one
 * @param {import("./page.mjs").TerminalPage} stayed
 * @param {string} when
 */
export async function agree(one, stayed, when) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const [{ history: here, ...screen }, { history: there, ...expected }] = [await cells(one), await cells(stayed)];
    const both = Math.min(here.length, there.length);
    const [above, expectedAbove] = [here.slice(here.length - both), there.slice(there.length - both)];
    const equal = JSON.stringify([screen, above]) === JSON.stringify([expected, expectedAbove]);
    if (equal) return;
    if (Date.now() > deadline) {
      assert.deepEqual(screen, expected, `${when}: another screen`);
      assert.deepEqual(above, expectedAbove, `${when}: another history`);
    }
    await new Promise((later) => setImmediate(later));
  }
}
