/**
 * The terminal: xterm.js, the parts of this folder around it, and what the page may do with it. Knows no protocol: output comes in through
 * `write`, and input goes out through the host.
 */
import "@xterm/xterm/css/xterm.css";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { type ITerminalAddon, Terminal as Xterm } from "@xterm/xterm";
import { Keyboard } from "../keyboard/keyboard";
import { KeyboardModes } from "../keyboard/modes";
import type { Modifiers } from "../keyboard/press";
import { listen } from "../notices/listen";
import type { Announcement } from "../notices/parse";
import { copyText } from "../page/clipboard";
import type { Colors } from "../protocol/level1";
import type { Size } from "../protocol/size";
import { EMULATION, mend } from "./emulation";
import { Fitting } from "./fitting";
import { takeGestures } from "./gestures";
import { linkHandler, webLinks } from "./hyperlinks";
import { mendInverse } from "./inverse";
import { type TerminalOptions, xtermOptions } from "./options";
import { type Copied, letProgramsCopy } from "./osc52";
import { Panning } from "./panning";
import { cleanPaste, takePastes } from "./paste";
import { Renderer } from "./renderer";
import { Silence } from "./silence";
import { Writer } from "./writer";

export interface TerminalHost {
  /** Typed, pasted, or an answer of the emulator to the program. */
  input(text: string, pasted: boolean): void;
  /** A mouse report in the old encoding, in which each character is one byte. */
  binary(text: string): void;
  /** The person pasted or dropped text. Nothing of it is sent yet. */
  pasted(text: string): void;
  /** The person pasted or dropped files. They must be read within the event. */
  pastedFiles(transfer: DataTransfer): void;
  /** Text was selected and needs a button to be copied: by a finger, or in a browser that refused to copy at a key. `undefined`: no longer. */
  selected(text: string | undefined): void;
  /** The window has room for this many cells now. */
  room(size: Size): void;
  /** The terminal is larger than its window, and shown in part or very small; or no longer. */
  oversized(on: boolean): void;
  /** The program named itself (OSC 0 or 2). */
  title(text: string): void;
  bell(): void;
  /** The program announced something beside its output. */
  announced(announcement: Announcement): void;
  /** Output of a full-screen program is missing, so its picture may be torn. */
  torn?(): void;
  /** A program copied `text`, or tried to. */
  copied(how: Copied, text: string): void;
  /** The newest output is out of sight, because the person scrolled away from it; or it is in sight again. */
  awayFromEnd(away: boolean): void;
  /** The pointer is on a link that leads to `url`, or no longer is. */
  link(url: string | undefined): void;
  /** The person asks to paste from the clipboard. */
  pasteWanted(): void;
  /** A key that may belong to the page. True keeps it from the program. */
  pageKey(event: KeyboardEvent): boolean;
}

/** No cursor, no mouse reports, no bracketed paste: no program is there to get them, and text can be selected again. */
const RETIRE = "\x1b[?25l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l";

export class Terminal {
  readonly #xterm: Xterm;
  readonly #silence: Silence;
  readonly #writer: Writer;
  readonly #keyboard: Keyboard;
  readonly #panning: Panning;
  readonly #fitting: Fitting;
  readonly #renderer: Renderer;
  #options: TerminalOptions;
  #pasting = false;

  constructor(
    container: HTMLElement,
    private readonly host: TerminalHost,
    options: TerminalOptions,
  ) {
    this.#options = options;
    const xterm = new Xterm({
      ...EMULATION,
      ...xtermOptions(options),
      fontSize: options.fontSize,
      linkHandler: linkHandler((url) => host.link(url)),
      macOptionClickForcesSelection: true,
      rescaleOverlappingGlyphs: true,
    });
    this.#xterm = xterm;
    mend(xterm);
    xterm.loadAddon(webLinks());
    xterm.loadAddon(new UnicodeGraphemesAddon());
    letProgramsCopy(xterm, (how, text) => host.copied(how, text));
    const modes = new KeyboardModes({ parser: xterm.parser, isAlternate: () => this.#isAlternate, answer: (text) => xterm.input(text, false) });
    const silence = new Silence(xterm.parser);
    this.#silence = silence;
    this.#writer = new Writer(xterm, silence);
    this.#renderer = new Renderer(xterm);
    this.#panning = new Panning(xterm, (away) => host.awayFromEnd(away));
    this.#fitting = new Fitting(xterm, this.#panning, {
      fontSize: () => this.#options.fontSize,
      isViewer: () => silence.viewer,
      room: (size) => host.room(size),
      oversized: (on) => host.oversized(on),
    });
    this.#keyboard = new Keyboard(
      modes,
      {
        hasSelection: () => xterm.hasSelection(),
        copySelection: (clear) => void this.#copySelection(clear),
        hasHistory: () => !this.#isAlternate,
        pageKey: (event) => host.pageKey(event),
      },
      options,
    );

