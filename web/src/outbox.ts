/**
 * The way of typed and pasted text, and of what the mouse reports, to the socket: cut into frames, and held back while the socket still has much to send, so that a
 * paste of megabytes neither freezes the page nor piles up inside the browser. Order is kept and nothing is batched away: text goes
 * out in the call that brings it whenever nothing is ahead of it.
 */
import { chunkEnd } from "./chunk";

/** Where the text goes. */
export interface Sink {
  /** True once text can be sent. */
  readonly open: boolean;
  /** True while what was sent has to go on its way first. */
  readonly full: boolean;
  /** Sends the text of one frame. `raw`: each character of it is one byte. */
  send(text: string, raw: boolean): void;
}

interface Item {
  readonly text: string;
  readonly raw: boolean;
}

/** How soon a held-back outbox looks again, in milliseconds. Browsers have no event for "the socket has sent something". */
const LOOK_AGAIN_MS = 15;
/** Most text that may wait, in UTF-16 units. Beyond it a paste is refused whole: a file is the better way. */
export const MAX_WAITING = 16 * 1024 * 1024;
/** Ends a bracketed paste. A program that saw the beginning must see it. */
const PASTE_END = "\x1b[201~";

export class Outbox {
  #queue: Item[] = [];
  #offset = 0;
  #waiting = 0;
  #halfPair = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onWaiting` hears how much text waits, whenever a pass over the queue leaves or finds some. */
  constructor(
    private readonly sink: Sink,
    private readonly onWaiting: (chars: number) => void = () => {},
  ) {}

  /** Text that waits for the socket, in UTF-16 units. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Sends the text now, or as soon as what is ahead of it is sent. False: too much waits already, nothing of it was taken. */
  push(text: string): boolean {
    let data = this.#halfPair + text;
    if (this.#waiting + data.length > MAX_WAITING) return false;
    this.#halfPair = "";
    // An input method may hand over an emoji in two calls; its halves belong into one frame.
    const last = data.charCodeAt(data.length - 1);
    if (last >= 0xd800 && last <= 0xdbff) {
      this.#halfPair = data.slice(-1);
      data = data.slice(0, -1);
    }
    if (data !== "") this.#add({ text: data, raw: false });
    return true;
  }

  /** The same for bytes, each a character up to U+00FF: short, and sent as one frame. */
  pushRaw(bytes: string): boolean {
    if (this.#waiting + bytes.length > MAX_WAITING) return false;
    this.#add({ text: bytes, raw: true });
    return true;
  }

  #add(item: Item): void {
    this.#queue.push(item);
    this.#waiting += item.text.length;
    this.flush();
  }

  /** Sends what the socket takes at once, and comes back for the rest. */
  flush(): void {
    if (!this.sink.open) return;
    const hadToWait = this.#timer !== undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#queue[0] !== undefined && !this.sink.full) {
      const head = this.#queue[0];
      const end = chunkEnd(head.text, this.#offset);
      this.sink.send(head.text.slice(this.#offset, end), head.raw);
      this.#waiting -= end - this.#offset;
      this.#offset = end;
      if (end === head.text.length) {
        this.#queue.shift();
        this.#offset = 0;
      }
    }
    if (this.#waiting > 0) this.#timer = setTimeout(() => this.flush(), LOOK_AGAIN_MS);
    if (this.#waiting > 0 || hadToWait) this.onWaiting(this.#waiting);
  }

  /** Drops the text that waits, but not the end mark of a bracketed paste that has begun. Returns how much was dropped. */
  drop(): number {
    const dropped = this.#waiting;
    // Of one that has not begun no program may see the end.
    const endsPaste = this.#offset > 0 && this.#queue[0]?.text.endsWith(PASTE_END) === true;
    this.#clear();
    if (endsPaste) this.push(PASTE_END);
    this.onWaiting(this.#waiting);
    return dropped;
  }

  /** Forgets everything; for a socket that is gone. */
  dispose(): void {
    this.#clear();
  }

  #clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#queue = [];
    this.#offset = 0;
    this.#waiting = 0;
    this.#halfPair = "";
  }
}
