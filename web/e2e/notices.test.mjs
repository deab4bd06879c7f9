/** Notices and the search in a real browser: what programs tell stays until somebody has seen it, and what went by is found. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { eventually, launch, onlyChromium, TerminalPage } from "./page.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {FakeBroker} */
let broker;
/** @type {TerminalPage} */
let terminal;
/** Where the output goes on. */
let offset = 0;
before(async () => void (browser = await launch()));
after(() => browser.close());
beforeEach(async () => {
  broker = await FakeBroker.start();
  offset = 0;
});
afterEach(async () => {
  await terminal.close();
  broker.stop();
});

/** @param {Record<string, unknown>} [more] of `ready` @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(more, options) {
  terminal = await TerminalPage.open(browser, { at: broker.url, ...options });
  (await broker.socket()).ready(more);
  await print("$ ");
}

/** @param {string} text */
async function print(text) {
  const [socket, bytes] = [await broker.socket(), Buffer.from(text)];
  socket.write(offset, bytes);
  offset += bytes.length;
  await eventually("all of it is parsed", () => socket.acknowledged >= offset);
}

/** Whether anybody looks at the page: the browser under test says yes for every page, so the page is told. @param {boolean} on */
async function look(on) {
  await terminal.page.evaluate((on) => {
    document.hasFocus = () => on;
    window.dispatchEvent(new Event(on ? "focus" : "blur"));
  }, on);
}

const notices = () => terminal.page.locator("#notices li > div").allTextContents();
const shows = (/** @type {RegExp} */ words) => eventually(`a notice ${words}`, async () => (await notices()).some((text) => words.test(text)));

