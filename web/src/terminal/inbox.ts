/**
 * Takes output of level 0 to the terminal. Keeps a bounded amount inside xterm.js, which draws it in slices between frames, and the rest in
 * a bounded queue. A browser cannot pause a WebSocket, so a flood that is faster than the page can draw reaches the bound. Then the oldest
 * waiting output is left out, and the terminal says how much.
 */

/** Most text inside xterm.js at a time, in UTF-16 units. xterm.js drops text beyond 50 million. This is far less, to keep keys quick. */
const MAX_DRAWING = 1024 * 1024;
/** Most text that waits, in UTF-16 units: some seconds of drawing. */
export const MAX_HELD = 64 * 1024 * 1024;

/** Ends an escape sequence that the gap cut (CAN), and any colour. */
const RESYNC = "\x18\x1b[0m\r\n";

/** What the terminal shows in the place of missing output. */
export function leftOut(bytes: number, reason: string): string {
  const size = bytes < 100_000 ? `${bytes} bytes` : `${(bytes / 1e6).toFixed(1)} MB`;
  // The reason comes from the broker, and must not hold escape sequences.
  const words = reason.replace(/\p{Cc}/gu, " ").slice(0, 200);
  return `${RESYNC}\x1b[7m ${size} of output left out${words === "" ? "" : `: ${words}`} \x1b[0m\r\n`;
}

export class Inbox {
  #held: string[] = [];
  #heldChars = 0;
  #drawing = 0;
  #skipped = 0;

  /** `draw` takes text and calls `done` once it is parsed: `Terminal.write`. */
  constructor(private readonly draw: (text: string, done: () => void) => void) {}

  /** Text that is not drawn yet, in UTF-16 units. */
  get pending(): number {
    return this.#heldChars + this.#drawing;
  }

  /** Draws the text after all earlier text. */
  push(text: string): void {
    this.#held.push(text);
    this.#heldChars += text.length;
    if (this.#heldChars > MAX_HELD) this.#skip();
    this.#pump();
  }

  #pump(): void {
    while (this.#drawing < MAX_DRAWING && this.#held.length > 0) {
      const text = this.#notice() ?? this.#take();
      this.#drawing += text.length;
      this.draw(text, () => {
        this.#drawing -= text.length;
        this.#pump();
      });
    }
  }

  #take(): string {
    const text = this.#held.shift() ?? "";
    this.#heldChars -= text.length;
    return text;
  }

  #notice(): string | undefined {
    if (this.#skipped === 0) return undefined;
    const skipped = this.#skipped;
    this.#skipped = 0;
    return leftOut(skipped, "it came faster than this browser can draw");
  }

  /** Leaves out the oldest half at once, so that a long flood makes a few gaps and not one for each frame. */
  #skip(): void {
    let index = 0;
    let chars = 0;
    while (index < this.#held.length - 1 && this.#heldChars - chars > MAX_HELD / 2) chars += this.#held[index++]?.length ?? 0;
    this.#held.splice(0, index);
    this.#heldChars -= chars;
    this.#skipped += chars;
  }
}
