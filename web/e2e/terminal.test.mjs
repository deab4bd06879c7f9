/** The page in a real browser, on a real broker: what a person does in a terminal, and what a page from elsewhere must not. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { eventually, give } from "./page.mjs";
import { browser, brokerUrl, onTerminal, TerminalPage } from "./support.mjs";

describe("a terminal", () => {
  test("opens with the renderer that people get, and becomes ready", async () => {
    const terminal = await TerminalPage.open(browser, { renderer: "auto" });
    await terminal.page.locator('#app[data-phase="live"]').waitFor();
    assert.equal(await terminal.page.locator("#state").textContent(), "Live");
    assert.match(await terminal.page.title(), /Sandbox/);
    assert.equal(await terminal.page.evaluate(() => document.activeElement?.ariaLabel), "Terminal input", "keys go to the terminal");
    await terminal.close();
  });

  onTerminal("runs what is typed", async (terminal) => {
    await terminal.enter("echo $((6*7))");
    await terminal.until(/^42$/m);
  });

  onTerminal("shows text of every script, and colours", async (terminal) => {
    await terminal.enter(String.raw`printf '\033[31mr\303\266t\033[0m \350\252\236 \360\237\230\200 end\n'`);
    await terminal.until(/^röt 語 ?😀 ?end$/m);
    const red = terminal.page.locator(".xterm-rows .xterm-fg-1", { hasText: "röt" });
    await red.waitFor();
  });

  onTerminal("tells the shell when its size changes", async (terminal) => {
    await terminal.enter('echo "width=$(tput cols)"');
    const before = Number((await terminal.until(/^width=(\d+)$/m))[1]);
    await terminal.page.setViewportSize({ width: 700, height: 500 });
    await terminal.page.locator(".xterm-rows > div").nth(30).waitFor({ state: "detached" });
    await terminal.enter('echo "narrow=$(tput cols)x$(tput lines)"');
    const [, cols, lines] = await terminal.until(/^narrow=(\d+)x(\d+)$/m);
    assert.ok(Number(cols) < before && Number(cols) > before / 2, `${before} columns became ${cols}`);
    assert.equal(Number(lines), await terminal.page.locator(".xterm-rows > div").count());
    // A line of exactly that width stays one line, and one more character begins the next.
    await terminal.enter(`clear; printf '%0${cols}d' 7; printf X; echo`);
    await terminal.until(/^0+7\nX$/m);
  });

  onTerminal("draws full-screen programs on their own screen, and gives the old one back", async (terminal) => {
    await terminal.enter("echo before-$((40+2))");
    await terminal.until(/^before-42$/m);
    await terminal.enter("less /etc/passwd");
    await terminal.until(/^root:.*:0:0:[^]*\(END\)$/m);
    assert.doesNotMatch(await terminal.text(), /before-42/);
    await terminal.page.keyboard.press("q");
    await terminal.until(/^before-42$/m);
    assert.doesNotMatch(await terminal.text(), /^root:/m);
  });

  onTerminal("interrupts a program with Ctrl-C", async (terminal) => {
    await terminal.enter("echo going; sleep 100; echo ended");
    await terminal.until(/^going$/m);
    await terminal.page.keyboard.press("Control+c");
    await terminal.until(/\^C/);
    await terminal.enter("echo status=$?");
    await terminal.until(/^status=130$/m);
    assert.doesNotMatch(await terminal.text(), /^ended$/m);
  });

  onTerminal("takes a large paste whole", async (terminal) => {
    await terminal.enter("stty -echo; echo go-$((1+1)); wc -c; stty echo");
    // Until then the shell has bracketed paste on, and the brackets would be counted too.
    await terminal.until(/^go-2$/m);
    const lines = "0123456789abcde\n".repeat(20_000);
    await give(terminal.page, { text: lines });
    await terminal.page.getByText("Paste 20001 lines?").waitFor();
    await terminal.page.keyboard.press("Enter");
    await terminal.page.keyboard.press("Control+d");
    await terminal.until(new RegExp(`^${lines.length}$`, "m"));
  });

  onTerminal("says how a session ended, and starts a new one on Enter", async (terminal) => {
    await terminal.enter("touch ~/mine; exit 3");
    await terminal.page.locator("#ended").waitFor();
    assert.equal(await terminal.page.locator("#state").textContent(), "Ended");
    assert.match((await terminal.page.locator("#ended").textContent()) ?? "", /ended.*3.*sandbox is gone/s);
    await terminal.picture("ended");
    await terminal.page.locator("#again:focus:not([aria-disabled])").waitFor();
    await terminal.page.keyboard.press("Enter");
    await terminal.untilLive();
    assert.equal(await terminal.page.locator("#ended").isVisible(), false);
    assert.doesNotMatch(await terminal.text(), /exit 3/, "the new session begins on an empty screen");
    await terminal.enter("ls ~/mine && echo kept || echo a-$((1+1))nd-sandbox");
    await terminal.until(/^a-2nd-sandbox$/m);
  });

  onTerminal("opens another session in another tab, and the one that runs goes on", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("echo first-$((1+1))");
    await terminal.until(/^first-2$/m);
    const [opened] = await Promise.all([page.context().waitForEvent("page"), page.getByRole("link", { name: "New session" }).click()]);
    const second = new TerminalPage(opened, terminal.complaints);
    await second.untilLive();
    assert.doesNotMatch(await second.text(), /first-2/);
    await opened.close();
    await terminal.enter("echo kept-$((1+1))");
    await terminal.until(/^kept-2$/m);
  });

  onTerminal("offers what was left in a closed tab, beside the new session that starts", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("cd /tmp && echo left-$((1+1))");
    await terminal.until(/^left-2$/m);
    const context = page.context();
    const opened = await context.newPage();
    const second = new TerminalPage(opened, terminal.complaints);
    await page.close();
    // The page of this test from now on.
    terminal.page = opened;
    await opened.goto(`${brokerUrl}/?renderer=dom`);
    await second.untilLive();
    const offered = opened.locator("#offer", { hasText: /You left a session running: “.*”.* It ends in 15 min\./ });
    await offered.waitFor();
    await second.picture("left-running");
    assert.ok(await opened.getByRole("button", { name: "Leave it" }).isVisible());
    const fresh = await opened.evaluate(() => JSON.parse(sessionStorage.getItem("sandbox-broker.window") ?? "{}").session);
    await opened.locator("#offer-act:not([aria-disabled])").click();
    await second.until(/^left-2$/m);
    // The new one, in which nothing was typed, waits for nobody.
    await eventually("its end", async () => {
      const { sessions } = await (await fetch(`${brokerUrl}/api/sessions`)).json();
      return sessions.every((/** @type {any} */ { id, state }) => id !== fresh || state !== "running");
    });
    // A page that comes back to its own session is offered nothing, and neither is another browser.
    await opened.reload();
    await second.until(/^left-2$/m);
    assert.equal(await opened.locator("#offer").isVisible(), false);
  });

  onTerminal("asks before it ends a running session", async (terminal) => {
    const { page } = terminal;
    const end = async () => {
      await page.locator("#session-button").click();
      await page.getByRole("menuitem", { name: "End session…" }).click();
    };
    await terminal.enter("echo first-$((1+1))");
    await terminal.until(/^first-2$/m);
    await end();
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await terminal.enter("echo kept-$((1+1))");
    await terminal.until(/^kept-2$/m);
    // Asked again at once: the answer to the first question is none to the second.
    await end();
    await page.evaluate(() => {
      for (const id of ["#confirm [autofocus]", "#session-menu [data-act=kill]"]) /** @type {HTMLElement | null} */ (document.querySelector(id))?.click();
    });
    await page.getByRole("button", { name: /^End it/ }).click();
    await page.locator("#again:focus:not([aria-disabled])").click();
    await terminal.until(/^(?!.*first-2)[^\n]*[$#]$/s);

    // The session ends by itself meanwhile: there is nothing to ask any more.
    await end();
    await page.getByText("End this session?").waitFor();
    await page.evaluate(() => {
      const { session } = JSON.parse(sessionStorage.getItem("sandbox-broker.window") ?? "{}");
      return fetch(`api/sessions/${session}`, { method: "DELETE" });
    });
    await page.locator("#ended").waitFor();
    await page.getByText("End this session?").waitFor({ state: "hidden" });
  });

  onTerminal(
    "has the keys that a phone's keyboard lacks",
    async (terminal) => {
      const { page } = terminal;
      await terminal.enter("sleep 100");
      await terminal.until(/sleep 100\n?/);
      await page.getByRole("button", { name: "Ctrl", exact: true }).tap();
      await page.keyboard.type("c");
      await terminal.until(/\^C/);
      await terminal.enter("echo phone-$((40+2))");
      await terminal.until(/^phone-42$/m);
      await page.getByRole("button", { name: "Up", exact: true }).tap();
      await terminal.until(/[$#] echo phone-\S+$/);
      await page.keyboard.press("Enter");
      await terminal.until(/^phone-42\n[^\n]*\nphone-42$/m);
      await terminal.picture("phone");
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out sideways");
    },
    { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: "dark" },
  );

  for (const colorScheme of /** @type {const} */ (["dark", "light"])) {
    onTerminal(
      `follows the system's ${colorScheme} appearance`,
      async (terminal) => {
        const ground = await terminal.page.locator("#stage").evaluate((stage) => getComputedStyle(stage).backgroundColor);
        assert.equal(ground, colorScheme === "dark" ? "rgb(17, 20, 26)" : "rgb(255, 255, 255)");
        await terminal.enter("ls --color=always -l / && printf 'done-%s\\n' now");
        await terminal.until(/^done-now$/m);
        await terminal.picture(`desktop-${colorScheme}`);
        await terminal.page.locator("#details-button").click();
        await terminal.page.locator("#details dd").first().waitFor();
        await terminal.picture(`details-${colorScheme}`);
      },
      { colorScheme },
    );
  }
});

describe("a page from another origin", () => {
  /** What a page's script gets from the broker. Resolves in every case. */
  const attempt = (/** @type {string} */ broker) =>
    Promise.all([
      new Promise((resolve) => {
        const socket = new WebSocket(`${broker.replace("http", "ws")}/terminal`);
        socket.onopen = () => resolve("opened");
        socket.onclose = ({ code }) => resolve(`closed ${code}`);
      }),
      fetch(`${broker}/api/status`, { credentials: "include" }).then(
        (response) => `read ${response.status}`,
        () => "failed",
      ),
      fetch(`${broker}/api/status`, { credentials: "include", mode: "no-cors" }).then(
        (response) => `${response.type} ${response.status}`,
        () => "failed",
      ),
    ]);

  /** @type {import("node:http").Server} */
  let stranger;
  before(async () => {
    stranger = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><body>elsewhere"));
    await new Promise((listening) => stranger.listen(0, "127.0.0.1", () => listening(undefined)));
  });
  after(() => stranger.close());

  test("opens no terminal and reads nothing, where the broker's own page can", async () => {
    const { port } = /** @type {import("node:net").AddressInfo} */ (stranger.address());
    const context = await browser.newContext();
    const page = await context.newPage();
    for (const host of ["127.0.0.1", "localhost"]) {
      await page.goto(`http://${host}:${port}/`);
      const [socket, read, blind] = await page.evaluate(attempt, brokerUrl);
      assert.equal(socket, "closed 1006", `WebSocket from ${host}:${port}`);
      assert.equal(read, "failed", `fetch from ${host}:${port}`);
      assert.match(blind, /^(failed|opaque 0)$/);
    }
    // The same script where it may: what it says above is the broker's doing.
    await page.goto(`${brokerUrl}/`);
    const [socket, read] = await page.evaluate(attempt, brokerUrl);
    assert.deepEqual([socket, read], ["opened", "read 200"]);
    await context.close();
  });
});