    xterm.onData((text) => this.#input(text));
    xterm.onBinary((text) => host.binary(text));
    xterm.onSelectionChange(() => !xterm.hasSelection() && host.selected(undefined));
    xterm.onTitleChange((text) => host.title(text));
    xterm.onBell(() => !silence.replay && host.bell());
    listen(xterm.parser, (announcement) => !silence.replay && host.announced(announcement));
    xterm.attachCustomKeyEventHandler((event) => this.#key(event));

    xterm.open(container);
    mendInverse(xterm);
    // Tests and other readers of the text elements get the cells, too.
    if (options.renderer === "dom") Object.assign(container, { xterm });
    this.#renderer.use(options.renderer);
    this.#panning.opened();
    takePastes(container, { text: (text) => host.pasted(text), files: (transfer) => host.pastedFiles(transfer) });
    takeGestures(xterm, container, this.#panning, (text) => host.selected(text));
    container.addEventListener("mouseup", ({ button }) => button === 0 && this.#options.copyOnSelect && xterm.hasSelection() && void this.#copySelection(false));
    container.addEventListener("contextmenu", (event) => this.#rightClicked(event));
    this.#fitting.start(container);
  }

  // --- output ------------------------------------------------------------------------------------------------------------------------

  /**
   * Adds output. `done` is called once xterm.js has parsed it. `replay`: it is old, so its bells, its copies and what it asks of the
   * terminal have no effect.
   */
  write(output: string | Uint8Array, replay = false, done?: () => void): void {
    this.#writer.write(output, replay, done);
  }

  /** Draws `bar` in the place of missing output, except in what a full-screen program has drawn. */
  gap(bar: string, done?: () => void): void {
    this.#writer.gap(bar, () => this.host.torn?.(), done);
  }

  /** Empties the terminal for a new session, after everything that is still being drawn. */
  reset(done?: () => void): void {
    this.#writer.reset(() => {
      this.#xterm.options.disableStdin = false;
      done?.();
    });
  }

  /**
   * The terminal has this size, after everything that is still being drawn. Without one it has that of the window's room. `old`: it had
   * that size once, and more output from before this page came follows, up to `caughtUp`.
   */
  setSize(size: Size | undefined, old = false): void {
    this.#writer.afterAll(() => this.#fitting.setSize(size, old));
  }

  /** After everything that is still being drawn, the present is shown. */
  caughtUp(): void {
    this.#writer.afterAll(() => this.#fitting.caughtUp());
  }

  /** Somebody else drives: their terminal answers what the program asks. */
  setViewer(viewer: boolean): void {
    this.#silence.viewer = viewer;
  }

  /** The recorder answers what the program asks, so this terminal does not. */
  setRecorded(recorded: boolean): void {
    this.#silence.recorded = recorded;
  }

  /** The session is over. The screen stays, to read and to copy. */
  retire(): void {
    this.#xterm.options.disableStdin = true;
    this.#xterm.write(RETIRE);
  }

  // --- input -------------------------------------------------------------------------------------------------------------------------

  /** Whether the program tells pasted text from typed text, so that no line of it runs before Enter. */
  get bracketsPastes(): boolean {
    return this.#xterm.modes.bracketedPasteMode;
  }

  get applicationCursorKeys(): boolean {
    return this.#xterm.modes.applicationCursorKeysMode;
  }

  /** As if the person had pasted it: without control characters, and with line ends and brackets as the program wants them. */
  paste(text: string): void {
    this.#pasting = true;
    this.#xterm.paste(cleanPaste(text));
    this.#pasting = false;
  }

  /** As if the person had typed it. */
  type(text: string): void {
    this.#xterm.input(text);
  }

  /** What a key on the screen sends, if a protocol or a modifier changes it. */
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

  // --- looks -------------------------------------------------------------------------------------------------------------------------

  /** How many cells the window has room for. */
  get room(): Size {
    return this.#fitting.room;
  }

  /** The colours that programs are told of. */
  get colors(): Colors {
    const { foreground, background, cursor } = this.#xterm.options.theme ?? {};
    return { foreground: foreground ?? "#ffffff", background: background ?? "#000000", cursor: cursor ?? "#ffffff" };
  }

  setOptions(options: TerminalOptions): void {
    this.#options = options;
    this.#xterm.options = xtermOptions(options);
    this.#keyboard.options = options;
    this.#renderer.use(options.renderer);
    this.#fitting.fit();
  }

  /** Shows all of a terminal that is larger than its window, however small its text gets; or text that can be read. */
  showWhole(whole: boolean): void {
    this.#fitting.showWhole(whole);
  }

  /** Shows the newest output, wherever the person scrolled to. */
  scrollToEnd(): void {
    this.#panning.scrollToEnd();
  }

  /** Adds what this class does not have to know of, such as the search. */
  load(addon: ITerminalAddon): void {
    this.#xterm.loadAddon(addon);
  }

  dispose(): void {
    this.#fitting.dispose();
    this.#xterm.dispose();
  }

  get #isAlternate(): boolean {
    return this.#xterm.buffer.active.type === "alternate";
  }

  #input(text: string): void {
    if (this.#silence.isAnswering) return;
    if (!isReport(text)) this.#panning.typed();
    this.host.input(text, this.#pasting);
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

  /** If a program takes the mouse, the click is the program's. With Shift it is the browser's. */
  #rightClicked(event: MouseEvent): void {
    const { rightClick } = this.#options;
    if (rightClick === "menu" || event.shiftKey || this.#xterm.modes.mouseTrackingMode !== "none") return;
    event.preventDefault();
    if (rightClick === "copy-paste" && this.#xterm.hasSelection()) return void this.#copySelection(true);
    this.host.pasteWanted();
  }

  /** Copies within a key or a click. If the browser refuses all the same, the host offers a button. */
  async #copySelection(clear: boolean): Promise<void> {
    const text = this.#xterm.getSelection();
    if (!(await copyText(text))) return this.host.selected(text);
    if (clear) this.#xterm.clearSelection();
  }
}

/** Whether this is what the mouse or the focus reports to the program, and not a key. */
export function isReport(text: string): boolean {
  return /^\x1b\[[IOM<]/.test(text);
}
