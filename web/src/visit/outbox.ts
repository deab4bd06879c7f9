/**
 * Takes input to the socket: cuts it into frames, and holds it back while the socket still has much to send, so that a paste of megabytes
 * neither freezes the page nor piles up inside the browser. Keeps the order, and delays nothing: if no other text waits, text is sent in
 * the call that brings it.
 */
import { chunkEnd } from "./chunk";

/** Where the text goes. */
export interface Sink {
  /** Text can be sent. */
  readonly open: boolean;
  /** Text sent earlier has to leave first. */
  readonly full: boolean;
  /** Sends the text of one frame. `raw`: each character is one byte. */
  send(text: string, raw: boolean): void;
}

interface Item {
  readonly text: string;
  readonly raw: boolean;
}

/** How soon an outbox that holds text back tries again, in milliseconds. Browsers have no event for "the socket has sent something". */
const TRY_AGAIN_MS = 15;
/** Most text that may wait, in UTF-16 units. A paste beyond that is refused as a whole: a file is the better way. */
export const MAX_WAITING = 16 * 1024 * 1024;
/** Ends a bracketed paste. A program that got the beginning must get the end. */
const PASTE_END = "\x1b[201~";

export class Outbox {
  #queue: Item[] = [];
  #offset = 0;
  #waiting = 0;
  #halfPair = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onWaiting` gets the amount of text that waits, whenever some waits or waited. */
  constructor(
    private readonly sink: Sink,
    private readonly onWaiting: (chars: number) => void = () => {},
  ) {}

  /** Text that waits for the socket, in UTF-16 units. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Sends the text now, or after the text that waits. False: too much waits already, and nothing of it was taken. */
  push(text: string): boolean {
    let data = this.#halfPair + text;
    if (this.#waiting + data.length > MAX_WAITING) return false;
    this.#halfPair = "";
    // An input method may hand over an emoji in two calls. Its halves belong into one frame.
    const last = data.charCodeAt(data.length - 1);
    if (last >= 0xd800 && last <= 0xdbff) {
      this.#halfPair = data.slice(-1);
      data = data.slice(0, -1);
    }
    if (data !== "") this.#add({ text: data, raw: false });
    return true;
  }

  /** The same for a few bytes, each a character up to U+00FF, which go into one frame. */
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

  /** Sends what the socket takes now, and the rest later. */
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
    if (this.#waiting > 0) this.#timer = setTimeout(() => this.flush(), TRY_AGAIN_MS);
    if (this.#waiting > 0 || hadToWait) this.onWaiting(this.#waiting);
  }

  /** Drops the text that waits, but not the end of a bracketed paste that has begun. Returns how much was dropped. */
  drop(): number {
    const dropped = this.#waiting;
    // A paste of which nothing was sent needs no end.
    const endsPaste = this.#offset > 0 && this.#queue[0]?.text.endsWith(PASTE_END) === true;
    this.#clear();
    if (endsPaste) this.push(PASTE_END);
    this.onWaiting(this.#waiting);
    return dropped;
  }

  /** Forgets everything, because the socket is gone. */
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
