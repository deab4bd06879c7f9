/** The settings in a real browser: what is chosen holds at once, after a reload and in every window, and nothing that is stored does harm. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeBroker } from "./fake.mjs";
import { eventually, launch, TerminalPage } from "./page.mjs";

const KEY = "sandbox-broker.preferences";

describe("settings", () => {
  /** @type {import("playwright-core").Browser} */
  let browser;
  /** @type {FakeBroker} */
  let broker;
  /** @type {TerminalPage} */
  let terminal;
  before(async () => void (browser = await launch()));
  after(() => browser.close());
  beforeEach(async () => {
    broker = await FakeBroker.start();
    terminal = await TerminalPage.open(browser, { at: broker.url, permissions: ["clipboard-read", "clipboard-write"] });
    (await broker.socket()).ready();
    (await broker.socket()).write(0, "settled $ ");
    await terminal.until(/^settled \$$/m);
  });
  afterEach(async () => {
    await terminal.close();
    broker.stop();
  });

  const rowHeight = () => terminal.page.locator(".xterm-rows > div").first().evaluate((row) => row.getBoundingClientRect().height);

  test("hold at once, and the broker is told the size that follows", async () => {
    const { page } = terminal;
    const before = await rowHeight();
    await page.getByRole("button", { name: "Settings" }).click();
    for (let n = 0; n < 6; n++) await page.getByRole("button", { name: "Text size: more" }).click();
    assert.ok((await rowHeight()) > before);
    const socket = await broker.socket();
    await eventually("a smaller size", () => socket.messages.some(({ type, rows }) => type === "resize" && rows < Number(socket.query.get("rows"))));
    await page.getByLabel("Theme").selectOption("contrast-dark");
    assert.equal(await page.locator("#stage").evaluate((stage) => getComputedStyle(stage).backgroundColor), "rgb(0, 0, 0)");
    await page.getByLabel("Font", { exact: true }).pressSequentially("Courier New");
    await page.keyboard.press("Tab");
    await page.getByLabel("Cursor", { exact: true }).selectOption("underline");
    await page.keyboard.press("Escape");
    await page.locator(".xterm-cursor-underline").waitFor();

    await page.reload();
    (await broker.socket(1)).ready();
    await page.locator('html[data-appearance="contrast-dark"]').waitFor();
    assert.deepEqual(await page.evaluate((key) => JSON.parse(localStorage.getItem(key) ?? ""), KEY), {
      appearance: "contrast-dark",
      fontSize: 20,
      fontFamily: "Courier New",
      cursorStyle: "underline",
    });
    assert.match(await page.locator(".xterm-rows").evaluate((rows) => getComputedStyle(rows).fontFamily), /^"Courier New"/);
  });

  test("are worked by the keyboard, and Escape leads back to the terminal", async () => {
    const { page } = terminal;
    await page.keyboard.press("Control+Shift+Home");
    for (;;) {
      await page.keyboard.press("Tab");
      if (await page.locator("#settings-button:focus").isVisible()) break;
    }
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    // Firefox stops at what can be scrolled, too.
    if (await page.locator("#settings:focus").isVisible()) await page.keyboard.press("Tab");
    await page.locator("#setting-appearance:focus").waitFor();
    await page.keyboard.press("l");
    await page.locator('html[data-appearance="light"]').waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#settings").waitFor({ state: "hidden" });
    await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await page.keyboard.type("typed");
    const socket = await broker.socket();
    await eventually("the keys arrive", () => socket.typed === "typed");
  });

  test("reach other windows of this browser", async () => {
    const other = await terminal.page.context().newPage();
    await other.goto(broker.url);
    await other.locator("#settings-button").click();
    await other.getByLabel("Theme").selectOption("light");
    await terminal.page.locator('html[data-appearance="light"]').waitFor();
  });

  test("that nobody can have chosen are not followed", async () => {
    for (const stored of ["{", "null", "[]", '{"fontSize":"huge","appearance":"__proto__","cursorStyle":7,"scrollback":-1e99,"bell":{},"renderer":"none"}']) {
      await terminal.page.evaluate(([key, value]) => localStorage.setItem(key ?? "", value ?? ""), [KEY, stored]);
      const sockets = broker.sockets.length;
      await terminal.page.reload();
      const socket = await broker.socket(sockets);
      socket.ready();
      socket.write(0, "settled $ ");
      await terminal.until(/^settled \$$/m);
    }
  });

  test("the pointer does what was chosen", async () => {
    const { page } = terminal;
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Copy what is selected").check();
    await page.getByLabel("Right click").selectOption("copy-paste");
    await page.keyboard.press("Escape");
    await terminal.select(0, 7);
    await eventually("the word is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "settled");
    await page.evaluate(() => navigator.clipboard.writeText("other"));
    // With a selection a right click copies it and takes it away; without one it pastes.
    await page.locator("#terminal").click({ button: "right" });
    await eventually("the selection is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "settled");
    await page.locator("#terminal").click({ button: "right" });
    const socket = await broker.socket();
    await eventually("it is pasted", () => socket.typed === "settled");
  });
});
