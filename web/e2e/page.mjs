/**
 * A page on a terminal, as a person uses it, and what can be read on it. Waits for what is seen, never for a time. Knows no broker but the
 * address that it opens.
 */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";

/** How long anything may take to be seen, in milliseconds: much more than a busy machine needs. */
export const PATIENCE_MS = 15_000;
/** The same for the first session of a fresh broker, which may compile its plugin. */
const FIRST_MS = 90_000;
const OUT = new URL("out/", import.meta.url);

/** A browser, to be closed by whoever asked for it. @param {string[]} args */
export function launch(...args) {
  return chromium.launch({ executablePath: process.env["CHROMIUM"] || "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
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
