/**
 * Every window on a session shows the same, cell by cell: one that stayed, one that is loaded again or cut off, a phone, and all of them after
 * the broker was replaced.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { agree, cells } from "./cells.mjs";
import { Network } from "./network.mjs";
import { OwnBroker } from "./own.mjs";
import { eventually } from "./page.mjs";
import { browser, onTerminal, TerminalPage } from "./support.mjs";

const PHONE = { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

/** The session that a page is in. @param {TerminalPage} terminal */
function sessionOf({ page }) {
  return page.evaluate(() => /** @type {string} */ (JSON.parse(sessionStorage.getItem("sandbox-broker.window") ?? "{}").session));
}

/** Presses the button to reconnect, or finds that it was not needed any more. @param {TerminalPage} terminal */
function hurry({ page }) {
  return page.locator("#reconnect").evaluate((button) => /** @type {HTMLButtonElement} */ (button).click());
}

/** Waits for a terminal that is there. @param {TerminalPage} terminal */
function live({ page }) {
  return page.locator('#app[data-phase="live"]').waitFor({ timeout: 60_000 });
}

/** Frames as Ink draws them: three long lines, cursor up, erase, again. */
const INK = String.raw`for i in $(seq 20); do [ $i -gt 1 ] && printf '\033[3A'; for l in 1 2 3; do printf '\033[2K\033[3%dmframe %d line %d %0120d\033[m\n' $l $i $l $i; done; done; echo drawn-$((40+2))`;

