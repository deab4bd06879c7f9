/**
 * The panel of a session's files: which directory is shown, when it is looked at again, and what a person does with it. All that is seen
 * of it is in index.html; its parts draw themselves. Knows no terminal: it is told when that has printed something.
 */
import { moveInMenu } from "../menus";
import { element } from "../view";
import { type Entry, FilesApi, type Listing, type Root } from "./api";
import { askDelete, askName } from "./dialogs";
import { chosen, dropped, holdsFiles } from "./dropped";
import { icon } from "./icons";
import { recallPlace, rememberPlace } from "./memory";
import { basename, BY_NAME, crumbs, isStorage, isUnfinished, isWithin, join, type Order, parent, places, reordered, shown, sorted } from "./paths";
import { Queue } from "./queue";
import { MAX_ROWS, Rows } from "./rows";
import { type Item, MAX_QUEUED, Uploads } from "./uploads";
import { Viewer } from "./viewer";
import { count, failure } from "./words";

/** How often an open panel looks again, in milliseconds. */
const LOOK_MS = 4000;
/** The longest pause after looks that failed, in milliseconds; it doubles up to this. */
const LOOK_MAX_MS = 30_000;
/** The terminal is quiet when it has printed nothing for this long, in milliseconds. */
const QUIET_MS = 400;
/** The shortest time between two looks that the terminal causes, in milliseconds. */
const AGAIN_MS = 1000;
/** A first look that takes longer than this is said, in milliseconds. */
const SLOW_MS = 300;

export interface PanelHost {
  /** The keyboard goes back to the terminal. */
  leave(): void;
  toggled(open: boolean): void;
}

export class FilesPanel {
  readonly #panel = element("files");
  readonly #button = element("files-button");
  readonly #viewer = new Viewer();
  readonly #rows: Rows;
  readonly #queue: Queue;
  #uploads: Uploads;
  #api: FilesApi | undefined;
  #roots: readonly Root[] = [];
  #path: string | undefined;
  #listing: Listing | undefined;
  /** Words in place of the list. */
  #trouble: string | undefined;
  #failures = 0;
  #lookedAt = 0;
  /** Counts looks, so that an answer for an older one is not taken for the newest. */
  #look = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #menuEntry: Entry | undefined;
  /** The entry that the keyboard goes to once it is listed. */
  #next: string | undefined;
  #order = BY_NAME;
  #session: string | undefined;
  /** The directory that was shown before a reload. */
  #before: string | undefined;

