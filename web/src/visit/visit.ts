/**
 * One visit to a session, over as many connections as it takes. At level 1 it goes on where a lost connection left off, numbers what is
 * typed, and reports the input whose fate it cannot know. At level 0 the visit is one connection and ends with it. Knows no terminal and
 * no screen. `state.ts` decides when to try again, `received.ts` counts the output, and `liveness.ts` doubts a silent connection.
 *
 * Level 1 is asked for in two ways, in turns until one opens: offered as a subprotocol, and named in the address. Some proxies drop the
 * subprotocol's field, and then a browser refuses the answer. A server speaks level 0 when it was asked in the second way, opened, and its
 * first message is one of level 0.
 */
import { levelOf } from "../protocol/level";
import { decodeServerFrame, encodeInput, encodeResize, type ServerFrame } from "../protocol/level0";
import { type Colors, decodeMessage, decodeOutput, encodeAck, encodeColors, encodeNumberedInput, encodeWish, type GapFrame, type JoinedFrame, joiningUrl, type Level1Frame, type Role, type ScreenFrame, SUBPROTOCOL } from "../protocol/level1";
import type { Size } from "../protocol/size";
import type { Connection, ConnectionHost } from "./connection";
import { Liveness } from "./liveness";
import { Outbox } from "./outbox";
import { Received, type ReceivedHost } from "./received";
import { fate, next, OPENING, type VisitEvent, type VisitState } from "./state";
import { Unacknowledged } from "./unacknowledged";

/** Which session is visited, and as whom. */
export interface Target {
  readonly session: string;
  /** The session is made if it does not exist. Its id is this page's own, so nobody else has it. */
  readonly create?: boolean;
  readonly client: string;
  readonly role: Role;
  /** Admits this page to somebody else's session. */
  readonly invitation?: string;
}

/** Frames that are not about bytes. */
export type News = Exclude<ServerFrame, { type: "output" }> | Exclude<Level1Frame, ScreenFrame | GapFrame | { type: "input-ack" | "pong" }>;

export interface VisitHost extends Omit<ReceivedHost, "acknowledge"> {
  news(news: News): void;
  /** Output at level 0. */
  text(data: string): void;
  /** The terminal's size, from the next output on. `old`: output from before this page came, or came back, follows. */
  size(size: Size, old: boolean): void;
  /** The server speaks level 0: the session ends with the connection. */
  fragile(): void;
  /** The connection is lost and will be tried again (`pausing`), is being tried again (`opening`), or is back (`up`). */
  state(state: VisitState, how?: { opened: boolean }): void;
  /** This many UTF-16 units of input may have arrived or not. `dropped` more were never sent. */
  unknown(chars: number, dropped: number): void;
  /** The visit is over. Called once, unless `dispose` came first. */
  closed(how: { code: number; reason: string; opened: boolean }): void;
  /** How much pasted text still waits, in UTF-16 units. */
  waiting(chars: number): void;
}

/** Opens a connection. `offers`: level 1 is offered as a subprotocol. */
export type Dial = (url: URL, offers: boolean, host: ConnectionHost) => Pick<Connection, "bufferedBytes" | "isOpen" | "send" | "dispose">;

/** No further frame is handed to the browser while it holds this many bytes. Eight full frames: enough to keep a fast network busy. */
const HIGH_WATER_BYTES = 256 * 1024;
/** Most text that is taken while there is no connection, in UTF-16 units: a few keys ahead, and not a whole program typed blindly. */
export const MAX_AHEAD = 256;
/** How long a connection may take to open, and then to be back in the session, in milliseconds. */
const OPEN_MS = 10_000;
const RESUME_MS = 20_000;
/** How a browser reports a connection that ended without a Close frame. */
const LOST = { code: 1006, reason: "" };

