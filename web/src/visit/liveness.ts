/**
 * Finds out whether a silent connection is alive. A network that goes away closes no socket, so the page asks with a ping and gives up a
 * connection that does not answer in time. Knows no socket: the visit sends the ping, and replaces the connection.
 *
 * A screen is one message, a browser shows nothing of a message before its end, and no answer overtakes it. While a screen may be on its
 * way, the connection therefore gets more time.
 */

/** A connection over which nothing came for this long may be dead, in milliseconds. */
const SILENCE_MS = 5_000;
/** How long the answer to a ping may take, in milliseconds. */
const ANSWER_MS = 5_000;
/** How often a silent connection is checked although nobody types or looks, in milliseconds. */
const PULSE_MS = 30_000;
/** How long the answer to such a check may take, in milliseconds. */
const PATIENCE_MS = 60_000;
/** How long a screen may take to arrive over the slowest network, in milliseconds: 8 MiB at about 150 kbit/s. */
const MAX_PATIENCE_MS = 480_000;
/** A client that gets this much output within `RUN_MS` may be behind, and get a screen next. Half of the largest message of output. */
const RUN_BYTES = 16 * 1024;
const RUN_MS = 1_000;

export interface LivenessHost {
  /** Whether there is an open connection of level 1. Level 0 has no ping. */
  canPing(): boolean;
  ping(): void;
  /** The connection did not answer in time. */
  dead(): void;
}

export class Liveness {
  readonly #pulse = setInterval(() => this.verify(PATIENCE_MS), PULSE_MS);
  #heardAt = 0;
  /** A ping is on its way. */
  #doubted = false;
  /** When the doubt ends the connection, in milliseconds of the page's clock. */
  #doubtEnds = 0;
  #doubt: ReturnType<typeof setTimeout> | undefined;
  /** The broker has announced output and not yet sent any: it may be sending a screen. */
  #lacksOutput = false;
  /** Bytes of output that came without a pause of `RUN_MS`. */
  #run = 0;
  #outputAt = 0;
  /** How long a screen may take, in milliseconds. Doubles each time that a screen did not arrive. */
  #patience = PATIENCE_MS;

  constructor(private readonly host: LivenessHost) {}

  /** Whether a ping waits for its answer. */
  get isDoubted(): boolean {
    return this.#doubted;
  }

  /** A connection is being made. */
  opening(): void {
    this.#lacksOutput = false;
    this.#run = 0;
  }

  opened(): void {
    this.#heardAt = performance.now();
  }

  /** Something came over the connection. */
  heard(): void {
    this.#heardAt = performance.now();
    this.trust();
  }

  /** Whether the broker has said that output follows. */
  joined(lacksOutput: boolean): void {
    this.#lacksOutput = lacksOutput;
  }

  /** Output came: `bytes` of it, or a screen or a gap in its place. */
  came(bytes = 0): void {
    const now = performance.now();
    this.#run = bytes === 0 ? 0 : bytes + (now - this.#outputAt < RUN_MS ? this.#run : 0);
    this.#outputAt = now;
    this.#lacksOutput = false;
    this.#patience = PATIENCE_MS;
  }

  /** The ping was answered: the broker was not sending a screen, and has had time to begin one for everything that came before. */
  answered(): void {
    this.#run = 0;
  }

  /** Input was sent into what may be silence. Its acknowledgement answers the same question as a ping. */
  sent(): void {
    if (!this.#isSilent) return;
    if (this.#doubted) this.verify();
    else this.#doubt ??= setTimeout(() => this.verify(), ANSWER_MS);
  }

  /** Gives up a silent connection that does not answer within `patience` milliseconds, or longer if a screen may be on its way. */
  verify(patience = ANSWER_MS): void {
    if (this.#mayGetScreen) patience = Math.max(patience, this.#patience);
    const ends = performance.now() + patience;
    if (!this.host.canPing() || !this.#isSilent) return;
    if (this.#doubted && ends >= this.#doubtEnds) return;
    if (!this.#doubted) this.host.ping();
    [this.#doubted, this.#doubtEnds] = [true, ends];
    clearTimeout(this.#doubt);
    this.#doubt = setTimeout(() => {
      if (this.#mayGetScreen) this.#patience = Math.min(2 * this.#patience, MAX_PATIENCE_MS);
      this.host.dead();
    }, patience);
  }

  /** The connection answered, or is gone: nothing is in doubt. */
  trust(): void {
    this.#doubted = false;
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
  }

  dispose(): void {
    clearTimeout(this.#doubt);
    clearInterval(this.#pulse);
  }

  get #isSilent(): boolean {
    return performance.now() - this.#heardAt >= SILENCE_MS;
  }

  get #mayGetScreen(): boolean {
    return this.#lacksOutput || this.#run >= RUN_BYTES;
  }
}
