/**
 * A page on a terminal, as a person uses it, and what can be read on it. Waits for what is seen, never for a time. Knows no broker but the
 * address that it opens.
 */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { chromium, firefox } from "playwright-core";
import { cells } from "./cells.mjs";

/** How long anything may take to be seen, in milliseconds: much more than a busy machine needs. */
export const PATIENCE_MS = 15_000;
/** The same for the first session of a fresh broker, which may compile its plugin. */
const FIRST_MS = 90_000;
const OUT = new URL("out/", import.meta.url);

/** Whether the browser is Firefox, driven by the protocol that all browsers share, and not Chromium with its own. */
export const inFirefox = process.env["BROWSER"] === "firefox";

/** Why a test is skipped in Firefox: it needs what only Chromium's protocol can do, such as fingers, input methods and a slow network. */
export const onlyChromium = inFirefox && "only Chromium can be driven so";

/**
 * As Chromium is under Playwright: the clipboard is granted, which Firefox does for all pages or none, and a test's proxy is used for this
 * machine as well.
 */
const FIREFOX = { "dom.events.testing.asyncClipboard": true, "network.proxy.allow_hijacking_localhost": true };

/** A browser, to be closed by whoever asked for it. `name`: a host that it takes for this machine. @param {string} [name] */
export function launch(name) {
  if (inFirefox) {
    const firefoxUserPrefs = name === undefined ? FIREFOX : { ...FIREFOX, "network.dns.localDomains": name };
    return firefox.launch({ channel: "moz-firefox", executablePath: process.env["FIREFOX"] || "/usr/bin/firefox-esr", firefoxUserPrefs });
  }
  const args = ["--no-sandbox", ...(name === undefined ? [] : [`--host-resolver-rules=MAP ${name} 127.0.0.1`])];
  return chromium.launch({ executablePath: process.env["CHROMIUM"] || "/usr/bin/chromium", args });
}

/**
 * Waits until `look` gives something, and gives that.
 * @template T
 * @param {string} what
 * @param {() => T | undefined | false | Promise<T | undefined | false>} look
 * @returns {Promise<T>}
 */
export async function eventually(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) assert.fail(`never happened: ${what}`);
    await new Promise((later) => setImmediate(later));
  }
}

/**
 * Pastes text and files into the terminal or drops them on it, as the browser tells of it.
 * @param {import("playwright-core").Page} page
 * @param {{ how?: "paste" | "drop", text?: string, files?: Record<string, string> }} what `files`: each with its content
 */
export function give(page, { how = "paste", text, files = {} }) {
  return page.locator("#terminal .xterm-helper-textarea").evaluate(
    (area, { how, text, files }) => {
      const data = new DataTransfer();
      if (text !== undefined) data.setData("text/plain", text);
      for (const [name, content] of Object.entries(files)) data.items.add(new File([content], name));
      const event = how === "paste" ? new ClipboardEvent("paste", { bubbles: true, cancelable: true }) : new DragEvent("drop", { bubbles: true, cancelable: true });
      // Firefox lets nobody say in the constructor what is pasted.
      Object.defineProperty(event, how === "paste" ? "clipboardData" : "dataTransfer", { value: data });
      area.dispatchEvent(event);
    },
    { how, text, files },
  );
}

/** A terminal page in its own browser context, as a person uses it. */
export class TerminalPage {
  /**
   * @param {import("playwright-core").Page} page
   * @param {string[]} complaints
   */
  constructor(page, complaints) {
    this.page = page;
    /** Errors of the page's scripts and of its console, refused resources and broken content policies among them. */
    this.complaints = complaints;
  }

