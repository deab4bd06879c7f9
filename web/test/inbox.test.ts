import { expect, it } from "vitest";
import { Inbox, MAX_HELD } from "../src/terminal/inbox";

/** A terminal that draws only when told to. */
class Screen {
  readonly drawn: string[] = [];
  #done: (() => void)[] = [];

  readonly draw = (text: string, done: () => void) => {
    this.drawn.push(text);
    this.#done.push(done);
  };

  get text(): string {
    return this.drawn.join("");
  }

  /** Draws what it was given, and what it is given then. */
  catchUp(): void {
    for (let done = this.#done.shift(); done !== undefined; done = this.#done.shift()) done();
  }
}

it("draws everything once and in order", () => {
  const screen = new Screen();
  const inbox = new Inbox(screen.draw);
  const all = Array.from({ length: 5000 }, (_, n) => `${n} ${"x".repeat(1000)}\r\n`);
  for (const text of all) inbox.push(text);
  screen.catchUp();
  expect(screen.text).toBe(all.join(""));
  expect(inbox.pending).toBe(0);
});

it("gives the terminal a window and keeps the rest", () => {
  const screen = new Screen();
  const inbox = new Inbox(screen.draw);
  const frame = "x".repeat(32 * 1024);
  for (let n = 0; n < 100; n++) inbox.push(frame);
  expect(screen.text.length).toBeLessThanOrEqual(1024 * 1024 + frame.length);
  expect(inbox.pending).toBe(100 * frame.length);
});

it("leaves out the oldest of a flood, says how much, and keeps the end", () => {
  const screen = new Screen();
  const inbox = new Inbox(screen.draw);
  const frame = "x".repeat(1024 * 1024);
  for (let n = 0; n < 100; n++) inbox.push(frame);
  expect(inbox.pending).toBeLessThanOrEqual(MAX_HELD + 2 * frame.length);
  inbox.push("the end");
  screen.catchUp();

  const others = screen.drawn.filter((text) => text !== frame);
  expect(others).toEqual([expect.stringMatching(/ [\d.]+ MB of output left out/), "the end"]);
  const said = Number(/([\d.]+) MB/.exec(others[0] ?? "")?.[1]) * 1e6;
  const leftOut = (100 - (screen.drawn.length - others.length)) * frame.length;
  expect(Math.abs(said - leftOut)).toBeLessThan(100_000);
});