export class Visit {
  readonly outbox: Outbox;
  readonly #input = new Unacknowledged();
  readonly #received: Received;
  readonly #liveness: Liveness;
  #connection: ReturnType<Dial> | undefined;
  #state: VisitState = OPENING;
  /** The level of this connection, once that is known. */
  #level: 0 | 1 | undefined;
  /** Whether the next connection offers the subprotocol. */
  #offers = true;
  #target: Target;
  #size: Size;
  #toldSize: Size | undefined;
  /** The size in the address of this connection. */
  #askedSize: Size | undefined;
  #colors: Colors | undefined;
  #drives = false;
  #opened = false;
  #over = false;
  /** How long the broker asked to wait before the next connection. */
  #retryMs: number | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;

  /** Connects at once. `endpoint`: `/terminal`. */
  constructor(
    private readonly endpoint: URL,
    target: Target,
    size: Size,
    private readonly host: VisitHost,
    private readonly dial: Dial,
    private readonly chance: () => number = Math.random,
  ) {
    this.#target = target;
    this.#size = size;
    const visit = this;
    this.outbox = new Outbox(
      {
        get open() {
          return visit.#isUp;
        },
        get full() {
          return visit.#input.isFull || (visit.#connection?.bufferedBytes ?? 0) >= HIGH_WATER_BYTES;
        },
        send: (text, raw) => visit.#sendInput(text, raw),
      },
      (chars) => host.waiting(chars),
    );
    this.#received = new Received({
      bytes: (bytes, replay, done) => host.bytes(bytes, replay, done),
      redraw: (screen, done) => host.redraw(screen, done),
      gap: (bytes, reason, done) => host.gap(bytes, reason, done),
      caughtUp: () => host.caughtUp(),
      acknowledge: (offset) => this.#acknowledge(offset),
    });
    this.#liveness = new Liveness({
      canPing: () => this.#level === 1 && this.#opened,
      ping: () => this.#send(encodeWish("ping")),
      dead: () => this.#lose({ ...LOST, opened: true }),
    });
    this.#open();
  }

  get level(): 0 | 1 | undefined {
    return this.#level;
  }

  /** Typed or pasted text. False: too much waits already, and nothing of it was taken. */
  type(text: string): boolean {
    const away = this.#state.phase !== "up" && this.#received.hasBegun;
    if (away && this.outbox.waiting + text.length > MAX_AHEAD) return false;
    return this.outbox.push(text);
  }

  /** Bytes, each a character up to U+00FF. False: they cannot be sent, or not now. Level 0 carries only text. */
  typeRaw(bytes: string): boolean {
    if (/^[\0-\x7f]*$/.test(bytes)) return this.type(bytes);
    return this.#level === 1 && this.#state.phase === "up" && this.outbox.pushRaw(bytes);
  }

  /** Tells the size of this window. The newest one wins until the connection is open. */
  resize(size: Size): void {
    this.#size = size;
    this.#tellSize();
  }

  /** Tells the colours of this window's terminal, whenever this window drives. */
  setColors(colors: Colors): void {
    this.#colors = colors;
    this.#tellColors();
  }

  takeControl(): void {
    this.#send(encodeWish("take-control"));
  }

  /** Ends the session. How it ended comes back as news. */
  kill(): void {
    this.#send(encodeWish("kill"));
  }

  /** Leaves the session, which goes on. No event follows. */
  detach(): void {
    this.#send(encodeWish("detach"));
    this.dispose();
  }

  /** There is reason to believe that the broker can be reached now. */
  hurry(): void {
    this.#advance({ kind: "hurry" });
    this.verify();
  }

  /** The network has changed. The old connection is probably dead, and a new one is quickly made. */
  renew(): void {
    if (this.#level === 1 && this.#state.phase === "up") this.#lose({ ...LOST, opened: true });
    this.#advance({ kind: "hurry" });
  }

  /** Finds out whether a silent connection is alive, and replaces a dead one. */
  verify(): void {
    this.#liveness.verify();
  }

  /** Ends the visit, and at level 0 the session with it. No event follows. */
  dispose(): void {
    this.#over = true;
    for (const timer of [this.#retry, this.#deadline]) clearTimeout(timer);
    this.#liveness.dispose();
    this.#received.dispose();
    this.outbox.dispose();
    this.#connection?.dispose();
    this.#connection = undefined;
  }

  get #isUp(): boolean {
    if (this.#level === 0) return this.#connection?.isOpen === true;
    return this.#state.phase === "up" && this.#connection?.isOpen === true;
  }

  // --- connections -------------------------------------------------------------------------------------------------------------------

  #open(): void {
    const offers = this.#offers;
    this.#opened = false;
    this.#level = undefined;
    this.#toldSize = undefined;
    this.#retryMs = undefined;
    this.#liveness.opening();
    const { since } = this.#received;
    const url = joiningUrl(this.endpoint, { ...this.#target, ...this.#size, ...(since && { since }) });
    if (this.#target.create === true) url.searchParams.set("create", "1");
    if (!offers) url.searchParams.set("protocol", SUBPROTOCOL);
    this.#askedSize = this.#size;
    this.#setDeadline(OPEN_MS, false);
    this.#connection = this.dial(url, offers, {
      opened: (chosen) => this.#onOpen(offers, chosen),
      text: (message) => this.#onText(message),
      bytes: (message) => this.#onBytes(message),
      closed: (how) => this.#lose(how),
    });
  }

  #onOpen(offers: boolean, chosen: boolean): void {
    // Some browsers open a socket whose server chose no subprotocol, although one was offered.
    if (offers && !chosen) return this.#lose({ ...LOST, opened: false });
    this.#opened = true;
    this.#liveness.opened();
    this.#setDeadline(RESUME_MS, true);
    if (chosen) this.#speaks(1);
  }

  #setDeadline(ms: number, opened: boolean): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#lose({ ...LOST, opened }), ms);
  }

  /** The level of this connection is known. Called once for each. */
  #speaks(level: 0 | 1): void {
    this.#level = level;
    if (level === 1) {
      // The address has told it.
      this.#toldSize ??= this.#askedSize;
      return this.#tellSize();
    }
    clearTimeout(this.#deadline);
    this.host.fragile();
    this.#tellSize();
    this.outbox.flush();
  }

  /** The connection is gone. It is tried again if there is a session to come back to. */
  #lose(how: { code: number; reason: string; opened: boolean }): void {
    if (this.#over) return;
    clearTimeout(this.#deadline);
    this.#received.lost();
    this.#liveness.trust();
    this.#connection?.dispose();
    this.#connection = undefined;
    if (!how.opened) this.#offers = !this.#offers;
    const again = this.#level !== 0 && fate(how.code) === "again";
    this.#opened = false;
    if (again) return this.#advance({ kind: "lost", ...(this.#retryMs === undefined ? {} : { afterMs: this.#retryMs }) }, how);
    this.#advance({ kind: "over" });
    this.dispose();
    this.host.closed(how);
  }

  #advance(event: VisitEvent, how?: { opened: boolean }): void {
    if (this.#over) return;
    const before = this.#state;
    this.#state = next(before, event, performance.now(), this.chance());
    if (this.#state === before || this.#state.phase === "over") return;
    clearTimeout(this.#retry);
    this.host.state(this.#state, how);
    if (this.#over) return;
    if (this.#state.phase === "pausing") this.#retry = setTimeout(() => this.#advance({ kind: "due" }), this.#state.pause);
    if (this.#state.phase === "opening") this.#open();
  }

  // --- what comes --------------------------------------------------------------------------------------------------------------------

  #onText(message: string): void {
    const wasDoubted = this.#liveness.isDoubted;
    this.#liveness.heard();
    if (this.#level === undefined) {
      const level = levelOf(message);
      if (level === undefined) return;
      this.#speaks(level);
    }
    if (this.#level === 0) {
      const frame = decodeServerFrame(message);
      if (frame?.type === "output") return this.host.text(frame.data);
      if (frame !== undefined) this.host.news(frame);
      return;
    }
    const frame = decodeMessage(message);
    switch (frame?.type) {
      case undefined:
        return;
      case "joined":
        return this.#join(frame);
      case "screen":
        this.#liveness.came();
        if (frame.size !== undefined) this.host.size(frame.size, this.#received.isReplay(frame.offset));
        return this.#received.screen(frame.offset, frame.data);
      case "gap":
        this.#liveness.came();
        return this.#received.gap(frame.from, frame.to, frame.reason);
      case "input-ack":
        this.#input.acknowledge(frame.seq);
        return this.outbox.flush();
      case "pong":
        return this.#liveness.answered();
      case "size":
        return this.host.size(frame, this.#received.isReplay());
      case "error":
        this.#retryMs = frame.retryMs ?? this.#retryMs;
        // A broker that does not know `ping` complains, and has answered it all the same.
        if (!(wasDoubted && frame.code === "malformed")) this.host.news(frame);
        return;
      case "clients":
        // A viewer's input is refused and never acknowledged.
        if (frame.clients.some(({ client, role }) => client === this.#target.client && role === "viewer")) this.#input.forget();
        this.#setRole(frame.clients.find(({ client }) => client === this.#target.client)?.role ?? "viewer");
        return this.host.news(frame);
      case "status":
        // Making a sandbox takes time.
        clearTimeout(this.#deadline);
        return this.host.news(frame);
      case "exit":
        return this.host.news(frame);
    }
  }

  #onBytes(message: ArrayBuffer): void {
    this.#liveness.heard();
    this.#liveness.came(message.byteLength);
    const output = decodeOutput(message);
    if (output !== undefined && this.#level !== 0) this.#received.output(output);
  }

  #join(frame: JoinedFrame): void {
    clearTimeout(this.#deadline);
    const { create: _, ...target } = this.#target;
    this.#target = { ...target, session: frame.session, client: frame.client };
    // A guest is not told the offset of the screen that follows.
    this.#liveness.joined(frame.offset < frame.live || (this.#target.invitation !== undefined && frame.live > 0));
    const unknown = this.#input.resume(frame.input);
    const wasBehind = this.#received.isCatchingUp;
    this.#received.join(frame);
    if (frame.size !== undefined) this.host.size(frame.size, this.#received.isCatchingUp);
    this.host.news(frame);
    if (wasBehind && !this.#received.isCatchingUp) this.host.caughtUp();
    // What was typed after input that may be lost would mean something else without that input.
    const dropped = unknown > 0 ? this.outbox.drop() : 0;
    this.#advance({ kind: "ready" });
    this.#drives = false;
    this.#setRole(frame.role);
    if (unknown > 0) this.host.unknown(unknown, dropped);
    this.#tellSize();
    this.outbox.flush();
  }

  #setRole(role: Role): void {
    const drove = this.#drives;
    this.#drives = role === "driver";
    if (!drove) this.#tellColors();
  }

  // --- what goes ---------------------------------------------------------------------------------------------------------------------

  #send(message: string | Uint8Array<ArrayBuffer>): void {
    this.#connection?.send(message);
  }

  #sendInput(text: string, raw: boolean): void {
    if (this.#level === 0) return this.#send(encodeInput(text));
    const frame = encodeNumberedInput(this.#input.next, raw ? Uint8Array.from(text, (character) => character.charCodeAt(0)) : text);
    this.#input.sent(text.length, frame.length);
    this.#send(frame);
    this.#liveness.sent();
  }

  #acknowledge(offset: number): boolean {
    if (!this.#isUp) return false;
    this.#send(encodeAck(offset));
    return true;
  }

  #tellSize(): void {
    const told = this.#toldSize;
    if (!this.#opened || this.#level === undefined || (told?.cols === this.#size.cols && told.rows === this.#size.rows)) return;
    this.#toldSize = this.#size;
    this.#send(encodeResize(this.#size.cols, this.#size.rows));
  }

  /** The colours are those of the driver. */
  #tellColors(): void {
    if (this.#drives && this.#colors !== undefined && this.#state.phase === "up") this.#send(encodeColors(this.#colors));
  }
}
