/** What programs say beside their output, by the sequences of three terminals. */
import { describe, expect, test } from "vitest";
import { clean, osc777, osc9, Osc99 } from "../src/notices/parse";

const told = (title: string, body: string, more = {}) => ({ kind: "notice", notice: { title, body, ...more } });
const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("a stranger's text", () => {
  test("is one line that turns nothing around, of a bounded length", () => {
    expect(clean("a\r\n\x1b[31mb\x9b1mc\u202egnp.exe\u2066\ufeff\u2028d\ud83d", 40)).toBe("a [31mb 1mcgnp.exe d\ufffd");
    expect(Array.from(clean("😀".repeat(1000), 10))).toEqual([..."😀".repeat(9), "…"]);
    expect(clean("עברית 👩\u200d🚀", 40)).toBe("עברית 👩\u200d🚀");
  });
});

describe("OSC 9", () => {
  test("is a notice, or ConEmu's progress, or a command of ConEmu's that is none", () => {
    expect(osc9("Build done; 3 warnings")).toEqual(told("", "Build done; 3 warnings"));
    expect(osc9("4;1;42")).toEqual({ kind: "progress", progress: { state: "normal", value: 42 } });
    expect(osc9("4;2;300")).toEqual({ kind: "progress", progress: { state: "error", value: 100 } });
    expect(osc9("4;3")).toEqual({ kind: "progress", progress: { state: "busy", value: 0 } });
    expect(osc9("4;4;-1")).toEqual({ kind: "progress", progress: { state: "paused", value: 0 } });
    expect(osc9("4;0;0")).toEqual({ kind: "progress", progress: undefined });
    for (const none of ["", "4;9;1", "4;1;x", "9;/home/ada", "1;500", "\x07"]) expect(osc9(none), none).toBeUndefined();
  });
});

describe("OSC 777", () => {
  test("notifies, and does nothing else", () => {
    expect(osc777("notify;Tests;3 failed; 1 passed")).toEqual(told("Tests", "3 failed; 1 passed"));
    expect(osc777("notify;Only a title")).toEqual(told("Only a title", ""));
    for (const none of ["precmd", "notify;;", "container;push;x"]) expect(osc777(none), none).toBeUndefined();
  });
});

describe("OSC 99", () => {
  const all = (...sequences: string[]) => {
    const osc99 = new Osc99();
    return sequences.map((data) => osc99.take(data)).filter((said) => said !== undefined);
  };

  test("has the examples of kitty's documentation", () => {
    expect(all(";Hello world")).toEqual([told("Hello world", "")]);
    expect(all("i=1:d=0;Hello world", "i=1:p=body;This is cool")).toEqual([told("Hello world", "This is cool", { id: "1" })]);
    expect(all("i=1:d=0:p=title;Hel", "i=1:d=0:p=title;lo", "i=1:d=0:p=body;a", "i=1:d=1:p=body;b")).toEqual([told("Hello", "ab", { id: "1" })]);
    expect(all("i=mydevel:p=close;")).toEqual([{ kind: "close", id: "mydevel" }]);
    expect(all(`e=1;${base64("grüße")}`)).toEqual([told("grüße", "")]);
    expect(all("o=unfocused;Away")).toEqual([told("Away", "", { unlessSeen: true })]);
    // A piece of an icon, and the buttons, belong to the notice and show nothing.
    expect(all("i=2:d=0;Title", "i=2:d=0:p=icon:e=1;AAAA", "i=2:p=buttons;One")).toEqual([told("Title", "", { id: "2" })]);
  });

  test("asks in vain, and cannot fill the memory", () => {
    expect(all("i=q:p=?;")).toEqual([]);
    expect(all(`e=1;!!!`, "p=body;", "")).toEqual([]);
    const osc99 = new Osc99();
    for (let id = 0; id < 100; id++) osc99.take(`i=${id}:d=0;lost ${id}`);
    expect(osc99.take("i=0:p=body;end")).toEqual(told("", "end", { id: "0" }));
    expect(osc99.take("i=99:p=body;end")).toEqual(told("lost 99", "end", { id: "99" }));
    for (let n = 0; n < 1000; n++) osc99.take(`i=x:d=0:p=body;${"b".repeat(1000)}`);
    const said = osc99.take("i=x;");
    expect(said?.kind === "notice" && said.notice.body.length).toBe(500);
  });
});
