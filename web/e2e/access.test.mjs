/** Who can use the page: on screens from a small phone to a wall, by the keyboard, and by what axe-core checks of WCAG 2.2 AA. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { FakeBroker } from "./fake.mjs";
import { eventually, launch, TerminalPage } from "./page.mjs";

const AXE = await readFile(fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");
const SESSIONS = [
  { id: "s1", provider: "fake", state: "running", age: 4000, name: "the build", title: "vim notes.md", directory: "/workspace/project", clients: [{ client: "a" }] },
  { id: "0123456789abcdef", provider: "fake", state: "running", age: 90_000, kept_for: 3000, title: "user@sandbox: ~/a/very/long/path/of/a/project", clients: [] },
];
const FILES = {
  entries: [
    { name: "src", kind: "directory" },
    { name: "a-very-long-name-of-a-report-2024-03-final.pdf", kind: "file", size: 123_456, modified: "2024-03-01T00:00:00Z" },
  ],
  total: 2,
};

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {FakeBroker} */
let broker;
before(async () => void (browser = await launch()));
after(() => browser.close());
beforeEach(async () => {
  broker = await FakeBroker.start();
  broker.routes = { "GET /api/sessions": { body: JSON.stringify({ sessions: SESSIONS }) }, "GET /api/sessions/s1/files": { body: '{"roots":[{"path":"/workspace","storage":false}]}' } };
});
afterEach(() => broker.stop());

/** @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(options) {
  const terminal = await TerminalPage.open(browser, { at: broker.url, ...options });
  await terminal.page.route(/files\?path/, (route) => route.fulfill({ json: FILES, headers: { etag: "x" } }));
  const socket = await broker.socket();
  socket.ready();
  socket.write(0, "$ ");
  await terminal.until(/^\$/);
  return { terminal, page: terminal.page, socket };
}

/** Controls that reach out of the window, and whether the page itself scrolls. @param {import("playwright-core").Page} page */
function cutOff(page) {
  return page.evaluate(() => {
    const controls = [...document.querySelectorAll("button, input, select, a, textarea")];
    const out = controls.filter((one) => {
      // What scrolls within its part, or is there for assistive tools alone.
      if (!one.checkVisibility() || one.closest(".unseen, .xterm, #settings, #files-list, #sessions-list")) return false;
      const { left, right, bottom, width } = one.getBoundingClientRect();
      return width > 1 && (left < -0.5 || right > innerWidth + 0.5 || (bottom > innerHeight + 0.5 && one.closest("[popover]") === null));
    });
    return [...out.map((one) => one.id || one.textContent), ...(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [])];
  });
}

/** What axe finds wrong. @param {import("playwright-core").Page} page @returns {Promise<string[]>} */
async function wrong(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations, passes } = await /** @type {any} */ (window).axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], resultTypes: ["violations"] });
    if (passes.length < 10) return ["axe has not looked"];
    return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { target }) => target).join(", ")}`);
  });
}

/** @param {import("playwright-core").Page} page @param {string} act */
async function choose(page, act) {
  await page.locator("#session-button").click();
  await page.locator(`#session-menu [data-act=${act}]`).click();
}

/** Each part of the page that covers another, and how it is opened. @type {Record<string, (page: import("playwright-core").Page) => Promise<unknown>>} */
const PARTS = {
  terminal: async () => {},
  details: (page) => page.locator("#details-button").click(),
  menu: (page) => page.locator("#session-button").click(),
  settings: (page) => page.locator("#settings-button").click(),
  search: (page) => choose(page, "search"),
  sessions: async (page) => {
    await choose(page, "list");
    await page.locator("#sessions-list li").nth(1).waitFor();
  },
  name: (page) => choose(page, "rename"),
  question: (page) => choose(page, "kill"),
  files: async (page) => {
    await page.locator("#files-button").click();
    await page.locator("#files-rows [role=row]").nth(1).waitFor();
  },
};

/** Closes a part again. @param {import("playwright-core").Page} page @param {string} part */
async function close(page, part) {
  if (part === "files") await page.locator("#files-close").click();
  else if (part !== "terminal") await page.keyboard.press("Escape");
  await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
}

