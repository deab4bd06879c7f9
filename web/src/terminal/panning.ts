/**
 * Which part is in sight of a terminal that is larger than its window. It follows the cursor, unless the person scrolled elsewhere. Also
 * tells when the newest output is out of sight, in such a terminal and in any other.
 */
import type { Terminal as Xterm } from "@xterm/xterm";

interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export class Panning {
  #follows = true;
  /** Where the page scrolled last. Any other place is where the person scrolled. */
  #followedTo = { left: 0, top: 0 };
  #isAway = false;

  /** Made before the terminal is opened. `awayFromEnd` is told when the newest output goes out of sight, and when it is back. */
  constructor(
    private readonly xterm: Xterm,
    private readonly awayFromEnd: (away: boolean) => void,
  ) {
    xterm.onWriteParsed(() => this.#follow());
    xterm.onRender(() => this.#tellEnd());
  }

  /** The terminal is open: from now on the person can scroll in it. */
  opened(): void {
    this.xterm.element?.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** Whether the terminal is larger than its window and can be scrolled in it. */
  setPanned(panned: boolean): void {
    const node = this.xterm.element;
    if (node === undefined) return;
    if (this.#isPanned !== panned) {
      node.classList.toggle("panned", panned);
      this.#follows = true;
      this.#followedTo = { left: 0, top: 0 };
      node.scrollTo(0, 0);
    }
    this.#follow();
  }

  /** The person types, and so looks at the cursor. */
  typed(): void {
    this.#follows = true;
  }

  /** Shows the newest output, wherever the person scrolled to. */
  scrollToEnd(): void {
    this.xterm.scrollToBottom();
    this.#follows = true;
    this.#follow();
    this.#tellEnd();
  }

  /** Scrolls within the window. False: it is at the edge already. */
  scrollBy(rows: number): boolean {
    const node = this.xterm.element;
    if (node === undefined || !this.#isPanned) return false;
    const before = node.scrollTop;
    node.scrollTop += (rows * (node.querySelector(".xterm-screen")?.clientHeight ?? 0)) / this.xterm.rows;
    return node.scrollTop !== before;
  }

  get #isPanned(): boolean {
    return this.xterm.element?.classList.contains("panned") === true;
  }

  /** Brings the cursor into sight, unless the person looks elsewhere. */
  #follow(): void {
    const [node, cursor] = [this.xterm.element, this.#cursor()];
    if (node === undefined || cursor === undefined || !this.#follows) return;
    const { left, top, right, bottom } = cursor;
    const { clientWidth, clientHeight } = node;
    // The beginning of the line stays in sight as well, if there is room for both.
    const from = right <= clientWidth ? 0 : node.scrollLeft;
    node.scrollTo(Math.min(left, Math.max(from, right - clientWidth)), Math.min(top, Math.max(node.scrollTop, bottom - clientHeight)));
    this.#followedTo = { left: node.scrollLeft, top: node.scrollTop };
  }

  /** A person who scrolls back to the cursor follows it again. */
  #scrolled(): void {
    const [node, cursor] = [this.xterm.element, this.#cursor()];
    if (node === undefined || cursor === undefined) return;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = node;
    if (scrollLeft === this.#followedTo.left && scrollTop === this.#followedTo.top) return;
    const { left, top, right, bottom } = cursor;
    this.#follows = left >= scrollLeft && right <= scrollLeft + clientWidth && top >= scrollTop && bottom <= scrollTop + clientHeight;
    this.#tellEnd();
  }

  /** The cell with the cursor, in CSS pixels. None if the terminal fits into its window or shows its scrollback. */
  #cursor(): Box | undefined {
    const { element: node, cols, rows, buffer } = this.xterm;
    const { cursorX, cursorY, viewportY, baseY } = buffer.active;
    const screen = node?.querySelector(".xterm-screen");
    if (screen == null || !this.#isPanned || viewportY < baseY) return undefined;
    const [width, height] = [screen.clientWidth / cols, screen.clientHeight / rows];
    const column = Math.min(cursorX, cols - 1);
    return { left: Math.floor(column * width), top: Math.floor(cursorY * height), right: Math.ceil((column + 1) * width), bottom: Math.ceil((cursorY + 1) * height) };
  }

  #tellEnd(): void {
    const { viewportY, baseY } = this.xterm.buffer.active;
    const away = viewportY < baseY || (!this.#follows && this.#isPanned);
    if (away === this.#isAway) return;
    this.#isAway = away;
    this.awayFromEnd(away);
  }
}
