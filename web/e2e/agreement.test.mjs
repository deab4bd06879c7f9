/**
 * The recorder's emulator and the page's are one: output that goes into the recorder and comes back as a screen makes of a new terminal
 * what a terminal has that saw all of it, cell by cell, with everything that output can set.
 *
 * Sequences are written after ECMA-48, the VT100 and VT220 manuals and xterm's ctlseqs.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CLASSES } from "./classes.mjs";
import { CORPUS, FAMILIES, QUERIES, fuzz } from "./corpus.mjs";
import { charProperties, emulator } from "./emulators.mjs";
import { Followed } from "./followed.mjs";
import { Recorder } from "./recorder.mjs";

/** Seeds of the random histories: from the first to the last. */
const [FIRST_SEED = 1, LAST_SEED = FIRST_SEED] = (process.env.AGREEMENT_SEEDS ?? "1-40").split("-").map(Number);

const SIZE = { cols: 40, rows: 10 };

/**
 * Plays a step: output, or a new size.
 * @param {Followed} terminal
 * @param {import("./corpus.mjs").Step} step
 */
async function take({ recorder }, step) {
  if (typeof step === "string" || Buffer.isBuffer(step)) await recorder.write(Buffer.from(step));
  else await recorder.resize(step);
}

/**
 * Plays steps and compares after each.
 * @param {string} name
 * @param {import("./corpus.mjs").Step[]} steps
 */
async function agree(name, steps, size = SIZE) {
  const terminal = new Followed(size);
  try {
    for (const [number, step] of steps.entries()) {
      await take(terminal, step);
      await terminal.agree(`${name}, step ${number} ${JSON.stringify(step).slice(0, 400)}`);
    }
  } finally {
    await terminal.recorder.end();
  }
}

for (const [name, steps] of CORPUS) test(`a late window sees the same: ${name}`, () => agree(name, steps));

for (const [name, steps] of CLASSES) test(`in every situation: ${name}`, () => agree(name, steps));

test("the emulator without a page has the columns that it has in a browser", async () => {
  const page = emulator(SIZE);
  await page.write("\u4f60\u{1f44d}\u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u{20000}x");
  assert.equal(page.terminal.buffer.active.cursorX, 2 + 2 + 2 + 2 + 1);
});

test("a recording whose daemon is gone draws the same", async () => {
  for (const seed of [3, 5, 8]) {
    const { size, steps } = fuzz(seed);
    const terminal = new Followed(size);
    try {
      for (const step of steps) await take(terminal, step);
      await terminal.recorder.kill();
      await terminal.agree(`history ${seed}`);
    } finally {
      await terminal.recorder.end();
    }
  }
});

test("every character has the same columns", async () => {
  const steps = [];
  for (let at = 0; at < FAMILIES.length; at += 400) {
    steps.push(FAMILIES.slice(at, at + 400).map((text) => `${text}\x1b[20G#${text}|\r\n`).join(""));
  }
  await agree("families", steps, { cols: 60, rows: 20 });
});

test("every code point has the addon's width and class", () => {
  const source = readFileSync(new URL("../../recorder/src/emulator/widths.rs", import.meta.url), "utf8");
  const ranges = [...source.matchAll(/\((0x\w+), (0x\w+), (\d+), (true|false)\)/g)].map(([, ...range]) => range);
  const expected = new Map();
  for (const [first, last, of, wide] of ranges) {
    for (let code = Number(first); code <= Number(last); code++) expected.set(code, `${of} ${wide === "true" ? 2 : 1}`);
  }
  for (let code = 0x20; code <= 0x10ffff; code++) {
    // What is computed, and what is no character.
    if ((code >= 0x7f && code < 0xa0) || (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xd800 && code <= 0xdfff) || code === 0xfe0f) continue;
    const found = charProperties(code);
    if (found !== (expected.get(code) ?? "0 1")) assert.equal(expected.get(code) ?? "0 1", found, `class and width of U+${code.toString(16)}`);
  }
});

test("random histories with changes of size", async () => {
  for (let seed = FIRST_SEED; seed <= LAST_SEED; seed++) {
    const { size, steps } = fuzz(seed);
    await agree(`history ${seed}`, steps, size);
  }
});

test("programs are answered as the page would", async () => {
  const recorder = new Recorder(SIZE);
  const page = emulator(SIZE);
  try {
    for (const [query = "", answer] of QUERIES) {
      const before = recorder.typed.length;
      page.answers = "";
      await page.write(query);
      await recorder.write(Buffer.from(query));
      const expected = answer ?? page.answers;
      await recorder.until(`the answer to ${JSON.stringify(query)}`, () => recorder.typed.length >= before + expected.length);
      assert.equal(recorder.typed.slice(before), expected, `the answer to ${JSON.stringify(query)}`);
    }
  } finally {
    await recorder.end();
  }
});

test("answers come between pieces of input, and never within one", async () => {
  const recorder = new Recorder(SIZE);
  try {
    // The terminal takes all bytes as they are by then.
    recorder.input("!");
    await recorder.until("a first byte", () => recorder.typed === "!");
    // Larger than what a terminal takes at once.
    const pieces = Array.from({ length: 20 }, (_, number) => String.fromCharCode(97 + number).repeat(20_000));
    const answer = "\x1b[?1;2c";
    await Promise.all(
      pieces.map((piece) => {
        recorder.input(piece);
        return recorder.write(Buffer.from("\x1b[c"));
      }),
    );
    const length = 1 + pieces.length * (20_000 + answer.length);
    await recorder.until("all input and all answers", () => recorder.typed.length >= length);
    const typed = recorder.typed.slice(1);
    assert.equal(typed.replaceAll(answer, ""), pieces.join(""));
    const around = typed.split(answer).join("|");
    assert.match(around, /^\|*(?:([a-t])\1{19999}\|*)*$/, "an answer within a piece of input");
  } finally {
    await recorder.end();
  }
});

test("title, directory and colours go over the wire", async () => {
  const recorder = new Recorder(SIZE);
  try {
    await recorder.write(Buffer.from("\x1b]2;make: büild\x07\x1b]7;file://host/home/me\x07"));
    await recorder.until("the title", () => recorder.title === "make: büild");
    await recorder.until("the directory", () => recorder.directory?.endsWith("/home/me") === true);
    recorder.colors([1, 2, 3, 0xa1, 0xa2, 0xa3, 7, 8, 9]);
    recorder.input("!");
    await recorder.until("what was sent after the colours", () => recorder.typed === "!");
    await recorder.write(Buffer.from("\x1b]11;?\x07"));
    const answer = "!\x1b]11;rgb:a1a1/a2a2/a3a3\x1b\\";
    await recorder.until("the colour", () => recorder.typed.length >= answer.length);
    assert.equal(recorder.typed, answer);
  } finally {
    await recorder.end();
  }
});
