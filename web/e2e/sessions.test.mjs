/** Sessions that outlive their connections, on a real broker: reloads, broken networks, several windows, what an old output may not do. */
import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, describe, test } from "node:test";
import { Network } from "./network.mjs";
import { OwnBroker } from "./own.mjs";
import { eventually } from "./page.mjs";
import { browser, brokerUrl, onTerminal, TerminalPage } from "./support.mjs";

const PHONE = { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

/** A shell's loop that prints `n 1` to `n COUNT`, slowly enough to be interrupted. */
const counting = (/** @type {number} */ count) => `i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo "n $i"; sleep 0.002; done; echo counted-$((i+1))`;

/** The session that a page is in. @param {TerminalPage} terminal */
function sessionOf({ page }) {
  return page.evaluate(() => /** @type {string} */ (JSON.parse(sessionStorage.getItem("sandbox-broker.window") ?? "{}").session));
}

/** Presses the button to reconnect, or finds that it was not needed any more. @param {TerminalPage} terminal */
function hurry({ page }) {
  return page.locator("#reconnect").evaluate((button) => /** @type {HTMLButtonElement} */ (button).click());
}

/** Waits until a page shows that number, or a later one. @param {TerminalPage} terminal @param {number} number */
function reaches(terminal, number) {
  return eventually(`line ${number}`, async () => [...(await terminal.text()).matchAll(/^n (\d+)$/gm)].some(([, n]) => Number(n) >= number));
}

/** @param {TerminalPage} terminal @param {number} count */
async function hasCounted(terminal, count) {
  await terminal.until(new RegExp(`^counted-${count + 1}$`, "m"));
  assert.deepEqual(
    await terminal.numbers(),
    Array.from({ length: count }, (_, n) => n + 1),
    "no line is lost, doubled or out of place",
  );
}

describe("a session", () => {
  onTerminal("lives through a reload of its page: shell, screen and history, and nobody is asked", async (terminal) => {
    const { page } = terminal;
    let asked = 0;
    page.on("dialog", (dialog) => {
      asked++;
      void dialog.accept();
    });
    await terminal.enter("mine=$((40+2)); " + counting(120));
    await terminal.until(/^counted-121$/m);
    const [session, url] = [await sessionOf(terminal), page.url()];
    await page.reload();
    await terminal.until(/^counted-121$/m);
    await terminal.enter('echo "kept-$mine"');
    await terminal.until(/^kept-42$/m);
    assert.equal(await sessionOf(terminal), session);
    assert.equal(page.url(), url);
    assert.equal(asked, 0);
    await hasCounted(terminal, 120);
  });

  onTerminal("draws full-screen programs right after a reload, and gives the screen before them back", async (terminal) => {
    await terminal.enter("echo before-$((40+2))");
    await terminal.until(/^before-42$/m);
    await terminal.enter("less /etc/passwd");
    await terminal.until(/\(END\)$/);
    const drawn = await terminal.text();
    await terminal.page.reload();
    await terminal.until(/\(END\)$/);
    assert.equal(await terminal.text(), drawn);
    await terminal.page.keyboard.press("q");
    await terminal.until(/^before-42$/m);
  });

  onTerminal("is drawn as it is, however much it wrote before, to a page that comes late", async (terminal) => {
    await terminal.enter("seq 1 600000; echo before-$((40+2))");
    await terminal.until(/^600000\nbefore-42$/m);
    await terminal.enter("printf '\\033]2;named\\007'; less /etc/passwd");
    await terminal.until(/\(END\)$/);
    const drawn = await terminal.text();
    const other = await TerminalPage.open(browser, { query: { session: await sessionOf(terminal) } });
    for (const window of [terminal, other]) {
      if (window === terminal) await window.page.reload();
      await window.until(/\(END\)$/);
      assert.equal(await window.text(), drawn);
      await window.page.locator("#title", { hasText: "named" }).waitFor();
    }
    await terminal.picture("late");
    await terminal.page.locator("#terminal .xterm-helper-textarea").focus();
    await terminal.page.keyboard.press("q");
    for (const window of [terminal, other]) await window.until(/^600000\nbefore-42\n[^\n]*$/m);
    await other.close();
  });

  onTerminal("ends where the person ends it, and a reload begins a new one", async (terminal) => {
    const { page } = terminal;
    const session = await sessionOf(terminal);
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "End session…" }).click();
    await page.getByRole("button", { name: "End it", exact: true }).click();
    await page.locator("#ended").waitFor();
    await page.reload();
    await terminal.untilLive();
    assert.notEqual(await sessionOf(terminal), session);
  });

  onTerminal("is left and come back to", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("mine=$((40+2))");
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "Detach" }).click();
    await page.locator("#ended", { hasText: "The session goes on without this window" }).waitFor();
    await page.locator("#attach-again:not([aria-disabled])").click();
    await page.locator('#app[data-phase="live"]').waitFor();
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await terminal.enter('echo "kept-$mine"');
    await terminal.until(/^kept-42$/m);
  });

  onTerminal("is listed, and ended from the list", async (terminal) => {
    const other = await TerminalPage.live(browser);
    const session = await sessionOf(other);
    const { page } = terminal;
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "My sessions…" }).click();
    const row = page.locator("#sessions-list li", { has: page.locator(`[title="${session}"]`) });
    await row.waitFor();
    await page.locator("#sessions-list", { hasText: "this window" }).waitFor();
    await row.getByRole("button", { name: /^End/ }).click();
    await page.getByRole("button", { name: "End it", exact: true }).click();
    await row.waitFor({ state: "detached" });
    await other.page.locator("#ended").waitFor();
    await other.close();
  });

  onTerminal("is called what its person calls it: in the bar, the tab and the list, after a reload, and nothing that misleads", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("PS1='$ '; printf '\\033]0;vim notes\\007'");
    await page.locator("#title", { hasText: /^vim notes$/ }).waitFor();
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "Rename…" }).click();
    const field = page.getByRole("textbox", { name: "Name" });
    await field.fill("gnp\u202e.exe");
    await page.keyboard.press("Enter");
    await page.getByText("A name is one line of text.").waitFor();
    await field.fill("the build");
    await page.keyboard.press("Enter");
    await page.locator("#title", { hasText: /^the build · vim notes$/ }).waitFor();
    assert.match(await page.title(), /^the build · vim notes · /);
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await page.reload();
    await page.locator("#title", { hasText: /^the build/ }).waitFor();

    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "My sessions…" }).click();
    const row = page.locator(`#sessions-list li[data-session="${await sessionOf(terminal)}"]`);
    await row.getByText("the build").waitFor();
    assert.match((await row.textContent()) ?? "", /this window.*local · running · \d+ (s|min) · 1 window/);
    assert.equal(await row.getByRole("button", { name: /^Attach/ }).count(), 0, "one is in it already");
    await terminal.picture("list");
    await row.getByRole("button", { name: "Rename the build" }).click();
    await field.fill("");
    await page.keyboard.press("Enter");
    await row.getByText("the build").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await page.locator("#title", { hasText: "the build" }).waitFor({ state: "detached" });
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
  });

  onTerminal("that nobody is in says how long it is still kept", async (terminal) => {
    const other = await TerminalPage.live(browser);
    const session = await sessionOf(other);
    await other.page.context().close();
    await terminal.page.locator("#session-button").click();
    await terminal.page.getByRole("menuitem", { name: "My sessions…" }).click();
    const row = terminal.page.locator(`#sessions-list li[data-session="${session}"]`);
    await row.getByText(/no window, kept \d+ (s|min|h) more/).waitFor();
    await row.getByRole("button", { name: /^Attach/ }).click();
    await eventually("this window is in it", async () => (await sessionOf(terminal)) === session);
  });

  onTerminal("has a recording that plays beside it and types nothing", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("echo recorded-$((40+2)); printf '\\033[c\\033[6n'; sleep 1; clear");
    await terminal.until(/^[^\n]*[$#][^\n]*$/);
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "Play recording" }).click();
    await page.locator("#player-speed").selectOption("2");
    await page.locator("#player-screen .xterm-rows").getByText("recorded-42").waitFor();
    await terminal.picture("recording");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.keyboard.press("Escape").then(async () => {
        await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
        await page.locator("#session-button").click();
        await page.getByRole("menuitem", { name: "Download recording" }).click();
      }),
    ]);
    assert.match(download.suggestedFilename(), /\.cast$/);
  });
});

