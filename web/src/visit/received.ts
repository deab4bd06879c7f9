/**
 * Counts the output of a session at level 1, as offsets: how much is received, drawn and acknowledged. Drops what came before, tells replay
 * from live output, and reports when the terminal has caught up. Knows no socket and no terminal.
 */
import type { JoinedFrame } from "../protocol/level1";

/** Output is acknowledged after this many bytes, an eighth of the broker's window, */
const ACK_BYTES = 64 * 1024;
/** and at the latest after this time, in milliseconds. */
const ACK_MS = 250;

export interface ReceivedHost {
  /** Output. `replay`: it was written before this page came. `done` has to be called when all of it is drawn. */
  bytes(bytes: Uint8Array, replay: boolean, done: () => void): void;
  /** What was drawn no longer counts: `screen` draws what there is now, on a terminal that is reset. `done` as for `bytes`. */
  redraw(screen: string, done: () => void): void;
  /** This many bytes are missing here. `done` as for `bytes`. */
  gap(bytes: number, reason: string, done: () => void): void;
  /** All output is drawn that was there when this page came, or came back. */
  caughtUp(): void;
  /** Tells the broker that all output below `offset` is drawn. False: there is no connection. */
  acknowledge(offset: number): boolean;
}

export class Received {
  #epoch: number | undefined;
  /** Output below this has come, */
  #received: number | undefined;
  /** below this it is drawn, */
  #drawn = 0;
  /** and below this the broker knows that. */
  #acknowledged = 0;
  /** Output below this was there when this page came, or came back. */
  #live = 0;
  #isCatchingUp = false;
  /** Grows when offsets are counted from a new start, so that a late `done` for older output changes nothing. */
  #generation = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDisposed = false;

  constructor(private readonly host: ReceivedHost) {}

  /** Whether a connection has been in the session. */
  get hasBegun(): boolean {
    return this.#received !== undefined;
  }

  get isCatchingUp(): boolean {
    return this.#isCatchingUp;
  }

  /** Where the next connection is to go on. */
  get since(): { readonly offset: number; readonly epoch: number } | undefined {
    return this.#received === undefined || this.#epoch === undefined ? undefined : { offset: this.#received, epoch: this.#epoch };
  }

  /** Whether output at this offset, or the next output, is replay. */
  isReplay(offset = this.#received ?? 0): boolean {
    return offset < this.#live;
  }

  /** A connection is in the session and goes on at an offset. If that is where the last one stopped, nothing on the screen changes. */
  join({ epoch, offset, live }: JoinedFrame): void {
    const [before, epochBefore] = [this.#received, this.#epoch];
    this.#epoch = epoch;
    this.#live = live;
    if (before === undefined || epochBefore !== epoch || offset < before) {
      this.#begin(offset);
      if (before !== undefined) this.host.redraw("", () => {});
    } else this.#acknowledged = before;
    this.#isCatchingUp = offset < live;
  }

  /** A screen takes the place of all output before `offset`. */
  screen(offset: number, data: string): void {
    this.#begin(offset);
    // The broker sends no other screen before it knows that this one is drawn.
    const drawn = this.#unlessRestarted(() => {
      this.#acknowledge(true);
      this.#checkLive();
    });
    this.host.redraw(data, drawn);
  }

  output({ offset, bytes }: { offset: number; bytes: Uint8Array }): void {
    if (this.#received === undefined) return;
    if (offset > this.#received) this.gap(this.#received, offset, "the broker did not say why");
    // Output that came before is not drawn twice.
    if (offset < this.#received) {
      bytes = bytes.subarray(this.#received - offset);
      offset = this.#received;
    }
    if (bytes.length === 0) return;
    this.#received = offset + bytes.length;
    const old = Math.min(Math.max(0, this.#live - offset), bytes.length);
    if (old > 0) this.host.bytes(bytes.subarray(0, old), true, this.#drawnTo(offset + old));
    if (old < bytes.length) this.host.bytes(bytes.subarray(old), false, this.#drawnTo(offset + bytes.length));
  }

  gap(from: number, to: number, reason: string): void {
    if (to === from) return;
    this.#received = Math.max(this.#received ?? 0, to);
    this.host.gap(to - from, reason, this.#drawnTo(to));
  }

  /** The connection is lost: nothing can be acknowledged over it. */
  lost(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  dispose(): void {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
  }

  /** Offsets are counted from here. */
  #begin(offset: number): void {
    this.#generation++;
    this.#received = this.#drawn = this.#acknowledged = offset;
  }

  #drawnTo(offset: number): () => void {
    return this.#unlessRestarted(() => {
      if (offset <= this.#drawn) return;
      this.#drawn = offset;
      this.#checkLive();
      if (this.#drawn - this.#acknowledged >= ACK_BYTES) return this.#acknowledge();
      this.#timer ??= setTimeout(() => this.#acknowledge(), ACK_MS);
    });
  }

  #checkLive(): void {
    if (!this.#isCatchingUp || this.#drawn < this.#live) return;
    this.#isCatchingUp = false;
    this.host.caughtUp();
  }

  /** A function that does `then`, unless offsets are counted from a new start before it is called. */
  #unlessRestarted(then: () => void): () => void {
    const generation = this.#generation;
    return () => {
      if (generation === this.#generation && !this.#isDisposed) then();
    };
  }

  /** `anyway`: even if the broker knows this offset already, because it came with a screen. */
  #acknowledge(anyway = false): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#drawn <= this.#acknowledged && !anyway) return;
    if (this.host.acknowledge(this.#drawn)) this.#acknowledged = this.#drawn;
  }
}
