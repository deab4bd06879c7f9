import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectionHost } from "../src/visit/connection";
import { LEAP } from "../src/visit/unacknowledged";
import { MAX_AHEAD, type News, type Target, Visit, type VisitHost } from "../src/visit/visit";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A socket whose other end is the test. */
class Socket {
  isOpen = false;
  isDisposed = false;
  bufferedBytes = 0;
  readonly messages: Record<string, unknown>[] = [];
  readonly inputs: { seq: number; text: string }[] = [];

  constructor(
    readonly url: URL,
    readonly offers: boolean,
    readonly events: ConnectionHost,
  ) {}

  send(message: string | Uint8Array): void {
    if (typeof message === "string") return void this.messages.push(JSON.parse(message) as Record<string, unknown>);
    const seq = Number(new DataView(message.buffer).getBigUint64(1));
    this.inputs.push({ seq, text: new TextDecoder().decode(message.subarray(9)) });
  }

  dispose(): void {
    this.isOpen = false;
    this.isDisposed = true;
  }

  // --- what the broker does ---

  open(chosen = true): void {
    this.isOpen = true;
    this.events.opened(chosen);
  }

  say(message: Record<string, unknown>): void {
    this.events.text(JSON.stringify(message));
  }

  ready(more: Record<string, unknown> = {}): void {
    this.open();
    this.say({ type: "ready", session: "s1", client: "c1", role: "driver", epoch: 1, offset: 0, live: 0, input: 0, ...more });
  }

  write(offset: number, text: string): void {
    const bytes = new TextEncoder().encode(text);
    const view = new DataView(new ArrayBuffer(9 + bytes.length));
    view.setUint8(0, 1);
    view.setBigUint64(1, BigInt(offset));
    new Uint8Array(view.buffer).set(bytes, 9);
    this.events.bytes(view.buffer);
  }

  close(code: number, reason = ""): void {
    this.dispose();
    this.events.closed({ code, reason, opened: this.url !== undefined && code !== 0 });
  }

  fail(): void {
    this.dispose();
    this.events.closed({ code: 1006, reason: "", opened: false });
  }

  get acks(): unknown[] {
    return this.messages.filter(({ type }) => type === "ack").map(({ offset }) => offset);
  }
}

/** A visit, its sockets, and a terminal that parses when told to. */
function setUp(target: Target = { session: "s1", create: true, client: "c1", role: "driver" }) {
  const sockets: Socket[] = [];
  const heard: string[] = [];
  const news: News[] = [];
  const parses: (() => void)[] = [];
  const events: VisitHost = {
    news: (frame) => void news.push(frame),
    text: (data) => void heard.push(`text ${data}`),
    bytes: (bytes, replay, done) => {
      heard.push(`${replay ? "replay" : "live"} ${new TextDecoder().decode(bytes)}`);
      parses.push(done);
    },
    redraw: (screen, done) => {
      heard.push(`redraw ${screen}`);
      parses.push(done);
    },
    gap: (bytes, reason, done) => {
      heard.push(`gap ${bytes} ${reason}`);
      parses.push(done);
    },
    size: ({ cols, rows }, old) => void heard.push(`${old ? "old " : ""}size ${cols}x${rows}`),
    caughtUp: () => void heard.push("caught up"),
    fragile: () => void heard.push("fragile"),
    state: (state) => void heard.push(state.phase),
    unknown: (chars, dropped) => void heard.push(`unknown ${chars} dropped ${dropped}`),
    closed: ({ code, opened }) => void heard.push(`closed ${code}${opened ? "" : " unopened"}`),
    waiting: () => {},
  };
  const dial = (url: URL, offers: boolean, events: ConnectionHost) => {
    const socket = new Socket(url, offers, events);
    sockets.push(socket);
    return socket;
  };
  const visit = new Visit(new URL("ws://broker/terminal"), target, { cols: 80, rows: 24 }, events, dial, () => 0.5);
  const last = () => {
    const socket = sockets.at(-1);
    if (socket === undefined) throw new Error("no socket");
    return socket;
  };
  const take = () => heard.splice(0);
  const parse = () => {
    for (const done of parses.splice(0)) done();
  };
  return { visit, sockets, last, take, parse, news };
}

