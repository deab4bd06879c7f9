/**
 * One WebSocket to `/terminal`: messages in, messages out, and how it ended. Offers level 1 of the protocol if it is told to, and reports
 * whether the server chose it. Never reconnects, and does not read what it carries.
 */
import { SUBPROTOCOL } from "../protocol/level1";

/** The close code of a socket that ended without a Close frame or never opened (RFC 6455, 7.1.5). */
const NO_CLOSE_FRAME = 1006;

export interface ConnectionHost {
  /** The socket is open. `chosen`: the server has chosen level 1. Otherwise its first message tells the level. */
  opened(chosen: boolean): void;
  text(message: string): void;
  bytes(message: ArrayBuffer): void;
  /**
   * Called exactly once, unless `dispose` came first. `opened`: whether the server had accepted the socket, even if there was no `open`
   * event: Firefox drops it, and all messages, if the end of the TCP connection arrives right after them.
   */
  closed(how: { code: number; reason: string; opened: boolean }): void;
}

export class Connection {
  readonly #socket: WebSocket;
  readonly #done = new AbortController();
  #opened = false;

  /** `offers`: whether level 1 is offered as a subprotocol. */
  constructor(url: URL, offers: boolean, host: ConnectionHost) {
    const socket = offers ? new WebSocket(url, SUBPROTOCOL) : new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const signal = this.#done.signal;
    this.#socket = socket;

    const onOpen = () => {
      this.#opened = true;
      host.opened(socket.protocol === SUBPROTOCOL);
    };
    const onMessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") host.text(data);
      if (data instanceof ArrayBuffer) host.bytes(data);
    };
    const onClose = ({ code, reason }: CloseEvent) => {
      this.dispose();
      host.closed({ code, reason, opened: this.#opened || code !== NO_CLOSE_FRAME });
    };
    socket.addEventListener("open", onOpen, { signal });
    socket.addEventListener("message", onMessage, { signal });
    socket.addEventListener("close", onClose, { signal });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Bytes that the browser has and has not yet sent. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Sends a message if the socket is open. */
  send(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.isOpen) this.#socket.send(message);
  }

  /** Ends the connection, after sending what the browser still has. No event follows. */
  dispose(): void {
    this.#done.abort();
    this.#socket.close(1000);
  }
}
