/**
 * One WebSocket to `/terminal`: messages in, messages out, and how it ended. Offers level 1 of the protocol where it is told to, and says
 * whether it was chosen. Never connects again by itself, and reads nothing of what it carries.
 */
import { SUBPROTOCOL } from "./level1";

/** The code of a socket that ended without a Close frame, and of one that never opened (RFC 6455, 7.1.5). */
const NO_CLOSE_FRAME = 1006;

export interface ConnectionEvents {
  /** The socket is open. `chosen`: the server has chosen level 1; where it has not, or could not, what it says tells the level. */
  opened(chosen: boolean): void;
  text(message: string): void;
  bytes(message: ArrayBuffer): void;
  /**
   * Called exactly once, unless `dispose` came first. `opened`: whether the server had accepted the socket, also where the browser told
   * nothing of it: Firefox drops `open` and all messages where the end of the TCP connection arrives right after them.
   */
  closed(how: { code: number; reason: string; opened: boolean }): void;
}

export class Connection {
  readonly #socket: WebSocket;
  readonly #done = new AbortController();
  #opened = false;

  /** `offers`: whether level 1 is offered as a subprotocol. */
  constructor(url: URL, offers: boolean, events: ConnectionEvents) {
    const socket = offers ? new WebSocket(url, SUBPROTOCOL) : new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const signal = this.#done.signal;
    this.#socket = socket;

    const onOpen = () => {
      this.#opened = true;
      events.opened(socket.protocol === SUBPROTOCOL);
    };
    const onMessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") events.text(data);
      if (data instanceof ArrayBuffer) events.bytes(data);
    };
    const onClose = ({ code, reason }: CloseEvent) => {
      this.dispose();
      events.closed({ code, reason, opened: this.#opened || code !== NO_CLOSE_FRAME });
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