describe("output", () => {
  it("is replay up to the end that there was at ready, and live from there on, at the byte", () => {
    const { last, take } = setUp();
    last().ready({ live: 5 });
    take();
    last().write(0, "abc");
    last().write(3, "defg");
    last().write(7, "h");
    expect(take()).toEqual(["replay abc", "replay de", "live fg", "live h"]);
  });

  it("goes on after a lost connection where it broke off, and nothing is drawn anew", () => {
    const { sockets, last, take, parse } = setUp();
    last().ready();
    last().write(0, "one ");
    parse();
    last().write(4, "two ");
    take();
    last().close(1006);
    vi.advanceTimersByTime(0);
    expect(take()).toEqual(["pausing", "opening"]);
    expect(sockets.length).toBe(2);
    expect(last().url.search).toBe("?session=s1&client=c1&catch_up=screen&since=8&epoch=1&cols=80&rows=24");
    last().ready({ offset: 8, live: 14 });
    last().write(8, "three four");
    expect(take()).toEqual(["up", "replay three ", "live four"]);
  });

  it("below its end at ready has old sizes, and is caught up with once it is drawn", () => {
    const { last, take, parse } = setUp();
    last().ready({ live: 4, size: { cols: 80, rows: 24 } });
    last().write(0, "ab");
    last().say({ type: "size", offset: 2, cols: 90, rows: 24 });
    last().write(2, "cd");
    last().say({ type: "size", offset: 4, cols: 100, rows: 24 });
    expect(take().filter((what) => /size|caught/.test(what))).toEqual(["old size 80x24", "old size 90x24", "size 100x24"]);
    parse();
    expect(take()).toEqual(["caught up"]);
    last().write(4, "e");
    parse();
    last().close(1006);
    vi.advanceTimersByTime(0);
    last().ready({ offset: 5, live: 5, size: { cols: 100, rows: 24 } });
    expect(take().filter((what) => /size|caught/.test(what))).toEqual(["size 100x24"]);
  });

  it("is drawn once where the broker sends again what has come", () => {
    const { last, take } = setUp();
    last().ready();
    last().write(0, "abcd");
    take();
    last().write(2, "cdef");
    last().write(0, "abc");
    expect(take()).toEqual(["live ef"]);
  });

  it("is in colours that the broker is told of whenever this window types, and only then", () => {
    const { visit, last } = setUp();
    const told = () => last().messages.filter(({ type }) => type === "colors").map(({ background }) => background);
    visit.setColors({ foreground: "#ffffff", background: "#000001", cursor: "#ffffff" });
    expect(told()).toEqual([]);
    last().ready();
    expect(told()).toEqual(["#000001"]);
    last().say({ type: "clients", clients: [{ client: "c1", role: "viewer" }] });
    visit.setColors({ foreground: "#ffffff", background: "#000002", cursor: "#ffffff" });
    expect(told()).toEqual(["#000001"]);
    last().say({ type: "clients", clients: [{ client: "c1", role: "driver" }] });
    last().say({ type: "clients", clients: [{ client: "c1", role: "driver" }, { client: "c2", role: "viewer" }] });
    visit.setColors({ foreground: "#ffffff", background: "#000003", cursor: "#ffffff" });
    expect(told()).toEqual(["#000001", "#000002", "#000003"]);
    last().close(1006);
    vi.advanceTimersByTime(0);
    last().ready();
    expect(told()).toEqual(["#000003"]);
  });

  it("is drawn anew in another epoch, and from a screen", () => {
    const { last, take, parse } = setUp();
    last().ready();
    last().write(0, "abcd");
    last().close(1006);
    vi.advanceTimersByTime(0);
    take();
    last().ready({ epoch: 2, offset: 0, live: 2 });
    last().write(0, "xyz");
    expect(take()).toEqual(["redraw ", "up", "replay xy", "live z"]);
    last().say({ type: "screen", offset: 100, data: "SCREEN", size: { cols: 9, rows: 3 } });
    last().write(100, "q");
    expect(take()).toEqual(["size 9x3", "redraw SCREEN", "live q"]);
    // What was parsed of the old epoch acknowledges nothing of the new one. A screen is acknowledged at once.
    parse();
    expect(last().acks).toEqual([100]);
    vi.advanceTimersByTime(1000);
    expect(last().acks).toEqual([100, 101]);
  });

  it("names what is missing, also where the broker does not", () => {
    const { last, take, parse } = setUp();
    last().ready();
    last().write(0, "ab");
    take();
    last().say({ type: "gap", from: 2, to: 10, reason: "too slow" });
    last().write(10, "c");
    last().write(20, "d");
    expect(take()).toEqual(["gap 8 too slow", "live c", expect.stringMatching(/^gap 9 /), "live d"]);
    parse();
    vi.advanceTimersByTime(1000);
    expect(last().acks).toEqual([21]);
  });

  it("is acknowledged once it is parsed, never before, and at least each 64 KiB", () => {
    const { last, parse } = setUp();
    last().ready();
    const frame = "x".repeat(32 * 1024);
    for (let n = 0; n < 4; n++) last().write(n * frame.length, frame);
    vi.advanceTimersByTime(5000);
    expect(last().acks).toEqual([]);
    parse();
    expect(last().acks).toEqual([2 * frame.length, 4 * frame.length]);
    last().write(4 * frame.length, "y");
    parse();
    expect(last().acks.length).toBe(2);
    vi.advanceTimersByTime(250);
    expect(last().acks.at(-1)).toBe(4 * frame.length + 1);
    // The one that asks whether somebody is there.
    expect(vi.getTimerCount()).toBe(1);
  });

  it("survives random cuts without a byte lost, doubled or reordered", () => {
    const all = Array.from({ length: 3000 }, (_, n) => `${n},`).join("");
    for (let history = 0; history < 50; history++) {
      const { visit, last, take, parse } = setUp();
      let drawn = "";
      const draw = () => {
        for (const event of take()) drawn += /^(?:live|replay) ([^]*)$/.exec(event)?.[1] ?? "";
      };
      last().ready();
      let at = 0;
      while (at < all.length) {
        const length = Math.ceil(Math.random() * 900);
        last().write(at, all.slice(at, at + length));
        at = Math.min(all.length, at + length);
        if (Math.random() < 0.5) parse();
        if (Math.random() < 0.8) continue;
        last().close(1006);
        vi.advanceTimersByTime(20_000);
        at = Number(last().url.searchParams.get("since"));
        last().ready({ offset: at, live: Math.min(all.length, at + 500) });
      }
      draw();
      expect(drawn).toBe(all);
      // Its timers would slow down the clock of all that follow.
      visit.dispose();
    }
  });
});