describe("the page", () => {
  test("has all its controls in sight on every screen, and gives the keyboard back each time", async () => {
    const { terminal, page } = await open({ viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
    for (const [width, height] of /** @type {const} */ ([
      [320, 568],
      [667, 375],
      [768, 1024],
      [2560, 1440],
    ])) {
      await page.setViewportSize({ width, height });
      for (const [part, show] of Object.entries(PARTS)) {
        await show(page);
        assert.deepEqual(await cutOff(page), [], `${part} at ${width} × ${height}`);
        if (width < 2560) await terminal.picture(`access-${part}-${width}`);
        await close(page, part);
      }
    }
    await terminal.close();
  });

  test("passes axe in every theme, part by part", async () => {
    const { terminal, page, socket } = await open();
    socket.write(2, "\x1b]777;notify;Tests;3 failed\x07\x1b]9;4;1;42\x07");
    await page.locator("#notices li").waitFor();
    await page.locator("#notices").hover();
    /** @type {string[]} */
    const found = [];
    const look = async (/** @type {string} */ part) => {
      for (const theme of ["light", "dark", "contrast-light", "contrast-dark"]) {
        await page.evaluate((theme) => document.documentElement.setAttribute("data-appearance", theme), theme);
        found.push(...(await wrong(page)).map((what) => `${part}, ${theme}: ${what}`));
        if (!theme.startsWith("contrast")) await terminal.picture(`access-${part}-${theme}`);
      }
    };
    for (const [part, show] of Object.entries(PARTS)) {
      await show(page);
      await look(part);
      await close(page, part);
    }
    socket.say({ type: "clients", clients: [{ client: socket.query.get("client"), role: "viewer", cols: 80, rows: 24 }, { client: "other", role: "driver", cols: 80, rows: 24 }] });
    await page.locator("#viewing").waitFor();
    await look("viewing");
    socket.say({ type: "exit", code: 3, offset: 2 });
    socket.close(1000);
    await page.locator("#ended").waitFor();
    await look("ended");
    assert.deepEqual(found, []);
    await terminal.close();
  });

  test("shows a phone that watches a desktop text that it can read, and all of it where it is asked to", async () => {
    const terminal = await TerminalPage.open(browser, { at: broker.url, viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true, query: { session: "s1", role: "viewer" } });
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready({ role: "viewer", size: { cols: 163, rows: 48 } });
    socket.write(0, `${"x".repeat(160)}END${"\r\nline".repeat(40)}`);
    await terminal.until(/line$/);
    const look = () => page.locator("#terminal .xterm").evaluate((shown) => ({ row: (shown.querySelector(".xterm-screen")?.clientHeight ?? 0) / 48, wide: shown.scrollWidth - shown.clientWidth }));
    const read = await look();
    assert.ok(read.row >= 10 && read.wide > 200, JSON.stringify(read));
    await page.locator("#terminal .xterm").evaluate((shown) => shown.scrollTo(9999, 0));
    assert.ok(await page.locator("#terminal .xterm").evaluate((shown) => shown.scrollLeft > 200), "it scrolls sideways");
    assert.deepEqual(await cutOff(page), []);
    await page.getByRole("button", { name: "Fit" }).click();
    const whole = await look();
    assert.ok(whole.wide <= 1 && whole.row < read.row, JSON.stringify(whole));
    await page.getByRole("button", { name: "Fit" }).click();
    assert.deepEqual(await look(), read);
    await terminal.close();
  });

  test("keeps the cursor of a larger terminal in sight on a phone, until the person looks elsewhere", async () => {
    const terminal = await TerminalPage.open(browser, { at: broker.url, viewport: { width: 390, height: 520 }, hasTouch: true, isMobile: true, query: { session: "s1", role: "viewer" } });
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready({ role: "viewer", size: { cols: 176, rows: 90 } });
    let sent = 0;
    const print = (/** @type {string} */ text) => {
      socket.write(sent, text);
      sent += text.length;
      return eventually("it is parsed", () => socket.acknowledged >= sent);
    };
    /** Whether the row with this text lies within what is seen of the terminal. @param {string} text */
    const sees = (text) =>
      page.evaluate((text) => {
        const row = [...document.querySelectorAll("#terminal .xterm-rows > div")].find((row) => row.textContent?.includes(text))?.getBoundingClientRect();
        const shown = document.querySelector("#terminal .xterm")?.getBoundingClientRect();
        return row !== undefined && shown !== undefined && row.top >= shown.top - 1 && row.bottom <= shown.bottom + 1;
      }, text);
    await print("prompt$ ");
    await eventually("a prompt in the upper half is seen", () => sees("prompt$"));
    await print(`${"\r\nline".repeat(80)}\r\nbelow$ `);
    await eventually("and one in the lower half", () => sees("below$"));
    await page.setViewportSize({ width: 844, height: 390 });
    await eventually("and where the phone is turned", () => sees("below$"));
    // The person scrolls to the top.
    await page.locator("#terminal .xterm").evaluate((shown) => shown.scrollTo(0, 0));
    await page.getByRole("button", { name: "To the end" }).waitFor();
    await print("more");
    assert.ok(await sees("prompt$"), "what the person looks at stays");
    await page.getByRole("button", { name: "To the end" }).click();
    await eventually("the cursor is back", () => sees("below$"));
    await terminal.close();
  });
});
