/**
 * The way to one session, over as many connections as it takes. At level 1 it resumes where a lost connection left off: it counts what has
 * come and what was drawn, acknowledges it, numbers what is typed, and says what it cannot know. At level 0 it is one connection, and its
 * end is the end. When to try again is decided in `link.ts`. Knows no terminal and no screen.
 *
 * Level 1 is asked for in two ways, in turns until one opens: offered as a subprotocol, and named in the address, because some proxies drop
 * the field of the first and then a browser refuses the answer. A server that speaks level 0 is one that was asked in the second way, has
 * opened, and says so by its first message.
 */
import type { Connection, ConnectionEvents } from "./connection";
import {
  type Colors,
  decodeMessage,
  decodeOutput,
  encodeAck,
  encodeColors,
  encodeNumberedInput,
  encodeWish,
  type GapFrame,
  type JoinedFrame,
  joiningUrl,
  type Level1Frame,
  type Role,
  type ScreenFrame,
  type Size,
  SUBPROTOCOL,
} from "./level1";
import { levelOf } from "./level";
import { fate, type Link, type LinkEvent, OPENING, step } from "./link";
import { Outbox } from "./outbox";
import { decodeServerFrame, encodeInput, encodeResize, type ServerFrame } from "./protocol";
import { Unacknowledged } from "./unacknowledged";

/** How a session is reached. */
export interface Target {
  readonly session: string;
  /** It is made where there is none: nobody has it yet, and its id is this page's. */
  readonly create?: boolean;
  readonly client: string;
  readonly role: Role;
  /** By which it comes to a session of somebody else. */
  readonly invitation?: string;
}

/** Frames that are not about bytes. */
export type News = Exclude<ServerFrame, { type: "output" }> | Exclude<Level1Frame, ScreenFrame | GapFrame | { type: "input-ack" | "pong" }>;

export interface LineEvents {
  news(news: News): void;
  /** Output at level 0. */
  text(data: string): void;
  /** Output at level 1. `replay`: it was written before this page came. `done` has to be called when all of it is parsed. */
  bytes(bytes: Uint8Array, replay: boolean, done: () => void): void;
  /** What was drawn counts no longer: `screen` draws what there is now, on a terminal that is reset. `done` as for `bytes`. */
  redraw(screen: string, done: () => void): void;
  /** This many bytes are missing here. `done` as for `bytes`. */
  gap(bytes: number, reason: string, done: () => void): void;
  /** The terminal's size, from the output on that comes next. `old`: output that was written before this page came, or came back, follows. */
  size(size: Size, old: boolean): void;
  /** All output is drawn that was there when this page came, or came back. */
  caughtUp(): void;
  /** This is a server that speaks level 0: the session is as lasting as the connection. */
  fragile(): void;
  /** The connection is lost and will be tried again (`pausing`), is being tried again (`opening`), or is back (`up`). */
  link(link: Link, how?: { opened: boolean }): void;
  /** This many UTF-16 units of input may have arrived or not; of `dropped` more it is known that they did not. */
  unknown(chars: number, dropped: number): void;
  /** The line is over. Called once, unless `dispose` came first. */
  closed(how: { code: number; reason: string; opened: boolean }): void;
  /** How much pasted text still waits, in UTF-16 units. */
  waiting(chars: number): void;
}

/** Opens a connection that offers level 1 as a subprotocol, or does not. */
export type Dial = (url: URL, offers: boolean, events: ConnectionEvents) => Pick<Connection, "bufferedBytes" | "isOpen" | "send" | "dispose">;

/** No further frame is handed to the browser while it holds this many bytes. Eight full frames: enough to keep a fast link busy. */
const HIGH_WATER_BYTES = 256 * 1024;
/** Most text that is taken while there is no connection, in UTF-16 units: some keys ahead, and no program's worth of blind typing. */
export const MAX_AHEAD = 256;
/** Output is acknowledged after this many bytes, an eighth of the broker's window, */
const ACK_BYTES = 64 * 1024;
/** and at the latest after this time, in milliseconds. */
const ACK_MS = 250;
/** How long a connection may take to open, and one that resumes until it is back, in milliseconds. */
const OPEN_MS = 10_000;
const RESUME_MS = 20_000;
/** A connection over which nothing came for this long may be dead, in milliseconds. */
const SILENCE_MS = 5_000;
/** How long the answer to such a doubt may take, in milliseconds. */
const ANSWER_MS = 5_000;
/** How often a silent connection is checked although nobody types or looks, in milliseconds. */
const PULSE_MS = 30_000;
/** How long the answer to such a check may take, in milliseconds. */
const PATIENCE_MS = 60_000;
/** How long a screen may take to arrive on the slowest line, in milliseconds: 8 MiB at about 150 kbit/s. */
const MAX_PATIENCE_MS = 480_000;
/** A client that gets this much output within `RUN_MS` may be behind, and get a screen next: half of the largest message of output. */
const RUN_BYTES = 16 * 1024;
const RUN_MS = 1_000;
/** A network that goes away closes no socket: this is what the page calls it. */
const LOST = { code: 1006, reason: "" };

