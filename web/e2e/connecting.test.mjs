/** What a person sees who does not get through to the broker, or not at once: with real brokers behind proxies that are wrong on purpose. */
import assert from "node:assert/strict";
import { createServer, request as ask } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { OwnBroker } from "./own.mjs";
import { eventually, launch, TerminalPage } from "./page.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {TerminalPage[]} */
let pages = [];
/** @type {(() => void)[]} */
let stops = [];
before(async () => void (browser = await launch()));
after(() => browser?.close());
afterEach(async () => {
  for (const { page } of pages.splice(0)) await page.context().close();
  for (const stop of stops.splice(0)) stop();
});

/** @param {string} at @param {import("playwright-core").BrowserContextOptions & { query?: Record<string, string> }} [options] */
async function open(at, options) {
  const terminal = await TerminalPage.open(browser, { at, ...options });
  pages.push(terminal);
  return terminal;
}

async function fake() {
  const broker = await FakeBroker.start();
  stops.push(() => broker.stop());
  return broker;
}

/**
 * A proxy of HTTP/1.1 before a broker. `host`: what it says as `Host`, else what it was asked for. `upgrades`: whether it hands on WebSockets.
 * @param {string} to
 * @param {{ host?: string, upgrades?: boolean }} how
 */
async function proxy(to, how) {
  const { hostname, port } = new URL(to);
  const wrong = { ...how };
  const server = createServer((request, response) => {
    const headers = { ...request.headers, host: wrong.host ?? request.headers.host };
    const onward = ask({ hostname, port, method: request.method, path: request.url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.writeHead(502).end());
    request.pipe(onward);
  });
  server.on("upgrade", (request, stream) => {
    const { upgrade, connection, ...rest } = request.headers;
    const headers = { ...rest, host: wrong.host ?? request.headers.host, ...(wrong.upgrades === false ? {} : { upgrade, connection }) };
    const onward = ask({ hostname, port, method: "GET", path: request.url, headers });
    onward.on("upgrade", (answer, server) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      stream.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("")}\r\n`);
      server.pipe(stream).on("error", () => server.destroy());
      stream.pipe(server).on("error", () => stream.destroy());
    });
    onward.on("response", (answer) => {
      answer.resume();
      stream.end(`HTTP/1.1 ${answer.statusCode} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    });
    onward.on("error", () => stream.destroy());
    stream.on("error", () => {});
    onward.end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(undefined)));
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { wrong, url: `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}` };
}

describe("a connection that breaks while the sandbox is made", () => {
  test("leads back to the same session, also over a reload", async () => {
    const broker = await fake();
    const terminal = await open(broker.url);
    const first = await broker.socket();
    const [session, client] = ["session", "client"].map((name) => first.query.get(name));
    assert.match(session ?? "", /^[0-9a-f]{32}$/);
    first.say({ type: "stage", name: "create", state: "begin", message: "Initializing sandbox..." });
    await terminal.page.locator("#starting").getByText("Create the sandbox").waitFor();
    first.cut();
    const second = await broker.socket(1);
    second.say({ type: "stage", name: "create", state: "begin", message: "Initializing sandbox..." });
    await terminal.page.reload();
    const third = await broker.socket(2);
    for (const { query } of [second, third]) assert.deepEqual([query.get("session"), query.get("client"), query.get("create")], [session, client, "1"]);
    third.ready({ session });
    third.write(0, "here");
    await terminal.until(/here/);
    await terminal.page.reload();
    assert.equal((await broker.socket(3)).query.get("create"), null);
  });

  test("to a new one where the broker was restarted meanwhile, and says so", async () => {
    const broker = await fake();
    const terminal = await open(broker.url);
    const first = await broker.socket();
    first.say({ type: "error", code: "no-session", message: "the broker was restarted while it made this sandbox" });
    first.close(4404);
    const second = await broker.socket(1);
    assert.notEqual(second.query.get("session"), first.query.get("session"));
    second.ready();
    await terminal.page.locator("#notice", { hasText: "restarted while it made this sandbox. This is a new one." }).waitFor();
  });
});

describe("a connection that the broker ends in the moment it opens", () => {
  test("counts as one that was open: nobody in between is suspected", async () => {
    const broker = await fake();
    broker.ends = [1001, "the broker restarts"];
    const { page } = await open(broker.url);
    // Several, as Firefox loses some openings and not others. A way in that did not open is followed by the other one.
    for (let n = 0; n < 4; n++) assert.equal((await broker.socket(n)).query.get("protocol"), null, `connection ${n}`);
    const tried = broker.sockets.length;
    broker.ends = undefined;
    (await broker.socket(tried)).ready();
    await page.locator('#app[data-phase="live"]').waitFor();
  });

  test("leaves its words, also where the message before it is lost", async () => {
    const broker = await fake();
    broker.ends = [4404, "the broker was restarted while it made this sandbox"];
    const { page } = await open(broker.url);
    await broker.socket();
    broker.ends = undefined;
    (await broker.socket(1)).ready();
    await page.locator("#notice", { hasText: "restarted while it made this sandbox. This is a new one." }).waitFor();
  });
});

