import { describe, expect, it } from "vitest";
import { decodeServerFrame, encodeInput, encodeResize } from "../src/protocol/level0";
import { clampCells, MAX_CELLS } from "../src/protocol/size";

const decode = (frame: unknown) => decodeServerFrame(JSON.stringify(frame));

describe("server frames", () => {
  it("decodes each kind", () => {
    expect(decode({ type: "output", data: "\x1b[1mé" })).toEqual({ type: "output", data: "\x1b[1mé" });
    expect(decode({ type: "error", message: "no room" })).toEqual({ type: "error", message: "no room" });
    expect(decode({ type: "ready", session: "s1", provider: "local", isolation: "a namespace" })).toEqual({
      type: "ready",
      session: "s1",
      provider: "local",
      isolation: "a namespace",
    });
    expect(decode({ type: "status", message: "creating", stage: "create", state: "done", ms: 12, provider: "local" })).toEqual({
      type: "status",
      message: "creating",
      stage: "create",
      state: "done",
      ms: 12,
      provider: "local",
    });
  });

  it("takes the plain frames of a level 0 server", () => {
    expect(decode({ type: "status", message: "working" })).toEqual({ type: "status", message: "working" });
    expect(decode({ type: "ready" })).toEqual({ type: "ready" });
    expect(decode({ type: "output", data: "" })).toEqual({ type: "output", data: "" });
  });

  it("ignores what it does not understand, without an exception", () => {
    const strange = ["", "{", "null", "[]", "7", '"output"', '{"type":"output"}', '{"type":"output","data":7}', '{"type":"later"}', '{"type":"status"}'];
    for (const text of strange) expect(decodeServerFrame(text), text).toBeUndefined();
  });

  it("keeps a frame whose optional members are of the wrong kind, without them", () => {
    expect(decode({ type: "ready", session: 7, provider: null, isolation: {} })).toEqual({ type: "ready" });
    for (const ms of [-1, "3", null]) expect(decode({ type: "status", message: "m", ms, state: "odd" })).toEqual({ type: "status", message: "m" });
  });

  it("cuts a message that is too long for a card, and no character in half", () => {
    const frame = decode({ type: "error", message: "a" + "😀".repeat(2000) });
    const message = frame?.type === "error" ? frame.message : "";
    expect(message.length).toBe(2000);
    expect(message.isWellFormed()).toBe(true);
  });

  it("gives an error without words some", () => {
    expect(decode({ type: "error" })).toMatchObject({ type: "error", message: expect.stringMatching(/./) });
  });
});

describe("client frames", () => {
  it("encodes input as JSON, with half a surrogate pair as U+FFFD", () => {
    expect(JSON.parse(encodeInput('ls "a"\r'))).toEqual({ type: "input", data: 'ls "a"\r' });
    expect(JSON.parse(encodeInput("x\ud83d"))).toEqual({ type: "input", data: "x\ufffd" });
  });

  it("holds a size within what the broker accepts", () => {
    expect(JSON.parse(encodeResize(132.9, 0))).toEqual({ type: "resize", cols: 132, rows: 1 });
    expect(clampCells(5000)).toBe(MAX_CELLS);
    for (const odd of [Number.NaN, -4, Number.NEGATIVE_INFINITY]) expect(clampCells(odd)).toBe(1);
  });
});