export class Line {
  readonly outbox: Outbox;
  readonly #input = new Unacknowledged();
  #connection: ReturnType<Dial> | undefined;
  #link: Link = OPENING;
  /** What is spoken on this connection, once that is known. */
  #level: 0 | 1 | undefined;
  /** Whether the next connection offers the subprotocol. */
  #offers = true;
  #target: Target;
  #size: Size;
  #toldSize: Size | undefined;
  /** What the address of this connection says. */
  #askedSize: Size | undefined;
  #colors: Colors | undefined;
  #drives = false;
  #opened = false;
  #over = false;
  #retryMs: number | undefined;

  /** Output below `#received` has come, below `#drawn` it is parsed, below `#acknowledged` the broker knows so. */
  #epoch: number | undefined;
  #received: number | undefined;
  #drawn = 0;
  #acknowledged = 0;
  #live = 0;
  #catchingUp = false;
  /** Counts what offsets are relative to, so that an answer of the terminal to something older moves nothing. */
  #generation = 0;

  #retry: ReturnType<typeof setTimeout> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #ack: ReturnType<typeof setTimeout> | undefined;
  #doubt: ReturnType<typeof setTimeout> | undefined;
  readonly #pulse = setInterval(() => this.verify(PATIENCE_MS), PULSE_MS);
  /** When the doubt ends the connection, in milliseconds of the page's clock. */
  #doubtEnds = 0;
  #heardAt = 0;
  #doubted = false;
  /** The broker has said that this client lacks something, and has not sent it yet: it may be sending a screen. */
  #lacks = false;
  /** Bytes of output that came without a pause of `RUN_MS`. The last of it came at `outputAt`. */
  #run = 0;
  #outputAt = 0;
  /** How long a screen may take. Each one that was given up gets twice the time at the next attempt. */
  #patience = PATIENCE_MS;

  /** Connects at once. `endpoint`: `/terminal`. */
  constructor(
    private readonly endpoint: URL,
    target: Target,
    size: Size,
    private readonly events: LineEvents,
    private readonly dial: Dial,
    private readonly chance: () => number = Math.random,
  ) {
    this.#target = target;
    this.#size = size;
    const line = this;
    this.outbox = new Outbox(
      {
        get open() {
          return line.#isUp;
        },
        get full() {
          return line.#input.isFull || (line.#connection?.bufferedBytes ?? 0) >= HIGH_WATER_BYTES;
        },
        send: (text, raw) => line.#sendInput(text, raw),
      },
      (chars) => events.waiting(chars),
    );
    this.#open();
  }

  get level(): 0 | 1 | undefined {
    return this.#level;
  }

  /** Typed or pasted text. False: too much waits already, nothing of it was taken. */
  type(text: string): boolean {
    const away = this.#link.phase !== "up" && this.#received !== undefined;
    if (away && this.outbox.waiting + text.length > MAX_AHEAD) return false;
    return this.outbox.push(text);
  }

  /** Bytes, each a character up to U+00FF. False: they cannot travel, or not now. Level 0 carries text alone. */
  typeRaw(bytes: string): boolean {
    if (/^[\0-\x7f]*$/.test(bytes)) return this.type(bytes);
    return this.#level === 1 && this.#link.phase === "up" && this.outbox.pushRaw(bytes);
  }

  /** Tells the size of this window; the newest one wins until the connection is open. */
  resize(size: Size): void {
    this.#size = size;
    this.#tellSize();
  }

  /** Tells how this window's terminal looks, whenever it is this window that types. */
  setColors(colors: Colors): void {
    this.#colors = colors;
    this.#tellColors();
  }

  /** Asks to be the one who types. */
  takeControl(): void {
    this.#send(encodeWish("take-control"));
  }

  /** Ends the session; how it ended comes back. */
  kill(): void {
    this.#send(encodeWish("kill"));
  }

