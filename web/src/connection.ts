/**
 * One WebSocket to `/terminal`: frames in, frames out, and how it ended. Keeps what is typed and the newest size until the socket is
 * open. Never connects again by itself: at level 0 a new connection is a new sandbox, and that is the person's decision.
 */
import { Outbox, type Sink } from "./outbox";
import { decodeServerFrame, encodeResize, type ServerFrame } from "./protocol";

export interface ConnectionEvents {
  frame(frame: ServerFrame): void;
  /** Called exactly once, unless `dispose` came first. */
  closed(how: { code: number; reason: string; opened: boolean }): void;
  /** How much pasted text still waits, in UTF-16 units. */
  waiting(chars: number): void;
}

export class Connection {
  readonly outbox: Outbox;
  readonly #socket: WebSocket;
  readonly #done = new AbortController();
  #size: string | undefined;
  #opened = false;

  constructor(url: URL, events: ConnectionEvents) {
    const socket = new WebSocket(url);
    const signal = this.#done.signal;
    this.#socket = socket;
    const sink: Sink = {
      get open() {
        return socket.readyState === WebSocket.OPEN;
      },
      get bufferedAmount() {
        return socket.bufferedAmount;
      },
      send: (frame) => socket.send(frame),
    };
    this.outbox = new Outbox(sink, (chars) => events.waiting(chars));

    const onOpen = () => {
      this.#opened = true;
      if (this.#size !== undefined) socket.send(this.#size);
      this.outbox.flush();
    };
    const onMessage = ({ data }: MessageEvent<unknown>) => {
      const frame = typeof data === "string" ? decodeServerFrame(data) : undefined;
      if (frame !== undefined) events.frame(frame);
    };
    const onClose = ({ code, reason }: CloseEvent) => {
      this.dispose();
      events.closed({ code, reason, opened: this.#opened });
    };
    socket.addEventListener("open", onOpen, { signal });
    socket.addEventListener("message", onMessage, { signal });
    socket.addEventListener("close", onClose, { signal });
  }

  /** Tells the terminal's size; the newest one wins until the socket is open. */
  resize(cols: number, rows: number): void {
    const frame = encodeResize(cols, rows);
    if (frame === this.#size) return;
    this.#size = frame;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  /** Ends the connection, and with it the sandbox. No event follows. */
  dispose(): void {
    this.#done.abort();
    this.outbox.dispose();
    this.#socket.close(1000);
  }
}
