/**
 * Fits the terminal into its window. The window has room for a number of cells, which is reported. The terminal has the size that was set, or
 * else the size of the room. If it is larger than the room, its text is made smaller, and what still does not fit is panned.
 */
import { FitAddon } from "@xterm/addon-fit";
import type { Terminal as Xterm } from "@xterm/xterm";
import { clampCells, type Size } from "../protocol/size";
import type { Panning } from "./panning";

/**
 * Smallest text that a terminal larger than its window is drawn with, in CSS pixels: the least that people can read, and the least that
 * shows where things are, for a person who wants to see all of it.
 */
const MIN_READ_FONT = 9;
const MIN_WHOLE_FONT = 2;
/** By how much text is made smaller at a time, in CSS pixels, until it fits. */
const FONT_STEP = 0.25;
/** How long a window waits for the terminal to take its new size before it makes the text smaller, in milliseconds. */
const SETTLE_MS = 400;

export interface FittingHost {
  /** Size of the text that the person chose, in CSS pixels. */
  fontSize(): number;
  /** Whether this window only watches, and so does not say what size the terminal has. */
  isViewer(): boolean;
  /** The window has room for this many cells now. */
  room(size: Size): void;
  /** The terminal is larger than its window, and shown in part or very small; or no longer. */
  oversized(on: boolean): void;
}

export class Fitting {
  readonly #addon = new FitAddon();
  readonly #observer = new ResizeObserver(() => this.#queue());
  #isQueued = false;
  #room: Size | undefined;
  /** The size of the terminal, if it is not that of the room. */
  #size: Size | undefined;
  /** The person wants to see all of a terminal that is larger than its window. */
  #whole = false;
  #settling: ReturnType<typeof setTimeout> | undefined;
  /** The terminal draws old output: it gets the old size, and is not fitted into the window. */
  #old = false;

  constructor(
    private readonly xterm: Xterm,
    private readonly panning: Panning,
    private readonly host: FittingHost,
  ) {
    xterm.loadAddon(this.#addon);
  }

  /** How many cells the window has room for. */
  get room(): Size {
    return this.#room ?? { cols: this.xterm.cols, rows: this.xterm.rows };
  }

  /** Fits now, and from now on whenever this element changes its size. The first room is not reported: `room` has it. */
  start(container: HTMLElement): void {
    this.#observer.observe(container);
    this.#fit(() => {});
  }

  /** Finds out how many cells the window has room for, reports it, and draws the terminal so that all of it is visible. */
  fit(): void {
    this.#fit((room) => this.host.room(room));
  }

  /** The terminal has this size. Without one it has that of the room. `old`: more output from before this page came follows. */
  setSize(size: Size | undefined, old: boolean): void {
    this.#size = size;
    this.#old = old;
    clearTimeout(this.#settling);
    this.#draw();
  }

  /** The terminal draws the present from now on. */
  caughtUp(): void {
    if (!this.#old) return;
    this.#old = false;
    this.#draw();
  }

  /** Shows all of a terminal that is larger than its window, however small its text gets; or text that can be read. */
  showWhole(whole: boolean): void {
    this.#whole = whole;
    this.#draw();
  }

  dispose(): void {
    this.#observer.disconnect();
    clearTimeout(this.#settling);
  }

  #fit(tell: (room: Size) => void): void {
    const room = this.#measure(this.host.fontSize());
    if (room === undefined) return; // not laid out
    const changed = room.cols !== this.#room?.cols || room.rows !== this.#room.rows;
    this.#room = room;
    clearTimeout(this.#settling);
    // A window that sets the terminal's size gets the terminal in its new size soon.
    if (changed && this.#size !== undefined && !this.host.isViewer()) this.#settling = setTimeout(() => this.#draw(), SETTLE_MS);
    else this.#draw();
    if (changed) tell(room);
  }

  #draw(): void {
    const { xterm } = this;
    xterm.element?.classList.toggle("old", this.#old);
    // Fitting each of a hundred old sizes into the window would take seconds.
    const room = this.#old ? undefined : this.#measure(this.host.fontSize());
    if (room === undefined) {
      // Not laid out, but written to all the same.
      if (this.#size !== undefined) this.#resize(this.#size);
      return;
    }
    const size = this.#size ?? room;
    const larger = size.cols > room.cols || size.rows > room.rows;
    const fits = !larger || this.#shrink(size, room);
    this.#resize(size);
    xterm.element?.classList.toggle("boxed", size.cols < room.cols - 1 || size.rows < room.rows - 1 || xterm.options.fontSize !== this.host.fontSize());
    this.panning.setPanned(!fits);
    this.host.oversized(!fits || (larger && this.#whole));
  }

  #resize({ cols, rows }: Size): void {
    if (cols !== this.xterm.cols || rows !== this.xterm.rows) this.xterm.resize(cols, rows);
  }

  /** Gives the text this size, and returns for how many cells of it there is room. */
  #measure(fontSize: number): Size | undefined {
    if (this.xterm.options.fontSize !== fontSize) this.xterm.options.fontSize = fontSize;
    const size = this.#addon.proposeDimensions();
    if (size === undefined || !Number.isFinite(size.cols) || !Number.isFinite(size.rows)) return undefined;
    return { cols: clampCells(size.cols), rows: clampCells(size.rows) };
  }

  /**
   * Makes the text as large as it can be with `size` still fitting. False: it does not fit. Cells are whole device pixels, so the size
   * cannot be computed, and each size that is tried lays out the whole terminal.
   */
  #shrink(size: Size, room: Size): boolean {
    const wanted = this.host.fontSize();
    const least = this.#whole ? MIN_WHOLE_FONT : Math.min(MIN_READ_FONT, wanted);
    const scale = Math.min((room.cols + 1) / size.cols, (room.rows + 1) / size.rows, 1);
    if (this.#largest(least, wanted * scale, ({ cols, rows }) => cols >= size.cols && rows >= size.rows)) return true;
    // It has to be scrolled sideways in any case, so the text may be larger, as long as all rows fit.
    this.#largest(least, wanted, ({ rows }) => rows >= size.rows);
    return false;
  }

  /** Gives the text the largest size from `least` to `most` for whose room `fits` holds. False: there is none, and the text got `least`. */
  #largest(least: number, most: number, fits: (room: Size) => boolean): boolean {
    const tries = (step: number) => {
      const room = this.#measure(least + step * FONT_STEP);
      return room === undefined || fits(room);
    };
    let [good, bad] = [-1, Math.floor((most - least) / FONT_STEP) + 1];
    while (bad - good > 1) {
      const middle = Math.ceil((good + bad) / 2);
      if (tries(middle)) good = middle;
      else bad = middle;
    }
    this.#measure(least + Math.max(0, good) * FONT_STEP);
    return good >= 0;
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    requestAnimationFrame(() => {
      this.#isQueued = false;
      this.fit();
    });
  }
}
