import { describe, expect, it } from "vitest";
import { decodeMessage, decodeOutput, encodeAck, encodeNumberedInput, encodeWish, joiningUrl } from "../src/protocol/level1";

const decode = (frame: unknown) => decodeMessage(JSON.stringify(frame));
const READY = { type: "ready", session: "s1", client: "c1", role: "driver", epoch: 2, offset: 5, live: 9, input: 3 };

/** A binary message of the broker. */
function output(kind: number, offset: bigint, ...bytes: number[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(9 + bytes.length));
  view.setUint8(0, kind);
  view.setBigUint64(1, offset);
  bytes.forEach((byte, at) => view.setUint8(9 + at, byte));
  return view.buffer;
}

describe("text messages", () => {
  it("decodes each kind", () => {
    expect(decode({ type: "stage", name: "create", state: "done", message: "made", ms: 12 })).toEqual({ type: "status", stage: "create", state: "done", message: "made", ms: 12 });
    expect(decode({ ...READY, provider: "local", durability: "durable", size: { cols: 80, rows: 24 }, keep_ms: 60000, invitation: "code" })).toEqual({
      ...READY,
      type: "joined",
      answers: "client",
      provider: "local",
      durability: "durable",
      size: { cols: 80, rows: 24 },
      keepMs: 60000,
      invitation: "code",
    });
    expect(decode({ ...READY, answers: "recorder" })).toEqual({ ...READY, type: "joined", answers: "recorder" });
    expect(decode({ type: "screen", offset: 7, data: "\x1b[H", size: { cols: 2, rows: 1 } })).toEqual({ type: "screen", offset: 7, data: "\x1b[H", size: { cols: 2, rows: 1 } });
    expect(decode({ type: "gap", from: 1, to: 4, reason: "too old" })).toEqual({ type: "gap", from: 1, to: 4, reason: "too old" });
    expect(decode({ type: "input-ack", seq: 8 })).toEqual({ type: "input-ack", seq: 8 });
    expect(decode({ type: "size", cols: 80, rows: 24 })).toEqual({ type: "size", cols: 80, rows: 24 });
    expect(decode({ type: "clients", clients: [{ client: "a", role: "driver", cols: 80, rows: 24, guest: "ada" }] })).toEqual({
      type: "clients",
      clients: [{ client: "a", role: "driver", size: { cols: 80, rows: 24 }, guest: "ada" }],
    });
    expect(decode({ type: "error", code: "draining", message: "later", retry_ms: 500 })).toEqual({ type: "error", code: "draining", message: "later", retryMs: 500 });
  });

  it("puts the end of a shell into words", () => {
    expect(decode({ type: "exit", code: 3, offset: 9 })).toMatchObject({ message: "the shell ended with exit status 3" });
    expect(decode({ type: "exit", signal: "SIGKILL", offset: 9 })).toMatchObject({ message: "the shell was ended by SIGKILL" });
    expect(decode({ type: "exit", reason: "it was ended", offset: 9 })).toMatchObject({ message: "it was ended" });
    expect(decode({ type: "exit" })).toMatchObject({ message: expect.stringMatching(/./) });
  });

  it("ignores what it does not understand, without an exception", () => {
    const strange = ["", "{", "null", "[]", '{"type":"later"}', '{"type":"output","data":"level 0"}', '{"type":"status","message":"level 0"}'];
    for (const text of strange) expect(decodeMessage(text), text).toBeUndefined();
    for (const member of ["session", "client", "epoch", "offset", "live", "input"]) expect(decode({ ...READY, [member]: null }), member).toBeUndefined();
    for (const offset of [-1, 0.5, 2 ** 53, "5", null]) {
      expect(decode({ ...READY, offset }), String(offset)).toBeUndefined();
      expect(decode({ type: "screen", offset, data: "" })).toBeUndefined();
      expect(decode({ type: "gap", from: 0, to: offset })).toBeUndefined();
      expect(decode({ type: "input-ack", seq: offset })).toBeUndefined();
    }
    expect(decode({ type: "gap", from: 4, to: 3 })).toBeUndefined();
    for (const cols of [0, 1001, 1.5, "80", null]) expect(decode({ type: "size", cols, rows: 24 }), String(cols)).toBeUndefined();
    expect(decode({ type: "clients", clients: {} })).toBeUndefined();
  });

  it("takes an unknown role for a viewer's, who types nothing", () => {
    expect(decode({ ...READY, role: "owner" })).toMatchObject({ role: "viewer" });
    expect(decode({ type: "clients", clients: [{ client: "a" }, 7, null, { role: "driver" }] })).toEqual({
      type: "clients",
      clients: [{ client: "a", role: "viewer" }],
    });
  });

  it("bounds how many clients it shows", () => {
    const clients = Array.from({ length: 5000 }, (_, n) => ({ client: `c${n}`, role: "viewer", cols: 1, rows: 1 }));
    const frame = decode({ type: "clients", clients });
    expect(frame?.type === "clients" && frame.clients.length).toBe(100);
  });
});

