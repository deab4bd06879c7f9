/**
 * The list of a directory: draws its entries, keeps the place of the keyboard in it, and tells what the person wants with one. A row is
 * an element as long as its entry is there, so that a refresh moves nothing and takes no focus away.
 */
import type { Entry } from "./api";
import { type Icon, icon } from "./icons";
import { halves, shown, typeAhead } from "./paths";
import { pictureType } from "./preview";
import { size, when } from "./words";

/** Rows drawn, at most: beyond it scrolling is slow on a phone. */
export const MAX_ROWS = 2000;
/** Rows that Page Up and Page Down move by. */
const PAGE = 10;
/** Letters that come within this time, in milliseconds, are one word. */
const WORD_MS = 800;

export interface RowHandlers {
  open(entry: Entry): void;
  /** The person asks what can be done with it. */
  menu(entry: Entry, at: HTMLElement): void;
  rename(entry: Entry): void;
  remove(entry: Entry): void;
  up(): void;
  /** Other entries are chosen, to be deleted or downloaded together. */
  chosen(): void;
}

interface Row {
  entry: Entry;
  readonly element: HTMLElement;
  readonly name: HTMLElement;
  readonly size: HTMLElement;
  readonly time: HTMLElement;
  symbol: string;
}

export class Rows {
  readonly #rows = new Map<string, Row>();
  #order: readonly Row[] = [];
  #current: string | undefined;
  readonly #chosen = new Set<string>();
  /** Where a range of chosen entries begins. */
  #anchor: string | undefined;
  #typed = { text: "", at: 0 };

  constructor(
    private readonly host: HTMLElement,
    private readonly handlers: RowHandlers,
  ) {
    host.addEventListener("keydown", (event) => this.#key(event));
    host.addEventListener("click", (event) => this.#click(event));
    host.addEventListener("contextmenu", (event) => {
      const row = this.#rowOf(event.target);
      if (row === undefined || event.shiftKey) return;
      event.preventDefault();
      this.#go(row);
      handlers.menu(row.entry, row.element);
    });
    host.addEventListener("focusin", ({ target }) => {
      const row = this.#rowOf(target);
      if (row !== undefined) this.#mark(row);
    });
  }

  get current(): Entry | undefined {
    return this.#current === undefined ? undefined : this.#rows.get(this.#current)?.entry;
  }

  /** What is chosen, in the order of the list. */
  get chosen(): readonly Entry[] {
    return this.#order.filter(({ entry }) => this.#chosen.has(entry.name)).map(({ entry }) => entry);
  }

  /** Chooses nothing, or everything. */
  choose(all: boolean): void {
    this.#chosen.clear();
    if (all) for (const { entry } of this.#order) this.#chosen.add(entry.name);
    this.#showChosen();
  }

  /** Chooses an entry besides what is chosen, or no longer. */
  toggle(name: string): void {
    if (!this.#chosen.delete(name)) this.#chosen.add(name);
    this.#anchor = name;
    this.#showChosen();
  }

  /** Shows these entries, in this order, at `now` in milliseconds since 1970. */
  draw(entries: readonly Entry[], now: number): void {
    const at = this.#order.findIndex(({ entry }) => entry.name === this.#current);
    const hadFocus = this.host.contains(document.activeElement);
    const kept = new Set(entries.slice(0, MAX_ROWS).map(({ name }) => name));
    for (const [name, { element }] of this.#rows) {
      if (kept.has(name)) continue;
      element.remove();
      this.#rows.delete(name);
    }
    const before = this.#chosen.size;
    for (const name of this.#chosen) if (!kept.has(name)) this.#chosen.delete(name);
    this.#order = entries.slice(0, MAX_ROWS).map((entry) => this.#row(entry, now));
    this.#order.forEach(({ element }, index) => {
      if (this.host.children[index] !== element) this.host.insertBefore(element, this.host.children[index] ?? null);
    });
    if (before > 0) this.#showChosen();
    const place = this.#order.find(({ entry }) => entry.name === this.#current) ?? this.#order[Math.max(0, Math.min(at, this.#order.length - 1))];
    this.#current = undefined;
    if (place === undefined) return;
    this.#mark(place);
    // The row that had the focus may be gone; its neighbour takes it, not the page.
    if (hadFocus && !this.host.contains(document.activeElement)) place.element.focus();
  }

  /** Puts the keyboard on this entry, or where it was. */
  focus(name?: string): boolean {
    const row = (name === undefined ? undefined : this.#rows.get(name)) ?? this.#rows.get(this.#current ?? "") ?? this.#order[0];
    if (row === undefined) return false;
    this.#go(row);
    return true;
  }

  #row(entry: Entry, now: number): Row {
    const row = this.#rows.get(entry.name) ?? this.#newRow(entry);
    row.entry = entry;
    const symbol = symbolOf(entry);
    if (row.symbol !== symbol.icon) {
      row.symbol = symbol.icon;
      const words = document.createElement("span");
      words.className = "unseen";
      words.textContent = `${symbol.words}, `;
      row.element.querySelector(".symbol")?.replaceChildren(icon(symbol.icon), words);
    }
    set(row.size, entry.kind === "file" ? size(entry.size) : "");
    set(row.time, entry.modified === undefined ? "" : when(entry.modified, now));
    row.time.title = entry.modified === undefined ? "" : new Date(entry.modified).toLocaleString();
    return row;
  }

  #newRow(entry: Entry): Row {
    const element = document.createElement("div");
    element.setAttribute("role", "row");
    element.tabIndex = -1;
    element.dataset["name"] = entry.name;
    const cell = (name: string, tag = "span") => {
      const made = element.appendChild(document.createElement(tag));
      made.setAttribute("role", "gridcell");
      made.className = name;
      return made;
    };
    const label = cell("label");
    const [symbol, name] = [document.createElement("span"), document.createElement("bdi")];
    symbol.className = "symbol";
    const [head, tail] = halves(shown(entry.name));
    name.append(span("begin", head), span("end", tail));
    name.title = entry.name;
    label.append(symbol, name);
    const row: Row = { entry, element, name, size: cell("size"), time: cell("time"), symbol: "" };
    const more = cell("more").appendChild(document.createElement("button"));
    more.type = "button";
    more.tabIndex = -1; // the keyboard has the row's own keys for it
    more.setAttribute("aria-label", `What to do with ${shown(entry.name)}`);
    more.append(icon("more"));
    this.#rows.set(entry.name, row);
    return row;
  }

  #rowOf(target: EventTarget | null): Row | undefined {
    const element = target instanceof Element ? target.closest<HTMLElement>("[role=row]") : null;
    return element === null ? undefined : this.#rows.get(element.dataset["name"] ?? "");
  }

  #mark(row: Row): void {
    const before = this.#rows.get(this.#current ?? "");
    if (before !== undefined && before !== row) before.element.tabIndex = -1;
    row.element.tabIndex = 0;
    this.#current = row.entry.name;
  }