describe("what a program tells", () => {
  test("stays, with a mark that no prompt takes away, until somebody looks", async () => {
    await open();
    await look(false);
    await print("\x07\x1b]9;Build done\x07\x1b]777;notify;Tests;3 failed\x1b\\\x1b]99;i=1:d=0;Deploy\x1b\\\x1b]99;i=1:p=body;is live\x1b\\");
    await print("\x1b]0;~/project\x07$ ");
    for (const words of [/The terminal rang/, /Build done/, /Tests.*3 failed/, /Deploy.*is live/]) await shows(words);
    assert.match(await terminal.page.title(), /^🔔 ~\/project/);
    await terminal.picture("notices");
    await print("\x1b]99;i=1:p=close;\x1b\\");
    await eventually("the program takes one back", async () => (await notices()).length === 3);
    await look(true);
    await eventually("the mark goes", async () => (await terminal.page.title()).startsWith("~/project"));
    assert.ok((await notices()).length > 0, "there is time to read");
    await terminal.page.getByRole("button", { name: "Got it: Build done" }).click();
    await eventually("one is taken away by hand", async () => !(await notices()).some((text) => /Build done/.test(text)));
    await terminal.page.mouse.move(10, 300);
    await terminal.page.locator("#notices").waitFor({ state: "hidden" });
  });

  test("is text that cannot mislead, and a flood of it is four notices", async () => {
    await open();
    await look(false);
    await print(`\x1b]777;notify;gnp\u202e.exe;<img src=x onerror=alert(1)>${"x".repeat(3000)}\x07`);
    await shows(/^gnp\.exe<img src=x onerror=alert\(1\)>x+…/);
    await print(Array.from({ length: 2000 }, (_, n) => `\x1b]9;flood ${n}\x07`).join(""));
    await shows(/flood 1999/);
    assert.equal((await notices()).length, 4);
    await print("\x1b]9;same\x07".repeat(50));
    await shows(/same.*50 times/);
  });

  test("by the thousand holds up neither the output nor the page, and the last of it counts", { skip: onlyChromium }, async () => {
    await open(undefined, { permissions: ["clipboard-read", "clipboard-write"] });
    const { page } = terminal;
    await page.evaluate(() => {
      const told = /** @type {any} */ (window);
      told.drawn = told.copied = 0;
      new MutationObserver((changes) => (told.drawn += changes.length)).observe(/** @type {Node} */ (document.querySelector("title")), { childList: true });
      const write = navigator.clipboard.writeText.bind(navigator.clipboard);
      navigator.clipboard.writeText = (text) => (told.copied++, write(text));
    });
    const [many, began] = [5000, Date.now()];
    const copied = (/** @type {number} */ n) => Buffer.from(`text ${n}`).toString("base64");
    await print(Array.from({ length: many }, (_, n) => `\x1b]0;title ${n}\x07\x1b]9;4;1;${n % 90}\x07\x1b]52;c;${copied(n)}\x07`).join(""));
    await eventually("the last title", async () => (await page.title()).includes(`title ${many - 1}`));
    await eventually("the last copy", () => page.evaluate((text) => navigator.clipboard.readText().then((held) => held === text), `text ${many - 1}`));
    const { drawn, copies } = await page.evaluate(() => ({ drawn: /** @type {any} */ (window).drawn, copies: /** @type {any} */ (window).copied }));
    const took = Date.now() - began;
    assert.ok(drawn <= took / 50 + 2 && copies <= took / 100 + 2, `${drawn} titles and ${copies} copies in ${took} ms`);
  });

  test("its title and the address of its links cannot mislead", async () => {
    await open();
    const { page } = terminal;
    await print("\x1b]0;a\u202egnp\u2066.sh\x07");
    await eventually("the title", async () => (await page.title()).startsWith("agnp.sh · "));
    assert.equal(await page.locator("#title").textContent(), "agnp.sh");
    await print("\x1b[H\x1b]8;;https://b\u0430nk.example/\u202e/moc.doog\x1b\\a link to somewhere\x1b]8;;\x1b\\");
    await page.locator("#terminal .xterm-screen").hover({ position: { x: 30, y: 5 } });
    await page.locator("#link", { hasText: "https://xn--bnk-6cd.example/%E2%80%AE/moc.doog" }).waitFor();
  });

  test("leaves a phone its keys, and folds away what is earlier", { skip: onlyChromium }, async () => {
    await open(undefined, { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true });
    const { page } = terminal;
    await look(false);
    await print(Array.from({ length: 6 }, (_, n) => `\x1b]777;notify;Step ${n};${"a long line of words ".repeat(6)}\x07`).join(""));
    await shows(/Step 5/);
    assert.equal((await notices()).length, 1);
    await page.getByRole("button", { name: "+5 earlier" }).click();
    await shows(/Step 0/);
    assert.equal((await notices()).length, 6);
    await terminal.picture("notices-phone");
    const [board, keys] = [await page.locator("#notices").boundingBox(), await page.locator("#keys").boundingBox()];
    assert.ok(board && keys && board.y + board.height <= keys.y, "the keys are free");
    await page.locator("#keys [data-key=ctrl]").click();
    await page.getByRole("button", { name: "Dismiss all" }).click();
    await page.locator("#notices").waitFor({ state: "hidden" });
  });

  test("in what was printed before, or on a screen that is drawn again, is no news", async () => {
    const old = "\x07\x1b]9;old\x07\x1b]9;4;1;50\x07";
    await open({ live: old.length + 2, offset: 0 });
    await print(`${old}$ `);
    await look(false);
    await print("\x1b]9;new\x07");
    await shows(/new/);
    assert.equal((await notices()).length, 1);
    assert.doesNotMatch(await terminal.page.title(), /50/);
  });

  test("is told outside the page where the person allowed it, and nobody is asked by itself", async () => {
    await open(undefined, {});
    const { page } = terminal;
    // What the system would show.
    await page.evaluate(() => {
      const told = /** @type {any} */ (window);
      told.outside = [];
      told.asked = 0;
      let permission = "default";
      told.Notification = class extends EventTarget {
        /** @param {string} title @param {{ body: string }} options */
        constructor(title, { body }) {
          super();
          told.outside.push(`${title}: ${body}`);
        }
        close() {}
        static get permission() {
          return permission;
        }
        static requestPermission() {
          told.asked++;
          permission = "granted";
          return Promise.resolve(permission);
        }
      };
    });
    const outside = () => page.evaluate(() => /** @type {any} */ (window).outside);
    const asked = () => page.evaluate(() => /** @type {any} */ (window).asked);
    await look(false);
    await print("\x1b]9;first\x07");
    await shows(/first/);
    assert.deepEqual([await outside(), await asked()], [[], 0]);
    await page.getByRole("button", { name: "Notify me outside this page" }).click();
    await eventually("the person is asked", async () => (await asked()) === 1);
    await print("\x1b]777;notify;Tests;passed\x07");
    await eventually("it is told", async () => (await outside()).length === 1);
    await print(Array.from({ length: 100 }, (_, n) => `\x1b]9;flood ${n}\x07`).join(""));
    await shows(/flood 99/);
    assert.deepEqual(await outside(), ["Tests: passed"], "one in five seconds");
    await look(true);
    await print("\x1b]9;seen\x07");
    await shows(/seen/);
    assert.equal((await outside()).length, 1, "who looks is told in the page");
  });

  test("of its progress is in the bar and in the tab", async () => {
    await open();
    await print("\x1b]9;4;1;42\x07");
    await eventually("the tab says it", async () => /^42 % · /.test(await terminal.page.title()));
    assert.equal(await terminal.page.getByRole("progressbar", { name: "Progress of the program" }).getAttribute("value"), "42");
    await print("\x1b]9;4;3\x07");
    await terminal.page.locator("#progress:indeterminate").waitFor();
    await print("\x1b]9;4;0\x07");
    await terminal.page.locator("#progress").waitFor({ state: "hidden" });
    assert.doesNotMatch(await terminal.page.title(), /%|…/);
  });
});