describe("input", () => {
  it("is numbered from 1, and its numbers go on over a reconnect", () => {
    const { visit, last } = setUp();
    last().ready();
    visit.type("a");
    visit.type("b");
    expect(last().inputs).toEqual([
      { seq: 1, text: "a" },
      { seq: 2, text: "b" },
    ]);
    last().say({ type: "input-ack", seq: 2 });
    last().close(1006);
    vi.advanceTimersByTime(0);
    last().ready({ input: 2 });
    visit.type("c");
    expect(last().inputs).toEqual([{ seq: 3, text: "c" }]);
  });

  it("that may have arrived is not sent again, and neither is what was typed after it; the person is told", () => {
    const { visit, last, take } = setUp();
    last().ready();
    visit.type("ls");
    visit.type(" -la");
    visit.type("\r");
    last().say({ type: "input-ack", seq: 1 });
    last().close(1006);
    vi.advanceTimersByTime(0);
    visit.type("rm x");
    take();
    last().ready({ input: 2 });
    expect(take()).toEqual(["up", "unknown 1 dropped 4"]);
    expect(last().inputs).toEqual([]);
    visit.type("y");
    expect(last().inputs).toEqual([{ seq: 4, text: "y" }]);
  });

  it("that was typed while away goes out after it, where nothing before it is unknown, and is bounded", () => {
    const { visit, last, take } = setUp();
    last().ready();
    last().close(1006);
    vi.advanceTimersByTime(0);
    expect(visit.type("echo hi")).toBe(true);
    expect(visit.type("x".repeat(MAX_AHEAD))).toBe(false);
    take();
    last().ready();
    expect(take()).toEqual(["up"]);
    expect(last().inputs).toEqual([{ seq: 1, text: "echo hi" }]);
  });

  it("of a page that was loaded again never has a number that its predecessor may have used", () => {
    const { visit, last } = setUp({ session: "s1", client: "c1", role: "driver" });
    last().ready({ input: 40 });
    visit.type("a");
    expect(last().inputs).toEqual([{ seq: 40 + LEAP + 1, text: "a" }]);
  });

  it("waits while the sandbox does not take what was sent", () => {
    const { visit, last } = setUp();
    last().ready();
    visit.type("x".repeat(1_000_000));
    const sent = () => last().inputs.reduce((sum, { text }) => sum + text.length, 0);
    vi.advanceTimersByTime(1000);
    expect(sent()).toBeLessThanOrEqual(96 * 1024);
    const before = sent();
    last().say({ type: "input-ack", seq: 1 });
    expect(sent()).toBeGreaterThan(before);
    visit.dispose();
  });
});

