/**
 * A program in the recorder of this build, on a real terminal, and an emulator of the page that sees all of its output: what a window has
 * that stayed. Compares it with what a window has that comes now. Knows no program.
 */
import assert from "node:assert/strict";
import { differs, emulator, state } from "./emulators.mjs";
import { DEADLINE_MS, Recorder } from "./recorder.mjs";

/** @typedef {import("./emulators.mjs").Emulator} Emulator */
/** @typedef {{ cols: number, rows: number }} Size */

/**
 * What a recorder has of a program by now: its output, and each size where it stands in the output.
 * @typedef {{ output: Buffer, sizes: (Size & { offset: number })[] }} Seen
 */

/**
 * Gives an emulator what was seen from an offset on.
 * @param {Emulator} emulator
 * @param {Seen} seen
 * @param {number} from
 */
async function follow(emulator, { output, sizes }, from) {
  for (const { offset, cols, rows } of sizes) {
    await emulator.write(output.subarray(from, offset));
    emulator.terminal.resize(cols, rows);
    from = offset;
  }
  await emulator.write(output.subarray(from));
}

export class Followed {
  recorder;
  stayed;
  /** How much of the output, and how many sizes, the window that stayed has. */
  #at = 0;
  #sizes = 0;

  /** @param {Size & { command?: string[], env?: Record<string, string | undefined> }} program */
  constructor(program) {
    this.recorder = new Recorder(program);
    this.stayed = emulator(program);
  }

  /** Gives the window that stayed what came since. Returns all that came. */
  async #catchUp() {
    const { output, sizes } = this.recorder;
    const seen = { output, sizes: [...sizes] };
    const [from, taken] = [this.#at, this.#sizes];
    [this.#at, this.#sizes] = [output.length, sizes.length];
    await follow(this.stayed, { output, sizes: seen.sizes.slice(taken) }, from);
    return seen;
  }

  /** Text of the screen, as the window that stayed has it. */
  async screen() {
    await this.#catchUp();
    const { active } = this.stayed.terminal.buffer;
    return Array.from({ length: this.stayed.terminal.rows }, (_, y) => active.getLine(active.baseY + y)?.translateToString(true) ?? "").join("\n");
  }

  /**
   * Waits until the screen of the window that stayed shows something.
   * @param {string} what
   * @param {(screen: string) => boolean} shows
   */
  async until(what, shows) {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
      const { total } = this.recorder;
      const screen = await this.screen();
      if (shows(screen)) return screen;
      const missing = `${what}; there is:\n${screen}\nmore output`;
      // Some programs write for ever.
      if (Date.now() > deadline) throw new Error(`${missing} came, and never that`);
      await this.recorder.until(missing, () => this.recorder.total > total);
    }
  }

  /**
   * A window that comes now has what the window has that stayed.
   * @param {string} when
   */
  async agree(when) {
    const { offset, cols, rows, text } = await this.recorder.screen();
    const late = emulator({ cols, rows });
    await late.write(text);
    assert.equal(late.answers, "", `a screen asks nothing: ${JSON.stringify(text)}`);
    await this.recorder.until("the output up to the screen", () => this.recorder.total >= offset);
    const { output, sizes } = await this.#catchUp();
    // Of sizes at the same place, the screen has those up to its own.
    const own = sizes.findLastIndex((size) => size.offset === offset && size.cols === cols && size.rows === rows);
    await follow(late, { output, sizes: sizes.filter((size, at) => size.offset >= offset && at > own) }, offset);
    const found = differs(state(late), state(this.stayed));
    assert.equal(found, undefined, `${when}: ${found}\ndrawn by ${JSON.stringify(text).slice(0, 2000)}`);
  }
}
