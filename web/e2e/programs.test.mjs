/**
 * Programs that people run, and vttest, on a real terminal in the recorder: a window that comes in the middle has what a window has that
 * stayed, cell by cell.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Followed } from "./followed.mjs";
import { play } from "./vttest.mjs";

const SIZE = { cols: 80, rows: 24 };

/** What every program is told, whatever this machine sets. */
const ENV = { TERM: "xterm-256color", COLORTERM: "truecolor", LANG: "C.UTF-8", LC_ALL: "C.UTF-8", LESS: "", CI: undefined };

/**
 * Runs a program, and forgets its files.
 * @param {(dir: string) => string[] | Promise<string[]>} command Puts files into an empty folder, which is the program's home, and says what to run.
 * @param {(program: Followed) => Promise<void>} use
 */
async function run(command, use) {
  const dir = mkdtempSync(join(tmpdir(), "program-"));
  const program = new Followed({ ...SIZE, command: await command(dir), env: { ...ENV, HOME: dir } });
  try {
    await use(program);
  } finally {
    await program.recorder.end();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** @param {string} text */
const sh = (text) => ["sh", "-c", text];

/**
 * What changes the size of a program's terminal, and is compared at each: narrower, wider and lower, and back.
 * @param {Followed} program
 * @param {(size: { cols: number, rows: number }) => Promise<unknown>} drawn Waits until the program drew at this size.
 */
async function resize(program, drawn) {
  for (const size of [{ cols: 50, rows: 24 }, { cols: 97, rows: 15 }, SIZE]) {
    await program.recorder.resize(size);
    await program.agree(`at once at ${size.cols}x${size.rows}`);
    await drawn(size);
    await program.agree(`drawn at ${size.cols}x${size.rows}`);
  }
}

/**
 * Plays entries of vttest's menus. Returns how many screens were compared.
 * @param {(path: string[]) => boolean} wanted
 */
async function vttest(wanted) {
  let screens = 0;
  await run(
    () => ["vttest"],
    async (program) => {
      const { recorder } = program;
      await play(
        {
          printed: (from) => recorder.output.subarray(from).toString("latin1"),
          total: () => recorder.total,
          until: (what, holds) => recorder.until(what, holds),
          screen: () => program.screen(),
          type: (keys) => recorder.input(keys),
          look: async (where) => {
            await program.agree(`vttest, ${where}`);
            screens += 1;
          },
        },
        wanted,
      );
    },
  );
  return screens;
}

const NEWER = /^Test non-VT100/;

/** Parts of the newer terminals' menus that say the same as another, or ask what is tested by its own. */
const SAME = /^Test VT\d20 features|^Test reporting functions|8-bit controls|^Font|^Window (modify|report)/;

test("vttest: cursor, screen, characters, double sizes, reports, VT52, VT102, known bugs and reset", async () => {
  const slow = /screen features|Bug A/;
  const screens = await Promise.all([
    vttest(([first = "", second = ""]) => !NEWER.test(first) && !slow.test(first) && !slow.test(second)),
    vttest(([first = "", second]) => slow.test(first) || (/known bugs/.test(first) && (second === undefined || slow.test(second)))),
  ]);
  assert.ok(screens[0] >= 45 && screens[1] >= 27, `vttest showed ${screens.join(" and ")} screens`);
});

test("vttest: VT220 to VT520", async () => {
  const screens = await vttest(([first = "", second, ...rest]) => NEWER.test(first) && (second === undefined || /VT\d20/.test(second)) && !rest.some((name) => SAME.test(name)));
  assert.ok(screens >= 90, `vttest showed ${screens} screens`);
});

test("vttest: ISO 6429 and xterm", async () => {
  const screens = await vttest(([first = "", second, ...rest]) => NEWER.test(first) && (second === undefined || !/VT\d20/.test(second)) && !rest.some((name) => SAME.test(name)));
  assert.ok(screens >= 60, `vttest showed ${screens} screens`);
});

/**
 * A file of source text with wide characters and long lines.
 * @param {string} dir
 */
function source(dir) {
  const file = join(dir, "source.c");
  const lines = Array.from({ length: 120 }, (_, n) => (n % 7 === 3 ? `/* ${"漢字かな 👩🏽‍🚀 ".repeat(12)}*/` : `static const char *name_${n} = "line ${n}"; // e\u0301 ${"x".repeat((n * 13) % 90)}`));
  writeFileSync(file, `#include <stdio.h>\n${lines.join("\n")}\nint main(void) { return 0; }\n`);
  return file;
}

test("vim with two splits and syntax", () =>
  run(
    (dir) => ["vim", "-u", "NONE", "-i", "NONE", "-n", "-N", "+syntax on", "+set ruler", source(dir)],
    async (program) => {
      const { recorder } = program;
      await program.until("the file", (screen) => screen.includes("#include"));
      await program.agree("opened");
      recorder.input(":vsplit\r:split\r");
      await program.until("three windows", (screen) => screen.split("source.c").length >= 4);
      await program.agree("split");
      recorder.input("40Gzt");
      await program.until("line 40", (screen) => /\b40,1/.test(screen));
      recorder.input("Onew 漢字 text 👨‍👩‍👧\x1b");
      await program.until("what was typed", (screen) => screen.includes("new 漢字 text"));
      await program.agree("typed");
      await resize(program, ({ cols }) => program.until(`vim at ${cols} columns`, (screen) => screen.split("\n").some((line) => line.includes("source.c"))));
      recorder.input(":only\r/name_9[0-9]\r");
      await program.until("what was found", (screen) => /name_90/.test(screen));
      await program.agree("found");
      recorder.input(":qa!\r");
      await program.until("its end", (screen) => !screen.includes("name_90"));
      await program.agree("left");
    },
  ));

test("less with a search", () =>
  run(
    (dir) => ["less", "-S", "-J", "-N", source(dir)],
    async (program) => {
      const { recorder } = program;
      await program.until("the file", (screen) => screen.includes("#include"));
      await program.agree("opened");
      recorder.input("/line 5\r");
      await program.until("what was found", (screen) => screen.includes("name_5 "));
      await program.agree("found");
      await resize(program, ({ rows }) => program.until(`less at ${rows} rows`, (screen) => screen.split("\n")[rows - 1]?.startsWith(":") ?? false));
      recorder.input("\x1b[C\x1b[C-S\r");
      await program.until("long lines that wrap", (screen) => /^\W*\d+ x/m.test(screen));
      await program.agree("with long lines");
      recorder.input("qq");
      await program.until("its end", (screen) => !screen.includes("name_5 "));
      await program.agree("left");
    },
  ));

test("htop", () =>
  run(
    () => ["htop", "--delay=2"],
    async (program) => {
      const { recorder } = program;
      await program.until("its list", (screen) => screen.includes("PID") && screen.includes("F10"));
      await program.agree("opened");
      recorder.input("t");
      await program.until("the tree", (screen) => /F5\s*List|F5List/.test(screen));
      await resize(program, ({ rows }) => program.until(`htop at ${rows} rows`, (screen) => screen.split("\n")[rows - 1]?.includes("F1Help") ?? false));
      recorder.input("\x1bOQ");
      await program.until("its setup", (screen) => screen.includes("Meters"));
      await program.agree("in the setup");
    },
  ));

test("mc", () =>
  run(
    (dir) => {
      source(dir);
      mkdirSync(join(dir, "漢字 👩🏽‍🚀"));
      return sh(`cd '${dir}' && exec mc --nosubshell`);
    },
    async (program) => {
      const { recorder } = program;
      await program.until("its panels", (screen) => screen.includes("source.c") && screen.includes("10Quit"));
      await program.agree("opened");
      recorder.input("\x1b9");
      await program.until("its menu", (screen) => screen.includes("Command"));
      recorder.input("\r");
      await program.until("a menu that is open", (screen) => screen.includes("Quick view"));
      await program.agree("with a menu");
      recorder.input("\x1b\x1b");
      await resize(program, ({ rows }) => program.until(`mc at ${rows} rows`, (screen) => screen.split("\n")[rows - 1]?.includes("1Help") ?? false));
      recorder.input("\x1b0");
      await program.until("its question or its end", (screen) => !screen.includes("1Help") || screen.includes("quit"));
      await program.agree("left");
    },
  ));

test("ls with links and colours", () =>
  run(
    (dir) => {
      for (const name of ["plain", "漢字", "👩🏽‍🚀 family 👨‍👩‍👧", "cafe\u0301", "a name that is rather long and has many words in it", "b".repeat(70)]) {
        writeFileSync(join(dir, `${name}.txt`), "");
        mkdirSync(join(dir, `${name}.d`));
      }
      return sh(`cd '${dir}'; ls --hyperlink=always --color=always -lR; ls --hyperlink=always --color=always -C; printf 'ready\\n'; exec cat`);
    },
    async (program) => {
      await program.until("the lists", (screen) => screen.includes("ready"));
      await program.agree("listed");
      await resize(program, () => program.screen());
      program.recorder.input("\r\n".repeat(40));
      await program.until("links that scrolled out", (screen) => !screen.includes("txt"));
      await program.agree("scrolled out");
    },
  ));

test("git log with a graph", () =>
  run(
    (dir) => {
      /** @param {string[]} args */
      const git = (...args) => execFileSync("git", ["-c", "user.name=Ada 漢字", "-c", "user.email=ada@a.example", ...args], { cwd: dir, env: { ...process.env, HOME: dir }, stdio: "pipe" });
      git("init", "--initial-branch=main");
      for (let n = 0; n < 12; n++) {
        git("commit", "--allow-empty", "-m", `change ${n} 👩🏽‍🚀 ${"long ".repeat(n * 2)}`);
        if (n % 4 === 1) git("checkout", "-b", `side-${n}`);
        if (n % 4 !== 3) continue;
        git("checkout", "main");
        git("commit", "--allow-empty", "-m", `beside ${n}`);
        git("merge", "--no-ff", "-m", `merge ${n}`, `side-${n - 2}`);
      }
      return sh(`cd '${dir}' && git --no-pager log --color=always --graph --all --stat --decorate; git -c core.pager='less -R' log --color=always --graph`);
    },
    async (program) => {
      await program.until("the pager", (screen) => screen.includes("merge 11") && screen.split("\n").at(-1)?.startsWith(":") === true);
      await program.agree("in the pager");
      await resize(program, ({ rows }) => program.until(`the pager at ${rows} rows`, (screen) => screen.trimEnd().endsWith(":")));
      program.recorder.input("q");
      await program.agree("left");
    },
  ));

test("tmux with two panes", async () => {
  const socket = join(mkdtempSync(join(tmpdir(), "tmux-")), "socket");
  try {
    await run(
      () => ["tmux", "-S", socket, "-f", "/dev/null", "new-session", "env PS1='$ ' sh"],
      async (program) => {
        const { recorder } = program;
        await program.until("its status line", (screen) => /\[0\] 0:/.test(screen) && screen.includes("$"));
        await program.agree("opened");
        recorder.input("printf '漢字 👩🏽‍🚀 \\033[44;1mblue\\033[m \\033]8;;https://a.example\\033\\\\link\\033]8;;\\033\\\\ %s\\n' $(seq 40)\r");
        await program.until("output", (screen) => screen.includes("link 40"));
        await program.agree("with output");
        recorder.input("\x02%");
        await program.until("two panes", (screen) => screen.includes("│"));
        recorder.input("seq 200\r");
        await program.until("output in the other pane", (screen) => screen.includes("200"));
        await program.agree("with two panes");
        await resize(program, ({ rows }) => program.until(`tmux at ${rows} rows`, (screen) => /\[0\] 0:/.test(screen.split("\n")[rows - 1] ?? "")));
        recorder.input("\x02[\x1b[5~");
        await program.until("its copy mode", (screen) => /\[\d+\/\d+\]/.test(screen));
        await program.agree("scrolled back");
      },
    );
  } finally {
    execFileSync("tmux", ["-S", socket, "kill-server"], { stdio: "ignore" });
    rmSync(join(socket, ".."), { recursive: true, force: true });
  }
});

test("a program of Ink's", () =>
  run(
    () => [process.execPath, new URL("ink.mjs", import.meta.url).pathname],
    async (program) => {
      const { recorder } = program;
      await program.until("its frames", (screen) => screen.includes("frame 5"));
      await program.agree("drawn");
      recorder.input("hello 漢字 👨‍👩‍👧‍👦 e\u0301");
      await program.until("what was typed", (screen) => screen.includes("> hello 漢字"));
      await program.agree("typed");
      recorder.input("\r");
      let frame = 0;
      const later = async () => {
        const shown = Number(/frame (\d+)/.exec(await program.screen())?.[1] ?? 0);
        frame = Math.max(frame, shown) + 3;
        await program.until(`frame ${frame}`, (screen) => [...screen.matchAll(/frame (\d+)/g)].some(([, number]) => Number(number) >= frame));
      };
      await resize(program, later);
      for (let n = 0; n < 12; n++) {
        recorder.input(`said ${n} 漢字`);
        await program.until("the text", (screen) => screen.includes(`> said ${n} `));
        recorder.input("\r");
        await program.until("what was said", (screen) => screen.includes(`› said ${n} 漢字 (`));
      }
      await program.agree("with a history");
      await resize(program, later);
    },
  ));
