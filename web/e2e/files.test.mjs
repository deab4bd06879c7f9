/** The panel of files in a real browser, on a real broker: what a person does with files beside the terminal that sees the same ones. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { eventually } from "./page.mjs";
import { browser, onTerminal, TerminalPage } from "./support.mjs";

/**
 * A test with its own live terminal, in a directory that the panel shows.
 * @param {string} promise
 * @param {(terminal: TerminalPage) => Promise<void>} body
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
function onFiles(promise, body, options) {
  const inWorkspace = async (/** @type {TerminalPage} */ terminal) => {
    await terminal.enter("cd /workspace; clear");
    await terminal.until(/^[^\n]*[$#] *$/);
    await body(terminal);
  };
  onTerminal(promise, inWorkspace, options);
}

/** @param {TerminalPage} terminal */
async function openPanel({ page }) {
  await page.getByRole("button", { name: "Files", exact: true }).click();
  await page.locator("#files-rows:not(.old)").waitFor({ state: "attached" });
  await page.locator("#files-kept", { hasText: "On the sandbox" }).waitFor();
}

/**
 * @param {TerminalPage} terminal
 * @param {string} name
 */
const row = ({ page }, name) => page.locator(`#files-rows [role=row][data-name=${JSON.stringify(name)}]`);

/** @param {Buffer} bytes */
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Gives the keyboard back to the terminal. @param {TerminalPage} terminal */
const toTerminal = ({ page }) => page.locator("#terminal").click();

/** The bytes of what a click downloads. @param {TerminalPage} terminal @param {() => Promise<void>} click */
async function downloaded({ page }, click) {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
}

describe("the panel of files", () => {
  onFiles("takes files up, which the terminal sees byte for byte, and gives them back", async (terminal) => {
    const { page } = terminal;
    await openPanel(terminal);
    await page.getByText("This folder is empty").waitFor();
    const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, n) => (n * 31 + (n >> 8)) & 255));
    await page.locator("#files-input").setInputFiles([
      { name: "large.bin", mimeType: "application/octet-stream", buffer: bytes },
      { name: "grüße & 100%.txt", mimeType: "text/plain", buffer: Buffer.from("hello\n") },
    ]);
    await row(terminal, "large.bin").waitFor();
    await row(terminal, "grüße & 100%.txt").waitFor();
    await page.getByText("2 files uploaded").first().waitFor();
    await toTerminal(terminal);
    await terminal.enter("clear; sha256sum large.bin | cut -c1-64 | fold -w 32; cat gr*");
    const hash = sha256(bytes);
    await terminal.until(new RegExp(`^${hash.slice(0, 32)}\\n${hash.slice(32)}\\nhello$`, "m"));

    await row(terminal, "large.bin").hover();
    await row(terminal, "large.bin").getByRole("button").click();
    const back = await downloaded(terminal, () => page.getByRole("menuitem", { name: "Download" }).click());
    assert.equal(back.name, "large.bin");
    assert.equal(sha256(back.bytes), hash);

    // The same name again replaces nothing by itself.
    await page.locator("#files-input").setInputFiles([{ name: "large.bin", mimeType: "text/plain", buffer: Buffer.from("new") }]);
    await page.getByText("There is a file of this name already.").waitFor();
    terminal.complaints.length = 0; // the browser notes the refusal as an error of its own
    await page.getByRole("button", { name: "Replace" }).click();
    await page.getByText("1 file uploaded").first().waitFor();
    await row(terminal, "large.bin").getByText("3 B").waitFor();
  });

  onFiles("shows what the terminal makes, by itself, and what is in it", async (terminal) => {
    const { page } = terminal;
    await openPanel(terminal);
    await toTerminal(terminal);
    await terminal.enter("printf 'one\\ntwo <b>three</b>\\n' > notes.txt; mkdir sub; head -c 500000 /dev/zero | tr '\\0' a > long.txt; head -c 100 /dev/urandom > noise");
    await row(terminal, "notes.txt").waitFor();
    assert.match((await row(terminal, "notes.txt").textContent()) ?? "", /File.*notes\.txt.*just now/);
    await row(terminal, "notes.txt").click();
    await page.locator("#files-preview pre", { hasText: "two <b>three</b>" }).waitFor();
    const saved = await downloaded(terminal, () => page.getByRole("link", { name: "Download" }).click());
    assert.deepEqual([saved.name, saved.bytes.toString()], ["notes.txt", "one\ntwo <b>three</b>\n"]);
    await page.keyboard.press("Escape");
    await row(terminal, "long.txt").click();
    await page.locator("#files-preview-facts", { hasText: "the first 262 kB of 500 kB" }).waitFor();
    await page.getByRole("button", { name: "Back to the list" }).click();
    await row(terminal, "noise").click();
    await page.getByText("neither text nor a picture").waitFor();
    await page.keyboard.press("Escape");
    await toTerminal(terminal);
    await terminal.enter("rm -r notes.txt sub");
    await row(terminal, "notes.txt").waitFor({ state: "detached" });
    await row(terminal, "sub").waitFor({ state: "detached" });
  });

  onFiles("shows pictures, and runs nothing that is in one", async (terminal) => {
    const { page } = terminal;
    await openPanel(terminal);
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><script>fetch("/api/status")</script><rect width="40" height="30" fill="tomato"/></svg>`;
    await page.locator("#files-input").setInputFiles([
      { name: "page.png", mimeType: "image/png", buffer: await page.screenshot() },
      { name: "shape.svg", mimeType: "image/svg+xml", buffer: Buffer.from(svg) },
      { name: "broken.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no picture") },
    ]);
    /** @type {string[]} */
    const asked = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    for (const [name, size] of [
      ["page.png", "1100 × 680"],
      ["shape.svg", "40 × 30"],
    ]) {
      await row(terminal, name ?? "").click();
      await page.locator("#files-preview-facts", { hasText: size ?? "" }).waitFor();
      await page.keyboard.press("Escape");
    }
    await row(terminal, "broken.jpg").click();
    await page.getByText("This picture cannot be shown").waitFor();
    assert.ok(!asked.includes("/api/status"), "a script in a picture ran");
  });

  onFiles("is worked by the keyboard alone", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("mkdir -p apples/red bananas; touch apples/one apples/two; clear; echo made");
    await terminal.until(/^made$/m);
    await page.keyboard.press("Control+Shift+E");
    await page.locator('[role=row][data-name="apples"]:focus').waitFor();
    await page.keyboard.press("ArrowDown");
    await page.locator('[role=row][data-name="bananas"]:focus').waitFor();
    await page.keyboard.press("a");
    await page.keyboard.press("Enter");
    await page.locator('[role=row][data-name="red"]:focus').waitFor();
    assert.deepEqual(await page.locator("#files-crumbs button").allTextContents(), ["/workspace", "apples"]);

    await page.keyboard.press("End");
    await page.locator('[role=row][data-name="two"]:focus').waitFor();
    await page.keyboard.press("F2");
    await page.getByRole("textbox", { name: "Name" }).fill("left by Escape");
    await page.keyboard.press("Escape");
    await page.locator('[role=row][data-name="two"]:focus').waitFor();
    await page.keyboard.press("F2");
    await page.getByRole("textbox", { name: "Name" }).fill("left by Cancel");
    await page.getByRole("button", { name: "Cancel" }).press("Enter");
    await page.locator('[role=row][data-name="two"]:focus').waitFor();
    await page.keyboard.press("F2");
    await page.getByRole("textbox", { name: "Name" }).fill("one");
    await page.keyboard.press("Enter");
    await page.getByText("There is something of this name already.").waitFor();
    await page.getByRole("textbox", { name: "Name" }).fill("three.md");
    await page.keyboard.press("Enter");
    await page.locator('[role=row][data-name="three.md"]:focus').waitFor();

    await page.keyboard.press("Delete");
    await page.getByText("Delete three.md?").waitFor();
    await page.keyboard.press("Enter"); // keeps it: that is where the keyboard is
    await page.locator('[role=row][data-name="three.md"]:focus').waitFor();
    await page.keyboard.press("Delete");
    await page.getByRole("button", { name: "Delete", exact: true }).press("Enter");
    await row(terminal, "three.md").waitFor({ state: "detached" });
    await page.locator('[role=row][data-name="one"]:focus, [role=row][data-name="red"]:focus').waitFor();

    await page.keyboard.press("Backspace");
    await page.locator('[role=row][data-name="apples"]:focus').waitFor();
    await page.keyboard.press("Delete");
    await page.getByText("The folder goes with everything in it.").waitFor();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await row(terminal, "apples").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await terminal.enter("clear; ls");
    await terminal.until(/^bananas$/m);
    await page.keyboard.press("Control+Shift+E");
    await page.locator("#files").waitFor({ state: "hidden" });
  });

  onFiles("takes an answer for the question that it was given to", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("touch first second; clear; echo made");
    await terminal.until(/^made$/m);
    await openPanel(terminal);
    await row(terminal, "second").waitFor();
    // As fast as can be: the browser tells of the first question's end only when the second has been asked.
    await page.evaluate(() => {
      const press = (/** @type {string} */ name) => document.querySelector(`[data-name="${name}"]`)?.dispatchEvent(new KeyboardEvent("keydown", { key: "Delete", bubbles: true }));
      const [keep] = document.querySelectorAll("#file-delete button");
      /** @type {HTMLElement | null} */ (document.querySelector('[data-name="first"]'))?.focus();
      press("first");
      /** @type {HTMLElement} */ (keep).click();
      /** @type {HTMLElement | null} */ (document.querySelector('[data-name="second"]'))?.focus();
      press("second");
    });
    await page.getByText("Delete second?").waitFor();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await row(terminal, "second").waitFor({ state: "detached" });
    assert.ok(await row(terminal, "first").isVisible());
  });

  onFiles("takes whole folders, by the button and by dropping", async (terminal) => {
    const { page } = terminal;
    await openPanel(terminal);
    const folder = join(await mkdtemp(join(tmpdir(), "files-")), "project");
    await mkdir(join(folder, "src/deep"), { recursive: true });
    await writeFile(join(folder, "readme"), "r");
    await writeFile(join(folder, "src/deep/a.txt"), "a");
    await page.locator("#files-folder-input").setInputFiles(folder);
    await page.getByText("2 files uploaded").first().waitFor();
    await row(terminal, "project").waitFor();

    const dropped = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["dropped"], "dropped.txt"));
      return transfer;
    });
    await page.dispatchEvent("#files-list", "dragover", { dataTransfer: dropped });
    await page.locator("#files.dropping").waitFor();
    await page.dispatchEvent("#files-list", "drop", { dataTransfer: dropped });
    await row(terminal, "dropped.txt").waitFor();
    await toTerminal(terminal);
    await terminal.enter("clear; cat project/readme project/src/deep/a.txt dropped.txt; echo");
    await terminal.until(/^radropped$/m);
  });

  onFiles("cancels an upload, and nothing of it stays", async (terminal) => {
    const { page } = terminal;
    await openPanel(terminal);
    // Slow enough to be caught on its way.
    const network = await page.context().newCDPSession(page);
    await network.send("Network.enable");
    await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 200_000 });
    const slow = join(await mkdtemp(join(tmpdir(), "files-")), "slow.bin");
    await writeFile(slow, Buffer.alloc(20_000_000));
    await page.locator("#files-input").setInputFiles(slow);
    await page.locator("#files-uploads-words", { hasText: "Uploading 1 of 1" }).waitFor();
    await page.getByRole("button", { name: "Cancel slow.bin" }).click();
    await page.locator("#files-uploads").waitFor({ state: "hidden" });
    await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    await toTerminal(terminal);
    await terminal.enter("clear; until [ -z \"$(ls -A)\" ]; do sleep 0.05; done; echo em''pty");
    await terminal.until(/^empty$/m);
  });

  onFiles("is sorted, and several entries are chosen by keys or the pointer, to be fetched and deleted together", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("mkdir sub; printf 12345 > large; printf 1 > small; printf 123 > middle; touch -d 2020-01-01 small; clear");
    await openPanel(terminal);
    await row(terminal, "middle").waitFor();
    const names = () => page.locator("#files-rows [role=row]").evaluateAll((rows) => rows.map((row) => /** @type {HTMLElement} */ (row).dataset["name"]));
    const sortedBy = (/** @type {string[]} */ ...wanted) => eventually(`the order ${wanted}`, async () => (await names()).join() === wanted.join());
    await page.getByRole("button", { name: "Size" }).click();
    await sortedBy("sub", "large", "middle", "small");
    await page.getByRole("button", { name: "Size" }).click();
    await sortedBy("sub", "small", "middle", "large");
    await page.getByRole("button", { name: "Changed" }).click();
    await page.getByRole("button", { name: "Changed" }).click();
    await eventually("the oldest is first", async () => (await names())[1] === "small");
    await page.getByRole("button", { name: "Name" }).click();
    await sortedBy("sub", "large", "middle", "small");

    await row(terminal, "large").click({ modifiers: ["Control"] });
    await row(terminal, "small").click({ modifiers: ["Shift"] });
    await page.getByText("3 selected").first().waitFor();
    await row(terminal, "middle").click({ modifiers: ["Control"] });
    await page.locator("#files-chosen-words", { hasText: "2 selected" }).waitFor();
    await terminal.picture("files-chosen");
    /** @type {string[]} */
    const fetched = [];
    page.on("download", (download) => fetched.push(download.suggestedFilename()));
    await page.locator("#files-chosen-download").click();
    await eventually("both are fetched", () => fetched.sort().join() === "large,small");
    await row(terminal, "small").focus();
    await page.keyboard.press("Delete");
    await page.getByText("Delete 2 entries?").waitFor();
    await page.locator("#file-delete button[value=delete]").click();
    await sortedBy("sub", "middle");
    assert.equal(await page.locator("#files-chosen").isVisible(), false);
    await row(terminal, "middle").focus();
    await page.keyboard.press("Control+a");
    await page.getByText("2 selected").first().waitFor();
    await page.keyboard.press("Space");
    await page.locator("#files-chosen-words", { hasText: "1 selected" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#files-chosen").waitFor({ state: "hidden" });
    await toTerminal(terminal);
    await terminal.enter("clear; ls");
    await terminal.until(/^middle +sub$/m);
  });

  onFiles("stays open over a reload, where it was, and leaves the keyboard to the terminal", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("mkdir -p deep/er; touch deep/er/here; clear");
    await openPanel(terminal);
    await row(terminal, "deep").click();
    await row(terminal, "er").click();
    await row(terminal, "here").waitFor();
    await page.reload();
    await row(terminal, "here").waitFor();
    await page.locator("#terminal .xterm-helper-textarea:focus").waitFor({ state: "attached" });
    await page.getByRole("button", { name: "Close the files" }).click();
    await page.reload();
    await terminal.until(/[$#] *$/);
    await page.locator("#files-button").waitFor();
    assert.equal(await page.locator("#files").isVisible(), false);
  });

  onFiles("shows enough of a long name to tell it from others, and what Windows has written", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("touch report-of-the-quarter-with-all-of-the-figures-{1,2}.pdf; printf 'gr\\374\\337e\\n' > latin; printf '\\377\\376h\\000i\\000' > wide; clear");
    await page.setViewportSize({ width: 768, height: 600 });
    await openPanel(terminal);
    const long = row(terminal, "report-of-the-quarter-with-all-of-the-figures-2.pdf");
    await long.waitFor();
    const tail = await long.locator(".end").boundingBox();
    const end = (await page.locator("#files").boundingBox())?.width ?? 0;
    assert.ok(tail && tail.x + tail.width <= 768 && tail.width > 40, "its end is in sight");
    assert.ok(end >= 300);
    const cut = await page.locator("#files").evaluate((panel) => [...panel.querySelectorAll("button, .end")].filter((part) => part.checkVisibility() && part.getBoundingClientRect().right > innerWidth).map((part) => part.textContent));
    assert.deepEqual(cut, [], "nothing is cut off");
    await terminal.picture("files-768");
    await long.focus();
    await eventually("all of it is in sight", () => long.locator(".begin").evaluate((head) => head.getClientRects().length > 1 || head.scrollWidth <= head.clientWidth));
    for (const [name, text, facts] of [
      ["latin", "grüße", "Latin-1"],
      ["wide", "hi", "UTF-16"],
    ]) {
      await row(terminal, name ?? "").click();
      await page.locator("#files-preview pre", { hasText: text ?? "" }).waitFor();
      await page.locator("#files-preview-facts", { hasText: facts ?? "" }).waitFor();
      await page.keyboard.press("Escape");
    }
  });

  onFiles("leaves the terminal the width that is left", async (terminal) => {
    const { page } = terminal;
    await terminal.enter('clear; echo "wide=$(tput cols)"');
    const wide = Number((await terminal.until(/^wide=(\d+)$/m))[1]);
    await openPanel(terminal);
    await toTerminal(terminal);
    await terminal.enter('clear; until [ "$(tput cols)" -lt ' + wide + ' ]; do sleep 0.05; done; echo "narrow=$(tput cols)"');
    const narrow = Number((await terminal.until(/^narrow=(\d+)$/m))[1]);
    assert.ok(narrow < wide * 0.8 && narrow > wide * 0.4, `${wide} columns became ${narrow}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out sideways");
  });

  onFiles("says that the files are gone with the session, and begins anew with the next", async (terminal) => {
    const { page } = terminal;
    await terminal.enter("touch mine; clear");
    await openPanel(terminal);
    await row(terminal, "mine").waitFor();
    await toTerminal(terminal);
    await terminal.enter("exit");
    await page.getByText("The session has ended, and the files of its sandbox are gone.").waitFor();
    await page.locator("#again:not([aria-disabled])").click();
    await terminal.untilLive();
    await page.getByText("This folder is empty").waitFor();
  });

  test("takes a finger's taps above the layers of the renderer that people get", async () => {
    const terminal = await TerminalPage.open(browser, { renderer: "auto", viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true });
    const { page } = terminal;
    await page.locator('#app[data-phase="live"]').waitFor();
    await page.getByRole("button", { name: "Files", exact: true }).tap();
    await page.getByRole("button", { name: "Close the files" }).tap();
    await page.locator("#files").waitFor({ state: "hidden" });
    await terminal.close();
  });

  onFiles(
    "covers the terminal on a phone, and is worked by a finger",
    async (terminal) => {
      const { page } = terminal;
      await terminal.enter("mkdir photos; echo text > note.txt; clear");
      await page.getByRole("button", { name: "Files", exact: true }).tap();
      await row(terminal, "note.txt").waitFor();
      await terminal.picture("files-phone");
      assert.equal(await page.locator("#keys").isVisible(), false);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out sideways");
      const box = await page.locator("#files").boundingBox();
      assert.equal(box?.width, 390);
      await row(terminal, "note.txt").getByRole("button").tap();
      await page.getByRole("menuitem", { name: "Delete" }).tap();
      await page.getByRole("button", { name: "Delete", exact: true }).tap();
      await row(terminal, "note.txt").waitFor({ state: "detached" });
      await row(terminal, "photos").tap();
      await page.getByText("This folder is empty").waitFor();
      await page.getByRole("button", { name: "Close the files" }).tap();
      await page.locator("#files").waitFor({ state: "hidden" });
      await terminal.enter("echo back-$((40+2))");
      await terminal.until(/^back-42$/m);
    },
    { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: "dark" },
  );

  for (const colorScheme of /** @type {const} */ (["dark", "light"])) {
    onFiles(
      `follows the ${colorScheme} appearance`,
      async (terminal) => {
        await terminal.enter(
          "mkdir data src; seq 90000 > data.csv; echo '# Notes' > notes.md; printf '<svg xmlns=\"http://www.w3.org/2000/svg\"/>' > logo.svg; head -c 3000000 /dev/zero > model.bin; clear; ls -l",
        );
        await openPanel(terminal);
        await row(terminal, "model.bin").waitFor();
        const ground = await terminal.page.locator("#files-list").evaluate((list) => getComputedStyle(list).backgroundColor);
        assert.equal(ground, colorScheme === "dark" ? "rgb(17, 20, 26)" : "rgb(255, 255, 255)");
        await terminal.picture(`files-${colorScheme}`);
      },
      { colorScheme },
    );
  }
});