describe("somebody else who answers in the broker's place", () => {
  for (const [what, answer] of /** @type {const} */ ([
    ["sends the request on", { status: 302, headers: { location: "/login" } }],
    ["answers with its page", { status: 200, headers: { "content-type": "text/html" }, body: "<h1>Sign in</h1>" }],
    ["answers 401 with a page", { status: 401, headers: { "content-type": "text/html" }, body: "<h1>Sign in</h1>" }],
  ])) {
    test(`${what}: it is named, with the way out, and the page goes on by itself`, async () => {
      const broker = await fake();
      const terminal = await open(broker.url);
      const { page } = terminal;
      const first = await broker.socket();
      first.ready();
      first.write(0, "$ make");
      await terminal.until(/make/);
      broker.routes["GET /api/session"] = answer;
      broker.refuses = true;
      first.cut();
      await page.locator("#obstacle", { hasText: "Somebody else answers" }).waitFor();
      assert.equal(await page.locator("#signin").isVisible(), false, "the broker's own form is not what is missing");
      assert.equal(await page.locator("#obstacle-sign-in").getAttribute("target"), "_blank");
      await page.locator("#away-words", { hasText: "kept for another" }).waitFor();
      await terminal.picture(`sign-in-proxy-${what.split(" ")[0]}`);
      broker.refuses = false;
      delete broker.routes["GET /api/session"];
      const second = await broker.socket(1);
      second.ready({ offset: 6, live: 6 });
      await page.locator("#obstacle").waitFor({ state: "hidden" });
      assert.match(await terminal.text(), /make/);
    });
  }

  test("is named at the start too, and the page starts when the broker answers", async () => {
    const broker = await fake();
    broker.routes["GET /api/session"] = { status: 200, headers: { "content-type": "text/html" }, body: "<h1>Sign in</h1>" };
    const { page } = await open(broker.url);
    await page.locator("#trouble-sign-in").waitFor();
    assert.match((await page.locator("#starting").textContent()) ?? "", /Somebody else answers/);
    delete broker.routes["GET /api/session"];
    (await broker.socket()).ready();
    await page.locator('#app[data-phase="live"]').waitFor();
  });
});

describe("a proxy that is set up wrongly", () => {
  /** @type {OwnBroker} */
  let broker;
  before(async () => void (broker = await OwnBroker.start()));
  after(async () => {
    await broker.end("SIGTERM");
    await broker.forget();
  });

  test("without Upgrade: the page names it, and goes on when it is mended", async () => {
    const { url, wrong } = await proxy(broker.url, { upgrades: false });
    const terminal = await open(url);
    await terminal.page.locator("#obstacle", { hasText: "does not let WebSockets through" }).waitFor();
    assert.match((await terminal.page.locator("#obstacle").textContent()) ?? "", /without its Upgrade field/);
    await terminal.picture("no-upgrade");
    wrong.upgrades = true;
    await terminal.untilLive(true);
  });

  test("without Host: the page names both addresses", async () => {
    const { url, wrong } = await proxy(broker.url, { host: new URL(broker.url).host });
    const { page } = await open(url);
    await page.locator("#obstacle", { hasText: "does not pass on the address of this page" }).waitFor();
    const words = (await page.locator("#obstacle").textContent()) ?? "";
    for (const { host } of [new URL(url), new URL(broker.url)]) assert.ok(words.includes(host), words);
    delete wrong.host;
    await page.locator('#app[data-phase="live"]').waitFor();
  });

  test("with a name that the broker does not know: the words are a page, with the key to set", async () => {
    const { url } = await proxy(broker.url, { host: "sandbox.lan" });
    const context = await browser.newContext({ viewport: { width: 390, height: 700 } });
    const page = await context.newPage();
    await page.goto(url);
    await page.getByRole("heading", { name: "This broker does not know the address" }).waitFor();
    assert.match((await page.locator("main").textContent()) ?? "", /public_url = "http:\/\/sandbox\.lan"/);
    await page.screenshot({ path: new URL("out/foreign-host.png", import.meta.url).pathname });
    await context.close();
  });
});

describe("in a window that watches", () => {
  /** A window on a session that another one drives, with the keyboard in its terminal. */
  async function watch() {
    const broker = await fake();
    const { page } = await open(broker.url);
    const socket = await broker.socket();
    const me = socket.query.get("client") ?? "";
    const clients = (/** @type {string} */ mine, /** @type {string} */ other) =>
      socket.say({ type: "clients", clients: [{ client: me, role: mine, cols: 80, rows: 24 }, { client: "other", role: other, cols: 80, rows: 24, sets_size: true }] });
    socket.ready();
    clients("viewer", "driver");
    await page.locator("#viewing").waitFor();
    await page.locator("#terminal .xterm-helper-textarea").focus();
    const wishes = () => socket.messages.filter(({ type }) => type === "take-control").length;
    return { page, socket, clients, wishes };
  }

  test("keys go nowhere, and the button that is offered takes control", async () => {
    const { page, socket, clients, wishes } = await watch();
    await page.keyboard.press("l");
    await page.locator("#offer", { hasText: "nothing was typed" }).waitFor();
    assert.equal(socket.typed, "");
    await page.locator("#offer-act:not([aria-disabled])").click();
    await eventually("the wish", () => wishes() === 1);
    clients("driver", "viewer");
    await page.locator("#viewing").waitFor({ state: "hidden" });
    await page.keyboard.press("x");
    await eventually("the key", () => socket.typed === "x");
  });

  test("Enter takes control, but not at the end of a line that was typed blindly", async () => {
    const { page, socket, clients, wishes } = await watch();
    // The page's clock stands still, so that the typing is quick on every machine.
    const clock = (/** @type {number} */ ms) => page.evaluate((ms) => void (performance.now = () => ms), ms);
    await clock(100_000);
    await page.keyboard.type("ls");
    await page.keyboard.press("Enter");
    await page.locator("#offer", { hasText: "Enter takes control" }).waitFor();
    await clock(101_000);
    await page.keyboard.press("Enter");
    await eventually("the wish", () => wishes() > 0);
    clients("driver", "viewer");
    await page.locator("#viewing").waitFor({ state: "hidden" });
    await page.keyboard.press("x");
    await eventually("the key", () => socket.typed === "x");
    assert.equal(wishes(), 1, "the Enter after the line was none");
  });
});
