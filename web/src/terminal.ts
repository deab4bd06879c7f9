/**
 * The terminal itself: xterm.js with its addons, its size, its colours, and what it may do to the browser (copy, open links, ring).
 * Knows no protocol: output comes in through `write`, and input goes out through the handlers.
 *
 * Two sizes: the one that this window has room for, which is told, and the one that the terminal has, which is drawn. They are the same
 * unless `setSize` says otherwise; then the text is made smaller until the terminal fits.
 */
import "@xterm/xterm/css/xterm.css";
import { ClipboardAddon } from "@xterm/addon-clipboard";
import { FitAddon } from "@xterm/addon-fit";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { type ITerminalAddon, type ITerminalOptions, Terminal as Xterm } from "@xterm/xterm";
import { copyText } from "./clipboard";
import { EMULATION, mend } from "./emulation";
import { mendInverse } from "./inverse";
import { Keyboard, type KeyboardOptions } from "./keyboard/keyboard";
import { KeyboardModes } from "./keyboard/modes";
import type { Modifiers } from "./keyboard/press";
import type { Colors, Size } from "./level1";
import { paced } from "./paced";
import { cleanPaste, takePastes } from "./paste";
import { listen } from "./notices/listen";
import type { Said } from "./notices/parse";
import type { Preferences } from "./preferences";
import { clampCells } from "./protocol";
import { Selecting } from "./selecting";
import { Silence } from "./silence";
import type { Look } from "./theme";
import { type Point, takeTouches } from "./touch";
import { WholeCodePoints } from "./utf8";

export type Copied = "done" | "unattended" | "refused";

export interface TerminalHandlers {
  /** Typed, pasted, or an answer of the emulator to the program. */
  input(text: string, pasted: boolean): void;
  /** A mouse report in the encoding of old, of which each character is one byte. */
  binary(text: string): void;
  /** The person pasted or dropped text; nothing of it is sent yet. */
  pasted(text: string): void;
  /** The person pasted or dropped files. Must be read within the event. */
  pastedFiles(transfer: DataTransfer): void;
  /** Text was selected and needs a button to be copied: by a finger, or in a browser that takes no key for that. `undefined`: no more. */
  selected(text: string | undefined): void;
  /** The window has room for this many cells now. */
  room(size: Size): void;
  /** The terminal is larger than its window, and shown in part or very small; or no longer. */
  oversized(on: boolean): void;
  /** The program named itself (OSC 0 or 2). */
  title(text: string): void;
  bell(): void;
  /** The program told of something beside its output. */
  said(said: Said): void;
  /** Output of a full-screen program is missing, so that its picture may be torn. */
  gap?(): void;
  /** The program put `text` on the clipboard; was kept from it, as nobody was working in this terminal; or the browser did not let this page. */
  copied(how: Copied, text: string): void;
  /** The newest output is out of sight, because the person scrolled away from it; or it is in sight again. */
  awayFromEnd(away: boolean): void;
  /** The pointer is on a link that leads to `url`, or no longer is. */
  link(url: string | undefined): void;
  /** The person wants what is on the clipboard pasted here. */
  pasteWanted(): void;
  /** A key that belongs to the page: true keeps it from the program. */
  pageKey(event: KeyboardEvent): boolean;
}

/** How the terminal looks and what the pointer does in it; may change at any time. */
export interface TerminalOptions
  extends Pick<Preferences, "fontSize" | "fontFamily" | "cursorStyle" | "cursorBlink" | "scrollback" | "screenReader" | "copyOnSelect" | "rightClick">,
    KeyboardOptions {
  readonly look: Look;
  /** `dom` draws the terminal as text elements: for browsers without good WebGL, for assistive tools, and for tests. */
  readonly renderer: Preferences["renderer"];
}

/**
 * Smallest text that a terminal larger than its window is drawn with, in CSS pixels: the least that people read, and the least that shows
 * where things are, for who wants to see all of it. What does not fit then is scrolled to.
 */
const MIN_READ_FONT = 9;
const MIN_WHOLE_FONT = 2;
/** By how much text is made smaller at a time, in CSS pixels, until it fits. */
const FONT_STEP = 0.25;
/** How often programs can put something on the clipboard, in milliseconds. Of what comes faster the latest counts. */
const COPY_MS = 100;
/** How long a window waits for the terminal to take its new size before it makes the text smaller, in milliseconds. */
const SETTLE_MS = 400;
const FONTS =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", "Fira Code", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Ends any escape sequence (CAN), then full reset (RIS). */
const RESET = "\x18\x1bc";
/** Ends any escape sequence (CAN), and any colour. */
const CUT = "\x18\x1b[0m";
/** No cursor, no mouse reports, no bracketed paste: nobody is there to hear them, and text can be selected again. */
const RETIRE = "\x1b[?25l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l";

