/**
 * What a person types, pastes, points at and copies, in a real browser: on a shell where the shell decides what it means, and at a wire where
 * every byte counts.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { eventually, TerminalPage } from "./page.mjs";
import { browser, onTerminal } from "./support.mjs";

/** @type {FakeBroker} */
let broker;
/** @type {TerminalPage[]} */
let pages = [];

/**
 * A page at the wire, and the terminal's connection, on which `output` has been drawn.
 * @param {string} output
 * @param {import("playwright-core").BrowserContextOptions & { prepare?: (page: import("playwright-core").BrowserContext) => Promise<unknown> }} [options]
 */
async function atWire(output = "", options) {
  const terminal = await TerminalPage.open(browser, { at: broker.url, ...options });
  pages.push(terminal);
  const socket = await broker.socket();
  socket.ready();
  let offset = 0;
  let marks = 0;
  /** Draws more. @param {string} text */
  const draw = async (text) => {
    const mark = `<${++marks}>`;
    socket.write(offset, text + mark);
    offset += Buffer.byteLength(text + mark);
    await terminal.until(new RegExp(mark));
  };
  await draw(output);
  await terminal.page.locator("#terminal .xterm-helper-textarea").focus();
  return { terminal, socket, draw, page: terminal.page };
}

/** Pastes as the browser tells it. @param {import("playwright-core").Page} page @param {string} text */
function paste(page, text) {
  return page.locator("#terminal .xterm-helper-textarea").evaluate((area, text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    area.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  }, text);
}

/**
 * What reaches the program for something that the person does.
 * @param {Awaited<ReturnType<typeof atWire>>} wire
 * @param {() => Promise<unknown>} act
 */
