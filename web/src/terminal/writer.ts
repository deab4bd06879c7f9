/**
 * Gives output to xterm.js in order: replay and live output, gaps, resets, and whatever else has to wait for output to be drawn. Knows what
 * a cut sequence does to the emulator, and nothing of sizes and looks.
 */
import type { Terminal as Xterm } from "@xterm/xterm";
import type { Silence } from "./silence";
import { WholeCodePoints } from "./utf8";

/** Ends any escape sequence (CAN), then resets everything (RIS). */
const RESET = "\x18\x1bc";
/** Ends any escape sequence (CAN), and any colour. */
const CUT = "\x18\x1b[0m";

export class Writer {
  readonly #bytes = new WholeCodePoints();
  /** Whether what xterm.js was given last is replay. */
  #replay = false;
  /** What waits for xterm.js to reach a gap: only then it is known which screen the gap is in. */
  #held: (() => void)[] | undefined;

  constructor(
    private readonly xterm: Xterm,
    private readonly silence: Silence,
  ) {}

  /** Adds output. `done` is called once xterm.js has parsed it. */
  write(output: string | Uint8Array, replay: boolean, done?: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.write(output, replay, done));
    if (replay !== this.#replay) {
      this.#replay = replay;
      // In its turn: earlier output is parsed as what it is.
      this.xterm.write("", () => void (this.silence.replay = replay));
    }
    this.xterm.write(typeof output === "string" ? output : this.#bytes.take(output), done);
  }

  /**
   * Draws `bar` in the place of missing output. A full-screen program's picture is left alone: only a sequence that was cut ends there, and
   * `torn` is called.
   */
  gap(bar: string, torn: () => void, done?: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.gap(bar, torn, done));
    const held: (() => void)[] = (this.#held = []);
    this.xterm.write("", () => {
      const alternate = this.xterm.buffer.active.type === "alternate";
      this.#held = undefined;
      this.#bytes.drop();
      this.write(alternate ? CUT : bar, true, done);
      for (const write of held) write();
      if (alternate) torn();
    });
  }

  /** Empties the terminal after everything that was written before. */
  reset(done: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.reset(done));
    this.#bytes.drop();
    this.xterm.write(RESET, done);
  }

  /** Calls `then` after everything that was written before. */
  afterAll(then: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.afterAll(then));
    this.xterm.write("", then);
  }
}
