/**
 * The network between a browser and the broker, which a test can break or slow down: a proxy for one browser context. Knows nothing of what
 * it carries.
 */
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { Transform } from "node:stream";

export class Network {
  /** @type {Set<import("node:stream").Duplex>} */
  #streams = new Set();
  #down = false;
  /** @type {{ bits: number, roundTripMs: number } | undefined} */
  #pace;
  /** Bytes that came to the browser through tunnels. */
  carried = 0;
  #server = createServer((request, response) => this.#pass(request, response));
  url = "";

  static async start() {
    const network = new Network();
    network.#server.on("connect", (request, stream) => network.#tunnel(request.url ?? "", stream));
    await new Promise((listening) => network.#server.listen(0, "127.0.0.1", () => listening(undefined)));
    const { port } = /** @type {import("node:net").AddressInfo} */ (network.#server.address());
    network.url = `http://127.0.0.1:${port}`;
    return network;
  }

  stop() {
    this.cut();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Breaks all connections; new ones go through. */
  cut() {
    for (const stream of this.#streams) stream.destroy();
  }

  /** Breaks all connections and lets none through, until `up`. */
  down() {
    this.#down = true;
    this.cut();
  }

  up() {
    this.#down = false;
  }

  /** Carries nothing more over the connections that there are, and closes none: a cable that was pulled. New ones go through. */
  freeze() {
    for (const stream of this.#streams) {
      stream.unpipe();
      stream.pause();
    }
  }

  /** Connections that are made from now on are this slow and this long. @param {{ bits: number, roundTripMs: number }} pace */
  slow(pace) {
    this.#pace = pace;
  }

  /** @param {string} to @param {import("node:stream").Duplex} stream */
  #tunnel(to, stream) {
    if (this.#down) return void stream.destroy();
    const [host, port] = [to.slice(0, to.lastIndexOf(":")), Number(to.slice(to.lastIndexOf(":") + 1))];
    const server = connect(port, host, () => stream.write("HTTP/1.1 200 Connection established\r\n\r\n"));
    for (const [from, into] of /** @type {const} */ ([
      [server, stream],
      [stream, server],
    ])) {
      this.#streams.add(from);
      if (from === server) server.on("data", (bytes) => void (this.carried += bytes.length));
      if (this.#pace === undefined) from.pipe(into);
      else from.pipe(new Line(this.#pace)).pipe(into);
      from.on("error", () => into.destroy());
      from.on("close", () => {
        this.#streams.delete(from);
        into.destroy();
      });
    }
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
  #pass(request, response) {
    if (this.#down) return void request.destroy();
    const { method, headers } = request;
    const onward = ask(request.url ?? "", { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  }
}

/** One direction of a slow, long line: bytes leave it at its rate, and arrive after its delay. */
class Line extends Transform {
  #free = 0;

  /** @param {{ bits: number, roundTripMs: number }} pace */
  constructor({ bits, roundTripMs }) {
    super();
    this.perMs = bits / 8 / 1000;
    this.delayMs = roundTripMs / 2;
  }

  /** @override @param {Buffer} bytes @param {string} _ @param {() => void} next */
  _transform(bytes, _, next) {
    const now = performance.now();
    this.#free = Math.max(this.#free, now) + bytes.length / this.perMs;
    setTimeout(() => !this.destroyed && this.push(bytes), this.#free + this.delayMs - now);
    setTimeout(next, this.#free - now);
  }

  /** @override @param {() => void} done */
  _flush(done) {
    setTimeout(done, Math.max(0, this.#free + this.delayMs - performance.now()) + 1);
  }
}