async function sent({ socket, page }, act) {
  const before = socket.typed.length;
  await act();
  // A mark that no protocol changes, after all of it.
  await paste(page, "\u00a7");
  await eventually("the mark", () => /\u00a7/.test(socket.typed.slice(before)));
  return socket.typed.slice(before).replace(/(\x1b\[200~)?\u00a7(\x1b\[201~)?/, "");
}

describe("pasted text", () => {
  onTerminal("ends no bracketed paste: nothing of it runs before Enter", async (terminal) => {
    await terminal.enter("echo brac''keted");
    await terminal.until(/^bracketed$/m);
    for (const end of ["\x1b[201~", "\x9b201~", "\x1b\x1b[201~[201~"]) await paste(terminal.page, `x${end}\recho ran-$((6*7))\r`);
    await terminal.page.keyboard.press("Control+c");
    await terminal.enter("echo by-hand-$((6*7))");
    await terminal.until(/^by-hand-42$/m);
    assert.doesNotMatch(await terminal.text(), /^ran-42$/m);
  });

  describe("at the wire", () => {
    wires();

    test("holds no character that steers, however it comes in", async () => {
      const wire = await atWire("\x1b[?2004h");
      const { page } = wire;
      const evil = "a\x1b[201~b\x03c\x04d\x9b201~e\x7ff\ng\th";
      const harmless = "a[201~bcd201~ef\rg\th";
      const bracketed = `\x1b[200~${harmless}\x1b[201~`;
      assert.equal(await sent(wire, () => paste(page, evil)), bracketed, "by the paste event");
      const drop = async () => {
        const data = await page.evaluateHandle((text) => {
          const transfer = new DataTransfer();
          transfer.setData("text/plain", text);
          return transfer;
        }, evil);
        await page.dispatchEvent("#terminal .xterm-screen", "drop", { dataTransfer: data });
      };
      assert.equal(await sent(wire, drop), bracketed, "by dropping it");
      assert.equal(await sent(wire, () => page.keyboard.insertText("one\necho two\n")), "\x1b[200~one\recho two\r\x1b[201~", "by an input method");
      assert.equal(await sent(wire, () => page.keyboard.insertText("plain wörds")), "plain wörds", "which types words as they are");
    });

    test("of several lines is shown first, where the program would run each", async () => {
      const wire = await atWire();
      const { page, socket } = wire;
      await paste(page, "rm -r build\necho done");
      await page.getByText("Paste 2 lines?").waitFor();
      assert.match((await page.locator("#paste-text").textContent()) ?? "", /^rm -r build\necho done$/);
      await wire.terminal.picture("paste-question");
      await page.keyboard.press("Escape");
      assert.equal(socket.typed, "");
      await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
      await paste(page, "one\ntwo");
      await page.getByLabel("Do not ask again").check();
      await page.getByRole("button", { name: "Paste", exact: true }).click();
      await eventually("the paste", () => socket.typed === "one\rtwo");
      // Asked no more, and the settings say so.
      await paste(page, "three\nfour");
      await eventually("the next paste", () => socket.typed === "one\rtwothree\rfour");
      await page.locator("#settings-button").click();
      assert.equal(await page.getByLabel("Ask before pasting several lines").isChecked(), false);
    });
  });
});

describe("keys at the wire", () => {
  wires();

  test("Shift+Enter and Ctrl+Enter are other keys than Enter, also where no program asks", async () => {
    const wire = await atWire();
    const press = (/** @type {string} */ key) => sent(wire, () => wire.page.keyboard.press(key));
    assert.equal(await press("Enter"), "\r");
    assert.equal(await press("Shift+Enter"), "\x1b\r");
    assert.equal(await press("Control+Enter"), "\n");
    assert.equal(await press("Alt+Enter"), "\x1b\r");
  });

  test("go in kitty's protocol when a program asks for it, apart for each screen", async () => {
    const wire = await atWire("\x1b[>1u");
    const { draw, page } = wire;
    const press = (/** @type {string} */ key) => sent(wire, () => page.keyboard.press(key));
    assert.equal(await press("Shift+Enter"), "\x1b[13;2u");
    assert.equal(await press("Escape"), "\x1b[27u");
    assert.equal(await press("Control+i"), "\x1b[105;5u");
    assert.equal(await press("Tab"), "\t");
    assert.equal(await press("a"), "a");
    assert.equal(await press("A"), "A");
    assert.equal(await press("ArrowUp"), "\x1b[A");
    assert.equal(await press("Control+ArrowUp"), "\x1b[1;5A");
    await draw("\x1b[?1049h");
    assert.equal(await press("Escape"), "\x1b", "the alternate screen has flags of its own");
    await draw("\x1b[=31u");
    assert.equal(await press("a"), "\x1b[97;;97u\x1b[97;1:3u");
    assert.equal(await press("Shift+A"), "\x1b[57441;2u\x1b[97:65;2;65u\x1b[97:65;2:3u\x1b[57441;1:3u");
    assert.equal(await press("Enter"), "\x1b[13u\x1b[13;1:3u");
    await draw("\x1b[?1049l");
    assert.equal(await press("Escape"), "\x1b[27u", "and the main screen has its own again");
    await draw("\x1b[?u");
    await eventually("the answer", () => wire.socket.typed.includes("\x1b[?1u"));
    await draw("\x1b[<u");
    assert.equal(await press("Escape"), "\x1b");
    await draw("\x1b[>5u\x1bc");
    assert.equal(await press("Escape"), "\x1b", "a reset takes it away");
  });

  test("go as xterm's modifyOtherKeys when a program asks for that", async () => {
    const wire = await atWire("\x1b[>4;2m");
    const { draw, page } = wire;
    const press = (/** @type {string} */ key) => sent(wire, () => page.keyboard.press(key));
    assert.equal(await press("Shift+Enter"), "\x1b[27;2;13~");
    assert.equal(await press("Control+a"), "\x1b[27;5;97~");
    assert.equal(await press("Alt+x"), "\x1b[27;3;120~");
    assert.equal(await press("x"), "x");
    await draw("\x1b[>4;1f");
    assert.equal(await press("Control+Shift+A"), "\x1b[65;6u");
    await draw("\x1b[>4;1m");
    assert.equal(await press("Control+a"), "\x01", "level 1 leaves what has a meaning");
    assert.equal(await press("Control+Enter"), "\x1b[13;5u");
    await draw("\x1b[?4m");
    await eventually("the answer", () => wire.socket.typed.includes("\x1b[>4;1m"));
    await draw("\x1b[>4m");
    assert.equal(await press("Control+Enter"), "\n");
  });

  test("of the screen's bar speak the program's protocol too", async () => {
    const wire = await atWire("\x1b[>1u", { viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true });
    const { page, draw } = wire;
    const tap = (/** @type {string} */ name) => sent(wire, () => page.locator(`[data-key=${name}]`).tap());
    assert.equal(await tap("escape"), "\x1b[27u");
    assert.equal(await tap("newline"), "\x1b[13;2u");
    const interrupt = async () => {
      await page.locator("[data-key=ctrl]").tap();
      await page.keyboard.insertText("c");
    };
    assert.equal(await sent(wire, interrupt), "\x1b[99;5u");
    await draw("\x1b[<u");
    assert.equal(await tap("escape"), "\x1b");
    assert.equal(await tap("newline"), "\x1b\r");
    assert.equal(await tap("tab"), "\t");
    assert.equal(await sent(wire, interrupt), "\x03");
  });

  test("an input method's text comes once, and its Enter is its own", async () => {
    for (const output of ["", "\x1b[>1u", "\x1b[>4;2m"]) {
      const wire = await atWire(output);
      const { page } = wire;
      const devtools = await page.context().newCDPSession(page);
      const compose = async () => {
        const ime = { windowsVirtualKeyCode: 229, nativeVirtualKeyCode: 229, key: "Process" };
        await devtools.send("Input.dispatchKeyEvent", { type: "rawKeyDown", code: "KeyN", ...ime });
        for (const text of ["n", "に", "日", "日本"]) await devtools.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
        await devtools.send("Input.dispatchKeyEvent", { type: "rawKeyDown", code: "Enter", ...ime });
        await devtools.send("Input.insertText", { text: "日本" });
        await devtools.send("Input.dispatchKeyEvent", { type: "keyUp", code: "Enter", key: "Enter", windowsVirtualKeyCode: 13 });
      };
      const typed = await sent(wire, async () => {
        await compose();
        await eventually("the text", () => wire.socket.typed.includes("日本"));
        await page.keyboard.type("go");
      });
      assert.equal(typed, "日本go", JSON.stringify(output));
      await closePages();
      broker.stop();
      broker = await FakeBroker.start();
    }
  });
});

/** Every test of the group has a wire of its own. */
function wires() {
  beforeEach(async () => void (broker = await FakeBroker.start()));
  afterEach(async () => {
    await closePages();
    broker.stop();
  });
}

async function closePages() {
  for (const { page } of pages.splice(0)) await page.context().close();
}
