/** Selects words at a point on the page, for fingers, which xterm.js does not support. Knows no event. */
import type { IBuffer, Terminal as Xterm } from "@xterm/xterm";
import type { Point } from "./touch";

/** Characters between words, the same as for xterm.js's double click: paths and addresses are one word. */
const SEPARATORS = " ()[]{}',\"`";

interface Cell {
  readonly col: number;
  /** Counted from the oldest line in the scrollback. */
  readonly row: number;
}

export class Selecting {
  /** The word that the selection began with. `to` is the column after it. */
  #word: { readonly row: number; readonly from: number; readonly to: number } | undefined;

  constructor(
    private readonly xterm: Xterm,
    private readonly host: HTMLElement,
  ) {}

  selectWord(at: Point): boolean {
    const cell = this.#cellAt(at);
    const word = cell && wordAt(this.xterm.buffer.active, this.xterm.cols, cell);
    this.#word = word && cell && { row: cell.row, ...word };
    if (this.#word === undefined) return false;
    this.xterm.select(this.#word.from, this.#word.row, this.#word.to - this.#word.from);
    return true;
  }

  extend(to: Point): void {
    const [word, cell, { cols }] = [this.#word, this.#cellAt(to), this.xterm];
    if (word === undefined || cell === undefined) return;
    const here = cell.row * cols + cell.col;
    const from = Math.min(word.row * cols + word.from, here);
    const end = Math.max(word.row * cols + word.to, here + 1);
    this.xterm.select(from % cols, Math.floor(from / cols), end - from);
  }

  #cellAt({ clientX, clientY }: Point): Cell | undefined {
    const screen = this.host.querySelector(".xterm-screen")?.getBoundingClientRect();
    if (screen === undefined || screen.width === 0 || screen.height === 0) return undefined;
    const { cols, rows, buffer } = this.xterm;
    const within = (value: number, count: number) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
    const col = within((clientX - screen.left) / screen.width, cols);
    return { col, row: buffer.active.viewportY + within((clientY - screen.top) / screen.height, rows) };
  }
}

function wordAt(buffer: IBuffer, cols: number, { col, row }: Cell): { from: number; to: number } | undefined {
  const line = buffer.getLine(row);
  if (line === undefined) return undefined;
  const inWord = (at: number): boolean => {
    const cell = line.getCell(at);
    if (cell === undefined) return false;
    // The second half of a wide character belongs to the first.
    if (cell.getWidth() === 0) return at > 0 && inWord(at - 1);
    return cell.getChars() !== "" && !SEPARATORS.includes(cell.getChars());
  };
  if (!inWord(col)) return undefined;
  let [from, to] = [col, col + 1];
  while (from > 0 && inWord(from - 1)) from--;
  while (to < cols && inWord(to)) to++;
  return { from, to };
}