export class Terminal {
  readonly #xterm: Xterm;
  readonly #fit = new FitAddon();
  readonly #silence: Silence;
  readonly #bytes = new WholeCodePoints();
  readonly #keyboard: Keyboard;
  readonly #observer = new ResizeObserver(() => this.#queueFit());
  #fitQueued = false;
  #options: TerminalOptions;
  #webgl: WebglAddon | undefined;
  #room: Size | undefined;
  /** The size to draw, where it is not the window's. */
  #size: Size | undefined;
  /** The person wants to see all of a terminal that is larger than its window. */
  #whole = false;
  #settling: ReturnType<typeof setTimeout> | undefined;
  /** What is drawn is an old picture: it gets its size, and is not fitted into the window. */
  #old = false;
  /** A terminal that is larger than its window is scrolled along with its cursor. */
  #follows = true;
  /** Where the page scrolled it last: any other place is where the person did. */
  #followedTo = { left: 0, top: 0 };
  #isAway = false;
  /** Whether what was given to xterm.js last is replay. */
  #replay = false;
  #pasting = false;
  /** What waits until it is known what a gap does. */
  #held: (() => void)[] | undefined;

  constructor(
    host: HTMLElement,
    private readonly handlers: TerminalHandlers,
    options: TerminalOptions,
  ) {
    const openLink = (_: MouseEvent, url: string) => void (isWeb(url) && window.open(url, "_blank", "noopener,noreferrer"));
    const xterm = new Xterm({
      ...EMULATION,
      ...xtermOptions(options),
      fontSize: options.fontSize,
      linkHandler: {
        activate: openLink,
        hover: (_, url) => handlers.link(address(url)),
        leave: () => handlers.link(undefined),
      },
      macOptionClickForcesSelection: true,
      rescaleOverlappingGlyphs: true,
    });
    this.#xterm = xterm;
    this.#options = options;
    mend(xterm);
    xterm.loadAddon(this.#fit);
    xterm.loadAddon(new WebLinksAddon(openLink));
    xterm.loadAddon(new UnicodeGraphemesAddon());
    // The emulator would wait for each before it goes on.
    const copy = paced(COPY_MS, (text: string) => void this.#copyForProgram(text));
    xterm.loadAddon(new ClipboardAddon(undefined, { readText: () => "", writeText: (_, text) => copy(text) }));
    // Handlers run newest first: a program's question for the clipboard ends here, unanswered. It may write, never read.
    xterm.parser.registerOscHandler(52, (data) => data.slice(data.indexOf(";") + 1) === "?");
    const modes = new KeyboardModes({ parser: xterm.parser, isAlternate: () => this.#isAlternate, answer: (text) => xterm.input(text, false) });
    const silence = new Silence(xterm.parser);
    this.#silence = silence;

    this.#keyboard = new Keyboard(
      modes,
      {
        hasSelection: () => xterm.hasSelection(),
        copySelection: (clear) => void this.#copySelection(clear),
        hasHistory: () => !this.#isAlternate,
        pageKey: (event) => handlers.pageKey(event),
      },
      options,
    );

    xterm.onData((text) => {
      if (silence.isAnswering) return;
      // Who types looks at the cursor.
      if (!isReport(text)) this.#follows = true;
      handlers.input(text, this.#pasting);
    });
    xterm.onBinary((text) => handlers.binary(text));
    xterm.onSelectionChange(() => !xterm.hasSelection() && handlers.selected(undefined));
    xterm.onTitleChange((text) => handlers.title(text));
    xterm.onWriteParsed(() => this.#follow());
    xterm.onRender(() => this.#tellEnd());
    listen(xterm.parser, (said) => !silence.replay && handlers.said(said));
    xterm.onBell(() => !silence.replay && handlers.bell());
    xterm.attachCustomKeyEventHandler((event) => this.#key(event));

    xterm.open(host);
    mendInverse(xterm);
    // Who wants to read the terminal gets its cells, too.
    if (options.renderer === "dom") Object.assign(host, { xterm });
    this.#useRenderer();
    xterm.element?.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    takePastes(host, { text: (text) => handlers.pasted(text), files: (transfer) => handlers.pastedFiles(transfer) });
    this.#takeTouches(host);
    host.addEventListener("mouseup", ({ button }) => button === 0 && this.#options.copyOnSelect && xterm.hasSelection() && void this.#copySelection(false));
    host.addEventListener("contextmenu", (event) => this.#rightClicked(event));
    this.#observer.observe(host);
    this.fit();
  }

  /** How many cells the window has room for. */
  get room(): Size {
    return this.#room ?? { cols: this.#xterm.cols, rows: this.#xterm.rows };
  }

  get applicationCursorKeys(): boolean {
    return this.#xterm.modes.applicationCursorKeysMode;
  }

  /**
   * Adds output; `done` follows once the screen's model has it. `replay`: it is an old one, and what it asks of the terminal, its bells and
   * what it copies have no effect.
   */
  write(output: string | Uint8Array, replay = false, done?: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.write(output, replay, done));
    if (replay !== this.#replay) {
      this.#replay = replay;
      // In its turn: what was written before is parsed as it was.
      this.#xterm.write("", () => void (this.#silence.replay = replay));
    }
    this.#xterm.write(typeof output === "string" ? output : this.#bytes.take(output), done);
  }

  /**
   * Draws `bar` in the place of output that is missing. Not into what a full-screen program has drawn: there only a sequence that was cut
   * ends, and the handler is told.
   */
  gap(bar: string, done?: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.gap(bar, done));
    const held: (() => void)[] = (this.#held = []);
    this.#xterm.write("", () => {
      const alternate = this.#xterm.buffer.active.type === "alternate";
      this.#held = undefined;
      this.#bytes.drop();
      this.write(alternate ? CUT : bar, true, done);
      for (const write of held) write();
      if (alternate) this.handlers.gap?.();
    });
  }

  /** An empty terminal for a new session, after all that is still being drawn. */
  reset(done?: () => void): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.reset(done));
    this.#bytes.drop();
    this.#xterm.write(RESET, () => {
      this.#xterm.options.disableStdin = false;
      done?.();
    });
  }

  /**
   * The terminal has this size, after all that is still being drawn; without one it has the window's. `old`: it had it once, and more output
   * that was printed before follows, up to `caughtUp`. Fitting each of a hundred old sizes into the window would take seconds.
   */
  setSize(size: Size | undefined, old = false): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.setSize(size, old));
    this.#xterm.write("", () => {
      this.#size = size;
      this.#old = old;
      clearTimeout(this.#settling);
      this.#draw();
    });
  }

  /** After all that is still being drawn, what is shown is the present. */
  caughtUp(): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.caughtUp());
    this.#xterm.write("", () => {
      if (!this.#old) return;
      this.#old = false;
      this.#draw();
    });
  }

  /** Shows the newest output, wherever the person scrolled to. */
  scrollToEnd(): void {
    this.#xterm.scrollToBottom();
    this.#follows = true;
    this.#follow();
    this.#tellEnd();
  }

  /** Somebody else types: what the program asks of the terminal is not answered here. */
  setViewer(viewer: boolean): void {
    this.#silence.viewer = viewer;
  }

  /** The recorder answers what programs ask of the terminal, so that nobody does here. */
  setRecorded(recorded: boolean): void {
    this.#silence.recorded = recorded;
  }

  /** The session is over: what is on the screen stays, to read and to copy. */
  retire(): void {
    this.#xterm.options.disableStdin = true;
    this.#xterm.write(RETIRE);
  }

  /** Whether the program tells pasted text from typed text, so that no line of it runs before Enter. */
  get bracketsPastes(): boolean {
    return this.#xterm.modes.bracketedPasteMode;
  }

  /** As if the person had pasted it: without what steers, and with line ends and brackets as the program wants them. */
  paste(text: string): void {
    this.#pasting = true;
    this.#xterm.paste(cleanPaste(text));
    this.#pasting = false;
  }

  /** As if the person had typed it. */
  type(text: string): void {
    this.#xterm.input(text);
  }

  /** What a key on the screen sends, where a protocol or a modifier makes it another than the key's own. */
  keySequence(key: string, held: Partial<Modifiers>): string | undefined {
    return this.#keyboard.sequence(key, held);
  }

  get selection(): string {
    return this.#xterm.getSelection();
  }

  clearSelection(): void {
    this.#xterm.clearSelection();
  }

  focus(): void {
    this.#xterm.focus();
  }

  /** The terminal is gone, and what it had of the browser. */
  dispose(): void {
    this.#observer.disconnect();
    clearTimeout(this.#settling);
    this.#xterm.dispose();
  }

  /** What programs are told of its colours. */
  get colors(): Colors {
    const { foreground, background, cursor } = this.#xterm.options.theme ?? {};
    return { foreground: foreground ?? "#ffffff", background: background ?? "#000000", cursor: cursor ?? "#ffffff" };
  }

  /** Looks and works like this from now on. */
  setOptions(options: TerminalOptions): void {
    this.#options = options;
    this.#xterm.options = xtermOptions(options);
    this.#keyboard.options = options;
    this.#useRenderer();
    this.fit();
  }

  /** Adds to the emulator what is none of this class's business. */
  load(addon: ITerminalAddon): void {
    this.#xterm.loadAddon(addon);
  }

  /** Finds out how many cells the window has room for, tells it, and draws the terminal so that all of it is seen. */
  fit(): void {
    const room = this.#measure(this.#options.fontSize);
    if (room === undefined) return; // not laid out
    const changed = room.cols !== this.#room?.cols || room.rows !== this.#room.rows;
    this.#room = room;
    clearTimeout(this.#settling);
    // Where this window says what size the terminal has, that size is on its way.
    if (changed && this.#size !== undefined && !this.#silence.viewer) this.#settling = setTimeout(() => this.#draw(), SETTLE_MS);
    else this.#draw();
    if (changed) this.handlers.room(room);
  }

  #draw(): void {
    this.#xterm.element?.classList.toggle("old", this.#old);
    if (this.#old) {
      if (this.#size !== undefined) this.#resize(this.#size);
      return;
    }
    const room = this.#measure(this.#options.fontSize);
    if (room === undefined) {
      // Not laid out, and written to all the same.
      if (this.#size !== undefined) this.#resize(this.#size);
      return;
    }
    const size = this.#size ?? room;
    const larger = size.cols > room.cols || size.rows > room.rows;
    const fits = !larger || this.#shrink(size, room);
    this.#resize(size);
    this.#xterm.element?.classList.toggle("boxed", size.cols < room.cols - 1 || size.rows < room.rows - 1 || this.#xterm.options.fontSize !== this.#options.fontSize);
    this.#pan(!fits);
    this.handlers.oversized(!fits || (larger && this.#whole));
  }

  #resize({ cols, rows }: Size): void {
    if (cols !== this.#xterm.cols || rows !== this.#xterm.rows) this.#xterm.resize(cols, rows);
  }

  /** Whether the terminal is larger than its window and can be scrolled in it. */
  #pan(on: boolean): void {
    const shown = this.#xterm.element;
    if (shown === undefined) return;
    if (shown.classList.contains("panned") !== on) {
      shown.classList.toggle("panned", on);
      this.#follows = true;
      this.#followedTo = { left: 0, top: 0 };
      shown.scrollTo(0, 0);
    }
    this.#follow();
  }

  /** Brings the cursor into sight in a terminal that is larger than its window, unless the person looks elsewhere. */
  #follow(): void {
    const [shown, cursor] = [this.#xterm.element, this.#cursor()];
    if (shown === undefined || cursor === undefined || !this.#follows) return;
    const { left, top, right, bottom } = cursor;
    const { clientWidth, clientHeight } = shown;
    // The beginning of the line stays in sight where the cursor is, too.
    const from = right <= clientWidth ? 0 : shown.scrollLeft;
    shown.scrollTo(Math.min(left, Math.max(from, right - clientWidth)), Math.min(top, Math.max(shown.scrollTop, bottom - clientHeight)));
    this.#followedTo = { left: shown.scrollLeft, top: shown.scrollTop };
  }

  /** Who scrolls back to the cursor follows it again. */
  #scrolled(): void {
    const [shown, cursor] = [this.#xterm.element, this.#cursor()];
    if (shown === undefined || cursor === undefined) return;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = shown;
    if (scrollLeft === this.#followedTo.left && scrollTop === this.#followedTo.top) return;
    const { left, top, right, bottom } = cursor;
    this.#follows = left >= scrollLeft && right <= scrollLeft + clientWidth && top >= scrollTop && bottom <= scrollTop + clientHeight;
    this.#tellEnd();
  }

  /** The cell with the cursor, in CSS pixels of a terminal that is larger than its window; none where it is not, or shows its history. */
  #cursor(): { left: number; top: number; right: number; bottom: number } | undefined {
    const { element: shown, cols, rows, buffer } = this.#xterm;
    const { cursorX, cursorY, viewportY, baseY } = buffer.active;
    const screen = shown?.querySelector(".xterm-screen");
    if (screen == null || shown?.classList.contains("panned") !== true || viewportY < baseY) return undefined;
    const [width, height] = [screen.clientWidth / cols, screen.clientHeight / rows];
    const column = Math.min(cursorX, cols - 1);
    return { left: Math.floor(column * width), top: Math.floor(cursorY * height), right: Math.ceil((column + 1) * width), bottom: Math.ceil((cursorY + 1) * height) };
  }

  #tellEnd(): void {
    const { viewportY, baseY } = this.#xterm.buffer.active;
    const away = viewportY < baseY || (!this.#follows && this.#xterm.element?.classList.contains("panned") === true);
    if (away === this.#isAway) return;
    this.#isAway = away;
    this.handlers.awayFromEnd(away);
  }

  /** Shows all of a terminal that is larger than its window, however small its text gets then; or text that can be read. */
  showWhole(whole: boolean): void {
    this.#whole = whole;
    this.#draw();
  }

  /** How many cells of text of this size there is room for; the text has that size then. */
  #measure(fontSize: number): Size | undefined {
    if (this.#xterm.options.fontSize !== fontSize) this.#xterm.options.fontSize = fontSize;
    const size = this.#fit.proposeDimensions();
    if (size === undefined || !Number.isFinite(size.cols) || !Number.isFinite(size.rows)) return undefined;
    return { cols: clampCells(size.cols), rows: clampCells(size.rows) };
  }

  /**
   * Makes the text as large as it can be with `size` still fitting; false where it does not fit. Cells have whole device pixels, so a rule of
   * three only comes close, and each size that is tried lays out the whole terminal.
   */
  #shrink(size: Size, room: Size): boolean {
    const least = this.#whole ? MIN_WHOLE_FONT : Math.min(MIN_READ_FONT, this.#options.fontSize);
    const scale = Math.min((room.cols + 1) / size.cols, (room.rows + 1) / size.rows, 1);
    if (this.#largest(least, this.#options.fontSize * scale, ({ cols, rows }) => cols >= size.cols && rows >= size.rows)) return true;
    // Sideways it is scrolled anyway: what fits up and down can be larger.
    this.#largest(least, this.#options.fontSize, ({ rows }) => rows >= size.rows);
    return false;
  }

  /** Gives the text the largest size from `least` to `most` with which `fits` holds of the room; false where that is none, with the least. */
  #largest(least: number, most: number, fits: (room: Size) => boolean): boolean {
    const tries = (step: number) => {
      const room = this.#measure(least + step * FONT_STEP);
      return room === undefined || fits(room);
    };
    let [good, bad] = [-1, Math.floor((most - least) / FONT_STEP) + 1];
    while (bad - good > 1) {
      const middle = Math.ceil((good + bad) / 2);
      if (tries(middle)) good = middle;
      else bad = middle;
    }
    this.#measure(least + Math.max(0, good) * FONT_STEP);
    return good >= 0;
  }

  #queueFit(): void {
    if (this.#fitQueued) return;
    this.#fitQueued = true;
    requestAnimationFrame(() => {
      this.#fitQueued = false;
      this.fit();
    });
  }

  /** Draws with WebGL where that is wanted and there is one, and goes back to text elements when the browser takes it away. */
  #useRenderer(): void {
    if (this.#options.renderer === "dom") {
      this.#webgl?.dispose();
      this.#webgl = undefined;
    } else if (this.#webgl === undefined) {
      try {
        const webgl = new WebglAddon();
        webgl.onContextLoss(() => webgl.dispose());
        this.#xterm.loadAddon(webgl);
        this.#webgl = webgl;
      } catch {
        // No WebGL 2: xterm.js already draws with text elements.
      }
    }
  }

  /** Where a program wants the mouse, the click is its own; with Shift it is the browser's. */
  #rightClicked(event: MouseEvent): void {
    const { rightClick } = this.#options;
    if (rightClick === "menu" || event.shiftKey || this.#xterm.modes.mouseTrackingMode !== "none") return;
    event.preventDefault();
    if (rightClick === "copy-paste" && this.#xterm.hasSelection()) return void this.#copySelection(true);
    this.handlers.pasteWanted();
  }

  get #isAlternate(): boolean {
    return this.#xterm.buffer.active.type === "alternate";
  }

  /** False keeps a key event from the emulator. */
  #key(event: KeyboardEvent): boolean {
    const verdict = this.#keyboard.judge(event);
    if (verdict.kind === "emulator") return true;
    if (verdict.kind === "browser") return false;
    event.preventDefault();
    if (verdict.kind === "send") {
      event.stopPropagation();
      this.#xterm.input(verdict.text, verdict.typed);
    }
    return false;
  }

  /** Within a key of the person's. Where the browser does not let the page, a button is offered. */
  async #copySelection(clear: boolean): Promise<void> {
    const text = this.#xterm.getSelection();
    if (!(await copyText(text))) return this.handlers.selected(text);
    if (clear) this.#xterm.clearSelection();
  }

  /** Scrolls within a terminal that is taller than its window; false where that has come to its end. */
  #scrollWindow(rows: number): boolean {
    const shown = this.#xterm.element;
    if (shown === undefined || !shown.classList.contains("panned")) return false;
    const before = shown.scrollTop;
    shown.scrollTop += (rows * (shown.querySelector(".xterm-screen")?.clientHeight ?? 0)) / this.#xterm.rows;
    return shown.scrollTop !== before;
  }

  #takeTouches(host: HTMLElement): void {
    const xterm = this.#xterm;
    const screen = () => host.querySelector(".xterm-screen") ?? host;
    const selecting = new Selecting(xterm, host);
    takeTouches(host, {
      rowHeight: () => Math.max(1, screen().clientHeight / xterm.rows),
      scroll: (rows, at) => {
        if (this.#scrollWindow(rows)) return;
        if (!this.#isAlternate && xterm.modes.mouseTrackingMode === "none") return xterm.scrollLines(rows);
        // The program scrolls: by the wheel's reports, or by arrows. One event for each row, as a wheel's notch is.
        for (let row = 0; row < Math.abs(rows); row++) screen().dispatchEvent(notch(Math.sign(rows), at));
      },
      selectWord: (at) => selecting.selectWord(at),
      extendSelection: (to) => selecting.extend(to),
      selected: () => this.handlers.selected(xterm.getSelection()),
    });
  }

  /**
   * Copies for a program (OSC 52) while the person works in this very terminal, and shows them what. What they paste elsewhere is otherwise
   * theirs: any output could plant a command there, in a window that nobody looks at.
   */
  #copyForProgram(text: string): Promise<void> | void {
    // What is no Base64 comes as nothing, and must not take away what is there.
    if (text === "") return;
    if (document.hasFocus() && this.#xterm.textarea === document.activeElement) return this.#copy(text);
    this.handlers.copied("unattended", text);
  }

  async #copy(text: string): Promise<void> {
    this.handlers.copied((await copyText(text)) ? "done" : "refused", text);
  }
}

/** One notch of a wheel, down or up. */
function notch(direction: number, { clientX, clientY }: Point): WheelEvent {
  return new WheelEvent("wheel", { deltaY: direction, deltaMode: WheelEvent.DOM_DELTA_LINE, clientX, clientY, bubbles: true, cancelable: true });
}

function xtermOptions(options: TerminalOptions): ITerminalOptions {
  const { look, fontFamily, cursorStyle, cursorBlink, scrollback, screenReader, optionIsMeta } = options;
  return {
    cursorBlink,
    cursorStyle,
    fontFamily: fontFamily === "" ? FONTS : `"${fontFamily}", ${FONTS}`,
    macOptionIsMeta: optionIsMeta,
    minimumContrastRatio: look.contrast,
    rightClickSelectsWord: false,
    screenReaderMode: screenReader,
    scrollback,
    theme: look.colors,
  };
}

/** What the mouse and the focus tell the program by themselves, without a key. */
export function isReport(text: string): boolean {
  return /^\x1b\[[IOM<]/.test(text);
}

/** Where a link leads, as browsers show it: with whatever could mislead encoded, such as marks of direction and letters like others in a name. */
function address(url: string): string {
  return URL.canParse(url) ? new URL(url).href : "";
}

/** A link that a terminal may open: nothing but the web. */
function isWeb(url: string): boolean {
  return /^https?:\/\//i.test(url);
}
