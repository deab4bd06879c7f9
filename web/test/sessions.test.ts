import { describe, expect, it } from "vitest";
import { ageWords } from "../src/page/durations";
import { CastReader, MAX_PAUSE_MS, MAX_PLAYED } from "../src/sessions/cast";
import { leftRunning, leftWords } from "../src/sessions/left";
import { linkTo, readLink, withoutLink } from "../src/sessions/links";
import { Playback } from "../src/sessions/playback";

const HEAD = JSON.stringify({ version: 3, term: { cols: 80, rows: 24 }, timestamp: 1 });

function read(...lines: unknown[]) {
  const reader = new CastReader();
  reader.push(HEAD);
  for (const line of lines) reader.push(typeof line === "string" ? line : JSON.stringify(line));
  const cast = reader.finish();
  if (cast === undefined) throw new Error("no cast");
  return cast;
}

describe("links", () => {
  it("lead to a session, to type or to watch", () => {
    const page = "https://broker/base/?renderer=dom&session=old#x";
    expect(linkTo({ session: "s 1", role: "driver" }, page)).toBe("https://broker/base/?session=s+1");
    const viewer = linkTo({ session: "s1", role: "viewer" }, page);
    expect(viewer).toBe("https://broker/base/?session=s1&role=viewer");
    expect(readLink(viewer)).toEqual({ session: "s1", role: "viewer" });
    const invited = linkTo({ session: "s1", role: "viewer", invitation: "code" }, page);
    expect(invited).toBe("https://broker/base/?session=s1&role=viewer&invitation=code");
    expect(readLink(invited)).toEqual({ session: "s1", role: "viewer", invitation: "code" });
    expect(readLink("https://broker/?session=s1&invitation=code")?.role).toBe("viewer");
    expect(readLink("https://broker/?session=s1&role=owner")).toEqual({ session: "s1", role: "driver" });
  });

  it("are not seen where there are none", () => {
    for (const address of ["https://broker/", "https://broker/?session=", "https://broker/?role=viewer"]) expect(readLink(address)).toBeUndefined();
    expect(withoutLink("https://broker/?renderer=dom&session=s1&role=viewer&invitation=code")).toBe("https://broker/?renderer=dom");
  });
});

describe("a recording", () => {
  it("is read with its times, and its pauses are shortened", () => {
    const cast = read([0.5, "o", "a"], "# a remark", [0.25, "r", "100x30"], [3600, "o", "b"], [0, "x", "0"]);
    expect(cast).toEqual({
      size: { cols: 80, rows: 24 },
      events: [
        { at: 500, output: "a" },
        { at: 750, size: { cols: 100, rows: 30 } },
        { at: 750 + MAX_PAUSE_MS, output: "b" },
      ],
      duration: 750 + MAX_PAUSE_MS,
      cut: false,
    });
  });

  it("is read as far as it makes sense", () => {
    const cast = read("{", [1], ["1", "o", "a"], [1, "o"], [1, "i", "typed"], [-5, "o", "b"], [0, "r", "0x"], [0, "r", "9999x1"], "null");
    expect(cast.events).toEqual([
      { at: 1000, output: "b" },
      { at: 1000, size: { cols: 1000, rows: 1 } },
    ]);
  });

  it("is none without its first line", () => {
    for (const line of ["<html>", "{}", '{"version":2,"width":80,"height":24}', '{"version":3}']) {
      const reader = new CastReader();
      expect(reader.push(line), line).toBe(false);
      expect(reader.finish()).toBeUndefined();
    }
  });

  it("is bounded", () => {
    const reader = new CastReader();
    reader.push(HEAD);
    const line = JSON.stringify([0, "o", "x".repeat(MAX_PLAYED / 4)]);
    expect([1, 2, 3, 4, 5].map(() => reader.push(line))).toEqual([true, true, true, true, false]);
    expect(reader.finish()).toMatchObject({ cut: true, events: { length: 4 } });
  });
});

describe("sessions that were left", () => {
  const session = { id: "s1", state: "running", windows: 0, guests: 0, keptFor: 800, title: "vim", directory: "/workspace" };

  it("run, have no window, wait for somebody and are the person's", () => {
    const others = [{ state: "ended" }, { windows: 1 }, { keptFor: undefined }, { id: "other" }].map((change) => ({ ...session, ...change })) as (typeof session)[];
    expect(leftRunning([session, ...others], (id) => id === "s1")).toEqual([session]);
  });

  it("are offered by what they are and how long they wait", () => {
    expect(leftWords([session])).toBe("You left a session running: “vim”, /workspace. It ends in 13 min.");
    expect(leftWords([session, { ...session, keptFor: 60 }])).toBe("You left 2 sessions running. The first one ends in 60 s.");
  });
});

describe("an age", () => {
  it.each([
    [7.9, "7 s"],
    [96, "1 min"],
    [5760, "1 h 36 min"],
    [7200, "2 h"],
    [97_200, "1 d 3 h"],
  ])("of %s s is told with its units", (seconds, words) => expect(ageWords(seconds)).toBe(words));
});

describe("playing", () => {
  const cast = read([0, "o", "a"], [1, "o", "b"], [0, "o", "c"], [1, "r", "90x30"], [0, "o", "d"]);

  function play() {
    const shown: string[] = [];
    const playback = new Playback(cast, { reset: () => shown.push("reset"), write: (output) => shown.push(output), setSize: ({ cols }) => shown.push(String(cols)) });
    return { playback, take: () => shown.splice(0) };
  }

  it("shows each thing in its time and once", () => {
    const { playback, take } = play();
    expect(take()).toEqual(["reset", "80", "a"]);
    playback.seek(999);
    expect(take()).toEqual([]);
    playback.seek(1000);
    expect(take()).toEqual(["bc"]);
    playback.seek(5000);
    expect(take()).toEqual(["90", "d"]);
    expect(playback.position).toBe(2000);
    expect(playback.isAtEnd).toBe(true);
  });

  it("jumps back by beginning anew", () => {
    const { playback, take } = play();
    playback.seek(2000);
    take();
    playback.seek(1500);
    expect(take()).toEqual(["reset", "80", "abc"]);
    expect(playback.isAtEnd).toBe(false);
  });
});