describe("a network that breaks", () => {
  /** @type {Network} */
  let network;
  beforeEach(async () => void (network = await Network.start()));
  afterEach(() => network.stop());
  const through = () => ({ proxy: { server: network.url } });

  test("costs no byte: the terminal goes on where it was, and the banner comes and goes", async () => {
    const terminal = await TerminalPage.live(browser, through());
    const { page } = terminal;
    await terminal.enter(counting(1500));
    for (const at of [100, 400, 700]) {
      await reaches(terminal, at);
      network.cut();
    }
    network.down();
    await page.locator("#away").waitFor();
    assert.match(await terminal.text(), /^n \d+$/m, "the screen stays");
    await terminal.picture("network-lost");
    network.up();
    await hurry(terminal);
    await page.locator("#away").waitFor({ state: "hidden" });
    await hasCounted(terminal, 1500);
    await page.context().close();
  });

  test("that goes silent is noticed when the browser says that it is back", async () => {
    const terminal = await TerminalPage.live(browser, through());
    const { page } = terminal;
    await terminal.enter("echo $((40+2))");
    await terminal.until(/^42$/m);
    network.freeze();
    await page.context().setOffline(true);
    await page.locator("#notice", { hasText: "offline" }).waitFor();
    await page.context().setOffline(false);
    await page.locator('#app[data-phase="live"]').waitFor();
    await terminal.enter("echo back-$((40+2))");
    await terminal.until(/^back-42$/m);
    await page.context().close();
  });
});

