/** What the tests on a broker share: where it is, one browser, and a test with a live terminal. */
import { after, before, test } from "node:test";
import { launch, TerminalPage } from "./page.mjs";

export { TerminalPage };

/** Where the broker under test listens. */
export const brokerUrl = (() => {
  const url = process.env["BROKER_URL"];
  if (!url) throw new Error("BROKER_URL is not set: `cargo xtask test` starts a broker and sets it");
  return url.replace(/\/$/, "");
})();

/** The one browser of a file of tests; there from the first test to the last. @type {import("playwright-core").Browser} */
export let browser;
before(async () => {
  browser = await launch();
  const first = await TerminalPage.open(browser);
  await first.untilLive(true);
  await first.close();
});
after(() => browser?.close());

/**
 * A test with its own live terminal; one that fails leaves a picture.
 * @param {string} promise
 * @param {(terminal: TerminalPage) => Promise<void>} body
 * @param {import("playwright-core").BrowserContextOptions & { skip?: string | false }} [options] `skip`: why it is not run here
 */
export function onTerminal(promise, body, { skip = false, ...options } = {}) {
  test(promise, { skip }, async () => {
    const terminal = await TerminalPage.live(browser, options);
    let passed = false;
    try {
      await body(terminal);
      passed = true;
    } finally {
      if (!passed) await terminal.picture(`failed-${promise.replace(/\W+/g, "-")}`);
      await (passed ? terminal.close() : terminal.page.context().close());
    }
  });
}
