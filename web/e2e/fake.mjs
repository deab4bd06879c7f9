/**
 * A level 1 broker without sessions: it serves the built page, takes its sockets, and says exactly what a test tells it to say, so that
 * faults can be made on purpose and every byte has its place. Speaks just enough of RFC 6455 for one browser on this machine.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually } from "./page.mjs";

const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = /** @type {Record<string, string>} */ ({ ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" });
const SUBPROTOCOL = "sandbox-broker.v1";

export class FakeBroker {
  /** @type {Socket[]} */
  sockets = [];
  /** Whether it knows level 1. */
  level = 1;
  /** Whether WebSockets are cut before they open. */
  refuses = false;
  /** The code and the reason with which WebSockets are closed in the moment they open, and their connections with them. @type {[code: number, reason: string] | undefined} */
  ends;
  /** Further answers, by `METHOD /path`. @type {Record<string, { status?: number, body?: string, headers?: Record<string, string> }>} */
  routes = {};
  #server = createServer((request, response) => void this.#answer(request, response));
  url = "";

  static async start() {
    const broker = new FakeBroker();
    broker.#server.on("upgrade", (request, stream) => broker.#upgrade(request, stream));
    await new Promise((listening) => broker.#server.listen(0, "127.0.0.1", () => listening(undefined)));
    const { port } = /** @type {import("node:net").AddressInfo} */ (broker.#server.address());
    broker.url = `http://127.0.0.1:${port}`;
    return broker;
  }

  stop() {
    for (const socket of this.sockets) socket.cut();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** The nth connection since the start, once it is there. @param {number} [n] */
  socket(n = 0) {
    return eventually(`connection ${n}`, () => this.sockets[n]);
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
  async #answer(request, response) {
    const { pathname } = new URL(request.url ?? "/", this.url);
    const [, session] = /^\/api\/sessions\/(\w+)$/.exec(pathname) ?? [];
    /** @type {{ status?: number, body?: string, headers?: Record<string, string> } | undefined} */
    const usual = pathname === "/api/session" ? { body: '{"provider":"fake"}' } : pathname === "/api/sessions" ? { body: '{"sessions":[]}' } : session !== undefined ? { body: JSON.stringify({ id: session }) } : undefined;
    const route = this.routes[`${request.method} ${pathname}`] ?? usual;
    if (route !== undefined) return void response.writeHead(route.status ?? 200, { "content-type": "application/json", ...route.headers }).end(route.body ?? "");
    const path = join(DIST, pathname === "/" ? "index.html" : pathname);
    try {
      const body = await readFile(path);
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:stream").Duplex} stream */
  #upgrade(request, stream) {
    if (this.refuses) return void stream.destroy();
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const offered = request.headers["sec-websocket-protocol"];
    const chosen = this.level === 1 && offered === SUBPROTOCOL ? `Sec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n` : "";
    const socket = new Socket(new URL(request.url ?? "/", this.url).searchParams, stream);
    // What is written now leaves in one packet.
    stream.cork();
    stream.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`);
    if (this.ends) socket.close(...this.ends);
    stream.uncork();
    if (this.ends) stream.end();
    this.sockets.push(socket);
  }
}

/** One connection of a page. */
class Socket {
  /** JSON messages of the page. @type {Record<string, any>[]} */
  messages = [];
  /** Numbered input of the page; `bytes` has a character for each byte. @type {{ seq: number, text: string, bytes: string }[]} */
  inputs = [];
  isGone = false;
  #pending = Buffer.alloc(0);

  /** @param {URLSearchParams} query @param {import("node:stream").Duplex} stream */
  constructor(query, stream) {
    this.query = query;
    this.stream = stream;
    stream.on("data", (data) => this.#take(data));
    stream.on("error", () => {});
    stream.on("close", () => (this.isGone = true));
  }

  /** All that was typed here. */
  get typed() {
    return this.inputs.map(({ text }) => text).join("");
  }

  /** The highest acknowledged offset, or -1. */
  get acknowledged() {
    return Math.max(-1, ...this.messages.filter(({ type }) => type === "ack").map(({ offset }) => offset));
  }

  /** @param {Record<string, unknown>} message */
  say(message) {
    this.#send(1, Buffer.from(JSON.stringify(message)));
  }

  /** `ready`, with what every client is told after it. @param {Record<string, unknown>} [more] */
  ready(more = {}) {
    const client = this.query.get("client") ?? "";
    const [cols, rows] = [Number(this.query.get("cols")), Number(this.query.get("rows"))];
    const ready = { session: "s1", client, role: "driver", epoch: 1, offset: 0, live: 0, input: 0, provider: "fake", durability: "durable", keep_ms: 60000, size: { cols, rows }, ...more };
    this.say({ type: "ready", ...ready });
    this.say({ type: "clients", clients: [{ client, role: ready.role, cols, rows }] });
  }

  /** Output from `offset` on. @param {number} offset @param {string | Buffer} text */
  write(offset, text) {
    const head = Buffer.alloc(9);
    head.writeUInt8(1, 0);
    head.writeBigUInt64BE(BigInt(offset), 1);
    this.#send(2, Buffer.concat([head, Buffer.from(text)]));
  }

  /** Closes the WebSocket; the connection ends when the page has answered. @param {number} code @param {string} [reason] */
  close(code, reason = "") {
    const status = Buffer.alloc(2);
    status.writeUInt16BE(code);
    this.#send(8, Buffer.concat([status, Buffer.from(reason)]));
  }

  /** The network goes, without a word. */
  cut() {
    this.stream.destroy();
  }

  /** @param {number} opcode @param {Buffer} body */
  #send(opcode, body) {
    const size = body.length < 126 ? Buffer.from([body.length]) : body.length < 65536 ? Buffer.from([126, body.length >> 8, body.length & 255]) : Buffer.alloc(9);
    if (size.length === 9) {
      size.writeUInt8(127, 0);
      size.writeBigUInt64BE(BigInt(body.length), 1);
    }
    if (!this.stream.destroyed) this.stream.write(Buffer.concat([Buffer.from([0x80 | opcode]), size, body]));
  }

  /** @param {Buffer} data */
  #take(data) {
    this.#pending = Buffer.concat([this.#pending, data]);
    for (;;) {
      const { length: have } = this.#pending;
      if (have < 6) return;
      const [first, second] = [this.#pending.readUInt8(0), this.#pending.readUInt8(1)];
      let [size, at] = [second & 127, 2];
      if (size === 126) [size, at] = [this.#pending.readUInt16BE(2), 4];
      else if (size === 127) [size, at] = [Number(this.#pending.readBigUInt64BE(2)), 10];
      if (have < at + 4 + size) return;
      const mask = this.#pending.subarray(at, at + 4);
      const body = Buffer.from(this.#pending.subarray(at + 4, at + 4 + size)).map((byte, n) => byte ^ (mask[n & 3] ?? 0));
      this.#pending = this.#pending.subarray(at + 4 + size);
      const opcode = first & 15;
      if (opcode === 1) this.messages.push(JSON.parse(Buffer.from(body).toString()));
      if (opcode === 2) this.inputs.push({ seq: Number(Buffer.from(body).readBigUInt64BE(1)), text: Buffer.from(body.subarray(9)).toString(), bytes: Buffer.from(body.subarray(9)).toString("latin1") });
      if (opcode === 8) this.stream.end();
    }
  }
}