describe("a lost connection", () => {
  it("of a session that is being made leads back to it, whose id is this page's", () => {
    const { last, take, sockets, news } = setUp();
    last().open();
    last().say({ type: "stage", name: "create", state: "begin", message: "m" });
    last().close(1006);
    vi.advanceTimersByTime(0);
    last().fail();
    vi.advanceTimersByTime(500);
    expect(take()).toEqual(["pausing", "opening", "pausing", "opening"]);
    expect(sockets.map(({ url }) => [url.searchParams.get("session"), url.searchParams.get("create")])).toEqual(Array(3).fill(["s1", "1"]));
    last().ready();
    expect(news.map(({ type }) => type)).toEqual(["status", "joined"]);
    last().close(1006);
    vi.advanceTimersByTime(5000);
    expect(last().url.searchParams.get("create")).toBeNull();
  });

  it("is not taken for dead while a sandbox is made", () => {
    const { last, sockets } = setUp();
    last().open();
    last().say({ type: "stage", name: "create", state: "begin", message: "m" });
    for (let seconds = 0; seconds < 600; seconds += 30) {
      vi.advanceTimersByTime(30_000);
      last().say({ type: "pong" });
    }
    expect(sockets.length).toBe(1);
  });

  it.each([1000, 4001, 4401, 4404, 4408, 4500])("with code %i is the end", (code) => {
    const { last, take } = setUp();
    last().ready();
    take();
    last().close(code);
    expect(take()).toEqual([`closed ${code}`]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("of a broker that restarts is tried again after the time that it asked for", () => {
    const { last, sockets } = setUp();
    last().ready();
    vi.advanceTimersByTime(60_000);
    last().say({ type: "error", code: "draining", message: "restarting", retry_ms: 2000 });
    last().close(1001);
    vi.advanceTimersByTime(1999);
    expect(sockets.length).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(sockets.length).toBe(2);
  });

  it("is tried again at once when somebody has reason to hope", () => {
    const { visit, last, sockets } = setUp();
    last().ready();
    last().close(1006);
    vi.advanceTimersByTime(0);
    for (let n = 0; n < 6; n++) {
      last().fail();
      vi.advanceTimersByTime(20_000);
    }
    last().fail();
    const before = sockets.length;
    visit.hurry();
    expect(sockets.length).toBe(before + 1);
  });

  it("is noticed where a socket neither opens nor closes", () => {
    const { last, take, sockets } = setUp({ session: "s1", client: "c1", role: "driver" });
    vi.advanceTimersByTime(10_000);
    expect(sockets[0]?.isDisposed).toBe(true);
    expect(take()).toContain("pausing");
    vi.advanceTimersByTime(0);
    last().open();
    vi.advanceTimersByTime(20_000);
    expect(sockets[1]?.isDisposed).toBe(true);
  });

  it("is noticed by what is typed into silence, and not where the broker answers", () => {
    const { visit, last, sockets } = setUp();
    last().ready();
    vi.advanceTimersByTime(6000);
    visit.type("a");
    vi.advanceTimersByTime(5000);
    expect(last().messages.at(-1)).toEqual({ type: "ping" });
    last().say({ type: "pong" });
    vi.advanceTimersByTime(60_000);
    expect(sockets.length).toBe(1);

    visit.type("b");
    vi.advanceTimersByTime(10_000);
    expect(sockets[0]?.isDisposed).toBe(true);
    vi.advanceTimersByTime(1);
    expect(sockets.length).toBe(2);
  });

  it("is noticed though nobody types or looks, also while a sandbox is made", () => {
    const { last, sockets } = setUp();
    last().open();
    last().say({ type: "stage", name: "create", state: "begin", message: "Creating" });
    for (let times = 0; times < 5; times++) {
      vi.advanceTimersByTime(30_000);
      expect(last().messages.at(-1)).toEqual({ type: "ping" });
      // A large screen may be on its way.
      vi.advanceTimersByTime(29_000);
      last().say({ type: "pong" });
      vi.advanceTimersByTime(1000);
      expect(sockets.length).toBe(1);
    }
    vi.advanceTimersByTime(30_000);
    vi.advanceTimersByTime(61_000);
    expect(sockets[0]?.isDisposed).toBe(true);
    expect(sockets[1]?.url.searchParams.get("create")).toBe("1");
  });

  it("is noticed sooner where somebody types or looks while it is doubted", () => {
    for (const act of ["type", "look"]) {
      const { visit, last, sockets } = setUp();
      last().ready();
      vi.advanceTimersByTime(30_000);
      if (act === "type") visit.type("a");
      else visit.hurry();
      vi.advanceTimersByTime(5001);
      expect(sockets[0]?.isDisposed).toBe(true);
      visit.dispose();
    }
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is none while a screen may be on its way, which is one message and may take long", () => {
    const waits: Record<string, (made: ReturnType<typeof setUp>) => void> = {
      "it joins a session that runs": ({ last }) => last().ready({ live: 3_000_000 }),
      "it watches by an invitation": ({ last }) => last().ready({ role: "viewer", offset: 3_000_000, live: 3_000_000 }),
      "it falls behind": ({ last }) => {
        last().ready();
        for (let offset = 0; offset < 200_000; offset += 20_000) last().write(offset, "x".repeat(20_000));
      },
    };
    for (const [why, begin] of Object.entries(waits)) {
      const watches = why.includes("invitation");
      const made = setUp({ session: "s1", client: "c1", role: watches ? "viewer" : "driver", ...(watches && { invitation: "i1" }) });
      const { visit, last, sockets, take } = made;
      begin(made);
      for (let seconds = 0; seconds < 60; seconds++) {
        vi.advanceTimersByTime(1000);
        if (watches) visit.hurry();
        else visit.type("a");
      }
      expect(sockets.length, why).toBe(1);
      last().say({ type: "screen", offset: 3_000_000, data: "drawn" });
      expect(take(), why).toContain("redraw drawn");

      // After it a dead connection is noticed as soon as ever.
      vi.advanceTimersByTime(6000);
      visit.verify();
      vi.advanceTimersByTime(5001);
      expect(sockets.length, why).toBe(2);
      visit.dispose();
    }
  });

  it("is not asked about for longer because much was printed once", () => {
    for (const quiet of ["a pong", "a prompt"]) {
      const { visit, last, sockets } = setUp();
      last().ready();
      last().write(0, "x".repeat(20_000));
      vi.advanceTimersByTime(5000);
      visit.verify();
      if (quiet === "a pong") last().say({ type: "pong" });
      else last().write(20_000, "$ ");
      vi.advanceTimersByTime(5000);
      visit.verify();
      vi.advanceTimersByTime(5001);
      expect(sockets[0]?.isDisposed, quiet).toBe(true);
      visit.dispose();
    }
  });

  it("gives a screen that took too long more time at each attempt, so that the slowest line has it in the end", () => {
    const { visit, last, sockets } = setUp();
    const lasts = () => {
      const begun = sockets.length;
      last().ready({ live: 3_000_000 });
      for (let seconds = 1; ; seconds++) {
        vi.advanceTimersByTime(1000);
        if (sockets.length > begun) return seconds;
      }
    };
    const times = [lasts(), lasts(), lasts(), lasts(), lasts()];
    for (const [at, atLeast] of [60, 120, 240, 480, 480].entries()) {
      expect(times[at]).toBeGreaterThanOrEqual(atLeast);
      expect(times[at]).toBeLessThanOrEqual(atLeast + 40);
    }
    last().ready({ live: 3_000_000 });
    last().say({ type: "screen", offset: 3_000_000, data: "drawn" });
    vi.advanceTimersByTime(6000);
    visit.verify();
    vi.advanceTimersByTime(5001);
    expect(sockets.at(-2)?.isDisposed).toBe(true);
    visit.dispose();
  });

  it("is none where the broker does not know the question, and that is no news", () => {
    const { visit, last, news, sockets } = setUp();
    last().ready({ role: "viewer" });
    vi.advanceTimersByTime(6000);
    visit.verify();
    last().say({ type: "error", code: "malformed", message: "no such type" });
    expect(news.filter(({ type }) => type === "error")).toEqual([]);
    last().say({ type: "error", code: "malformed", message: "no such type" });
    expect(news.filter(({ type }) => type === "error").length).toBe(1);
    vi.advanceTimersByTime(60_000);
    expect(sockets.length).toBe(1);
  });

  it("is given up for a new one when the network changes", () => {
    const { visit, last, sockets } = setUp();
    last().ready();
    visit.renew();
    expect(sockets[0]?.isDisposed).toBe(true);
    expect(sockets.length).toBe(2);
    last().ready();
    visit.type("a");
    expect(last().inputs.length).toBe(1);
  });
});

describe("level 1 behind a proxy that drops the subprotocol", () => {
  it("is asked for in the address, in turns with the offer, and stays so once it opened", () => {
    const { last, take, sockets } = setUp();
    last().fail();
    vi.advanceTimersByTime(0);
    last().fail();
    vi.advanceTimersByTime(1000);
    last().fail();
    vi.advanceTimersByTime(2000);
    const asked = () => sockets.map(({ offers, url }) => [offers, url.searchParams.get("protocol")]);
    const [offered, named] = [[true, null], [false, "sandbox-broker.v1"]];
    expect(asked()).toEqual([offered, named, offered, named]);
    last().open(false);
    last().say({ type: "stage", name: "create", state: "begin", message: "m" });
    last().say({ type: "ready", session: "s1", client: "c1", role: "driver", epoch: 1, offset: 0, live: 0, input: 0 });
    last().close(1006);
    vi.advanceTimersByTime(5000);
    expect(asked().length).toBe(5);
    expect(asked().at(-1)).toEqual(named);
    expect(take()).not.toContain("fragile");
  });

  it("is not given up for a browser that opens without it", () => {
    const { last, sockets } = setUp();
    last().open(false);
    vi.advanceTimersByTime(0);
    expect(sockets.map(({ offers, isDisposed }) => [offers, isDisposed])).toEqual([[true, true], [false, false]]);
  });
});

describe("level 0", () => {
  it("is spoken with a server that says so, which is told, and its end is the end", () => {
    const { visit, last, take, news, sockets } = setUp();
    last().fail();
    vi.advanceTimersByTime(0);
    last().open(false);
    visit.type("early");
    expect(last().messages).toEqual([]);
    last().say({ type: "status", message: "Initializing" });
    expect(last().messages).toEqual([
      { type: "resize", cols: 80, rows: 24 },
      { type: "input", data: "early" },
    ]);
    last().say({ type: "ready", session: "s0" });
    last().say({ type: "output", data: "hi" });
    visit.type("ls");
    visit.resize({ cols: 90, rows: 30 });
    expect(last().messages.slice(2)).toEqual([
      { type: "input", data: "ls" },
      { type: "resize", cols: 90, rows: 30 },
    ]);
    expect(news.map(({ type }) => type)).toEqual(["status", "ready"]);
    last().close(1006);
    expect(take()).toEqual(["pausing", "opening", "fragile", "text hi", "closed 1006"]);
    expect(sockets.length).toBe(2);
  });

  it("is never spoken with a server that does not answer", () => {
    const { last, take, sockets } = setUp();
    for (let n = 0; n < 20; n++) {
      last().fail();
      vi.advanceTimersByTime(20_000);
    }
    expect(take()).not.toContain("fragile");
    expect(sockets.length).toBeGreaterThan(20);
  });
});

describe("a window", () => {
  it("tells its size with the connection, and later when it changes", () => {
    const { visit, last, take } = setUp();
    visit.resize({ cols: 100, rows: 30 });
    last().ready({ size: { cols: 80, rows: 24 } });
    expect(last().messages).toEqual([{ type: "resize", cols: 100, rows: 30 }]);
    last().say({ type: "size", cols: 100, rows: 30 });
    expect(take()).toEqual(["size 80x24", "up", "size 100x30"]);
  });

  it("takes control, ends the session, and leaves it", () => {
    const { visit, last, take } = setUp();
    last().ready();
    take();
    visit.takeControl();
    visit.kill();
    const socket = last();
    visit.detach();
    expect(socket.messages.map(({ type }) => type)).toEqual(["take-control", "kill", "detach"]);
    expect(socket.isDisposed).toBe(true);
    vi.advanceTimersByTime(100_000);
    expect(take()).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