  /** Leaves the session to itself. No event follows. */
  detach(): void {
    this.#send(encodeWish("detach"));
    this.dispose();
  }

  /** Somebody or something has reason to believe that the broker can be reached now. */
  hurry(): void {
    this.#advance({ kind: "hurry" });
    this.verify();
  }

  /** The network has changed: the connection is not what it was, and a new one is quickly made. */
  renew(): void {
    if (this.#level === 1 && this.#link.phase === "up") this.#lose({ ...LOST, opened: true });
    this.#advance({ kind: "hurry" });
  }

  /**
   * Finds out within `patience` milliseconds whether a connection that is silent is alive, and takes the place of a dead one. Where a screen
   * may be on its way it has longer: a screen is one message, a browser shows nothing of it before its end, and no answer overtakes it.
   */
  verify(patience = ANSWER_MS): void {
    if (this.#mayGetScreen) patience = Math.max(patience, this.#patience);
    const ends = performance.now() + patience;
    if (this.#level !== 1 || !this.#opened || performance.now() - this.#heardAt < SILENCE_MS) return;
    if (this.#doubted && ends >= this.#doubtEnds) return;
    if (!this.#doubted) this.#send(encodeWish("ping"));
    [this.#doubted, this.#doubtEnds] = [true, ends];
    clearTimeout(this.#doubt);
    this.#doubt = setTimeout(() => {
      if (this.#mayGetScreen) this.#patience = Math.min(2 * this.#patience, MAX_PATIENCE_MS);
      this.#lose({ ...LOST, opened: true });
    }, patience);
  }

  /** Ends the line, and at level 0 the session with it. No event follows. */
  dispose(): void {
    this.#over = true;
    for (const timer of [this.#retry, this.#deadline, this.#ack, this.#doubt]) clearTimeout(timer);
    clearInterval(this.#pulse);
    this.outbox.dispose();
    this.#connection?.dispose();
    this.#connection = undefined;
  }

  get #isUp(): boolean {
    if (this.#level === 0) return this.#connection?.isOpen === true;
    return this.#link.phase === "up" && this.#connection?.isOpen === true;
  }

  get #mayGetScreen(): boolean {
    return this.#lacks || this.#run >= RUN_BYTES;
  }

  // --- connections -------------------------------------------------------------------------------------------------------------------

  #open(): void {
    const offers = this.#offers;
    this.#opened = false;
    this.#level = undefined;
    this.#toldSize = undefined;
    this.#retryMs = undefined;
    this.#lacks = false;
    this.#run = 0;
    const since = this.#received === undefined || this.#epoch === undefined ? undefined : { offset: this.#received, epoch: this.#epoch };
    const url = joiningUrl(this.endpoint, { ...this.#target, ...this.#size, ...(since && { since }) });
    if (this.#target.create === true) url.searchParams.set("create", "1");
    if (!offers) url.searchParams.set("protocol", SUBPROTOCOL);
    this.#askedSize = this.#size;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#lose({ ...LOST, opened: false }), OPEN_MS);
    this.#connection = this.dial(url, offers, {
      opened: (chosen) => this.#onOpen(offers, chosen),
      text: (message) => this.#onText(message),
      bytes: (message) => this.#onBytes(message),
      closed: (how) => this.#lose(how),
    });
  }

  #onOpen(offers: boolean, chosen: boolean): void {
    // Some browsers open where nothing was chosen of what they offered.
    if (offers && !chosen) return this.#lose({ ...LOST, opened: false });
    this.#opened = true;
    this.#heardAt = performance.now();
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#lose({ ...LOST, opened: true }), RESUME_MS);
    if (chosen) this.#speaks(1);
  }

  /** The connection speaks this level, which it says once. */
  #speaks(level: 0 | 1): void {
    this.#level = level;
    if (level === 1) {
      // It was told in the address.
      this.#toldSize ??= this.#askedSize;
      return this.#tellSize();
    }
    clearTimeout(this.#deadline);
    this.events.fragile();
    this.#tellSize();
    this.outbox.flush();
  }

  /** The connection is gone: it is tried again where there is a session to come back to. */
  #lose(how: { code: number; reason: string; opened: boolean }): void {
    if (this.#over) return;
    for (const timer of [this.#deadline, this.#ack]) clearTimeout(timer);
    this.#ack = undefined;
    this.#trust();
    this.#connection?.dispose();
    this.#connection = undefined;
    if (!how.opened) this.#offers = !this.#offers;
    const again = this.#level !== 0 && fate(how.code) === "again";
    this.#opened = false;
    if (again) return this.#advance({ kind: "lost", ...(this.#retryMs === undefined ? {} : { afterMs: this.#retryMs }) }, how);
    this.#advance({ kind: "over" });
    this.dispose();
    this.events.closed(how);
  }

  #advance(event: LinkEvent, how?: { opened: boolean }): void {
    if (this.#over) return;
    const before = this.#link;
    this.#link = step(before, event, performance.now(), this.chance());
    if (this.#link === before || this.#link.phase === "over") return;
    clearTimeout(this.#retry);
    this.events.link(this.#link, how);
    if (this.#over) return;
    if (this.#link.phase === "pausing") this.#retry = setTimeout(() => this.#advance({ kind: "due" }), this.#link.pause);
    if (this.#link.phase === "opening") this.#open();
  }

  #send(message: string | Uint8Array<ArrayBuffer>): void {
    this.#connection?.send(message);
  }

  #tellSize(): void {
    const told = this.#toldSize;
    if (!this.#opened || this.#level === undefined || (told?.cols === this.#size.cols && told.rows === this.#size.rows)) return;
    this.#toldSize = this.#size;
    this.#send(encodeResize(this.#size.cols, this.#size.rows));
  }

  #tellColors(): void {
    if (this.#drives && this.#colors !== undefined && this.#link.phase === "up") this.#send(encodeColors(this.#colors));
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#trust();
  }

  /** Something of what this client lacked has come: this much output, or a screen or gap in its place. */
  #came(bytes = 0): void {
    const now = performance.now();
    this.#run = bytes === 0 ? 0 : bytes + (now - this.#outputAt < RUN_MS ? this.#run : 0);
    this.#outputAt = now;
    this.#lacks = false;
    this.#patience = PATIENCE_MS;
  }

  #trust(): void {
    this.#doubted = false;
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
  }

  // --- what comes --------------------------------------------------------------------------------------------------------------------

  #onText(message: string): void {
    const doubted = this.#doubted;
    this.#heard();
    if (this.#level === undefined) {
      const level = levelOf(message);
      if (level === undefined) return;
      this.#speaks(level);
    }
    if (this.#level === 0) {
      const frame = decodeServerFrame(message);
      if (frame?.type === "output") return this.events.text(frame.data);
      if (frame !== undefined) this.events.news(frame);
      return;
    }
    const frame = decodeMessage(message);
    switch (frame?.type) {
      case undefined:
        return;
      case "joined":
        return this.#join(frame);
      case "screen":
        this.#came();
        if (frame.size !== undefined) this.events.size(frame.size, frame.offset < this.#live);
        this.#begin(frame.offset);
        // The broker draws no other one before this one was seen.
        return this.events.redraw(
          frame.data,
          this.#now(() => {
            this.#acknowledge(true);
            this.#checkLive();
          }),
        );
      case "gap":
        this.#came();
        return this.#skip(frame.from, frame.to, frame.reason);
      case "input-ack":
        this.#input.acknowledge(frame.seq);
        return this.outbox.flush();
      case "pong":
        // The broker was sending no screen, and has had the time to begin one for all that came before.
        this.#run = 0;
        return;
      case "size":
        return this.events.size(frame, (this.#received ?? 0) < this.#live);
      case "error":
        this.#retryMs = frame.retryMs ?? this.#retryMs;
        // A broker that does not know the question has answered it.
        if (!(doubted && frame.code === "malformed")) this.events.news(frame);
        return;
      case "clients":
        // A viewer's input is refused and never acknowledged.
        if (frame.clients.some(({ client, role }) => client === this.#target.client && role === "viewer")) this.#input.forget();
        this.#setRole(frame.clients.find(({ client }) => client === this.#target.client)?.role ?? "viewer");
        return this.events.news(frame);
      case "status":
        // A sandbox that is being made takes its time.
        clearTimeout(this.#deadline);
        return this.events.news(frame);
      case "exit":
        return this.events.news(frame);
    }
  }

  #join(frame: JoinedFrame): void {
    clearTimeout(this.#deadline);
    const [before, epoch] = [this.#received, this.#epoch];
    const { create: _, ...target } = this.#target;
    this.#target = { ...target, session: frame.session, client: frame.client };
    this.#epoch = frame.epoch;
    this.#live = frame.live;
    // A guest is not told where the screen is that it gets.
    this.#lacks = frame.offset < frame.live || (this.#target.invitation !== undefined && frame.live > 0);
    const unknown = this.#input.resume(frame.input);
    // Where the bytes go on after those that came, nothing on the screen changes.
    if (before === undefined || epoch !== frame.epoch || frame.offset < before) {
      this.#begin(frame.offset);
      if (before !== undefined) this.events.redraw("", () => {});
    } else this.#acknowledged = before;
    const wasBehind = this.#catchingUp;
    this.#catchingUp = frame.offset < frame.live;
    if (frame.size !== undefined) this.events.size(frame.size, this.#catchingUp);
    this.events.news(frame);
    if (wasBehind && !this.#catchingUp) this.events.caughtUp();
    // Text that was typed after what may be lost would mean something else without it.
    const dropped = unknown > 0 ? this.outbox.drop() : 0;
    this.#advance({ kind: "ready" });
    this.#drives = false;
    this.#setRole(frame.role);
    if (unknown > 0) this.events.unknown(unknown, dropped);
    this.#tellSize();
    this.outbox.flush();
  }

  /** The colors are those of whoever types. */
  #setRole(role: Role): void {
    const drove = this.#drives;
    this.#drives = role === "driver";
    if (!drove) this.#tellColors();
  }

  /** Offsets are counted from here. */
  #begin(offset: number): void {
    this.#generation++;
    this.#received = this.#drawn = this.#acknowledged = offset;
  }

  #onBytes(message: ArrayBuffer): void {
    this.#heard();
    this.#came(message.byteLength);
    const output = decodeOutput(message);
    if (output === undefined || this.#received === undefined || this.#level === 0) return;
    let { offset, bytes } = output;
    if (offset > this.#received) this.#skip(this.#received, offset, "the broker did not say why");
    // What has come already is not drawn twice.
    if (offset < this.#received) {
      bytes = bytes.subarray(this.#received - offset);
      offset = this.#received;
    }
    if (bytes.length === 0) return;
    this.#received = offset + bytes.length;
    const old = Math.min(Math.max(0, this.#live - offset), bytes.length);
    if (old > 0) this.events.bytes(bytes.subarray(0, old), true, this.#drawnTo(offset + old));
    if (old < bytes.length) this.events.bytes(bytes.subarray(old), false, this.#drawnTo(offset + bytes.length));
  }

  #skip(from: number, to: number, reason: string): void {
    if (to === from) return;
    this.#received = Math.max(this.#received ?? 0, to);
    this.events.gap(to - from, reason, this.#drawnTo(to));
  }

  #drawnTo(offset: number): () => void {
    return this.#now(() => {
      if (offset <= this.#drawn) return;
      this.#drawn = offset;
      this.#checkLive();
      if (this.#drawn - this.#acknowledged >= ACK_BYTES) return this.#acknowledge();
      this.#ack ??= setTimeout(() => this.#acknowledge(), ACK_MS);
    });
  }

  #checkLive(): void {
    if (!this.#catchingUp || this.#drawn < this.#live) return;
    this.#catchingUp = false;
    this.events.caughtUp();
  }

  /** Does what is to be done once something is drawn, unless offsets are counted anew by then. */
  #now(then: () => void): () => void {
    const generation = this.#generation;
    return () => {
      if (generation === this.#generation && !this.#over) then();
    };
  }

  /** Tells how far the output is drawn; `anyway`: also what was told, or came with a screen. */
  #acknowledge(anyway = false): void {
    clearTimeout(this.#ack);
    this.#ack = undefined;
    if (!this.#isUp || (this.#drawn <= this.#acknowledged && !anyway)) return;
    this.#acknowledged = this.#drawn;
    this.#send(encodeAck(this.#drawn));
  }

  // --- what goes ---------------------------------------------------------------------------------------------------------------------

  #sendInput(text: string, raw: boolean): void {
    if (this.#level === 0) return this.#send(encodeInput(text));
    const frame = encodeNumberedInput(this.#input.next, raw ? Uint8Array.from(text, (character) => character.charCodeAt(0)) : text);
    this.#input.sent(text.length, frame.length);
    this.#send(frame);
    // Typing into silence asks the same question as `verify`, and the answer is the input's acknowledgement.
    if (performance.now() - this.#heardAt < SILENCE_MS) return;
    if (this.#doubted) this.verify();
    else this.#doubt ??= setTimeout(() => this.verify(), ANSWER_MS);
  }
}