  /**
   * Opens the page and does not wait for its terminal. `renderer`: `dom` has the terminal's text where a test can read it. `at`: the broker's
   * address, if not the one under test; `query`: further members of the page's.
   * @param {import("playwright-core").Browser} browser
   * @param {import("playwright-core").BrowserContextOptions & { renderer?: "dom" | "auto", at?: string, query?: Record<string, string> }} [options]
   */
  static async open(browser, { renderer = "dom", at = process.env["BROKER_URL"], query = {}, ...options } = {}) {
    if (inFirefox) delete options.permissions;
    const context = await browser.newContext({ viewport: { width: 1100, height: 680 }, ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    /** @type {string[]} */
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const url = new URL(`${at}/`);
    for (const [name, value] of Object.entries({ ...(renderer === "dom" ? { renderer } : {}), ...query })) url.searchParams.set(name, value);
    await page.goto(url.href);
    return new TerminalPage(page, complaints);
  }

  /**
   * Opens the page and waits for the shell's prompt.
   * @param {import("playwright-core").Browser} browser
   * @param {import("playwright-core").BrowserContextOptions & { at?: string, query?: Record<string, string> }} [options]
   */
  static async live(browser, options) {
    const terminal = await TerminalPage.open(browser, options);
    await terminal.untilLive();
    return terminal;
  }

  /** Waits for the shell's prompt. */
  async untilLive(first = false) {
    await this.page.locator('#app[data-phase="live"]').waitFor(first ? { timeout: FIRST_MS } : {});
    await this.until(/[$#] *$/);
  }

  /** The lines on the screen, joined, without the empty ones below. */
  async text() {
    const lines = await this.page.locator("#terminal .xterm-rows > div").allTextContents();
    return tidy(lines);
  }

  /**
   * Waits until the screen's text matches, and gives the match.
   * @param {RegExp} pattern
   */
  async until(pattern) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const text = await this.text();
      const match = pattern.exec(text);
      if (match) return match;
      if (Date.now() > deadline) assert.fail(`the screen never matched ${pattern}; it shows:\n${text}`);
      // The next frame that the browser draws.
      await this.page.evaluate(() => new Promise((drawn) => requestAnimationFrame(drawn)));
    }
  }

  /** The numbers of all lines `n 1`, `n 2`, … on the screen and in the history above it, from the first one on. */
  async numbers() {
    await this.page.locator("#terminal .xterm-helper-textarea").focus();
    /** @type {number[]} */
    let all = [];
    for (;;) {
      const text = await this.text();
      const shown = [...text.matchAll(/^n (\d+)$/gm)].map(([, n]) => Number(n));
      // Pages of the history overlap, or touch.
      const known = all[0] === undefined ? -1 : shown.indexOf(all[0]);
      const above = known === -1 ? shown : shown.slice(0, known);
      const begun = all.length > 0;
      all = [...above, ...all];
      if (all[0] === 1 || (begun && above.length === 0)) return all;
      await this.page.keyboard.press("Shift+PageUp");
      await eventually("the history moves", async () => (await this.text()) !== text);
    }
  }

  /**
   * Selects with the mouse in the first row of the screen: columns from one to another, the last excluded. Not by a double click, which is
   * one only where the machine is quick.
   * @param {number} from
   * @param {number} to
   */
  async select(from, to) {
    const screen = await this.page.locator("#terminal .xterm-screen").boundingBox();
    assert.ok(screen, "the terminal is there");
    const { cols } = await cells(this);
    const x = (/** @type {number} */ col) => screen.x + (screen.width * col) / cols + 1;
    await this.page.mouse.move(x(from), screen.y + 8);
    await this.page.mouse.down();
    await this.page.mouse.move(x(to), screen.y + 8);
    await this.page.mouse.up();
  }

  /**
   * Types a line into the terminal, as keys.
   * @param {string} line
   */
  async enter(line) {
    await this.page.keyboard.type(line);
    await this.page.keyboard.press("Enter");
  }

  /**
   * Saves what is seen as `e2e/out/NAME.png`.
   * @param {string} name
   */
  async picture(name) {
    await mkdir(OUT, { recursive: true });
    await this.page.screenshot({ path: new URL(`${name}.png`, OUT).pathname, animations: "disabled" });
  }

  async close() {
    await this.page.context().close();
    assert.deepEqual(this.complaints, [], "the page complained");
  }
}

/** @param {string[]} lines */
function tidy(lines) {
  return lines.map((line) => line.replaceAll("\u00a0", " ").trimEnd()).join("\n").trimEnd();
}