describe("the search", () => {
  test("finds what has gone by, counts it, and gives the keyboard back", async () => {
    await open();
    const { page } = terminal;
    await print(Array.from({ length: 300 }, (_, n) => `\r\nline ${n}: ${n % 100 === 50 ? "Needle" : n % 100 === 51 ? "needle" : "hay"}`).join("") + "\r\n$ ");
    await page.keyboard.press("Control+Shift+F");
    await page.locator("#search-field:focus").waitFor();
    await page.keyboard.type("needle");
    const count = page.locator("#search-count");
    await count.getByText("6 of 6").waitFor();
    await terminal.until(/^line 251: needle$/m);
    await page.keyboard.press("Shift+Enter");
    await count.getByText("5 of 6").waitFor();
    await page.keyboard.press("Shift+Enter");
    await count.getByText("4 of 6").waitFor();
    await terminal.until(/^line 151: needle$/m);
    await page.keyboard.press("F3");
    await page.keyboard.press("Enter");
    await count.getByText("6 of 6").waitFor();
    await page.getByRole("button", { name: "Match case" }).click();
    await count.getByText("3 of 3").waitFor();
    await page.getByRole("button", { name: "Regular expression" }).click();
    await page.locator("#search-field").fill("line \\d+: N[e]+dle$");
    await count.getByText("3 of 3").waitFor();
    await terminal.picture("search");
    await page.locator("#search-field").fill("(");
    await count.getByText("Not a regular expression").waitFor();
    await page.locator("#search-field").fill("nowhere");
    await count.getByText("No results").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#search").waitFor({ state: "hidden" });
    await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
    const socket = await broker.socket();
    assert.equal(socket.typed, "", "the program heard nothing of it");
  });

  test("leaves the files their chord, and both go by the letter", async () => {
    broker.routes = { "GET /api/sessions/s1/files": { body: '{"roots":[]}' } };
    await open();
    const { page } = terminal;
    // Where a Dvorak layout has F and E.
    const chord = (/** @type {string} */ key, /** @type {string} */ code) =>
      page.locator(".xterm-helper-textarea").evaluate((area, init) => area.dispatchEvent(new KeyboardEvent("keydown", { ...init, ctrlKey: true, shiftKey: true, bubbles: true, cancelable: true })), { key, code });
    await chord("F", "KeyY");
    await page.locator("#search").waitFor();
    await page.keyboard.press("Escape");
    await chord("E", "KeyD");
    await page.locator("#files").waitFor();
  });
});
