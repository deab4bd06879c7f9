/** Where a recording is being played: moves on in time, or jumps, and tells the screen what to show. Knows no clock and no element. */
import type { Size } from "../level1";
import type { Cast } from "./cast";

/** The part of a terminal that a recording needs. */
export interface Screen {
  reset(): void;
  write(output: string): void;
  setSize(size: Size): void;
}

export class Playback {
  #position = 0;
  #next = 0;

  /** Shows the beginning. */
  constructor(
    private readonly cast: Cast,
    private readonly screen: Screen,
  ) {
    this.#rewind();
    this.#play(0);
  }

  /** How much is played, in milliseconds from the beginning. */
  get position(): number {
    return this.#position;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.cast.duration;
  }

  /** Goes to this time, in milliseconds from the beginning; what lies between is shown, backwards by beginning anew. */
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
