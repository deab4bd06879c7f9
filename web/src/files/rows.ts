/**
 * The list of a directory: draws its entries, keeps the keyboard's place and the selection, and reports what the person wants. A row keeps its
 * element as long as its entry exists, so that a refresh moves nothing and takes no focus away.
 */
import type { Entry } from "./api";
import { type Icon, icon } from "./icons";
import { halves, shown, typeAhead } from "./paths";
import { pictureType } from "./content";
import { size, when } from "./words";

/** Most rows drawn: with more, scrolling is slow on a phone. */
export const MAX_ROWS = 2000;
/** How many rows Page Up and Page Down move. */
const PAGE = 10;
/** Letters that follow each other within this time belong to one word, in milliseconds. */
const WORD_MS = 800;

export interface RowsHost {
  open(entry: Entry): void;
  /** The person opens the entry's menu. */
  menu(entry: Entry, at: HTMLElement): void;
  rename(entry: Entry): void;
  remove(entry: Entry): void;
  up(): void;
  /** The selection has changed. */
  selected(): void;
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
  readonly #selected = new Set<string>();
  /** Where a range of selected entries begins. */
  #anchor: string | undefined;
  #typed = { text: "", at: 0 };

  constructor(
    private readonly container: HTMLElement,
    private readonly host: RowsHost,
  ) {
    container.addEventListener("keydown", (event) => this.#key(event));
    container.addEventListener("click", (event) => this.#click(event));
    container.addEventListener("contextmenu", (event) => {
      const row = this.#rowOf(event.target);
      if (row === undefined || event.shiftKey) return;
      event.preventDefault();
      this.#go(row);
      host.menu(row.entry, row.element);
    });
    container.addEventListener("focusin", ({ target }) => {
      const row = this.#rowOf(target);
      if (row !== undefined) this.#mark(row);
    });
  }

  get current(): Entry | undefined {
    return this.#current === undefined ? undefined : this.#rows.get(this.#current)?.entry;
  }

  /** The selected entries, in the order of the list. */
  get selected(): readonly Entry[] {
    return this.#order.filter(({ entry }) => this.#selected.has(entry.name)).map(({ entry }) => entry);
  }

  /** Selects everything, or nothing. */
  select(all: boolean): void {
    this.#selected.clear();
    if (all) for (const { entry } of this.#order) this.#selected.add(entry.name);
    this.#showSelected();
  }

  /** Adds an entry to the selection, or removes it. */
  toggle(name: string): void {
    if (!this.#selected.delete(name)) this.#selected.add(name);
    this.#anchor = name;
    this.#showSelected();
  }

  /** Shows these entries, in this order, at `now` in milliseconds since 1970. */
  draw(entries: readonly Entry[], now: number): void {
    const at = this.#order.findIndex(({ entry }) => entry.name === this.#current);
    const hadFocus = this.container.contains(document.activeElement);
    const kept = new Set(entries.slice(0, MAX_ROWS).map(({ name }) => name));
    for (const [name, { element }] of this.#rows) {
      if (kept.has(name)) continue;
      element.remove();
      this.#rows.delete(name);
    }
    const before = this.#selected.size;
    for (const name of this.#selected) if (!kept.has(name)) this.#selected.delete(name);
    this.#order = entries.slice(0, MAX_ROWS).map((entry) => this.#row(entry, now));
    this.#order.forEach(({ element }, index) => {
      if (this.container.children[index] !== element) this.container.insertBefore(element, this.container.children[index] ?? null);
    });
    if (before > 0) this.#showSelected();
    const place = this.#order.find(({ entry }) => entry.name === this.#current) ?? this.#order[Math.max(0, Math.min(at, this.#order.length - 1))];
    this.#current = undefined;
    if (place === undefined) return;
    this.#mark(place);
    // If the row with the focus is gone, its neighbour gets the focus.
    if (hadFocus && !this.container.contains(document.activeElement)) place.element.focus();
  }

  /** Gives the keyboard to this entry, or to the one that had it. */
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
    more.tabIndex = -1; // with the keyboard, the row's own keys open the menu
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

  #showSelected(): void {
    for (const [name, { element }] of this.#rows) element.setAttribute("aria-selected", String(this.#selected.has(name)));
    this.host.selected();
  }

  /** Selects everything from the anchor up to this row. */
  #selectTo(row: Row): void {
    const [at, from] = [this.#order.indexOf(row), this.#order.findIndex(({ entry }) => entry.name === (this.#anchor ?? this.#current))];
    this.#selected.clear();
    for (const { entry } of this.#order.slice(Math.min(at, Math.max(0, from)), Math.max(at, from) + 1)) this.#selected.add(entry.name);
    this.#showSelected();
  }

  #click(event: MouseEvent): void {
    const row = this.#rowOf(event.target);
    if (row === undefined) return;
    if (event.shiftKey) {
      this.#selectTo(row);
      return this.#go(row);
    }
    this.#go(row);
    if (event.ctrlKey || event.metaKey) return this.toggle(row.entry.name);
    const more = event.target instanceof Element ? event.target.closest<HTMLElement>(".more button") : null;
    if (more) this.host.menu(row.entry, more);
    else this.host.open(row.entry);
  }

  #key(event: KeyboardEvent): void {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "a") {
      event.preventDefault();
      return this.select(true);
    }
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.#order.findIndex(({ entry }) => entry.name === this.#current);
    const row = this.#order[at];
    const { host } = this;
    const move = (to: number) => {
      const next = this.#order[Math.max(0, Math.min(this.#order.length - 1, to))];
      if (!next) return;
      if (event.shiftKey) {
        this.#anchor ??= this.#current;
        this.#selectTo(next);
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
      Backspace: () => host.up(),
      ...(row && {
        Enter: () => host.open(row.entry),
        Delete: () => host.remove(row.entry),
        " ": () => this.toggle(row.entry.name),
        F2: () => host.rename(row.entry),
        ContextMenu: () => host.menu(row.entry, row.element),
        ...(event.shiftKey && { F10: () => host.menu(row.entry, row.element) }),
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
    // A first letter searches after this row, so that pressing it again finds the next one.
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
