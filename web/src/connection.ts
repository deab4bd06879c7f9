/**
 * One WebSocket to `/terminal`: messages in, messages out, and how it ended. Offers level 1 of the protocol where it is told to, and says
 * which level was chosen. Never connects again by itself, and reads nothing of what it carries.
 */
import { SUBPROTOCOL } from "./level1";

export interface ConnectionEvents {
  /** The socket is open and speaks this level. */
  opened(level: 0 | 1): void;
  text(message: string): void;
  bytes(message: ArrayBuffer): void;
  /** Called exactly once, unless `dispose` came first. */
  closed(how: { code: number; reason: string; opened: boolean }): void;
}

export class Connection {
  readonly #socket: WebSocket;
  readonly #done = new AbortController();
  #opened = false;

  /** `level`: the highest that is offered. */
  constructor(url: URL, level: 0 | 1, events: ConnectionEvents) {
    const socket = level === 1 ? new WebSocket(url, SUBPROTOCOL) : new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const signal = this.#done.signal;
    this.#socket = socket;

    const onOpen = () => {
      this.#opened = true;
      events.opened(socket.protocol === SUBPROTOCOL ? 1 : 0);
    };
    const onMessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") events.text(data);
      if (data instanceof ArrayBuffer) events.bytes(data);
    };
    const onClose = ({ code, reason }: CloseEvent) => {
      this.dispose();
      events.closed({ code, reason, opened: this.#opened });
    };
    socket.addEventListener("open", onOpen, { signal });
    socket.addEventListener("message", onMessage, { signal });
    socket.addEventListener("close", onClose, { signal });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Bytes that are given to the browser and not yet to the network. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Sends a message, or nothing where the socket is not open. */
  send(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.isOpen) this.#socket.send(message);
  }

  /** Ends the connection; what was sent goes out before. No event follows. */
  dispose(): void {
    this.#done.abort();
    this.#socket.close(1000);
  }
}