  #go(row: Row): void {
    this.#mark(row);
    row.element.focus();
    row.element.scrollIntoView({ block: "nearest" });
  }

  #showChosen(): void {
    for (const [name, { element }] of this.#rows) element.setAttribute("aria-selected", String(this.#chosen.has(name)));
    this.handlers.chosen();
  }

  /** Chooses all from the last one that was chosen up to this. */
  #chooseTo(row: Row): void {
    const [at, from] = [this.#order.indexOf(row), this.#order.findIndex(({ entry }) => entry.name === (this.#anchor ?? this.#current))];
    this.#chosen.clear();
    for (const { entry } of this.#order.slice(Math.min(at, Math.max(0, from)), Math.max(at, from) + 1)) this.#chosen.add(entry.name);
    this.#showChosen();
  }

  #click(event: MouseEvent): void {
    const row = this.#rowOf(event.target);
    if (row === undefined) return;
    if (event.shiftKey) {
      this.#chooseTo(row);
      return this.#go(row);
    }
    this.#go(row);
    if (event.ctrlKey || event.metaKey) return this.toggle(row.entry.name);
    const more = event.target instanceof Element ? event.target.closest<HTMLElement>(".more button") : null;
    if (more) this.handlers.menu(row.entry, more);
    else this.handlers.open(row.entry);
  }

  #key(event: KeyboardEvent): void {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "a") {
      event.preventDefault();
      return this.choose(true);
    }
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.#order.findIndex(({ entry }) => entry.name === this.#current);
    const row = this.#order[at];
    const { handlers } = this;
    const move = (to: number) => {
      const next = this.#order[Math.max(0, Math.min(this.#order.length - 1, to))];
      if (!next) return;
      if (event.shiftKey) {
        this.#anchor ??= this.#current;
        this.#chooseTo(next);
      } else this.#anchor = undefined;
      this.#go(next);
    };
    const acts: Record<string, (() => void) | undefined> = {
      ArrowDown: () => move(at + 1),
      ArrowUp: () => move(at - 1),
      PageDown: () => move(at + PAGE),
      PageUp: () => move(at - PAGE),
      Home: () => move(0),
      End: () => move(this.#order.length - 1),
      Backspace: () => handlers.up(),
      ...(row && {
        Enter: () => handlers.open(row.entry),
        Delete: () => handlers.remove(row.entry),
        " ": () => this.toggle(row.entry.name),
        F2: () => handlers.rename(row.entry),
        ContextMenu: () => handlers.menu(row.entry, row.element),
        ...(event.shiftKey && { F10: () => handlers.menu(row.entry, row.element) }),
      }),
    };
    const act = acts[event.key] ?? (event.key.length === 1 ? () => this.#type(event.key, at) : undefined);
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  #type(letter: string, at: number): void {
    const now = performance.now();
    const goesOn = now - this.#typed.at < WORD_MS;
    this.#typed = { text: goesOn ? this.#typed.text + letter : letter, at: now };
    const names = this.#order.map(({ entry }) => entry.name);
    // A first letter goes on from here, so that it can be repeated.
    const found = typeAhead(names, goesOn ? Math.max(0, at) : at + 1, this.#typed.text);
    const row = found === undefined ? undefined : this.#order[found];
    if (row) this.#go(row);
  }
}

function symbolOf({ kind, name, storage }: Entry): { icon: Icon; words: string } {
  if (storage) return { icon: "storage", words: "Storage" };
  if (kind === "directory") return { icon: "folder", words: "Folder" };
  if (kind === "link") return { icon: "link", words: "Broken link" };
  if (kind === "file" && pictureType(name)) return { icon: "picture", words: "Picture" };
  return { icon: "file", words: kind === "file" ? "File" : "Special file" };
}

function span(name: string, words: string): HTMLElement {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = words;
  return made;
}

function set(node: HTMLElement, words: string): void {
  if (node.textContent !== words) node.textContent = words;
}
