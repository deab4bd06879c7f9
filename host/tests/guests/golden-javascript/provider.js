// A sandbox provider in JavaScript: as much of E2B's protocol as the contract requires, over `net.fetch`.
//
// The same as golden-python. Its processes are not handed over to the host: an instance lives as long as
// its process.
import net from "sandbox-broker:plugin/net@0.2.0";

const CHUNK = 64 << 10;
const SIGNALS = { SIGTERM: "SIGNAL_SIGTERM", SIGKILL: "SIGNAL_SIGKILL" };

const failure = (code, message) => ({ code, message, retryAfterMs: null, attrs: [] });
const object = (pairs) => Object.fromEntries(pairs);
const seconds = (ms) => Math.max(1, Math.ceil(Number(ms) / 1000));

// QuickJS has no TextEncoder. A text whose characters are bytes is what stands between.
const utf8 = (words) => bytes(unescape(encodeURIComponent(words)));
const words = (data) => decodeURIComponent(escape(chars(data)));
const toBase64 = (data) => btoa(chars(data));
const fromBase64 = (letters) => bytes(atob(letters));

function bytes(chars) {
  const data = new Uint8Array(chars.length);
  for (let at = 0; at < data.length; at++) data[at] = chars.charCodeAt(at);
  return data;
}

function chars(data) {
  const parts = [];
  for (let at = 0; at < data.length; at += 4096) parts.push(String.fromCharCode(...data.subarray(at, at + 4096)));
  return parts.join("");
}

/** The value of a future. Its handle stays until it is dropped. */
async function value(future) {
  const result = await future.read();
  future.drop();
  if (result.tag === "err") throw result.val;
  return result.val;
}

async function* once(bytes) {
  yield bytes;
}

/** An answer whose status is good. */
async function fetch(method, url, headers = [], data = null) {
  const answer = await value(net.fetch({ method, url, headers }, data === null ? null : once(data)));
  if (answer.status < 300) return answer;
  const said = words(await whole(answer)).slice(0, 200);
  throw failure(answer.status === 404 ? "not-found" : "unavailable", `the server answered ${answer.status}: ${said}`);
}

/** All bytes of an answer. */
async function whole(answer) {
  const parts = [];
  for await (const part of answer.body) parts.push(part);
  await value(answer.ended);
  return joined(parts);
}

function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** A request to the control plane, and its answer. */
async function api(config, method, path, sent = null) {
  const headers = [["accept", "application/json"]];
  if (sent !== null) headers.push(["content-type", "application/json"]);
  const url = JSON.parse(config).url + path;
  const answer = await whole(await fetch(method, url, headers, sent === null ? null : utf8(JSON.stringify(sent))));
  return answer.length > 0 ? JSON.parse(words(answer)) : null;
}

const reference = (made) => ({ id: made.sandboxID, state: utf8(made.envdAccessToken ?? "") });

export const manifest = {
  describe() {
    return JSON.stringify({
      id: "golden-javascript",
      version: "0.1.0",
      title: "Golden JavaScript",
      kind: "sandbox",
    });
  },
  configSchema() {
    return JSON.stringify({
      type: "object",
      required: ["url"],
      properties: { url: { type: "string" } },
      additionalProperties: false,
    });
  },
  validate() {
    return [];
  },
};

export const sandbox = {
  async create(c, config, spec) {
    return reference(
      await api(config, "POST", "/v2/sandboxes", {
        templateID: "base",
        timeout: seconds(spec.ttlMs),
        metadata: object(spec.labels),
        envVars: object(spec.env),
      }),
    );
  },
  async connect(c, config, s, ttlMs) {
    const path = `/v2/sandboxes/${encodeURIComponent(s.id)}/connect`;
    return reference(await api(config, "POST", path, { timeout: seconds(ttlMs) }));
  },
  async kill(c, config, s) {
    try {
      await api(config, "DELETE", `/sandboxes/${encodeURIComponent(s.id)}`);
    } catch (error) {
      if (error.code !== "not-found") throw error;
    }
  },
  async list(c, config, labels) {
    const twice = (part) => encodeURIComponent(encodeURIComponent(part));
    const wanted = labels.map(([key, value]) => `${twice(key)}=${twice(value)}`).join("&");
    const path = `/v2/sandboxes?state=running%2Cpaused&metadata=${encodeURIComponent(wanted)}`;
    const listed = ((await api(config, "GET", path)) ?? []).map((found) => ({
      id: found.sandboxID,
      labels: Object.entries(found.metadata ?? {}),
      createdUnixMs: null,
      endsUnixMs: null,
    }));
    const carries = (found) => labels.every(([key, value]) => object(found.labels)[key] === value);
    return { sandboxes: listed.filter(carries), next: null };
  },
};

