/** Who may open a terminal, in a real browser: links from elsewhere, sign-ins, and pages of another port of the same host. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { OwnBroker } from "./own.mjs";
import { eventually } from "./page.mjs";
import { browser, brokerUrl, TerminalPage } from "./support.mjs";

/** A page of another origin, with this body. @param {string} body */
async function elsewhere(body) {
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(body));
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://localhost:${port}`, stop: () => server.close() };
}

/** The sessions that the broker has, as it says itself: Firefox tells a test of no WebSocket. @returns {Promise<string[]>} */
async function sessions() {
  const { sessions } = await (await fetch(`${brokerUrl}/api/sessions`)).json();
  return sessions.map((/** @type {{ id: string }} */ { id }) => id);
}

test("a link on another site's page starts no session before the person says so", async () => {
  const foreign = await elsewhere(`<a href="${brokerUrl}/?renderer=dom">a link</a>`);
  const terminal = await TerminalPage.open(browser, { at: foreign.url });
  const { page } = terminal;
  const before = await sessions();
  const begun = async () => (await sessions()).filter((id) => !before.includes(id)).length;
  await page.getByText("a link").click();
  await page.getByRole("heading", { name: "Start a session?" }).waitFor();
  assert.equal(await begun(), 0);
  const start = page.locator("#trouble-again:not([aria-disabled])");
  await start.click();
  await terminal.untilLive();
  assert.equal(await begun(), 1);
  await terminal.close();
  foreign.stop();
});

describe("with [auth]", () => {
  const token = "a token of this test";
  const sha256 = createHash("sha256").update(token).digest("hex");
  /** @type {OwnBroker} */
  let own;
  /** @type {{ url: string, stop: () => void }} */
  let frontend;
  /** A second broker of the same host name. @type {OwnBroker} */
  let other;
  before(async () => {
    frontend = await elsewhere("<p>another page</p>");
    process.env["FRONTEND_URL"] = frontend.url;
    const auth = `[[auth.tokens]]\nname = "ada"\nsha256 = "${sha256}"\n`;
    [own, other] = [await OwnBroker.start(auth), await OwnBroker.start(auth)];
  });
  after(async () => {
    frontend.stop();
    for (const broker of [own, other]) {
      await broker.end("SIGTERM");
      await broker.forget();
    }
  });

  /** @param {TerminalPage} terminal */
  async function signIn({ page }) {
    await page.locator("#token").fill(token);
    await page.locator("#signin button").click();
  }

  /** How a socket from this page ends its handshake. @param {TerminalPage} terminal @param {string} query */
  function handshake({ page }, query) {
    const url = `ws://localhost:${own.port}/terminal${query}`;
    return page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url);
          socket.onopen = () => {
            resolve("open");
            socket.close();
          };
          socket.onerror = () => resolve("refused");
        }),
      url,
    );
  }

  test("a person signs in at two brokers of one host, and a page of another port gets nothing by that", async () => {
    const at = (/** @type {OwnBroker} */ broker) => `http://localhost:${broker.port}`;
    const terminal = await TerminalPage.open(browser, { at: at(own) });
    await signIn(terminal);
    await terminal.untilLive();
    // The cookie of the one does not take the other's place.
    const { page } = terminal;
    await page.goto(`${at(other)}/?renderer=dom`);
    await signIn(terminal);
    await terminal.untilLive();
    await page.goto(`${at(own)}/?renderer=dom`);
    await terminal.untilLive();
    const names = (await page.context().cookies()).map(({ name }) => name);
    assert.equal(new Set(names.filter((name) => name.startsWith("broker_session_"))).size, 2, String(names));

    // Another port is the same site, so the browser sends the cookie along.
    await page.goto(frontend.url);
    assert.equal(await handshake(terminal, ""), "refused");
    const issued = await fetch(`${own.url}/api/tickets`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    const { ticket } = await issued.json();
    assert.equal(await handshake(terminal, `?ticket=${ticket}`), "open");
    await page.context().close();
  });

  test("who signs out has to sign in again, finds the session where it was, and nobody else is offered that", async () => {
    const terminal = await TerminalPage.open(browser, { at: own.url });
    const { page } = terminal;
    await signIn(terminal);
    await terminal.untilLive();
    await terminal.enter("mine=$((40+2))");
    await page.locator("#session-button").click();
    await page.getByRole("menuitem", { name: "Sign out" }).click();
    await page.locator("#token:focus").waitFor();
    assert.equal(await page.evaluate(() => fetch("api/sessions").then(({ status }) => status)), 401);
    terminal.complaints.length = 0; // the browser notes the refusal as an error of its own
    await signIn(terminal);
    await terminal.untilLive();
    await terminal.enter('echo "kept-$mine"');
    await terminal.until(/^kept-42$/m);
    await terminal.close();

    const open = await TerminalPage.live(browser);
    await open.page.locator("#session-button").click();
    await open.page.locator("#session-menu [role=menuitem]:visible").first().waitFor();
    assert.ok(!(await open.page.locator("#session-menu [role=menuitem]:visible").allTextContents()).includes("Sign out"));
    await open.close();
  });

  test("a cookie that another port has set is told, and lets nobody in", async () => {
    const terminal = await TerminalPage.open(browser, { at: own.url });
    await signIn(terminal);
    await terminal.untilLive();
    const context = terminal.page.context();
    const [cookie] = (await context.cookies()).filter(({ name }) => name.startsWith("broker_session_"));
    assert.ok(cookie);
    await context.addCookies([{ name: cookie.name, value: "mallory's", domain: "127.0.0.1", path: "/api" }]);
    await terminal.page.reload();
    await eventually("the words", async () => (await terminal.page.locator("#trouble-detail").textContent())?.includes("several cookies"));
    await context.close();
  });
});
