/** Searching in what the terminal shows and has kept above it: the bar, and what it asks of the emulator's search. Knows no output. */
import { type ISearchOptions, SearchAddon } from "@xterm/addon-search";
import type { Look } from "./theme";
import { element } from "./view";

/** Matches that are marked and counted, at most: marking more makes each key slow. */
const MAX_MARKED = 1000;

export interface SearchHost {
  /** How the terminal looks now. */
  look(): Look;
  /** The search is open, or no longer. */
  toggled(open: boolean): void;
  /** The keyboard goes back to the terminal. */
  leave(): void;
  selection(): string;
}

export class Search {
  /** For the emulator to load. */
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

  /** Shows the bar, with what is selected in it; one that is there gets the keyboard. */
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

  /** Takes the bar and its marks away. */
  close(): void {
    if (!this.isOpen) return;
    this.#bar.hidden = true;
    this.addon.clearDecorations();
    this.host.toggled(false);
    this.host.leave();
  }

  /** The page has other colours, and the marks with it. The current match stays the current one. */
  refresh(): void {
    if (!this.isOpen || this.#field.value === "" || this.#field.hasAttribute("aria-invalid")) return;
    this.addon.clearDecorations();
    this.addon.findNext(this.#field.value, { ...this.#options(), incremental: true });
  }

  /** The newest match first: what people look for has mostly just gone by. */
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
    const [match, active, border] = marks(this.host.look());
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

/** Of a match, of the current one, and of its edge. */
function marks({ name }: Look): [match: string, active: string, border: string] {
  return name.endsWith("dark") ? ["#4d4220", "#8a6d00", "#ffd866"] : ["#fff0b3", "#ffc83d", "#8a5a00"];
}

/** The emulator selects the current match, and what is selected without the keyboard is grey: here it is as the current match is. */
export function lookWhileSearching(look: Look): Look {
  const [, active] = marks(look);
  return { ...look, colors: { ...look.colors, selectionInactiveBackground: active } };
}

function isRegex(text: string): boolean {
  try {
    return new RegExp(text) !== undefined;
  } catch {
    return false;
  }
}
