/**
 * The terminal itself: xterm.js with its addons, its size, its colours, and what it may do to the browser (copy, open links, ring).
 * Knows no protocol: text comes in through `write`, and goes out through the handlers.
 */
import "@xterm/xterm/css/xterm.css";
import { ClipboardAddon } from "@xterm/addon-clipboard";
import { FitAddon } from "@xterm/addon-fit";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal as Xterm } from "@xterm/xterm";
import { clampCells } from "./protocol";
import { terminalTheme } from "./theme";
import { scrollByTouch } from "./touch";

export interface TerminalHandlers {
  /** Typed, pasted, or an answer of the emulator to the program. */
  input(text: string): void;
  /** The size changed, in cells. */
  resize(cols: number, rows: number): void;
  /** The program named itself (OSC 0 or 2). */
  title(text: string): void;
  bell(): void;
  /** The program put text on the clipboard, or the browser did not let it. */
  copied(ok: boolean): void;
  /** The pointer is on a link that leads to `url`, or no longer is. */
  link(url: string | undefined): void;
  /** A key that belongs to the page: true keeps it from the program. */
  pageKey(event: KeyboardEvent): boolean;
}

export interface TerminalOptions {
  readonly fontSize: number;
  readonly dark: boolean;
  readonly screenReader: boolean;
  readonly calm: boolean;
  /** `dom` draws the terminal as text elements: for browsers without good WebGL, for assistive tools, and for tests. */
  readonly renderer: "auto" | "dom";
}

/** Lines kept above the screen. At 80 columns about 10 MB; a page that stays open for a day must not grow. */
const SCROLLBACK_LINES = 10_000;
/** WCAG AA for text. */
const MIN_CONTRAST = 4.5;
const FONTS =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", "Fira Code", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Full reset (RIS). */
const RESET = "\x1bc";
/** No cursor, no mouse reports, no bracketed paste: nobody is there to hear them, and text can be selected again. */
const RETIRE = "\x1b[?25l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l";

export class Terminal {
  readonly #xterm: Xterm;
  readonly #fit = new FitAddon();
  #fitQueued = false;

  constructor(
    host: HTMLElement,
    private readonly handlers: TerminalHandlers,
    options: TerminalOptions,
  ) {
    const openLink = (_: MouseEvent, url: string) => void (isWeb(url) && window.open(url, "_blank", "noopener,noreferrer"));
    const xterm = new Xterm({
      allowProposedApi: true, // unicode-graphemes needs it
      cursorBlink: !options.calm,
      fontFamily: FONTS,
      fontSize: options.fontSize,
      linkHandler: {
        activate: openLink,
        hover: (_, url) => handlers.link(url),
        leave: () => handlers.link(undefined),
      },
      macOptionClickForcesSelection: true,
      minimumContrastRatio: MIN_CONTRAST,
      rescaleOverlappingGlyphs: true,
      screenReaderMode: options.screenReader,
      scrollback: SCROLLBACK_LINES,
      theme: terminalTheme(options.dark),
    });
    this.#xterm = xterm;
    xterm.loadAddon(this.#fit);
    xterm.loadAddon(new WebLinksAddon(openLink));
    xterm.loadAddon(new UnicodeGraphemesAddon());
    xterm.loadAddon(new ClipboardAddon(undefined, { readText: () => "", writeText: (_, text) => this.#copy(text) }));
    // Handlers run newest first: a program's question for the clipboard ends here, unanswered. It may write, never read.
    xterm.parser.registerOscHandler(52, (data) => data.slice(data.indexOf(";") + 1) === "?");

    xterm.onData((text) => handlers.input(text));
    xterm.onBinary((text) => handlers.input(text));
    xterm.onResize(({ cols, rows }) => handlers.resize(cols, rows));
    xterm.onTitleChange((text) => handlers.title(text));
    xterm.onBell(() => handlers.bell());
    xterm.attachCustomKeyEventHandler((event) => !this.#pageKey(event));

    xterm.open(host);
    if (options.renderer === "auto") this.#useWebgl();
    scrollByTouch(host);
    new ResizeObserver(() => this.#queueFit()).observe(host);
    this.fit();
  }

  get size(): { cols: number; rows: number } {
    return { cols: this.#xterm.cols, rows: this.#xterm.rows };
  }

  get applicationCursorKeys(): boolean {
    return this.#xterm.modes.applicationCursorKeysMode;
  }

  /** Adds output; `done` follows once the screen's model has it. */
  write(text: string, done?: () => void): void {
    this.#xterm.write(text, done);
  }

  /** An empty terminal for a new session, after all that is still being drawn. */
  reset(done: () => void): void {
    this.#xterm.write(RESET, () => {
      this.#xterm.options.disableStdin = false;
      done();
    });
  }

  /** The session is over: what is on the screen stays, to read and to copy. */
  retire(): void {
    this.#xterm.options.disableStdin = true;
    this.#xterm.write(RETIRE);
  }

  /** As if the person had pasted it: with line ends and brackets as the program wants them. */
  paste(text: string): void {
    this.#xterm.paste(text);
  }

  /** As if the person had typed it. */
  type(text: string): void {
    this.#xterm.input(text);
  }

  focus(): void {
    this.#xterm.focus();
  }

  setDark(dark: boolean): void {
    this.#xterm.options.theme = terminalTheme(dark);
  }

  setCalm(calm: boolean): void {
    this.#xterm.options.cursorBlink = !calm;
  }

  setScreenReader(on: boolean): void {
    this.#xterm.options.screenReaderMode = on;
  }

  setFontSize(pixels: number): void {
    this.#xterm.options.fontSize = pixels;
    this.fit();
  }

  /** Takes as many cells as the host element has room for. */
  fit(): void {
    const size = this.#fit.proposeDimensions();
    if (size === undefined || !Number.isFinite(size.cols) || !Number.isFinite(size.rows)) return; // not laid out
    const [cols, rows] = [clampCells(size.cols), clampCells(size.rows)];
    if (cols !== this.#xterm.cols || rows !== this.#xterm.rows) this.#xterm.resize(cols, rows);
  }

  #queueFit(): void {
    if (this.#fitQueued) return;
    this.#fitQueued = true;
    requestAnimationFrame(() => {
      this.#fitQueued = false;
      this.fit();
    });
  }

  /** Draws with WebGL where there is one, and goes back to text elements for good when the browser takes it away. */
  #useWebgl(): void {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.#xterm.loadAddon(webgl);
    } catch {
      // No WebGL 2: xterm.js already draws with text elements.
    }
  }

  #pageKey(event: KeyboardEvent): boolean {
    // On Linux and Windows Ctrl-C is the program's, so copying takes Shift too.
    if (event.ctrlKey && event.shiftKey && !event.altKey && event.code === "KeyC") {
      if (event.type === "keydown" && this.#xterm.hasSelection()) void this.#copy(this.#xterm.getSelection(), false);
      event.preventDefault();
      return true;
    }
    return this.handlers.pageKey(event);
  }

  async #copy(text: string, tell = true): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      if (tell) this.handlers.copied(true);
    } catch {
      // Refused by the browser, or no secure context and so no clipboard at all.
      this.handlers.copied(false);
    }
  }
}

/** A link that a terminal may open: nothing but the web. */
function isWeb(url: string): boolean {
  return /^https?:\/\//i.test(url);
}
