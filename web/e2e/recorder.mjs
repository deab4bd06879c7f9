/**
 * The recorder of this build, driven over its own frames: a terminal whose output a test writes byte by byte, and the screen that the
 * recorder draws of it. Knows nothing of the broker.
 */
import { execFile, spawn, spawnSync } from "node:child_process";
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PROGRAM = process.env.BROKER_RECORDER ?? new URL("../../target/recorder/sandbox-recorder", import.meta.url).pathname;
/** How long the recorder may take for anything, in milliseconds. */
export const DEADLINE_MS = 30_000;

/** How often a file is looked at, in milliseconds. */
const LOOK_MS = 5;

const HELLO = 0x01;
const OUTPUT = 0x02;
const SCREEN = 0x06;
const TITLE = 0x09;
const DIRECTORY = 0x0a;
const INPUT = 0x11;
const RESIZE = 0x12;
const ACK = 0x13;
const COLORS = 0x15;

/**
 * Frames of a buffer, and what is left of it.
 * @param {Buffer} bytes
 */
function frames(bytes) {
  /** @type {{ kind: number | undefined, payload: Buffer }[]} */
  const all = [];
  while (bytes.length >= 5) {
    const length = bytes.readUInt32BE(1);
    if (bytes.length < 5 + length) break;
    all.push({ kind: bytes[0], payload: bytes.subarray(5, 5 + length) });
    bytes = bytes.subarray(5 + length);
  }
  return { all, rest: bytes };
}

/**
 * @param {number} kind
 * @param {Buffer} payload
 */
