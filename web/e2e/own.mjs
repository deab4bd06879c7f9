/** A broker of a test's own, which it can end and start again on the same port with the same state. Needs `BROKER_BIN`, as xtask sets it. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const CONFIG = fileURLToPath(new URL("../../broker.toml", import.meta.url));

export class OwnBroker {
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #process;

  /** @param {number} port @param {string} state @param {string} config */
  constructor(port, state, config) {
    this.url = `http://127.0.0.1:${port}`;
    this.port = port;
    this.state = state;
    this.config = config;
  }

  /** With the shipped configuration, and `more` of it. @param {string} [more] */
  static async start(more) {
    const state = await mkdtemp(join(tmpdir(), "broker-e2e-"));
    const config = more === undefined ? CONFIG : join(state, "broker.toml");
    if (more !== undefined) await writeFile(config, `${await readFile(CONFIG, "utf8")}\n${more}`);
    const broker = new OwnBroker(await freePort(), state, config);
    await broker.again();
    return broker;
  }

  /** Starts the broker and waits until it listens. */
  async again() {
    const program = process.env["BROKER_BIN"];
    if (!program) throw new Error("BROKER_BIN is not set: `cargo xtask test` sets it");
    const env = { ...process.env, PORT: String(this.port), SANDBOX_PROVIDER: "local", AZURE_STORAGE_ENABLED: "false", XDG_STATE_HOME: this.state, XDG_DATA_HOME: this.state };
    const started = spawn(program, ["--config", this.config], { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = started;
    let log = "";
    await new Promise((listening, failed) => {
      const read = (/** @type {Buffer} */ text) => {
        log += text;
        if (log.includes("listening")) listening(undefined);
      };
      started.stdout.on("data", read);
      started.stderr.on("data", read);
      started.on("exit", (code) => failed(new Error(`the broker ended with ${code}:\n${log}`)));
    });
  }

  /** Ends it, unless it has ended. @param {"SIGTERM" | "SIGKILL"} signal */
  async end(signal) {
    const ending = this.#process;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((exit) => ending.once("exit", exit));
    ending.kill(signal);
    await ended;
  }

  /** Takes its state away. */
  async forget() {
    await rm(this.state, { recursive: true, force: true });
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      server.close(() => found(port));
    });
  });
}
