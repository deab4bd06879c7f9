import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { MAX_WAITING, Outbox } from "../src/visit/outbox";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A socket that sends nothing on until `drain`. */
class Socket {
  open = true;
  bufferedAmount = 0;
  readonly sent: string[] = [];

  get full(): boolean {
    return this.bufferedAmount >= 256 * 1024;
  }

  send(text: string): void {
    this.sent.push(text);
    this.bufferedAmount += text.length;
  }

  drain(): void {
    this.bufferedAmount = 0;
  }

  get text(): string {
    return this.sent.join("");
  }
}

it("sends a key in the call that brings it", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  outbox.push("l");
  outbox.push("s");
  expect(socket.sent).toEqual(["l", "s"]);
});

it("keeps what is typed before the socket is open, in order", () => {
  const socket = new Socket();
  socket.open = false;
  const outbox = new Outbox(socket);
  outbox.push("a");
  outbox.push("b");
  expect(socket.sent).toEqual([]);
  socket.open = true;
  outbox.flush();
  expect(socket.text).toBe("ab");
  expect(outbox.waiting).toBe(0);
});

it("holds a paste of megabytes back while the socket is full, tells how much, and then sends all of it", () => {
  const socket = new Socket();
  const waiting: number[] = [];
  const outbox = new Outbox(socket, (chars) => waiting.push(chars));
  const paste = "0123456789".repeat(300_000);
  outbox.push(paste);
  expect(socket.bufferedAmount).toBeLessThan(512 * 1024);
  expect(outbox.waiting).toBe(paste.length - socket.text.length);

  const before = socket.sent.length;
  vi.runOnlyPendingTimers();
  expect(socket.sent.length, "a full socket gets nothing").toBe(before);

  outbox.push("\r");
  while (outbox.waiting > 0) {
    socket.drain();
    vi.runOnlyPendingTimers();
  }
  expect(socket.text).toBe(`${paste}\r`);
  expect(waiting.at(-1)).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

it("refuses whole what is more than may wait, and sends what comes after", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  expect(outbox.push("x".repeat(MAX_WAITING + 1))).toBe(false);
  expect(socket.sent).toEqual([]);
  expect(outbox.push("y")).toBe(true);
  expect(socket.text).toBe("y");
});

it("joins the halves of an emoji that come in two calls", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  outbox.push("a\ud83d");
  outbox.push("\ude00b");
  expect(socket.sent).toEqual(["a", "😀b"]);
});

it("drops the rest of a paste, but tells the program that the paste is over", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  outbox.push(`\x1b[200~${"x".repeat(2_000_000)}\x1b[201~`);
  expect(outbox.drop()).toBeGreaterThan(0);
  outbox.push("\x03");
  socket.drain();
  vi.runOnlyPendingTimers();
  expect(socket.text.slice(-7)).toBe("\x1b[201~\x03");
  expect(socket.text.length).toBeLessThan(1_000_000);
});

it("drops a paste that has not begun as if it had never been", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  outbox.push("x".repeat(2_000_000));
  outbox.push("\x1b[200~echo\x1b[201~");
  outbox.drop();
  outbox.push("\x03");
  socket.drain();
  vi.runOnlyPendingTimers();
  expect(socket.text).toMatch(/^x+\x03$/);
});

it("leaves no timer behind when its socket is gone", () => {
  const socket = new Socket();
  const outbox = new Outbox(socket);
  outbox.push("x".repeat(2_000_000));
  outbox.dispose();
  expect(vi.getTimerCount()).toBe(0);
  expect(outbox.waiting).toBe(0);
});