  constructor(private readonly host: PanelHost) {
    this.#rows = new Rows(element("files-rows"), {
      open: (entry) => this.#open(entry),
      menu: (entry, at) => this.#menu(entry, at),
      rename: (entry) => void this.#rename(entry),
      remove: (entry) => void this.#remove(this.#meant(entry)),
      up: () => this.#up(),
      chosen: () => this.#drawChosen(),
    });
    this.#queue = new Queue(
      () => this.#uploads,
      (words) => this.#announce(words),
    );
    this.#uploads = this.#newUploads();

    this.#button.addEventListener("click", () => this.toggle());
    element("files-close").addEventListener("click", () => this.toggle(false));
    element("files-retry").addEventListener("click", () => void this.#again());
    element("files-new").addEventListener("click", () => void this.#newFolder());
    element("files-preview-back").addEventListener("click", () => this.#closePreview());
    for (const [button, input] of [
      ["files-upload", "files-input"],
      ["files-upload-folder", "files-folder-input"],
    ] as const) {
      const field = element<HTMLInputElement>(input);
      element(button).addEventListener("click", () => field.click());
      field.addEventListener("change", () => {
        this.#upload(chosen(field.files));
        field.value = "";
      });
    }
    element("files-order").addEventListener("click", ({ target }) => {
      const by = target instanceof Element ? target.closest<HTMLElement>("[data-by]")?.dataset["by"] : undefined;
      if (by === undefined) return;
      this.#order = reordered(this.#order, by as Order["by"]);
      this.#draw();
    });
    element("files-chosen-download").addEventListener("click", () => this.#downloadChosen());
    element("files-chosen-delete").addEventListener("click", () => void this.#remove(this.#rows.chosen));
    element("files-chosen-none").addEventListener("click", () => {
      this.#rows.choose(false);
      this.focus();
    });
    element("files-upload-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype) || matchMedia("(hover: none)").matches;
    element("files-crumbs").addEventListener("click", ({ target }) => this.#followCrumb(target));
    element("files-places").addEventListener("click", ({ target }) => this.#followCrumb(target));
    element("file-menu").addEventListener("click", ({ target }) => this.#chooseInMenu(target));
    element("file-menu").addEventListener("keydown", (event) => moveInMenu(element("file-menu"), event));
    this.#panel.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => this.#schedule(0));
    this.#takeDrops();
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  /** Whether files are on their way, which leaving the page would stop. */
  get isBusy(): boolean {
    return this.#uploads.summary.open > 0;
  }

  /** A session's shell runs: its files can be seen. */
  attach(session: string): void {
    this.#api = new FilesApi(session);
    this.#roots = [];
    this.#path = undefined;
    this.#listing = undefined;
    this.#trouble = undefined;
    this.#failures = 0;
    this.#session = session;
    this.#button.hidden = false;
    const place = recallPlace(session);
    this.#before = place?.path;
    if (place !== undefined && !this.isOpen) this.#reveal(true);
    this.#draw();
    this.#schedule(0);
  }

  /** The session is over, and its files are out of reach. */
  detach(): void {
    if (this.#api === undefined) return;
    this.#api = undefined;
    this.#look++;
    clearTimeout(this.#timer);
    this.#uploads.cancel();
    this.#uploads.clear();
    this.#viewer.close();
    this.#listing = undefined;
    const kept = this.#path !== undefined && isStorage(this.#path, this.#roots);
    this.#trouble = kept
      ? "The session has ended. What was saved to your storage is kept: a new session shows it again."
      : "The session has ended, and the files of its sandbox are gone. A new session begins with new ones.";
    this.#draw();
  }

  /** The terminal has printed something: once it is quiet, what is here may have changed. */
  stirred(): void {
    if (!this.#isLooking()) return;
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#schedule(Math.max(0, this.#lookedAt + AGAIN_MS - performance.now())), QUIET_MS);
  }

  toggle(open = !this.isOpen): void {
    if (this.#button.hidden && open) return;
    this.#reveal(open);
    this.#remember();
    if (!open) {
      this.#viewer.close();
      clearTimeout(this.#timer);
      return this.host.leave();
    }
    this.#draw();
    this.focus();
    // The list may not be there yet; the keyboard goes to it when it is.
    this.#next ??= "";
    this.#schedule(0);
  }

  #reveal(open: boolean): void {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    this.host.toggled(open);
  }

  #remember(): void {
    const [session, path] = [this.#session, this.#path];
    rememberPlace(this.isOpen && session !== undefined ? { session, ...(path !== undefined && { path }) } : undefined);
  }

  focus(): void {
    if (this.#viewer.path !== undefined) return this.#viewer.focus();
    if (!this.#rows.focus()) element(this.#trouble === undefined ? "files-upload" : "files-close").focus();
  }

  // --- looking -----------------------------------------------------------------------------------------------------------------------

  #isLooking(): boolean {
    return this.#api !== undefined && this.isOpen && !document.hidden && this.#viewer.path === undefined;
  }

  #schedule(wait: number): void {
    clearTimeout(this.#timer);
    if (this.#isLooking()) this.#timer = setTimeout(() => void this.#refresh(), wait);
  }

  async #refresh(): Promise<void> {
    const api = this.#api;
    if (api === undefined || !this.#isLooking()) return;
    const look = ++this.#look;
    this.#lookedAt = performance.now();
    const slow = setTimeout(() => this.#listing === undefined && this.#announce("Looking…"), SLOW_MS);
    const answer = await this.#see(api);
    clearTimeout(slow);
    if (look !== this.#look) return;
    if (answer.ok) {
      this.#failures = 0;
      this.#trouble = undefined;
      if (answer.value !== "same") this.#listing = answer.value;
      this.#remember();
    } else {
      this.#failures++;
      // One bad moment does not take away what is seen; a directory that is gone does.
      if (this.#listing === undefined || answer.status === 404 || answer.status === 403 || this.#failures > 2) {
        this.#listing = undefined;
        this.#trouble = failure(answer);
      }
    }
    this.#draw();
    this.#schedule(Math.min(LOOK_MAX_MS, LOOK_MS * 2 ** this.#failures));
  }

  async #see(api: FilesApi) {
    if (this.#path === undefined) {
      const roots = await api.roots();
      if (!roots.ok) return roots;
      const first = roots.value[0];
      if (first === undefined) return { ok: false, status: 409, error: "this session has no directory for files; its operator sets one as sandbox.workdir" } as const;
      if (api !== this.#api) return { ok: false, status: 0 } as const;
      this.#roots = roots.value;
      const before = this.#before;
      this.#path = before !== undefined && roots.value.some(({ path }) => isWithin(before, path)) ? before : first.path;
      this.#before = undefined;
    }
    return api.list(this.#path, this.#listing?.etag);
  }

  async #again(): Promise<void> {
    this.#trouble = undefined;
    this.#failures = 0;
    // What cannot be seen may be gone; its surroundings are there.
    if (this.#path !== undefined && !this.#roots.some(({ path }) => path === this.#path)) this.#path = parent(this.#path);
    await this.#refresh();
    this.focus();
  }

  #show(path: string, next?: string): void {
    this.#viewer.close();
    this.#rows.choose(false);
    this.#path = path;
    this.#remember();
    this.#next = next ?? "";
    this.#listing = undefined;
    this.#trouble = undefined;
    this.#failures = 0;
    this.#draw();
    this.#schedule(0);
  }

  // --- what a person does ------------------------------------------------------------------------------------------------------------

  #open(entry: Entry): void {
    if (this.#api === undefined || this.#path === undefined) return;
    const path = join(this.#path, entry.name);
    if (entry.kind === "directory") return this.#show(path);
    if (entry.kind !== "file") return this.#announce(`${shown(entry.name)} is ${entry.kind === "link" ? "a link that leads nowhere" : "no regular file"}.`, true);
    const showing = this.#viewer.show(this.#api, path, entry);
    this.#draw();
    this.#viewer.focus();
    void showing;
  }

  #closePreview(): void {
    this.#viewer.close();
    this.#draw();
    this.#rows.focus();
    this.#schedule(0);
  }

  #up(): void {
    if (this.#path === undefined || places(this.#roots).some(({ path }) => path === this.#path)) return;
    this.#show(parent(this.#path), basename(this.#path));
  }

  #download(entry: Entry): void {
    if (this.#api === undefined || this.#path === undefined) return;
    const link = document.createElement("a");
    link.href = this.#api.contentUrl(join(this.#path, entry.name));
    link.download = entry.name;
    link.click();
  }

  #taken(): ReadonlySet<string> {
    return new Set(this.#listing?.entries.map(({ name }) => name));
  }

  async #newFolder(): Promise<void> {
    const [api, directory] = [this.#api, this.#path];
    if (api === undefined || directory === undefined) return;
    const name = await askName({ title: "New folder", action: "Make folder", value: "", taken: this.#taken() });
    if (name !== undefined) await this.#do(api.makeDirectory(join(directory, name)), name);
    this.focus();
  }

  async #rename({ name }: Entry): Promise<void> {
    const [api, directory] = [this.#api, this.#path];
    if (api === undefined || directory === undefined) return;
    const to = await askName({ title: `Rename ${shown(name)}`, action: "Rename", value: name, taken: new Set([...this.#taken()].filter((taken) => taken !== name)) });
    if (to !== undefined && to !== name) await this.#do(api.rename(join(directory, name), join(directory, to)), to);
    this.focus();
  }

  /** What a key on an entry is about: all that is chosen, where this one is among it. */
  #meant(entry: Entry): readonly Entry[] {
    const { chosen } = this.#rows;
    return chosen.some(({ name }) => name === entry.name) ? chosen : [entry];
  }

  async #remove(entries: readonly Entry[]): Promise<void> {
    const [api, directory] = [this.#api, this.#path];
    const removable = entries.filter(({ storage }) => !storage);
    if (api === undefined || directory === undefined || removable.length === 0) return;
    if (await askDelete(removable, isStorage(directory, this.#roots))) {
      // One after the other, up to the first that fails: the sandbox does one at a time anyway.
      const all = async () => {
        for (const { name } of removable) {
          const removed = await api.remove(join(directory, name));
          if (!removed.ok) return removed;
        }
        return { ok: true } as const;
      };
      const [first] = removable;
      if (await this.#do(all())) this.#announce(removable.length === 1 ? `${shown(first?.name ?? "")} is deleted.` : `${removable.length} entries are deleted.`);
    }
    this.focus();
  }

  #downloadChosen(): void {
    for (const entry of this.#rows.chosen) if (entry.kind === "file") this.#download(entry);
  }

  #drawChosen(): void {
    const { chosen } = this.#rows;
    show("files-chosen", chosen.length > 0);
    if (chosen.length === 0) return;
    set("files-chosen-words", `${chosen.length} selected`);
    set("files-live", `${chosen.length} selected`);
    element<HTMLButtonElement>("files-chosen-download").disabled = !chosen.some(({ kind }) => kind === "file");
    element<HTMLButtonElement>("files-chosen-delete").disabled = chosen.every(({ storage }) => storage);
  }

  /** Waits for a change, says how it failed, and looks again. */
  async #do(change: Promise<{ ok: boolean; status?: number; error?: string }>, next?: string): Promise<boolean> {
    this.#panel.setAttribute("aria-busy", "true");
    const { ok, status = 0, error } = await change;
    this.#panel.removeAttribute("aria-busy");
    if (!ok) this.#announce(failure({ status, ...(error === undefined ? {} : { error }) }), true);
    if (ok && next !== undefined) this.#next = next;
    await this.#refresh();
    return ok;
  }

  #newUploads(): Uploads {
    const settled = (path: string) => {
      if (this.#path !== undefined && isWithin(path, this.#path)) this.#schedule(Math.max(0, this.#lookedAt + AGAIN_MS - performance.now()));
    };
    return new Uploads(() => this.#queue.changed(), settled);
  }

  #upload(items: readonly Item[]): void {
    const api = this.#api;
    if (api === undefined || this.#path === undefined || items.length === 0) return;
    const put = async (path: string, file: Blob | undefined, options: Parameters<FilesApi["put"]>[2]) => {
      if (file !== undefined) return api.put(path, file, options);
      const made = await api.makeDirectory(path);
      // A folder that is there already is what was wanted.
      return !made.ok && made.status === 409 ? ({ ok: true, value: undefined } as const) : made;
    };
    if (this.#uploads.add(this.#path, items, { put })) return;
    this.#announce(`That is more than ${MAX_QUEUED} files at once. Pack them into one, or bring them in from the terminal.`, true);
  }

  // --- the keyboard, the menu, the mouse ---------------------------------------------------------------------------------------------

  #key(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.target instanceof HTMLInputElement) return;
    if (event.key === "Escape") {
      event.preventDefault();
      if (this.#viewer.path !== undefined) this.#closePreview();
      else if (this.#rows.chosen.length > 0) this.#rows.choose(false);
      else this.host.leave();
    }
    if (event.key === "Backspace" && this.#viewer.path !== undefined) {
      event.preventDefault();
      this.#closePreview();
    }
  }

  #followCrumb(target: EventTarget | null): void {
    const path = target instanceof Element ? target.closest<HTMLElement>("[data-path]")?.dataset["path"] : undefined;
    if (path === undefined || this.#api === undefined) return;
    const from = this.#path ?? "";
    this.#show(path, isWithin(from, path) ? from.slice(path === "/" ? 1 : path.length + 1).split("/")[0] : undefined);
  }

  #menu(entry: Entry, at: HTMLElement): void {
    const menu = element("file-menu");
    this.#menuEntry = entry;
    for (const act of menu.querySelectorAll<HTMLElement>("[data-act]")) {
      const { act: name } = act.dataset;
      act.hidden =
        (name === "download" && entry.kind !== "file") || (name === "open" && entry.kind !== "file" && entry.kind !== "directory") || (entry.storage && (name === "rename" || name === "delete"));
      if (name === "open") act.firstChild && (act.firstChild.textContent = entry.kind === "directory" ? "Open" : "Preview");
    }
    menu.showPopover();
    const { left, bottom, top, right } = at.getBoundingClientRect();
    const [width, height] = [menu.offsetWidth, menu.offsetHeight];
    const x = at.matches("button") ? right - width : left + 28;
    menu.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
    menu.style.top = `${bottom + height + 8 > innerHeight ? Math.max(8, top - height) : bottom}px`;
    menu.querySelector<HTMLElement>("[data-act]:not([hidden])")?.focus();
  }

  #chooseInMenu(target: EventTarget | null): void {
    const act = target instanceof Element ? target.closest<HTMLElement>("[data-act]")?.dataset["act"] : undefined;
    const entry = this.#menuEntry;
    if (act === undefined || entry === undefined) return;
    element("file-menu").hidePopover();
    this.#rows.focus(entry.name);
    if (act === "open") this.#open(entry);
    if (act === "download") this.#download(entry);
    if (act === "rename") void this.#rename(entry);
    if (act === "delete") void this.#remove(this.#meant(entry));
    if (act === "choose") this.#rows.toggle(entry.name);
  }

  /**
   * Files dropped anywhere on the page go into the directory that is shown. Without this the browser would leave the page to show them,
   * and the sandbox would end.
   */
  #takeDrops(): void {
    let leaving: ReturnType<typeof setTimeout> | undefined;
    const over = (on: boolean) => this.#panel.classList.toggle("dropping", on);
    window.addEventListener("dragover", (event) => {
      if (!holdsFiles(event.dataTransfer)) return;
      event.preventDefault();
      if (event.dataTransfer) event.dataTransfer.dropEffect = this.#api === undefined ? "none" : "copy";
      over(this.#api !== undefined);
      // The browser tells of it several times a second, and nothing of its end outside the window.
      clearTimeout(leaving);
      leaving = setTimeout(() => over(false), 500);
    });
    window.addEventListener("drop", (event) => {
      if (!holdsFiles(event.dataTransfer) || event.dataTransfer === null) return;
      event.preventDefault();
      over(false);
      if (this.#api === undefined) return;
      const items = dropped(event.dataTransfer);
      if (!this.isOpen) this.toggle(true);
      void this.#uploadDropped(items);
    });
  }

  async #uploadDropped(items: Promise<Item[]>): Promise<void> {
    // A panel that was closed does not know yet where it is.
    if (this.#path === undefined) await this.#refresh();
    try {
      this.#upload(await items);
    } catch {
      this.#announce("The browser could not read what was dropped. Try the Upload button.", true);
    }
  }

  // --- what is seen ------------------------------------------------------------------------------------------------------------------

  #draw(): void {
    if (!this.isOpen) return;
    const [path, listing, trouble] = [this.#path, this.#listing, this.#trouble];
    const previewing = this.#viewer.path !== undefined;
    this.#drawPlaces();
    const all = (listing?.entries ?? []).filter((entry) => !isUnfinished(entry));
    const entries = sorted(all, this.#order);
    const rows = element("files-rows");
    if (listing !== undefined || trouble !== undefined || path === undefined) this.#rows.draw(entries, Date.now());
    rows.setAttribute("aria-rowcount", String(entries.length));
    rows.classList.toggle("old", listing === undefined && trouble === undefined);

    show("files-tools", this.#api !== undefined && !previewing);
    for (const column of this.#panel.querySelectorAll<HTMLElement>("[data-by]")) {
      const on = column.dataset["by"] === this.#order.by;
      column.setAttribute("aria-pressed", String(on));
      column.dataset["way"] = on ? (this.#order.down ? "down" : "up") : "";
    }
    show("files-order", !previewing && entries.length > 1);
    show("files-list", !previewing && trouble === undefined);
    show("files-empty", !previewing && listing !== undefined && entries.length === 0);
    show("files-trouble", !previewing && trouble !== undefined);
    show("files-retry", this.#api !== undefined);
    set("files-trouble-words", trouble ?? "");
    const hidden = (listing?.total ?? 0) - (listing?.entries.length ?? 0) + Math.max(0, entries.length - MAX_ROWS);
    set("files-more", hidden > 0 ? `${count(hidden, "more entry", "more entries")} not shown. Use the terminal to see all.` : "");
    show("files-more", hidden > 0);
    const stored = path !== undefined && isStorage(path, this.#roots);
    set("files-kept", path === undefined || trouble !== undefined ? "" : stored ? "On your storage: kept when the session ends" : "On the sandbox: gone when the session ends");
    element("files-kept").classList.toggle("stored", stored);

    if (listing === undefined || this.#next === undefined || previewing) return;
    const next = this.#next;
    this.#next = undefined;
    this.#announce(`${path === undefined ? "" : basename(path)}, ${count(entries.length, "entry", "entries")}`);
    if (document.activeElement === document.body || this.#panel.contains(document.activeElement)) {
      if (!this.#rows.focus(next)) element("files-upload").focus();
    }
  }

  #drawPlaces(): void {
    const way = this.#path === undefined ? [] : crumbs(this.#path, this.#roots);
    const key = JSON.stringify([way, this.#roots]);
    const list = element("files-crumbs");
    if (list.dataset["key"] === key) return;
    list.dataset["key"] = key;
    list.replaceChildren(
      ...way.map(({ label, path }, index) => {
        const item = document.createElement("li");
        const button = item.appendChild(document.createElement("button"));
        button.type = "button";
        button.dataset["path"] = path;
        button.title = path;
        if (this.#roots.some((root) => root.storage && root.path === path)) button.append(icon("storage"));
        button.append(shown(label));
        if (index === way.length - 1) button.setAttribute("aria-current", "page");
        return item;
      }),
    );
    list.scrollLeft = list.scrollWidth;
    const others = places(this.#roots);
    show("files-places", others.length > 1);
    element("files-places").replaceChildren(
      ...others.map(({ path, storage }) => {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset["path"] = path;
        button.setAttribute("aria-pressed", String(way[0]?.path === path));
        button.append(icon(storage ? "storage" : "folder"), path);
        return button;
      }),
    );
  }

  /** Says something to those who listen; `seen`: also to those who look. */
  #announce(words: string, seen = false): void {
    set("files-live", words);
    if (!seen) return;
    set("files-notice-words", words);
    show("files-notice", true);
    element("files-notice-close").onclick = () => {
      show("files-notice", false);
      this.focus();
    };
  }
}

function set(id: string, words: string): void {
  const node = element(id);
  if (node.textContent !== words) node.textContent = words;
}

function show(id: string, on: boolean): void {
  const node = element(id);
  if (node.hidden === on) node.hidden = !on;
}
