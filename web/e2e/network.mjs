/**
 * The network between a browser and the broker, which a test can break: a proxy for one browser context. Knows nothing of what it carries.
 */
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";

export class Network {
  /** @type {Set<import("node:stream").Duplex>} */
  #streams = new Set();
  #down = false;
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
      from.pipe(into);
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