/** Text whose width terminals disagree on, each line with a mark at column 40. */
const WIDTHS = ["\u4f60\u597d\u4e16\u754c", "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u200d\u{1f466} family", "\u{1f44d}\u{1f3fd} skin", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e19\u0e49\u0e33", "e\u0301\u0308 two accents", "re\u0301sume\u0301 NFD", "\u{1f1e9}\u{1f1ea} flag", "\u2764\ufe0f heart"];
const PRINT_WIDTHS = `printf '%s\\033[40G#\\n' ${WIDTHS.map((text) => `'${text}'`).join(" ")}; echo wide-$((40+2))`;

/** What is drawn, by which command, until when, and how it is left. */
const PROGRAMS = /** @type {const} */ ([
  { name: "Ink", command: INK, until: /^drawn-42$/m, leave: "" },
  { name: "widths", command: PRINT_WIDTHS, until: /^wide-42$/m, leave: "" },
  { name: "less", command: "less /etc/services", until: /^\/etc\/services$|^:$/m, leave: "q" },
  { name: "vim", command: "vim -u NONE -N +'syntax on' +40 /etc/services", until: /^"\/etc\/services".* \d+L/m, leave: ":q!\n" },
]);

describe("windows on one session", () => {
  /** @type {Network} */
  let network;
  /** @type {OwnBroker} */
  let own;
  before(async () => {
    network = await Network.start();
    own = await OwnBroker.start();
  });
  after(async () => {
    network.stop();
    await own.end("SIGTERM");
    await own.forget();
  });

  for (const flood of [false, true]) {
    test(`see the same cells${flood ? ", after more than the broker holds" : ""}`, async () => {
      const stayed = await TerminalPage.open(browser, { at: own.url });
      await live(stayed);
      await stayed.until(/[$#] *$/);
      const query = { session: await sessionOf(stayed), role: "viewer" };
      const other = await TerminalPage.open(browser, { at: own.url, query, proxy: { server: network.url } });
      const phone = await TerminalPage.open(browser, { ...PHONE, at: own.url, query });
      const all = [stayed, other, phone];
      for (const window of all) await live(window);
      await stayed.page.locator("#terminal .xterm-helper-textarea").focus();
      if (flood) {
        await stayed.enter("seq -f 'line %06.0f of many' 100000");
        await stayed.until(/^line 100000 of many\n[^\n]*[$#]$/m);
      }
      const { cols: wide } = await cells(stayed);
      for (const { name, command, until, leave } of PROGRAMS) {
        await stayed.enter(`clear; ${command}`);
        await stayed.until(until);
        for (const window of [other, phone]) await agree(window, stayed, `${name}, live`);
        await phone.page.reload();
        await live(phone);
        network.cut();
        await live(other);
        for (const window of [other, phone]) await agree(window, stayed, `${name}, loaded again and cut off`);
        // Narrower, and come back to.
        await stayed.page.setViewportSize({ width: 700, height: 500 });
        await eventually("it is narrower", async () => (await cells(stayed)).cols < wide);
        await other.page.reload();
        await live(other);
        for (const window of [other, phone]) await agree(window, stayed, `${name}, resized`);
        await stayed.page.setViewportSize({ width: 1100, height: 680 });
        await eventually("it is as wide as before", async () => (await cells(stayed)).cols === wide);
        // What is typed while less is told of a new size can be lost in less. The last row may be empty.
        if (leave !== "") await eventually("it fills the screen", async () => (await cells(stayed)).screen.at(-2) !== "");
        for (const window of [other, phone]) await agree(window, stayed, `${name}, resized back`);
        await stayed.page.keyboard.type(leave);
        await stayed.until(/[$#] *$/);
      }
      assert.ok(network.carried > 0, "the other window's network is the one that was cut");
      await own.end("SIGKILL");
      await own.again();
      for (const window of all) await hurry(window);
      for (const window of all) await live(window);
      await stayed.enter("echo again-$((40+2))");
      await stayed.until(/^again-42$/m);
      const late = await TerminalPage.open(browser, { at: own.url, query });
      await live(late);
      for (const window of [other, phone, late]) await agree(window, stayed, "another broker");
      await stayed.enter("exit");
      await stayed.page.locator("#ended").waitFor();
      for (const window of [...all, late]) await window.page.context().close();
    });
  }
});

describe("a slow, long line", () => {
  test("costs no time that grows with what was missed", async () => {
    const network = await Network.start();
    network.slow({ bits: 20_000_000, roundTripMs: 150 });
    try {
      const away = await TerminalPage.live(browser, { proxy: { server: network.url } });
      const watcher = await TerminalPage.open(browser, { query: { session: await sessionOf(away), role: "viewer" } });
      await watcher.until(/[$#] *$/);
      await away.enter("echo go-$((40+2)); sleep 2; seq -f '%050.0f' 400000; echo all-of-$((10+10))");
      await away.until(/^go-42$/m);
      network.down();
      await watcher.page.locator("#terminal").getByText("all-of-20").waitFor({ timeout: 60_000 });
      network.up();
      const [carried, began] = [network.carried, Date.now()];
      await hurry(away);
      await live(away);
      await away.page.keyboard.type("echo first-key-$((40+2))\n");
      await away.until(/^first-key-42$/m);
      const bytes = network.carried - carried;
      console.log(`20 MB behind: ${Date.now() - began} ms until the echo, ${bytes} bytes`);
      // What the line carries in two seconds.
      assert.ok(bytes < 5_000_000, `${bytes} bytes came before the echo`);
      await agree(away, watcher, "20 MB behind");
      await watcher.page.context().close();
      await away.page.context().close();
    } finally {
      network.stop();
    }
  });

  onTerminal("draws nothing into a full-screen program", async (terminal) => {
    await terminal.enter("printf '\\033[?1049h'; seq -f '%050.0f' 100000; printf '\\033[2J\\033[Hfull'; read x");
    await terminal.until(/^full$/);
    const late = await TerminalPage.open(browser, { query: { session: await sessionOf(terminal), role: "viewer" } });
    await late.until(/^full$/);
    await agree(late, terminal, "the other screen");
    await late.page.context().close();
    await terminal.page.keyboard.press("Enter");
    await terminal.until(/[$#] *$/);
  });
});
