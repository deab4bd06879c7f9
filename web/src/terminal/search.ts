/** The search bar: finds text on the terminal's screen and in its scrollback, with xterm.js's search. Knows no output. */
import { type ISearchOptions, SearchAddon } from "@xterm/addon-search";
import { element } from "../page/element";
import type { Theme } from "./theme";

/** Most matches that are marked and counted: more would make each key slow. */
const MAX_MARKED = 1000;

export interface SearchHost {
  theme(): Theme;
  /** The bar is open, or no longer. */
  toggled(open: boolean): void;
  /** The keyboard goes back to the terminal. */
  leave(): void;
  selection(): string;
}

export class Search {
  /** Has to be loaded by the emulator. */
  readonly addon = new SearchAddon({ highlightLimit: MAX_MARKED });
  readonly #bar = element("search");
  readonly #field = element<HTMLInputElement>("search-field");
  readonly #case = element("search-case");
  readonly #regex = element("search-regex");

  constructor(private readonly host: SearchHost) {
    this.addon.onDidChangeResults(({ resultIndex, resultCount }) => this.#count(resultIndex, resultCount));
    this.#field.addEventListener("input", () => this.#begin());
    for (const choice of [this.#case, this.#regex]) {
      choice.addEventListener("click", () => {
        choice.setAttribute("aria-pressed", String(choice.getAttribute("aria-pressed") !== "true"));
        this.#begin();
      });
    }
    element("search-next").addEventListener("click", () => this.#find("next"));
    element("search-previous").addEventListener("click", () => this.#find("previous"));
    element("search-close").addEventListener("click", () => this.close());
    this.#bar.addEventListener("keydown", (event) => this.#key(event));
  }

  get isOpen(): boolean {
    return !this.#bar.hidden;
  }

  /** Shows the bar with the selected text in it, and gives it the keyboard. */
  open(): void {
    const selected = this.host.selection();
    if (!this.isOpen) {
      this.#bar.hidden = false;
      this.host.toggled(true);
    }
    if (selected !== "" && !selected.includes("\n")) this.#field.value = selected;
    this.#field.focus();
    this.#field.select();
    this.#begin();
  }

  /** Hides the bar and removes its marks. */
  close(): void {
    if (!this.isOpen) return;
    this.#bar.hidden = true;
    this.addon.clearDecorations();
    this.host.toggled(false);
    this.host.leave();
  }

  /** Draws the marks again, because the theme has changed. The current match stays the current one. */
  refresh(): void {
    if (!this.isOpen || this.#field.value === "" || this.#field.hasAttribute("aria-invalid")) return;
    this.addon.clearDecorations();
    this.addon.findNext(this.#field.value, { ...this.#options(), incremental: true });
  }

  /** Finds the newest match first: people mostly search for what has just scrolled by. */
  #begin(): void {
    this.addon.clearDecorations();
    this.#say("");
    this.#find("previous");
  }

  #find(where: "next" | "previous"): void {
    const term = this.#field.value;
    this.#field.removeAttribute("aria-invalid");
    if (term === "") return this.#say("");
    const options = this.#options();
    if (options.regex === true && !isRegex(term)) {
      this.#field.setAttribute("aria-invalid", "true");
      return this.#say("Not a regular expression");
    }
    const found = where === "next" ? this.addon.findNext(term, options) : this.addon.findPrevious(term, options);
    if (!found) this.#say("No results");
  }

  #options(): ISearchOptions {
    const [match, active, border] = marks(this.host.theme());
    return {
      caseSensitive: this.#case.getAttribute("aria-pressed") === "true",
      regex: this.#regex.getAttribute("aria-pressed") === "true",
      decorations: { matchBackground: match, matchOverviewRuler: active, activeMatchBackground: active, activeMatchBorder: border, activeMatchColorOverviewRuler: active },
    };
  }

  #count(index: number, count: number): void {
    if (!this.isOpen || this.#field.value === "" || this.#field.hasAttribute("aria-invalid")) return;
    if (count === 0) return this.#say("No results");
    this.#say(index < 0 || count >= MAX_MARKED ? `Over ${MAX_MARKED} results: only this one is marked` : `${index + 1} of ${count}`);
  }

  #say(words: string): void {
    element("search-count").textContent = words;
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const inField = event.target === this.#field;
    if (event.key === "Escape") this.close();
    else if (event.key === "F3" || (event.key === "Enter" && inField)) this.#find(event.shiftKey ? "previous" : "next");
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** The colours of a match, of the current match, and of the current match's border. */
function marks({ name }: Theme): [match: string, active: string, border: string] {
  return name.endsWith("dark") ? ["#4d4220", "#8a6d00", "#ffd866"] : ["#fff0b3", "#ffc83d", "#8a5a00"];
}

/** xterm.js selects the current match, and a selection without the keyboard is grey. In this theme it has the current match's colour. */
export function themeWhileSearching(theme: Theme): Theme {
  const [, active] = marks(theme);
  return { ...theme, colors: { ...theme.colors, selectionInactiveBackground: active } };
}

function isRegex(text: string): boolean {
  try {
    return new RegExp(text) !== undefined;
  } catch {
    return false;
  }
}