function frame(kind, payload) {
  const head = Buffer.alloc(5);
  head[0] = kind;
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

export class Recorder {
  #dir = mkdtempSync(join(tmpdir(), "recorder-"));
  #process;
  /** @type {Buffer} */
  #rest = Buffer.alloc(0);
  /** @type {Buffer[]} */
  #output = [];
  #length = 0;
  /**
   * Sizes that the terminal took, each from an offset of the output on.
   * @type {{ cols: number, rows: number, offset: number }[]}
   */
  sizes = [];
  /** @type {number | undefined} */
  #pid;
  /** @type {Set<() => void>} */
  #waiting = new Set();
  /** @type {import("node:fs").WriteStream | undefined} */
  #writer;
  /** @type {string | undefined} */
  title;
  /** @type {string | undefined} */
  directory;
  #source;

  /**
   * A recording of `command`, or of a terminal whose program writes what the test gives `write`, and stores what it is sent.
   * @param {{ cols: number, rows: number, command?: string[], env?: Record<string, string | undefined> }} program
   */
  constructor({ cols, rows, command, env }) {
    const fifo = join(this.#dir, "source");
    if (command === undefined) {
      spawnSync("mkfifo", [fifo]);
      command = ["sh", "-c", `stty raw -echo; cat '${fifo}' & exec cat >'${this.#dir}/typed'`];
    }
    const args = ["run", "--dir", join(this.#dir, "recording"), "--cols", `${cols}`, "--rows", `${rows}`, "--", ...command];
    this.#process = spawn(PROGRAM, args, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, ...env } });
    this.#process.stdin.on("error", () => {});
    this.#process.stdout.on("data", (chunk) => this.#read(chunk));
    this.#source = fifo;
  }

  /** @param {Buffer} chunk */
  #read(chunk) {
    const { all, rest } = frames(Buffer.concat([this.#rest, chunk]));
    this.#rest = rest;
    for (const { kind, payload } of all) {
      if (kind === HELLO) this.#pid = payload.readUInt32BE(1);
      if (kind === 0x08) this.sizes.push({ cols: payload.readUInt16BE(8), rows: payload.readUInt16BE(10), offset: Number(payload.readBigUInt64BE(0)) });
      if (kind === TITLE) this.title = payload.toString();
      if (kind === DIRECTORY) this.directory = payload.toString();
      if (kind !== OUTPUT) continue;
      this.#output.push(payload.subarray(8));
      this.#length += payload.length - 8;
      const offset = Buffer.alloc(8);
      offset.writeBigUInt64BE(BigInt(this.#length));
      this.#process.stdin.write(frame(ACK, offset));
    }
    for (const look of this.#waiting) look();
  }

  /**
   * Waits until something holds.
   * @param {string} what
   * @param {() => boolean} holds
   * @returns {Promise<void>}
   */
  until(what, holds) {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        clearInterval(clock);
        reject(new Error(`${what} did not come within ${DEADLINE_MS / 1000} s`));
      }, DEADLINE_MS);
      const clock = setInterval(() => look(), LOOK_MS);
      const look = () => {
        if (!holds()) return;
        clearTimeout(deadline);
        clearInterval(clock);
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  get total() {
    return this.#length;
  }

  /** All output so far. */
  get output() {
    return Buffer.concat(this.#output);
  }

  /** What the program was sent so far. */
  get typed() {
    const file = join(this.#dir, "typed");
    return existsSync(file) ? readFileSync(file, "latin1") : "";
  }

  /**
   * Output of the program, exactly these bytes.
   * @param {Buffer} bytes
   */
  async write(bytes) {
    if (bytes.length === 0) return;
    const writer = (this.#writer ??= createWriteStream(this.#source));
    const length = this.#length + bytes.length;
    // The output may come before the stream learns that it was written; a stream that ends before that has an error.
    const written = new Promise((resolve, reject) => {
      writer.write(bytes, (error) => (error ? reject(error) : resolve(undefined)));
    });
    await Promise.all([written, this.until(`output up to ${length}`, () => this.#length >= length)]);
  }

  /** @param {string} text */
  input(text) {
    this.#process.stdin.write(frame(INPUT, Buffer.from(text)));
  }

  /** @param {number[]} bytes */
  colors(bytes) {
    this.#process.stdin.write(frame(COLORS, Buffer.from(bytes)));
  }

  /** @param {{ cols: number, rows: number }} size */
  async resize({ cols, rows }) {
    const payload = Buffer.alloc(4);
    payload.writeUInt16BE(cols, 0);
    payload.writeUInt16BE(rows, 2);
    this.#process.stdin.write(frame(RESIZE, payload));
    await this.until(`the size ${cols}x${rows}`, () => this.sizes.at(-1)?.cols === cols && this.sizes.at(-1)?.rows === rows);
  }

  /** What draws the screen, the size there, and where output goes on. */
  async screen() {
    const args = ["screen", "--dir", join(this.#dir, "recording")];
    /** @type {Buffer} */
    const stdout = await new Promise((resolve, reject) => {
      execFile(PROGRAM, args, { encoding: "buffer", maxBuffer: 1 << 26, timeout: DEADLINE_MS }, (error, out) => (error ? reject(error) : resolve(out)));
    });
    const parts = frames(stdout).all.filter(({ kind }) => kind === SCREEN).map(({ payload }) => payload);
    const [first] = parts;
    if (first === undefined) throw new Error("the recorder drew no screen");
    return {
      offset: Number(first.readBigUInt64BE(0)),
      cols: first.readUInt16BE(8),
      rows: first.readUInt16BE(10),
      text: Buffer.concat(parts.map((part) => part.subarray(12))).toString(),
    };
  }

  cast() {
    return spawnSync(PROGRAM, ["cast", "--dir", join(this.#dir, "recording")], { encoding: "utf8", maxBuffer: 1 << 26 }).stdout;
  }

  /** Ends the daemon at once, and the program. What was recorded stays. */
  async kill() {
    const pid = this.#pid;
    this.#pid = undefined;
    this.#writer?.destroy();
    this.#process.kill("SIGKILL");
    if (pid === undefined) return;
    const daemon = Number(status(pid)?.[1]);
    if (!(daemon > 1)) return;
    process.kill(daemon, "SIGKILL");
    await this.until("the daemon's end", () => (status(daemon)?.[0] ?? "Z") === "Z");
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // Gone by itself.
    }
  }

  /** Ends the program, and forgets the recording. */
  async end() {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/**
 * State and parent of a process; nothing once it is gone.
 * @param {number} pid
 */
function status(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ");
  } catch {
    return undefined;
  }
}
