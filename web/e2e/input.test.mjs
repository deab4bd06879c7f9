/**
 * What a person types, pastes, points at and copies, in a real browser: on a shell where the shell decides what it means, and at a wire where
 * every byte counts.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { eventually, give, launch, onlyChromium, TerminalPage } from "./page.mjs";
import { browser, onTerminal } from "./support.mjs";

/** @type {FakeBroker} */
let broker;
/** @type {TerminalPage[]} */
let pages = [];

/**
 * A page at the wire, and the terminal's connection, on which `output` has been drawn.
 * @param {string} output
 * @param {import("playwright-core").BrowserContextOptions & { on?: import("playwright-core").Browser, at?: string, prepare?: (page: import("playwright-core").Page) => Promise<unknown> }} [options]
 *   `on`: another browser; `at`: another address of the broker; `prepare`: what the browser is like, which loads the page again
 */
async function atWire(output = "", { on = browser, prepare, ...options } = {}) {
  const terminal = await TerminalPage.open(on, { at: broker.url, ...options });
  pages.push(terminal);
  if (prepare) {
    await broker.socket();
    broker.sockets.length = 0;
    await prepare(terminal.page);
  }
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
  return { terminal, socket, draw, drawn: () => offset, page: terminal.page };
}

/** @param {import("playwright-core").Page} page @param {string} text */
const paste = (page, text) => give(page, { text });

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
    // The line editor takes an interrupt only after the whole paste.
    await terminal.until(/x\[201~\[201~\necho ran-\S+\n?$/);
    await terminal.page.keyboard.press("Control+c");
    await terminal.until(/\^C/);
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
      assert.equal(await sent(wire, () => give(page, { how: "drop", text: evil })), bracketed, "by dropping it");
    });

    test("is also what an input method puts in at once, but for plain words", { skip: onlyChromium }, async () => {
      const wire = await atWire("\x1b[?2004h");
      const { page } = wire;
      assert.equal(await sent(wire, () => page.keyboard.insertText("one\necho two\n")), "\x1b[200~one\recho two\r\x1b[201~");
      assert.equal(await sent(wire, () => page.keyboard.insertText("plain wörds")), "plain wörds");
    });

    test("comes by the middle button as well, and is as harmless", async () => {
      const wire = await atWire("\x1b[?2004h");
      const { page } = wire;
      // What is selected in any program is what the middle button pastes.
      await page.evaluate(() => {
        const elsewhere = document.body.appendChild(document.createElement("textarea"));
        elsewhere.value = "one\x1b[201~\ntwo";
        elsewhere.style.cssText = "position: fixed; inset: 100px auto auto 300px";
        elsewhere.focus();
      });
      await page.keyboard.press("Control+a");
      await page.locator("#terminal .xterm-screen").click({ button: "middle", position: { x: 100, y: 50 } });
      await eventually("the paste", () => wire.socket.typed === "\x1b[200~one[201~\rtwo\x1b[201~");
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

describe("keys on a shell", () => {
  onTerminal("reach a program as it asked for them, and the mouse of old byte by byte", async (terminal) => {
    const { page } = terminal;
    let runs = 0;
    /** Runs a program that asks for something, says `ready`, and shows the bytes that come. @param {string} asks @param {number} bytes */
    const program = async (asks, bytes) => {
      runs++;
      await terminal.enter(`clear; stty raw -echo; printf '${asks}re''ady ${runs}\\r\\n'; head -c ${bytes} | od -An -tx1; stty sane; printf '\\033[<u\\033[>4m\\033[?1000l'`);
      await terminal.until(new RegExp(`^ready ${runs}$`, "m"));
    };
    const hex = (/** @type {string} */ text) => new RegExp(`^ ${Buffer.from(text, "latin1").toString("hex").replace(/..(?=.)/g, "$& ")}$`, "m");
    await program("\\033[>1u", 7);
    await page.keyboard.press("Shift+Enter");
    await terminal.until(hex("\x1b[13;2u"));
    await program("\\033[>4;2m", 10);
    await page.keyboard.press("Control+Enter");
    await terminal.until(hex("\x1b[27;5;13~"));
    await program("", 2);
    await page.keyboard.press("Shift+Enter");
    await terminal.until(hex("\x1b\r"));
    await page.setViewportSize({ width: 1900, height: 680 });
    await terminal.enter('clear; until [ "$(tput cols)" -gt 180 ]; do sleep 0.05; done; echo wi""de');
    await terminal.until(/^wide$/m);
    await terminal.enter('clear; echo "=$(tput cols)="');
    const cols = Number((await terminal.until(/^=(\d+)=$/m))[1]);
    await program("\\033[?1000h", 6);
    const screen = await page.locator("#terminal .xterm-screen").boundingBox();
    assert.ok(screen);
    await page.mouse.move(screen.x + (screen.width * 179.5) / cols, screen.y + 5);
    await page.mouse.down();
    await terminal.until(hex("\x1b[M \xd4!"));
    await page.mouse.up();
  });

  onTerminal("Shift+Enter runs nothing at a prompt", async (terminal) => {
    const { page } = terminal;
    await page.keyboard.type("echo one-$((1+1))");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("-two");
    await terminal.until(/echo one-\$\(\(1\+1\)\)-two$/);
    await page.keyboard.press("Enter");
    await terminal.until(/^one-2-two$/m);
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
    for (const zoom of ["Control+=", "Control+-", "Control+0", "Control++"]) assert.equal(await press(zoom), "", `${zoom} is the browser's`);
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

  test("keep a program's protocol through a redrawn screen", async () => {
    const wire = await atWire("\x1b[>1u");
    const press = (/** @type {string} */ key) => sent(wire, () => wire.page.keyboard.press(key));
    wire.socket.say({ type: "screen", offset: wire.drawn(), data: "\x1b[=5;1uredrawn" });
    await wire.terminal.until(/redrawn/);
    assert.equal(await press("Control+Shift+A"), "\x1b[97:65;6u");
    wire.socket.say({ type: "screen", offset: wire.drawn(), data: "plain" });
    await wire.terminal.until(/plain/);
    assert.equal(await press("Escape"), "\x1b");
  });

  test("go by the person's layout: chords by the letter, AltGr and dead keys as text", { skip: onlyChromium }, async () => {
    for (const output of ["", "\x1b[>1u", "\x1b[>4;2m"]) {
      const wire = await atWire(`word ${output}`, { permissions: ["clipboard-read", "clipboard-write"] });
      const { page } = wire;
      const devtools = await page.context().newCDPSession(page);
      /** @param {string} key @param {string} code @param {number} keyCode @param {number} modifiers 1 Alt, 2 Ctrl, 8 Shift @param {string} [text] */
      const key = async (key, code, keyCode, modifiers, text) => {
        const more = { key, code, windowsVirtualKeyCode: keyCode, modifiers };
        await devtools.send("Input.dispatchKeyEvent", { type: text === undefined ? "rawKeyDown" : "keyDown", ...(text !== undefined && { text }), ...more });
        await devtools.send("Input.dispatchKeyEvent", { type: "keyUp", ...more });
      };
      // Dvorak has C where others have I.
      await wire.terminal.select(0, 4);
      await key("C", "KeyI", 67, 2 | 8);
      await eventually("it is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "word");
      await key("E", "KeyD", 69, 2 | 8);
      await page.locator("#files-button[aria-expanded=true]").waitFor();
      await key("E", "KeyD", 69, 2 | 8);
      await page.locator("#files-button[aria-expanded=false]").waitFor();
      await page.locator("#terminal .xterm-helper-textarea").focus();
      assert.equal(await sent(wire, () => key("@", "KeyQ", 81, 0, "@")), "@");
      const accent = async () => {
        await key("Dead", "BracketLeft", 229, 0);
        await devtools.send("Input.imeSetComposition", { text: "^", selectionStart: 1, selectionEnd: 1 });
        await devtools.send("Input.insertText", { text: "ê" });
        await eventually("the letter", () => /ê/.test(wire.socket.typed));
      };
      assert.equal(await sent(wire, accent), "ê", JSON.stringify(output));
      await closePages();
      broker.stop();
      broker = await FakeBroker.start();
    }
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

  test("of the screen's bar speak the program's protocol too", { skip: onlyChromium }, async () => {
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

  test("an input method's text comes once, and its Enter is its own", { skip: onlyChromium }, async () => {
    const told = "\x1b[103u\x1b[103;1:3u\x1b[111u\x1b[111;1:3u";
    for (const [output, go] of /** @type {const} */ ([["", "go"], ["\x1b[>1u", "go"], ["\x1b[>4;2m", "go"], ["\x1b[>11u", told]])) {
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
      assert.equal(typed, `日本${go}`, JSON.stringify(output));
      await closePages();
      broker.stop();
      broker = await FakeBroker.start();
    }
  });
});

describe("the mouse at the wire", () => {
  wires();

  test("is told in the encoding of old beyond column 95 as one byte for each coordinate", async () => {
    const wire = await atWire("\x1b[?1000h", { viewport: { width: 1900, height: 680 } });
    const { page, socket } = wire;
    const screen = await page.locator("#terminal .xterm-screen").boundingBox();
    const cols = Number(socket.query.get("cols"));
    assert.ok(screen && cols > 180, `${cols} columns`);
    await page.mouse.click(screen.x + (screen.width * 179.5) / cols, screen.y + 5);
    await eventually("the report", () => socket.inputs.length >= 2);
    assert.deepEqual(
      socket.inputs.map(({ bytes }) => bytes),
      [`\x1b[M ${String.fromCharCode(180 + 32)}!`, `\x1b[M#${String.fromCharCode(180 + 32)}!`],
    );
    // Without these two the program would read coordinates that it does not expect: xterm.js knows neither.
    await wire.draw("\x1b[?1005h\x1b[?1015h");
    socket.inputs.length = 0;
    await page.mouse.click(screen.x + (screen.width * 179.5) / cols, screen.y + 5);
    await eventually("the report", () => socket.inputs.length >= 2);
    assert.equal(socket.inputs[0]?.bytes, `\x1b[M ${String.fromCharCode(180 + 32)}!`);
  });

  test("is not told wrongly over a connection that carries text alone: the person is told", async () => {
    broker.level = 0;
    const terminal = await TerminalPage.open(browser, { at: broker.url, viewport: { width: 1900, height: 680 } });
    pages.push(terminal);
    const socket = await eventually("a connection at level 0", () => broker.sockets.find(({ query, isGone }) => query.get("protocol") === "sandbox-broker.v1" && !isGone));
    socket.say({ type: "ready", session: "s1", offset: 0, provider: "fake" });
    socket.say({ type: "output", data: "\x1b[?1000hhere" });
    await terminal.until(/here/);
    const { page } = terminal;
    const screen = await page.locator("#terminal .xterm-screen").boundingBox();
    assert.ok(screen);
    await page.mouse.click(screen.x + screen.width - 20, screen.y + 5);
    await page.locator("#notice", { hasText: "too far right" }).waitFor();
    await page.mouse.click(screen.x + 5, screen.y + 5);
    await eventually("the release on the left", () => socket.messages.some(({ type, data }) => type === "input" && data.startsWith("\x1b[M#")));
    assert.deepEqual(
      socket.messages.filter(({ type }) => type === "input").map(({ data }) => data),
      ["\x1b[M !!", "\x1b[M#!!"],
    );
  });
});

describe("copying at the wire", () => {
  wires();
  const granted = { permissions: ["clipboard-read", "clipboard-write"] };
  const clipboard = (/** @type {import("playwright-core").Page} */ page) => page.evaluate(() => navigator.clipboard.readText());
  /** Selects `selected` on the screen. @param {Awaited<ReturnType<typeof atWire>>} wire */
  const select = ({ terminal }) => terminal.select(0, 8);
  const holds = (/** @type {import("playwright-core").Page} */ page, /** @type {string} */ text) => eventually(`${text} on the clipboard`, async () => (await clipboard(page)) === text);

  test("Ctrl+C copies what is selected, once, and interrupts else", async () => {
    const wire = await atWire("selected text ", granted);
    const { page } = wire;
    await select(wire);
    const pressed = await sent(wire, async () => {
      await page.keyboard.press("Control+c");
      await holds(page, "selected");
      await page.keyboard.press("Control+c");
    });
    assert.equal(pressed, "\x03", "what was copied is selected no more");
    await wire.draw("\x1b[>3u");
    await select(wire);
    assert.equal(await sent(wire, () => page.keyboard.press("Control+c")), "", "and a program that asks for it is not told of the key's release");
    await wire.draw("\x1b[<u");
    for (const chord of ["Control+Shift+C", "Control+Insert"]) {
      await page.evaluate(() => navigator.clipboard.writeText("before"));
      await select(wire);
      assert.equal(await sent(wire, () => page.keyboard.press(chord)), "", chord);
      await holds(page, "selected");
    }
    await page.evaluate(() => navigator.clipboard.writeText("clip"));
    for (const chord of ["Control+Shift+V", "Shift+Insert"]) {
      assert.equal(await sent(wire, () => page.keyboard.press(chord)), "clip", chord);
    }
    assert.equal(await sent(wire, () => page.keyboard.press("Control+v")), "\x16", "a key of the shell's");
    await page.locator("#settings-button").click();
    await page.getByLabel("Ctrl+V pastes").check();
    await page.keyboard.press("Escape");
    await page.locator("#terminal .xterm-helper-textarea").focus();
    assert.equal(await sent(wire, () => page.keyboard.press("Control+v")), "clip");
    await wire.draw("\x1b[>31u");
    await page.keyboard.press("Control+v");
    await eventually("the paste", () => wire.socket.typed.endsWith("clip") || /clip\x1b/.test(wire.socket.typed.slice(-60)));
  });

  /** As a system of this name. @param {string} platform @param {string} brand */
  const as = (platform, brand) => async (/** @type {import("playwright-core").Page} */ page) => {
    await page.addInitScript(
      ([platform, brand]) => {
        Object.defineProperty(navigator, "platform", { get: () => platform });
        Object.defineProperty(navigator, "userAgentData", { get: () => ({ platform: brand }) });
      },
      [platform, brand],
    );
    await page.reload();
  };

  test("Ctrl+V pastes on Windows, and Cmd+C and Cmd+V are the keys on macOS", async () => {
    const windows = await atWire("selected text ", { ...granted, prepare: as("Win32", "Windows") });
    await windows.page.evaluate(() => navigator.clipboard.writeText("clip"));
    assert.equal(await sent(windows, () => windows.page.keyboard.press("Control+v")), "clip");
    await closePages();
    broker.sockets.length = 0;

    const mac = await atWire("selected text ", { ...granted, prepare: as("MacIntel", "macOS") });
    const { page } = mac;
    await select(mac);
    assert.equal(await sent(mac, () => page.keyboard.press("Control+c")), "\x03", "Ctrl+C always interrupts");
    await select(mac);
    assert.equal(await sent(mac, () => page.keyboard.press("Meta+c")), "");
    await holds(page, "selected");
    assert.equal(await sent(mac, () => page.keyboard.press("Control+v")), "\x16");
    // Option makes characters, until it is chosen to be Meta.
    const option = async () => {
      const key = { key: "å", code: "KeyA", keyCode: 65, altKey: true, bubbles: true, cancelable: true };
      await page.locator("#terminal .xterm-helper-textarea").evaluate((area, key) => void area.dispatchEvent(new KeyboardEvent("keydown", key)), key);
    };
    assert.equal(await sent(mac, option), "");
    await page.locator("#settings-button").click();
    await page.getByLabel("Option is Meta").check();
    await page.keyboard.press("Escape");
    await page.locator("#terminal .xterm-helper-textarea").focus();
    assert.equal(await sent(mac, option), "\x1ba");
  });

  test("a program's copy that the person did not see coming is offered, whatever selection it names", { skip: onlyChromium }, async () => {
    const wire = await atWire("", granted);
    const { page, draw } = wire;
    const copy = (/** @type {string} */ to, /** @type {string} */ text) => draw(`\x1b]52;${to};${Buffer.from(text).toString("base64")}\x07`);
    for (const to of ["c", "p", "s", "", "cp", "0"]) {
      await copy(to, `for ${to}`);
      await holds(page, `for ${to}`);
    }
    await page.locator("#details-button").focus();
    await copy("c", "later");
    await page.locator("#offer", { hasText: "“later”" }).waitFor();
    assert.equal(await clipboard(page), "for 0");
    await wire.terminal.picture("copy-offer");
    // By the keyboard: the way that leads out of the terminal.
    await page.locator("#terminal .xterm-helper-textarea").focus();
    await page.keyboard.press("Control+Shift+Home");
    await page.locator("#offer-act:focus:not([aria-disabled])").waitFor();
    await page.keyboard.press("Enter");
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await holds(page, "later");
    await page.locator("#offer").waitFor({ state: "hidden" });
    // What is no Base64 takes nothing away, and nobody is told what is on the clipboard.
    await page.locator("#terminal .xterm-helper-textarea").focus();
    await draw("\x1b]52;c;!!\x07\x1b]52;c;?\x07\x1b]52;p;?\x07");
    assert.equal(await clipboard(page), "later");
    assert.equal(wire.socket.typed, "");
  });

  describe("on plain http, where the browser has no clipboard for a page,", () => {
    /** @type {import("playwright-core").Browser} */
    let other;
    before(async () => void (other = await launch("broker.lan")));
    after(() => other?.close());
    /** With a name of the local network, so that the browser finds the page insecure. */
    async function insecure() {
      const wire = await atWire("selected text ", { on: other, at: broker.url.replace("127.0.0.1", "broker.lan") });
      assert.equal(await wire.page.evaluate(() => isSecureContext || "clipboard" in navigator), false);
      await select(wire);
      assert.equal(await sent(wire, () => wire.page.keyboard.press("Control+c")), "");
      assert.equal(await sent(wire, () => wire.page.keyboard.press("Control+Shift+V")), "selected");
      return wire;
    }

    test("the keys copy and paste", async () => void (await insecure()));

    test("a program's copy takes a click, or the person's own hand", { skip: onlyChromium }, async () => {
      const wire = await insecure();
      const { page, socket } = wire;
      // A program's copy, long after the last key: the browser wants a click. Playwright's own questions would count as one.
      const devtools = await page.context().newCDPSession(page);
      const quietly = async (/** @type {string} */ expression) => (await devtools.send("Runtime.evaluate", { expression, userGesture: false })).result.value;
      await eventually("the last key is long ago", () => quietly("!navigator.userActivation.isActive"));
      const copy = (/** @type {string} */ text) => `\x1b]52;c;${Buffer.from(text).toString("base64")}\x07`;
      socket.write(wire.drawn(), copy("by the program"));
      await eventually("the offer", () => quietly('!document.querySelector("#offer").hidden'));
      await page.locator("#offer-act:not([aria-disabled])").click();
      await page.getByText("Copied.").waitFor();
      await page.locator("#terminal .xterm-helper-textarea").focus();
      assert.equal(await sent(wire, () => page.keyboard.press("Control+Shift+V")), "by the program");
      // A browser that lets a page do nothing at all: the person copies by hand.
      await page.evaluate(() => void (document.execCommand = () => false));
      await page.locator("#details-button").focus();
      socket.write(wire.drawn() + copy("by the program").length, copy("by hand"));
      await page.locator("#offer-act:not([aria-disabled])").click();
      const shown = page.getByRole("textbox", { name: "Copy this text" });
      assert.equal(await shown.inputValue(), "by hand");
      assert.deepEqual(await shown.evaluate((field) => [/** @type {HTMLTextAreaElement} */ (field).selectionStart, /** @type {HTMLTextAreaElement} */ (field).selectionEnd]), [0, 7]);
    });
  });
});

describe("a finger", { skip: onlyChromium }, () => {
  const phone = { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

  /**
   * Puts a finger down, moves it, and lifts it.
   * @param {import("playwright-core").Page} page
   * @param {[x: number, y: number][]} way
   */
  async function drag(page, way, { rest = false } = {}) {
    const devtools = await page.context().newCDPSession(page);
    const touch = (/** @type {string} */ type, /** @type {[number, number] | undefined} */ at) =>
      devtools.send("Input.dispatchTouchEvent", { type: /** @type {any} */ (type), touchPoints: at ? [{ x: at[0], y: at[1] }] : [] });
    await touch("touchStart", way[0]);
    if (rest) await page.locator("#terminal .xterm-selection div").first().waitFor({ state: "attached" });
    for (const at of way.slice(1)) await touch("touchMove", at);
    await touch("touchEnd", undefined);
  }
  /** @param {number} x @param {number} from @param {number} to @returns {[number, number][]} */
  const vertical = (x, from, to) => Array.from({ length: 9 }, (_, n) => [x, from + ((to - from) * n) / 8]);

  onTerminal(
    "that moves down scrolls back, and up again to the end",
    async (terminal) => {
      const { page } = terminal;
      await terminal.enter("seq -f 'line %g' 1 300");
      await terminal.until(/^line 300$/m);
      await drag(page, vertical(100, 200, 500));
      await terminal.until(/^line 27\d$/m);
      await eventually("the end is out of sight", async () => !/^line 300$/m.test(await terminal.text()));
      for (let n = 0; n < 3; n++) await drag(page, vertical(100, 500, 150));
      await terminal.until(/^line 300$/m);
    },
    phone,
  );

  onTerminal(
    "scrolls the program on the alternate screen, and with the mouse on by the wheel",
    async (terminal) => {
      const { page } = terminal;
      await terminal.enter("seq -f 'line %g' 1 300 > f; less f");
      await terminal.until(/^line 1$/m);
      await drag(page, vertical(100, 500, 200));
      await terminal.until(/^(?!line 1\n)line \d+\n[^]*$/);
      await drag(page, vertical(100, 200, 600));
      await terminal.until(/^line 1\n/);
    },
    phone,
  );

  describe("at the wire", () => {
    wires();

    test("turns the wheel for a program that asked for the mouse, in the right direction", async () => {
      const wire = await atWire("\x1b[?1000h\x1b[?1006h", phone);
      await drag(wire.page, vertical(100, 200, 400));
      await eventually("wheel up", () => /\x1b\[<64;\d+;\d+M/.test(wire.socket.typed));
      assert.doesNotMatch(wire.socket.typed, /<65;/);
    });

    test("that rests selects a word, dragging on selects more, and a button copies it", async () => {
      const wire = await atWire("first second third ", { ...phone, permissions: ["clipboard-read", "clipboard-write"] });
      const { page } = wire;
      const screen = await page.locator("#terminal .xterm-screen").boundingBox();
      assert.ok(screen);
      const at = (/** @type {number} */ col) => /** @type {[number, number]} */ ([screen.x + (screen.width * (col + 0.5)) / Number(wire.socket.query.get("cols")), screen.y + 8]);
      await drag(page, [at(8)], { rest: true });
      await wire.terminal.picture("touch-selection");
      await page.locator("#offer-act:not([aria-disabled])").tap();
      await eventually("the word is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "second");
      await page.locator("#terminal .xterm-selection div").first().waitFor({ state: "detached" });
      await drag(page, [at(8), at(15), at(30)], { rest: true });
      await page.locator("#offer-act:not([aria-disabled])").tap();
      await eventually("more is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "second third <1>");
    });

    test("and another are the browser's, which zooms", async () => {
      const { page } = await atWire("", phone);
      const devtools = await page.context().newCDPSession(page);
      await page.evaluate(() => {
        const moves = /** @type {boolean[]} */ ((/** @type {any} */ (window).moves = []));
        addEventListener("touchmove", (event) => event.touches.length === 2 && moves.push(event.defaultPrevented), { passive: true });
      });
      await devtools.send("Input.synthesizePinchGesture", { x: 150, y: 300, scaleFactor: 2, gestureSourceType: "touch" });
      // A browser without a head does not zoom: what is shown is that nothing keeps it from that.
      const moves = await page.evaluate(() => /** @type {boolean[]} */ (/** @type {any} */ (window).moves));
      assert.ok(moves.length > 2 && !moves.includes(true), `${moves}`);
      assert.match(await page.locator("#terminal").evaluate((host) => getComputedStyle(host).touchAction), /pinch-zoom|manipulation|auto/);
    });

    test("that taps brings the keyboard", async () => {
      const wire = await atWire("", phone);
      await wire.page.locator("#details-button").focus();
      await wire.page.locator("#terminal .xterm-screen").tap({ position: { x: 60, y: 200 } });
      await wire.page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    });
  });
});

describe("pasted and dropped files", () => {
  onTerminal("are uploaded, and their paths typed for the shell, without Enter", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("git init -q . 2>&1 | head -c 0; clear; pwd");
    const [, home] = await terminal.until(/^(\/\S*)$/m);
    await page.keyboard.type("cat ");
    await give(page, { files: { "image.png": "picture-1\n" } });
    await terminal.until(new RegExp(`cat ${home}/\\.pasted/image\\.png$`, "m"));
    await page.keyboard.press("Enter");
    await terminal.until(/^picture-1$/m);
    await terminal.enter("clear");
    await page.keyboard.type("cat ");
    await give(page, { files: { "image.png": "picture-2\n", "it's a $(file).txt": "text\n" } });
    await terminal.until(/image-2\.png '\S*it'\\''s a \$\(file\)\.txt'$/m);
    await page.keyboard.press("Enter");
    await terminal.until(/^picture-2\ntext$/m);
    await terminal.enter("clear");
    await page.keyboard.type("cat ");
    await give(page, { how: "drop", files: { "dropped.txt": "dropped\n" } });
    await terminal.until(/\.pasted\/dropped\.txt$/m);
    await page.keyboard.press("Enter");
    await terminal.until(/^dropped$/m);
    assert.equal(await page.locator("#files").isVisible(), false, "the terminal keeps its width");
    await terminal.enter("clear; cat .pasted/.gitignore");
    await terminal.until(/^\*$/m);
  });

  onTerminal(
    "show how far they are, can be given up, and say what failed",
    async (terminal) => {
      const { page } = terminal;
      const network = await page.context().newCDPSession(page);
      await network.send("Network.enable");
      await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 100_000 });
      await give(page, { files: { "large.bin": "x".repeat(4_000_000) } });
      await page.locator("#offer", { hasText: /Uploading large\.bin: .* of 4\.0 MB/ }).waitFor();
      await terminal.picture("paste-progress");
      await page.locator("#offer-act:not([aria-disabled])", { hasText: "Cancel" }).click();
      await page.locator("#offer").waitFor({ state: "hidden" });
      await network.send("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
      await give(page, { files: { "lost.bin": "x" } });
      await page.locator("#notice", { hasText: "not uploaded" }).waitFor();
      await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
      assert.doesNotMatch(await terminal.text(), /large\.bin|lost\.bin/);
      terminal.complaints.length = 0;
    },
    { skip: onlyChromium },
  );

  onTerminal(
    "a picture on the clipboard is pasted by the screen's key as well",
    async (terminal) => {
      const { page } = terminal;
      await page.evaluate(async () => {
        const canvas = new OffscreenCanvas(2, 2);
        canvas.getContext("2d")?.fillRect(0, 0, 2, 2);
        await navigator.clipboard.write([new ClipboardItem({ "image/png": await canvas.convertToBlob({ type: "image/png" }) })]);
      });
      await page.locator("[data-key=paste]").tap();
      await terminal.until(/\.pasted\/ima\n?ge\.png$/m);
    },
    { skip: onlyChromium, viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true, permissions: ["clipboard-read", "clipboard-write"] },
  );

  describe("at the wire", () => {
    wires();

    test("text that came with a picture of it is text, and an image alone is no empty paste", async () => {
      const wire = await atWire("\x1b[?2004h");
      const { page, terminal } = wire;
      const both = () => give(page, { text: "cells", files: { "image.png": "png" } });
      assert.equal(await sent(wire, both), "\x1b[200~cells\x1b[201~");
      // This broker has no files.
      assert.equal(await sent(wire, () => give(page, { files: { "image.png": "png" } })), "");
      await page.locator("#notice", { hasText: "not uploaded" }).waitFor();
      terminal.complaints.length = 0;
    });
  });
});

describe("styles of text", () => {
  wires();

  for (const colorScheme of /** @type {const} */ (["dark", "light"])) {
    test(`reverse video swaps the colours in both renderers, ${colorScheme}`, { skip: colorScheme === "dark" && onlyChromium }, async () => {
      const [ground, ink] = colorScheme === "dark" ? ["17,20,26", "215,220,229"] : ["255,255,255", "37,42,51"];
      for (const renderer of /** @type {const} */ (["dom", "auto"])) {
        const terminal = await TerminalPage.open(browser, { at: broker.url, renderer, colorScheme });
        pages.push(terminal);
        const socket = await eventually("a connection", () => broker.sockets.at(-1));
        socket.ready();
        // Full blocks are all ink; the cursor is off.
        const block = "\u2588\u2588\u2588\u2588";
        socket.write(0, `\x1b[?25l${block}\x1b[7m    MMMM\x1b[0m    \x1b[31;7m    MMMM\x1b[0m\x1b[1;7mMMMM\x1b[0m`);
        const cols = Number(socket.query.get("cols"));
        const colours = () => inked(terminal.page, cols);
        await eventually("it is drawn", async () => (await colours()).at(0, 4).has(ink));
        const seen = await colours();
        assert.deepEqual([...seen.at(4, 8)], [ink], `${renderer}: reversed spaces are all ink`);
        assert.ok(seen.at(8, 12).has(ground) && seen.at(8, 12).has(ink), `${renderer}: reversed letters have the ground's colour`);
        assert.deepEqual([...seen.at(13, 15)], [ground], `${renderer}: and none else has`);
        assert.ok(seen.at(20, 24).has(ground), `${renderer}: also on a colour`);
        assert.ok(seen.at(24, 28).has(ground), `${renderer}: and bold`);
        await closePages();
        broker.sockets.length = 0;
      }
    });
  }

  test("bold, dim and underlined text looks so in both renderers", { skip: onlyChromium }, async () => {
    for (const renderer of /** @type {const} */ (["dom", "auto"])) {
      const terminal = await TerminalPage.open(browser, { at: broker.url, renderer, colorScheme: "dark" });
      pages.push(terminal);
      const socket = await eventually("a connection", () => broker.sockets.at(-1));
      socket.ready();
      socket.write(0, "\x1b[?25lMMMM\x1b[1mMMMM\x1b[0m\x1b[2m\u2588\u2588\u2588\u2588\x1b[0m\x1b[4m    \x1b[0m    \x1b[9m    \x1b[0m");
      const cols = Number(socket.query.get("cols"));
      await eventually("it is drawn", async () => (await inked(terminal.page, cols)).at(0, 4).has("215,220,229"));
      const seen = await inked(terminal.page, cols);
      assert.ok(seen.ink(4, 8) > seen.ink(0, 4) * 1.05, `${renderer}: bold letters have more ink`);
      const [dim] = [...seen.at(9, 11)].map((colour) => Number(colour.split(",")[0]));
      assert.ok(dim !== undefined && dim > 60 && dim < 170, `${renderer}: dim is between ground and ink, not ${dim}`);
      assert.ok(seen.ink(12, 16) > 0, `${renderer}: spaces are underlined`);
      assert.equal(seen.ink(17, 19), 0, `${renderer}: others are not`);
      assert.ok(seen.ink(20, 24) > 0, `${renderer}: and struck through`);
      await closePages();
      broker.sockets.length = 0;
    }
  });
});

/**
 * The colours of the cells in the first row of the terminal.
 * @param {import("playwright-core").Page} page
 * @param {number} cols
 */
async function inked(page, cols) {
  const screen = await page.locator("#terminal .xterm-screen").boundingBox();
  assert.ok(screen);
  const clip = { ...screen, height: 17 };
  const shot = (await page.screenshot({ clip, scale: "css" })).toString("base64");
  const { width, data } = await page.evaluate(async (shot) => {
    const bytes = Uint8Array.from(atob(shot), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context?.drawImage(bitmap, 0, 0);
    return { width: bitmap.width, data: [...(context?.getImageData(0, 0, bitmap.width, bitmap.height).data ?? [])] };
  }, shot);
  return {
    /** Of the cells from one column to another. @param {number} from @param {number} to */
    at(from, to) {
      const colours = new Set();
      const [left, right] = [Math.ceil((from * screen.width) / cols) + 1, Math.floor((to * screen.width) / cols) - 1];
      for (let y = 3; y < 12; y++) for (let x = left; x < right; x++) colours.add(data.slice((y * width + x) * 4, (y * width + x) * 4 + 3).join(","));
      return colours;
    },
    /** How much brighter than a dark ground the cells from one column to another are. @param {number} from @param {number} to */
    ink(from, to) {
      let sum = 0;
      const [left, right] = [Math.ceil((from * screen.width) / cols), Math.floor((to * screen.width) / cols)];
      for (let y = 0; y < 17; y++) for (let x = left; x < right; x++) sum += Math.max(0, (data[(y * width + x) * 4] ?? 0) - 17);
      return sum;
    },
  };
}

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