export const lease = {
  async extend(c, config, s, ttlMs) {
    await api(config, "POST", `/sandboxes/${encodeURIComponent(s.id)}/timeout`, { timeout: seconds(ttlMs) });
    return s;
  },
};

/** What runs in a sandbox and starts its processes. */
class Agent {
  constructor(config, s) {
    this.url = JSON.parse(config).url;
    this.headers = [
      ["e2b-sandbox-id", s.id],
      ["e2b-sandbox-port", "49983"],
      ["x-access-token", words(s.state)],
      ["connect-protocol-version", "1"],
    ];
  }

  start(sent, user) {
    const data = utf8(JSON.stringify(sent));
    const head = new Uint8Array(5);
    new DataView(head.buffer).setUint32(1, data.length);
    const headers = [...this.headers, ["content-type", "application/connect+json"]];
    if (user !== null) headers.push(["authorization", `Basic ${toBase64(utf8(`${user}:`))}`]);
    return fetch("POST", `${this.url}/process.Process/Start`, headers, joined([head, data]));
  }

  async call(method, sent) {
    const headers = [...this.headers, ["content-type", "application/json"]];
    await whole(await fetch("POST", `${this.url}/process.Process/${method}`, headers, utf8(JSON.stringify(sent))));
  }
}

/** What a process says, from the frames of an answer. */
async function* events(answer) {
  let data = new Uint8Array();
  for await (const part of answer.body) {
    data = joined([data, part]);
    while (data.length >= 5) {
      const size = new DataView(data.buffer, data.byteOffset).getUint32(1);
      if (data.length < 5 + size) break;
      const message = JSON.parse(words(data.subarray(5, 5 + size)));
      const last = data[0] & 2;
      data = data.slice(5 + size);
      if (!last) yield message.event ?? {};
      else if (message.error) throw failure("unavailable", JSON.stringify(message.error).slice(0, 200));
      else return;
    }
  }
}

function exitOf(end) {
  const status = end.status ?? "";
  if (status.startsWith("signal: ")) return { tag: "signal", val: status.slice("signal: ".length) };
  return { tag: "code", val: end.exitCode ?? 0 };
}

/** Passes standard input on, and its end. */
async function feed(agent, pid, stdin) {
  const process = { pid };
  try {
    for (let part; (part = await stdin.read(CHUNK)).length > 0; ) {
      await agent.call("SendInput", { process, input: { stdin: toBase64(part) } });
    }
    stdin.drop();
    await agent.call("CloseStdin", { process });
  } catch (error) {
    // The process has gone; its end says how.
    console.log(`standard input was not taken: ${error.message}`);
  }
}

/** Passes output on until the process has ended. */
async function carry(said, stdout, stderr, done) {
  let end = { tag: "err", val: failure("unavailable", "the connection to the process broke") };
  try {
    for await (const { data, end: ended } of said) {
      if (data?.stdout) await stdout.writeAll(fromBase64(data.stdout));
      if (data?.stderr) await stderr.writeAll(fromBase64(data.stderr));
      if (ended) {
        end = { tag: "ok", val: exitOf(ended) };
        break;
      }
    }
  } catch (error) {
    end = { tag: "err", val: error };
  }
  stdout.drop();
  stderr.drop();
  await done.write(end);
  done.drop();
}

export const exec = {
  async run(c, config, s, command, stdin) {
    const agent = new Agent(config, s);
    const [cmd, ...args] = command.argv;
    const process = { cmd, args, envs: object(command.env), ...(command.cwd === null ? {} : { cwd: command.cwd }) };
    const said = events(await agent.start({ process, stdin: true }, command.user));
    const { value: first } = await said.next();
    if (!first?.start) throw failure("unavailable", "the process did not start");
    const { pid } = first.start;
    const [out, err, ended] = [wit.Stream(wit.Stream.BYTES), wit.Stream(wit.Stream.BYTES), wit.Future(wit.Future.RESULT_EXIT_ERROR)];
    carry(said, out.writable, err.writable, ended.writable);
    feed(agent, pid, stdin);
    return { id: String(pid), stdout: out.readable, stderr: err.readable, done: { tag: "told", val: ended.readable } };
  },
  async exitOf() {
    throw failure("unimplemented", "its processes tell their end themselves");
  },
  async signal(c, config, s, id, name) {
    if (!(name in SIGNALS)) throw failure("unimplemented", "only SIGTERM and SIGKILL can be sent");
    await new Agent(config, s).call("SendSignal", { process: { pid: Number(id) }, signal: SIGNALS[name] });
  },
};
