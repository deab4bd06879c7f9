/**
 * Decides who gets each key event of the terminal: the browser, the program in the protocol that it asked for, or the emulator, which sends
 * keys as terminals always have. Knows the person's options and the platform, and no socket.
 */
import { chordKey, holds } from "./chords";
import { isModifier, kittySequence, otherKeySequence, plainEnter } from "./encode";
import type { KeyboardModes } from "./modes";
import { isMac } from "./platform";
import { madePress, type Modifiers, type Press, readPress } from "./press";

export interface KeyboardOptions {
  /** On macOS, Option is Alt and does not make characters of its own. */
  optionIsMeta: boolean;
  /** Ctrl+V pastes. Otherwise it is a key of the program's. */
  ctrlVPastes: boolean;
}

/** Who gets a key event. */
export type Verdict =
  /** Nobody: neither the browser nor the emulator may act on it. */
  | { readonly kind: "taken" }
  /** The browser, which for example pastes, unless the page has prevented that. */
  | { readonly kind: "browser" }
  /** The program gets `text`. `typed`: the view goes to the end and the selection is cleared. Releasing a key does neither. */
  | { readonly kind: "send"; readonly text: string; readonly typed: boolean }
  | { readonly kind: "emulator" };

/** The terminal around the keyboard. */
export interface KeyboardHost {
  hasSelection(): boolean;
  /** Copies what is selected. `clear`: clears the selection as well. */
  copySelection(clear: boolean): void;
  /** Whether there is history to scroll through with Shift+PageUp. */
  hasHistory(): boolean;
  /** Whether the page takes this key. */
  pageKey(event: KeyboardEvent): boolean;
}

export class Keyboard {
  #layout: ReadonlyMap<string, string> = new Map();
  /** Keys that are down and that the program did not get, so it must not get their release. At most one entry for each key. */
  readonly #others = new Map<string, Verdict>();

  constructor(
    private readonly modes: KeyboardModes,
    private readonly host: KeyboardHost,
    public options: KeyboardOptions,
  ) {
    void this.#learnLayout();
    // To change the layout, a person leaves the page for the system's settings.
    window.addEventListener("focus", () => void this.#learnLayout());
  }

  /** Takes every key event of the terminal. */
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
    // An input method takes the key, and its text comes as another event.
    if (event.isComposing || event.keyCode === 229 || event.key === "Process" || event.key === "Unidentified") return INPUT_METHOD;
    if (event.type === "keypress") return EMULATOR;
    const clipboard = this.#clipboardKey(event);
    if (clipboard !== undefined) return clipboard;
    if (this.host.pageKey(event)) return BROWSER;
    // Cmd belongs to the browser and the system.
    if (isMac && event.metaKey && event.key !== "Meta") return EMULATOR;
    if (event.shiftKey && /^Page(Up|Down)$/.test(event.key) && !event.ctrlKey && !event.altKey && this.host.hasHistory()) return EMULATOR;
    // Zoom keys. A person who needs larger text needs it in every program, and without a protocol programs do not get these keys either.
    if ((holds(event, "ctrl") && /^[-=0]$/.test(event.key)) || (event.ctrlKey && !event.altKey && event.key === "+")) return BROWSER;
    // A dead key makes text together with the next key.
    if (event.key === "Dead" && !(isMac && this.options.optionIsMeta && event.altKey)) return EMULATOR;
    const press = readPress(event, this.#layout, isMac, this.options.optionIsMeta);
    const text = this.#encode(press);
    return text === undefined ? EMULATOR : { kind: "send", text, typed: press.action !== "release" && !isModifier(press) };
  }

  /** What a key on the screen sends, if a protocol or a modifier changes it. */
  sequence(key: string, held: Partial<Modifiers> = {}): string | undefined {
    return this.#encode(madePress(key, held));
  }

  #encode(press: Press): string | undefined {
    const { flags, otherKeys, otherFormat } = this.modes;
    if (flags !== 0) return kittySequence(press, flags);
    const other = otherKeys === 0 ? undefined : otherKeySequence(press, otherKeys, otherFormat === 1);
    return other ?? plainEnter(press);
  }

  /** The platform's keys that copy and paste. */
  #clipboardKey(event: KeyboardEvent): Verdict | undefined {
    const key = chordKey(event);
    const [command, plain] = isMac ? [holds(event, "meta"), false] : [holds(event, "ctrl", "shift"), holds(event, "ctrl")];
    const copies = key === "c" && (command || (plain && this.host.hasSelection()));
    if (copies || (!isMac && key === "Insert" && plain)) {
      if (event.type === "keydown" && !event.repeat && this.host.hasSelection()) this.host.copySelection(key === "c" && plain);
      // Taken without a selection as well: Ctrl+Shift+C opens developer tools in some browsers.
      return TAKEN;
    }
    if (key === "v" && (command || (plain && this.options.ctrlVPastes))) return BROWSER;
    if (!isMac && key === "Insert" && holds(event, "shift")) return BROWSER;
    return undefined;
  }

  async #learnLayout(): Promise<void> {
    // Only Chromium tells the layout, and only in a secure context.
    const { keyboard } = navigator as Navigator & { keyboard?: { getLayoutMap?(): Promise<ReadonlyMap<string, string>> } };
    this.#layout = (await keyboard?.getLayoutMap?.().catch(() => undefined)) ?? this.#layout;
  }
}

const TAKEN: Verdict = { kind: "taken" };
const BROWSER: Verdict = { kind: "browser" };
const EMULATOR: Verdict = { kind: "emulator" };
/** The emulator, which waits for the input method's text. */
const INPUT_METHOD: Verdict = { kind: "emulator" };
