/** The position in a recording that is being played: moves on or jumps, and brings the screen along. Knows no clock and no element. */
import type { Size } from "../protocol/size";
import type { Cast } from "./cast";

/** A terminal, as far as a recording needs it. */
export interface Screen {
  reset(): void;
  write(output: string): void;
  setSize(size: Size): void;
}

export class Playback {
  #position = 0;
  #next = 0;

  /** Shows the start. */
  constructor(
    private readonly cast: Cast,
    private readonly screen: Screen,
  ) {
    this.#rewind();
    this.#play(0);
  }

  /** In milliseconds from the start. */
  get position(): number {
    return this.#position;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.cast.duration;
  }

  /** Goes to this time, in milliseconds from the start, by playing what lies in between. To go back, everything is played again. */
  seek(to: number): void {
    const position = Math.min(this.cast.duration, Math.max(0, to));
    if (position < this.#position) this.#rewind();
    this.#play(position);
  }

  #rewind(): void {
    this.#next = 0;
    this.screen.reset();
    this.screen.setSize(this.cast.size);
  }

  #play(until: number): void {
    const { events } = this.cast;
    let output: string[] = [];
    const flush = () => {
      if (output.length > 0) this.screen.write(output.join(""));
      output = [];
    };
    for (let event = events[this.#next]; event !== undefined && event.at <= until; event = events[++this.#next]) {
      if (event.output !== undefined) output.push(event.output);
      if (event.size === undefined) continue;
      flush();
      this.screen.setSize(event.size);
    }
    flush();
    this.#position = until;
  }
}