describe("binary messages", () => {
  it("decodes output with its offset, also behind 4 GiB", () => {
    expect(decodeOutput(output(1, 5_000_000_000n, 104, 105))).toEqual({ offset: 5_000_000_000, bytes: Uint8Array.of(104, 105) });
    expect(decodeOutput(output(1, 0n))).toEqual({ offset: 0, bytes: new Uint8Array() });
  });

  it("ignores what is short, of another kind, or not a number here", () => {
    expect(decodeOutput(new ArrayBuffer(0))).toBeUndefined();
    expect(decodeOutput(output(1, 0n).slice(0, 8))).toBeUndefined();
    expect(decodeOutput(output(2, 0n, 1))).toBeUndefined();
    expect(decodeOutput(output(1, 2n ** 53n, 1))).toBeUndefined();
  });

  it("never fails on random bytes", () => {
    for (let n = 0; n < 20_000; n++) {
      const bytes = crypto.getRandomValues(new Uint8Array(n % 24));
      if (n % 2 === 0 && bytes.length > 1) bytes.set([1, 0]);
      const decoded = decodeOutput(bytes.buffer);
      if (decoded !== undefined) expect(Number.isSafeInteger(decoded.offset)).toBe(true);
    }
  });

  it("encodes input with its number, and half a surrogate pair as U+FFFD", () => {
    expect([...encodeNumberedInput(258, "é")]).toEqual([2, 0, 0, 0, 0, 0, 0, 1, 2, 0xc3, 0xa9]);
    expect(new TextDecoder().decode(encodeNumberedInput(1, "x\ud83d").subarray(9))).toBe("x\ufffd");
  });
});

it("encodes what else a client says", () => {
  expect(JSON.parse(encodeAck(77))).toEqual({ type: "ack", offset: 77 });
  expect(JSON.parse(encodeWish("take-control"))).toEqual({ type: "take-control" });
});

it("says in the query who joins what, and nothing that does not apply", () => {
  const endpoint = new URL("ws://broker/terminal");
  const first = joiningUrl(endpoint, { client: "c1", role: "driver", cols: 80, rows: 24 });
  expect(first.search).toBe("?client=c1&catch_up=screen&cols=80&rows=24");
  const again = joiningUrl(endpoint, { client: "c1", role: "viewer", session: "s/1", since: { offset: 9, epoch: 2 }, cols: 4000, rows: 24 });
  expect(again.search).toBe("?session=s%2F1&client=c1&catch_up=screen&role=viewer&since=9&epoch=2&cols=1000&rows=24");
  const guest = joiningUrl(endpoint, { client: "c1", role: "viewer", session: "s1", invitation: "code", cols: 80, rows: 24 });
  expect(guest.search).toBe("?session=s1&client=c1&catch_up=screen&role=viewer&invitation=code&cols=80&rows=24");
});
