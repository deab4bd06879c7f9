import { describe, expect, it } from "vitest";
import { chordKey } from "../src/keyboard/chords";
import { kittySequence, otherKeySequence, plainEnter } from "../src/keyboard/encode";
import { KeyboardModes } from "../src/keyboard/modes";
import { madePress, type Press, readPress } from "../src/keyboard/press";

const US = new Map<string, string>();

/** A key event as a browser tells it. */
function event(key: string, code: string, more: Partial<KeyboardEvent> & { on?: string[] } = {}) {
  const { on = [], ...rest } = more;
  const held = { type: "keydown", repeat: false, shiftKey: false, altKey: false, ctrlKey: false, metaKey: false };
  return { ...held, key, code, ...rest, getModifierState: (name: string) => on.includes(name) };
}

function press(key: string, code: string, more: Parameters<typeof event>[2] = {}): Press {
  return readPress(event(key, code, more), US, false, false);
}

const [shiftKey, ctrlKey, altKey] = [true, true, true];
const up = { type: "keyup" };
const again = { repeat: true };

describe("kitty's protocol", () => {
  const cases = (flags: number, ...all: [Press, string | undefined][]) => {
    for (const [key, bytes] of all) expect(kittySequence(key, flags), JSON.stringify(key)).toBe(bytes);
  };

  it("tells keys apart (1) and leaves text, Enter, Tab and Backspace", () => {
    cases(
      1,
      [press("a", "KeyA"), undefined],
      [press("A", "KeyA", { shiftKey }), undefined],
      [press("Escape", "Escape"), "\x1b[27u"],
      [press("Enter", "Enter"), "\r"],
      [press("Enter", "Enter", { shiftKey }), "\x1b[13;2u"],
      [press("Enter", "Enter", { on: ["NumLock", "CapsLock"] }), "\r"],
      [press("Tab", "Tab"), "\t"],
      [press("Tab", "Tab", { shiftKey }), "\x1b[9;2u"],
      [press("Backspace", "Backspace"), "\x7f"],
      [press("a", "KeyA", { ctrlKey }), "\x1b[97;5u"],
      [press("A", "KeyA", { ctrlKey, shiftKey }), "\x1b[97;6u"],
      [press("a", "KeyA", { altKey }), "\x1b[97;3u"],
      [press("c", "KeyC", { ctrlKey, on: ["NumLock"] }), "\x1b[99;133u"],
      [press("!", "Digit1", { ctrlKey, shiftKey }), "\x1b[49;6u"],
      [press(" ", "Space", { ctrlKey }), "\x1b[32;5u"],
      [press("ArrowUp", "ArrowUp"), "\x1b[A"],
      [press("ArrowUp", "ArrowUp", { ctrlKey }), "\x1b[1;5A"],
      [press("F3", "F3"), "\x1b[13~"],
      [press("Delete", "Delete", { shiftKey }), "\x1b[3;2~"],
      [press("PageUp", "Numpad9"), "\x1b[57421u"],
      [press("Enter", "NumpadEnter"), "\x1b[57414u"],
      [press("9", "Numpad9"), undefined],
      [press("9", "Numpad9", { ctrlKey }), "\x1b[57408;5u"],
      [press("Clear", "Numpad5"), "\x1b[E"],
      [press("Shift", "ShiftLeft", { shiftKey }), undefined],
      [press("a", "KeyA", up), undefined],
      [press("@", "KeyQ", { ctrlKey, altKey, on: ["AltGraph"] }), undefined],
    );
  });

  it("tells what happens to keys (2), but not letting go of Enter, Tab and Backspace", () => {
    cases(
      3,
      [press("a", "KeyA"), undefined],
      [press("a", "KeyA", again), undefined],
      [press("a", "KeyA", up), "\x1b[97;1:3u"],
      [press("A", "KeyA", { ...up, shiftKey }), "\x1b[97;2:3u"],
      [press("ArrowUp", "ArrowUp", again), "\x1b[1;1:2A"],
      [press("ArrowUp", "ArrowUp", up), "\x1b[1;1:3A"],
      [press("c", "KeyC", { ...again, ctrlKey }), "\x1b[99;5:2u"],
      [press("Enter", "Enter", up), undefined],
      [press("Backspace", "Backspace", { ...up, on: ["CapsLock"] }), undefined],
    );
    cases(2, [press("Escape", "Escape"), "\x1b"], [press("c", "KeyC", { ctrlKey }), undefined], [press("Home", "Numpad7"), "\x1b[H"]);
  });

  it("tells what else a key is (4)", () => {
    cases(
      5,
      [press("A", "KeyA", { ctrlKey, shiftKey }), "\x1b[97:65;6u"],
      [press("с", "KeyC", { ctrlKey }), "\x1b[1089::99;5u"],
      [press("С", "KeyC", { ctrlKey, shiftKey }), "\x1b[1089:1057:99;6u"],
      [press("a", "KeyA", { ctrlKey }), "\x1b[97;5u"],
    );
  });

  it("tells every key (8), with its text (16)", () => {
    cases(
      8,
      [press("a", "KeyA"), "\x1b[97u"],
      [press("a", "KeyA", again), "\x1b[97u"],
      [press("Shift", "ShiftLeft", { shiftKey }), "\x1b[57441;2u"],
      [press("Control", "ControlRight", { ctrlKey }), "\x1b[57448;5u"],
      [press("Enter", "Enter"), "\x1b[13u"],
      [press("Tab", "Tab"), "\x1b[9u"],
      [press("Backspace", "Backspace"), "\x1b[127u"],
      [press("ArrowUp", "ArrowUp"), "\x1b[A"],
      [press("0", "Numpad0"), "\x1b[57399u"],
      [press("Dead", "BracketLeft"), undefined],
    );
    cases(10, [press("Enter", "Enter", up), "\x1b[13;1:3u"]);
    cases(
      24,
      [press("a", "KeyA"), "\x1b[97;;97u"],
      [press("A", "KeyA", { shiftKey }), "\x1b[97;2;65u"],
      [press("5", "Numpad5"), "\x1b[57404;;53u"],
      [press("Enter", "Enter"), "\x1b[13u"],
    );
    // Option makes the text on macOS, and is no modifier then.
    expect(kittySequence(readPress(event("å", "KeyA", { altKey }), US, true, false), 24)).toBe("\x1b[229;;229u");
    expect(kittySequence(readPress(event("å", "KeyA", { altKey }), US, true, true), 1)).toBe("\x1b[97;3u");
  });

  it("has a number for every key of its table that a browser can tell", () => {
    const numbers = new Map<string, string>();
    const all = (key: string, code: string) => numbers.set(`${code}/${key}`, kittySequence({ ...madePress(key), code }, 8) ?? "");
    for (const key of "Escape Enter Tab Backspace Insert Delete ArrowLeft ArrowRight ArrowUp ArrowDown PageUp PageDown Home End".split(" ")) all(key, key);
    for (const key of "CapsLock ScrollLock NumLock PrintScreen Pause ContextMenu AltGraph".split(" ")) all(key, key);
    for (let n = 1; n <= 35; n++) all(`F${n}`, `F${n}`);
    for (const key of "0123456789") all(key, `Numpad${key}`);
    for (const [key, code] of ["./Decimal", "//Divide", "*/Multiply", "-/Subtract", "+/Add", "=/Equal", ",/Comma"].map((pair) => [pair[0] ?? "", pair.slice(2)] as const)) all(key, `Numpad${code}`);
    for (const key of "Enter ArrowLeft ArrowRight ArrowUp ArrowDown PageUp PageDown Home End Insert Delete Clear".split(" ")) all(key, "Numpad");
    for (const key of "Play Pause PlayPause Stop FastForward Rewind TrackNext TrackPrevious Record".split(" ")) all(`Media${key}`, key);
    for (const key of "Down Up Mute".split(" ")) all(`AudioVolume${key}`, key);
    for (const key of "Shift Control Alt Meta Hyper".split(" ")) for (const side of ["Left", "Right"]) all(key, key + side);
    const values = [...numbers.values()];
    expect(values.filter((bytes) => !/^\x1b\[[\d;:]*[u~A-HPQS]$/.test(bytes))).toEqual([]);
    expect(new Set(values).size).toBe(values.length);
    expect(numbers.get("F13/F13")).toBe("\x1b[57376u");
    expect(numbers.get("F35/F35")).toBe("\x1b[57398u");
    expect(numbers.get("NumpadComma/,")).toBe("\x1b[57416u");
    expect(numbers.get("Mute/AudioVolumeMute")).toBe("\x1b[57440u");
    expect(numbers.get("MetaRight/Meta")).toBe("\x1b[57450u");
    expect(numbers.get("AltGraph/AltGraph")).toBe("\x1b[57453u");
  });
});

describe("modifyOtherKeys", () => {
  const cases = (level: number, ...all: [Press, string | undefined][]) => {
    for (const [key, bytes] of all) expect(otherKeySequence(key, level, false), JSON.stringify(key)).toBe(bytes);
  };

  it("at level 1 keeps what has a meaning", () => {
    cases(
      1,
      [press("a", "KeyA"), undefined],
      [press("a", "KeyA", { ctrlKey }), undefined],
      [press("a", "KeyA", { altKey }), undefined],
      [press("[", "BracketLeft", { ctrlKey }), undefined],
      [press("A", "KeyA", { ctrlKey, shiftKey }), "\x1b[27;6;65~"],
      [press(",", "Comma", { ctrlKey }), "\x1b[27;5;44~"],
      [press("Enter", "Enter", { shiftKey }), "\x1b[27;2;13~"],
      [press("Tab", "Tab", { ctrlKey }), "\x1b[27;5;9~"],
      [press("Tab", "Tab", { shiftKey }), undefined],
      [press("Enter", "Enter"), undefined],
    );
  });

  it("at level 2 tells every modifier but Shift of text", () => {
    cases(
      2,
      [press("a", "KeyA", { ctrlKey }), "\x1b[27;5;97~"],
      [press("a", "KeyA", { altKey }), "\x1b[27;3;97~"],
      [press("A", "KeyA", { shiftKey }), undefined],
      [press(" ", "Space", { shiftKey }), "\x1b[27;2;32~"],
      [press("Escape", "Escape", { altKey }), "\x1b[27;3;27~"],
      [press("ArrowUp", "ArrowUp", { ctrlKey }), undefined],
      [press("@", "KeyQ", { ctrlKey, altKey, on: ["AltGraph"] }), undefined],
    );
    expect(otherKeySequence(press("a", "KeyA", { ctrlKey }), 2, true)).toBe("\x1b[97;5u");
  });
});

it("without a protocol Shift+Enter is Alt+Enter, and Ctrl+Enter the other line end", () => {
  expect(plainEnter(press("Enter", "Enter", { shiftKey }))).toBe("\x1b\r");
  expect(plainEnter(press("Enter", "NumpadEnter", { ctrlKey }))).toBe("\n");
  for (const other of [{}, { altKey }, { shiftKey, ctrlKey }, { ...up, shiftKey }]) expect(plainEnter(press("Enter", "Enter", other))).toBeUndefined();
});

it("a chord goes by the letter of the layout, and without Latin letters by the place", () => {
  expect(chordKey({ key: "C", code: "KeyI" })).toBe("c"); // Dvorak
  expect(chordKey({ key: "a", code: "KeyQ" })).toBe("a"); // AZERTY
  expect(chordKey({ key: "С", code: "KeyC" })).toBe("c"); // Cyrillic
  expect(chordKey({ key: "Home", code: "Numpad7" })).toBe("Home");
});

describe("the modes that a program asks for", () => {
  /** Hears what the modes register, and speaks to them as the emulator's parser does. */
  function modes() {
    const handlers = new Map<string, (parameters: number[]) => boolean>();
    const answers: string[] = [];
    let alternate = false;
    const parser = {
      registerCsiHandler: ({ prefix = "", final }: { prefix?: string; final: string }, handler: (parameters: number[]) => boolean) => void handlers.set(prefix + final, handler),
      registerEscHandler: ({ final }: { final: string }, handler: () => boolean) => void handlers.set(final, handler),
    };
    const made = new KeyboardModes({ parser: parser as never, isAlternate: () => alternate, answer: (text) => void answers.push(text) });
    const csi = (name: string, ...parameters: number[]) => handlers.get(name)?.(parameters.length === 0 ? [0] : parameters);
    return { made, answers, csi, screen: (other: boolean) => void (alternate = other) };
  }

  it("are a stack for each screen, with sets of three kinds", () => {
    const { made, csi, screen, answers } = modes();
    csi(">u", 1);
    csi("=u", 6, 2);
    expect(made.flags).toBe(7);
    csi("=u", 2, 3);
    expect(made.flags).toBe(5);
    csi("=u", 8);
    csi(">u", 255);
    expect(made.flags).toBe(31);
    screen(true);
    expect(made.flags).toBe(0);
    csi("<u", 9);
    expect(made.flags).toBe(0);
    screen(false);
    csi("<u");
    csi("?u");
    expect(answers).toEqual(["\x1b[?8u"]);
    csi("<u");
    expect(made.flags).toBe(0);
  });

  it("are bounded, and the oldest goes first", () => {
    const { made, csi } = modes();
    for (let n = 0; n < 100_000; n++) csi(">u", (n % 31) + 1);
    csi("<u", 15);
    expect(made.flags).not.toBe(0);
    csi("<u");
    expect(made.flags).toBe(0);
  });
});