describe("several windows on one session", () => {
  /** @type {Network} */
  let network;
  before(async () => void (network = await Network.start()));
  after(() => network.stop());

  test("see the same, one of them types, a phone watches, and one that was cut off catches up", async () => {
    const first = await TerminalPage.live(browser);
    const query = { session: await sessionOf(first) };
    const second = await TerminalPage.open(browser, { query, proxy: { server: network.url } });
    await second.page.locator('#app[data-phase="live"]').waitFor();
    // Who comes takes nothing.
    await second.page.locator("#viewing", { hasText: "Control is in another window" }).waitFor();
    await second.page.locator("#take-control").click();
    await first.page.locator("#viewing", { hasText: "Control is in another window" }).waitFor();
    const phone = await TerminalPage.open(browser, { ...PHONE, query: { ...query, role: "viewer" } });
    await phone.page.locator("#viewing", { hasText: "You are watching" }).waitFor();
    for (const { page } of [first, second, phone]) await page.locator("#windows", { hasText: "3 windows" }).waitFor({ state: "attached" });

    // The second one types.
    await second.page.locator("#terminal .xterm-helper-textarea").focus();
    await second.enter('echo "size=$(stty size)"');
    const [, rows, cols] = await second.until(/^size=(\d+) (\d+)$/m);
    for (const window of [first, phone]) {
      await window.until(/^size=\d+ \d+$/m);
      assert.equal(await window.page.locator("#terminal .xterm-rows > div").count(), Number(rows));
    }
    assert.ok(Number(cols) > 80);

    // The others do not.
    for (const window of [first, phone]) {
      await window.page.locator("#terminal .xterm-helper-textarea").focus();
      await window.page.keyboard.type("echo intruder");
      await window.page.locator(window === phone ? "#notice" : "#offer", { hasText: window === phone ? "only watches" : "nothing was typed" }).waitFor();
    }

    await second.enter(counting(1500));
    await reaches(second, 60);
    network.down();
    await second.page.locator('#app[data-phase="away"]').waitFor();
    await reaches(first, 500);
    network.up();
    await hurry(second);
    for (const window of [first, second, phone]) await hasCounted(window, 1500);
    for (const [name, window] of Object.entries({ first, second, phone })) await window.picture(`shared-${name}`);
    for (const window of [first, second, phone]) assert.doesNotMatch(await window.text(), /intruder/);

    // Control is taken back, and the size with it.
    await first.page.setViewportSize({ width: 800, height: 500 });
    await first.page.locator("#take-control").click();
    await second.page.locator("#viewing").waitFor();
    await first.page.locator("#viewing").waitFor({ state: "hidden" });
    assert.equal(await first.page.locator("#notice").isVisible(), false, "it does not only watch any more");
    await first.enter('echo "now=$(stty size)"');
    const [, fewer] = await first.until(/^now=(\d+) \d+$/m);
    assert.ok(Number(fewer) < Number(rows));
    await phone.page.locator("#terminal .xterm-rows > div").nth(Number(fewer)).waitFor({ state: "detached" });

    // Closing the one that types gives control to the other that may.
    await first.page.goto("about:blank");
    await second.page.locator("#viewing").waitFor({ state: "hidden" });
    await first.page.context().close();
    await second.page.context().close();
    await phone.page.context().close();
  });

  test("whoever has a copied viewer link watches, and is offered nothing that is not theirs", async () => {
    const own = await TerminalPage.live(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    await own.page.locator("#session-button").click();
    await own.page.getByRole("menuitem", { name: "Copy viewer link" }).click();
    await own.page.locator("#notice", { hasText: "can watch with it" }).waitFor();
    const { searchParams } = new URL(await own.page.evaluate(() => navigator.clipboard.readText()));
    assert.equal(searchParams.get("invitation")?.length, 43);

    const guest = await TerminalPage.open(browser, { query: Object.fromEntries(searchParams) });
    await guest.page.locator("#viewing", { hasText: "You are watching" }).waitFor();
    await guest.page.reload();
    await guest.page.locator("#viewing", { hasText: "You are watching" }).waitFor();
    await own.enter("echo for-$((40+2))");
    await guest.until(/^for-42$/m);
    await own.page.locator("#details-button").click();
    await own.page.locator("#people", { hasText: "Guest: somebody" }).waitFor();
    await own.page.keyboard.press("Escape");
    await guest.page.locator("#files-button").waitFor({ state: "hidden" });
    await guest.page.locator("#session-button").click();
    const offered = await guest.page.locator("#session-menu [role=menuitem]:visible").allTextContents();
    assert.deepEqual(offered, ["Copy viewer link", "Search in the terminal", "My sessions…", "Detach"]);
    await guest.picture("guest");
    await guest.page.getByRole("menuitem", { name: "Detach" }).click();
    await guest.page.getByRole("button", { name: "Attach again" }).click();
    await guest.page.locator("#viewing", { hasText: "You are watching" }).waitFor();
    await guest.page.context().close();
    await own.close();
  });

  onTerminal("a viewer's input is refused by the broker itself", async (terminal) => {
    const session = await sessionOf(terminal);
    const answer = await terminal.page.evaluate(
      ([broker, session]) =>
        new Promise((resolve) => {
          const socket = new WebSocket(`${broker?.replace("http", "ws")}/terminal?session=${session}&role=viewer&client=intruder`, "sandbox-broker.v1");
          socket.binaryType = "arraybuffer";
          socket.onmessage = ({ data }) => {
            const message = typeof data === "string" ? JSON.parse(data) : {};
            if (message.type === "ready") socket.send(Uint8Array.from([2, 0, 0, 0, 0, 0, 0, 0, 1, 0x78, 0x0d]));
            if (message.type === "error") resolve(message.code);
          };
          socket.onclose = ({ code }) => resolve(`closed ${code}`);
        }),
      [brokerUrl, session],
    );
    assert.equal(answer, "not-driver");
  });

  onTerminal("one that takes another's name takes its place, and the other says so", async (terminal) => {
    const { page } = terminal;
    const name = await page.evaluate(() => sessionStorage.getItem("sandbox-broker.window") ?? "");
    const { session, client } = JSON.parse(name);
    await page.evaluate(
      ([broker, session, client]) => void new WebSocket(`${broker?.replace("http", "ws")}/terminal?session=${session}&client=${client}`, "sandbox-broker.v1"),
      [brokerUrl, session, client],
    );
    await page.locator("#ended", { hasText: "This window was opened elsewhere" }).waitFor();
  });

  test("a link to a session that is not there says so", async () => {
    const terminal = await TerminalPage.open(browser, { query: { session: "0123456789abcdef0123456789abcdef" } });
    await terminal.page.locator("#starting", { hasText: "There is no such session" }).waitFor();
    await terminal.page.context().close();
  });
});

describe("what programs asked of a terminal", () => {
  /** DA1, DA2, DA3, DSR, DECRQM, OSC 4, 10, 11, 12 and 52, DECRQSS, XTGETTCAP, XTVERSION, the window, the focus: for printf(1). */
  const QUESTIONS = String.raw`\033[c\033[>c\033[=c\033[5n\033[6n\033[?6n\033[4$p\033[?25$p\033]4;1;?\007\033]10;?\007\033]11;?\007\033]12;?\007\033]52;c;?\007\033P$qm\033\\\033P+q544e\033\\\033[>q\033[14t\033[18t\033[?1004h\033[?1004l`;

  onTerminal("is not answered again by a reload, nor by a second window", async (terminal) => {
    // The live answers are read away; then whatever is typed shows on the screen, twice.
    await terminal.enter(`stty -echo -icanon; printf '${QUESTIONS}'; while IFS= read -rsn1 -t 1 _; do :; done; stty sane; echo asked-$((1+1)); cat -v`);
    await terminal.until(/^asked-2$/m);
    await terminal.page.reload();
    await terminal.until(/^asked-2$/m);
    const other = await TerminalPage.open(browser, { query: { session: await sessionOf(terminal) } });
    await other.until(/^asked-2$/m);
    await other.page.locator("#take-control").click();
    await other.page.locator("#viewing").waitFor({ state: "hidden" });
    await other.page.locator("#terminal .xterm-helper-textarea").focus();
    await other.enter("typed");
    await other.until(/^typed\ntyped$/m);
    assert.equal((await other.text()).split("asked-2\n")[1], "typed\ntyped");
    await terminal.until(/^typed\ntyped$/m);
    await other.close();
  });
});

describe("a broker that is replaced", () => {
  test("is come back to: after a stop and after a kill the page shows the same shell, and no end", async () => {
    const own = await OwnBroker.start();
    try {
      const terminal = await TerminalPage.open(browser, { at: own.url });
      const { page } = terminal;
      await page.locator('#app[data-phase="live"]').waitFor({ timeout: 60_000 });
      await terminal.until(/[$#] *$/);
      await terminal.enter("mine=$((40+2))");
      for (const signal of /** @type {const} */ (["SIGTERM", "SIGKILL"])) {
        await terminal.enter(counting(1500));
        await reaches(terminal, 100);
        await own.end(signal);
        await page.locator('#app[data-phase="away"]').waitFor();
        await own.again();
        await hurry(terminal);
        await hasCounted(terminal, 1500);
        await terminal.enter('clear; echo "kept-$mine"');
        await terminal.until(/^kept-42$/m);
        assert.equal(await page.locator("#ended").isVisible(), false);
        // The history of the next round begins on an empty screen.
        await page.reload();
        await terminal.until(/^kept-42$/m);
        await terminal.enter("printf '\\033[3J'; clear");
        await terminal.until(/^[^\n]*[$#]$/);
      }
      // A broker that stops keeps its sessions: nothing of this one may stay.
      await terminal.enter("exit");
      await page.locator("#ended").waitFor();
      // Nor its end, which waits for windows of the broker before this one.
      await page.evaluate(async () => {
        const { sessions } = await (await fetch("api/sessions")).json();
        for (const { id } of sessions) await fetch(`api/sessions/${id}`, { method: "DELETE" });
      });
      await page.context().close();
    } finally {
      await own.end("SIGTERM");
      await own.forget();
    }
  });
});
