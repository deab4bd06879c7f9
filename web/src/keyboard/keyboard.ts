/**
 * Decides for each key event of the terminal who has it: the browser, the program in the protocol that it asked for, or the emulator, which
 * sends keys as terminals always have. Knows what the person chose and what the platform is, and no socket.
 */
import { chordKey, holds } from "./chords";
import { isModifier, kittySequence, otherKeySequence, plainEnter } from "./encode";
import type { KeyboardModes } from "./modes";
import { isMac } from "./platform";
import { madePress, type Modifiers, type Press, readPress } from "./press";

export interface KeyboardOptions {
  /** On macOS Option is Alt, and makes no characters of its own. */
  optionIsMeta: boolean;
  /** Ctrl+V pastes; else it is the program's. */
  ctrlVPastes: boolean;
}

/** What becomes of a key event. */
export type Verdict =
  /** Nothing more: neither the browser nor the emulator may act on it. */
  | { readonly kind: "taken" }
  /** The browser does what it does with it, such as to paste, unless the page kept it from that. */
  | { readonly kind: "browser" }
  /** `typed`: the person acts, so the view goes to the end and nothing stays selected; letting go of a key is none. */
  | { readonly kind: "send"; readonly text: string; readonly typed: boolean }
  | { readonly kind: "emulator" };

/** What the keyboard needs of the terminal around it. */
export interface KeyboardHost {
  hasSelection(): boolean;
  /** Copies what is selected. `clear`: and selects nothing any more. */
  copySelection(clear: boolean): void;
  /** Whether there is history to scroll through with Shift+PageUp. */
  hasHistory(): boolean;
  /** Whether the page takes this key. */
  pageKey(event: KeyboardEvent): boolean;
}

export class Keyboard {
  #layout: ReadonlyMap<string, string> = new Map();
  /** Keys that are down and not the program's: letting go of them is not either. At most one for each key of a keyboard. */
  readonly #others = new Map<string, Verdict>();

  constructor(
    private readonly modes: KeyboardModes,
    private readonly host: KeyboardHost,
    public options: KeyboardOptions,
  ) {
    void this.#learnLayout();
    // A person who changes the layout does it in a window of the system.
    window.addEventListener("focus", () => void this.#learnLayout());
  }

  /** Of any key event of the terminal's. */
  judge(event: KeyboardEvent): Verdict {
    const before = this.#others.get(event.code);
    if (event.type === "keyup" && before !== undefined) {
      this.#others.delete(event.code);
      return before;
    }
    const verdict = this.#judge(event);
    if (event.type === "keydown") {
      if (verdict.kind === "taken" || verdict.kind === "browser" || verdict === INPUT_METHOD) this.#others.set(event.code, verdict);
      else this.#others.delete(event.code);
    }
    return verdict;
  }

  #judge(event: KeyboardEvent): Verdict {
    // An input method works with it: what it makes of it comes as text.
    if (event.isComposing || event.keyCode === 229 || event.key === "Process" || event.key === "Unidentified") return INPUT_METHOD;
    if (event.type === "keypress") return EMULATOR;
    const clipboard = this.#clipboardKey(event);
    if (clipboard !== undefined) return clipboard;
    if (this.host.pageKey(event)) return BROWSER;
    // Cmd is the browser's and the system's.
    if (isMac && event.metaKey && event.key !== "Meta") return EMULATOR;
    if (event.shiftKey && /^Page(Up|Down)$/.test(event.key) && !event.ctrlKey && !event.altKey && this.host.hasHistory()) return EMULATOR;
    // A person who needs larger text needs it in every program. Without a protocol these are no keys of the program's either.
    if ((holds(event, "ctrl") && /^[-=0]$/.test(event.key)) || (event.ctrlKey && !event.altKey && event.key === "+")) return BROWSER;
    // A dead key makes text with the next one.
    if (event.key === "Dead" && !(isMac && this.options.optionIsMeta && event.altKey)) return EMULATOR;
    const press = readPress(event, this.#layout, isMac, this.options.optionIsMeta);
    const text = this.#encode(press);
    return text === undefined ? EMULATOR : { kind: "send", text, typed: press.action !== "release" && !isModifier(press) };
  }

  /** What a key that is pressed on the screen sends, where a protocol or a modifier makes it another than the key's own. */
  sequence(key: string, held: Partial<Modifiers> = {}): string | undefined {
    return this.#encode(madePress(key, held));
  }

  #encode(press: Press): string | undefined {
    const { flags, otherKeys, otherFormat } = this.modes;
    if (flags !== 0) return kittySequence(press, flags);
    const other = otherKeys === 0 ? undefined : otherKeySequence(press, otherKeys, otherFormat === 1);
    return other ?? plainEnter(press);
  }

  /** The keys of each platform that copy and paste. */
  #clipboardKey(event: KeyboardEvent): Verdict | undefined {
    const key = chordKey(event);
    const [command, plain] = isMac ? [holds(event, "meta"), false] : [holds(event, "ctrl", "shift"), holds(event, "ctrl")];
    const copies = key === "c" && (command || (plain && this.host.hasSelection()));
    if (copies || (!isMac && key === "Insert" && plain)) {
      if (event.type === "keydown" && !event.repeat && this.host.hasSelection()) this.host.copySelection(key === "c" && plain);
      // Also without a selection: Ctrl+Shift+C opens tools in some browsers.
      return TAKEN;
    }
    if (key === "v" && (command || (plain && this.options.ctrlVPastes))) return BROWSER;
    if (!isMac && key === "Insert" && holds(event, "shift")) return BROWSER;
    return undefined;
  }

  async #learnLayout(): Promise<void> {
    // Chromium alone tells it, and only in a secure context.
    const { keyboard } = navigator as Navigator & { keyboard?: { getLayoutMap?(): Promise<ReadonlyMap<string, string>> } };
    this.#layout = (await keyboard?.getLayoutMap?.().catch(() => undefined)) ?? this.#layout;
  }
}

const TAKEN: Verdict = { kind: "taken" };
const BROWSER: Verdict = { kind: "browser" };
const EMULATOR: Verdict = { kind: "emulator" };
/** The emulator takes what the input method makes of it. */
const INPUT_METHOD: Verdict = { kind: "emulator" };
