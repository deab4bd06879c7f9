/**
 * The panel of a session's files: puts its parts together, and owns which of them has the keyboard. Everything visible is in index.html.
 * Knows no terminal: it is told when the terminal has printed something.
 */
import { element, setText, setVisible } from "../page/element";
import type { Entry, FilesApi } from "./api";
import { Changes } from "./changes";
import { Directory } from "./directory";
import { drawSelected, drawPanel } from "./drawing";
import { chosen } from "./dropped";
import { takeDrops } from "./drops";
import { recallPlace, rememberPlace } from "./memory";
import { type EntryAct, EntryMenu } from "./menu";
import { basename, BY_NAME, isStorage, isUnfinished, isWithin, join, type Order, parent, places, reordered, shown, sorted } from "./paths";
import { UploadProgress } from "./progress";
import { Rows } from "./rows";
import { type Item, MAX_QUEUED, Uploads } from "./uploads";
import { Preview } from "./preview";
import { count, failure } from "./words";

export interface PanelHost {
  /** The keyboard goes back to the terminal. */
  leave(): void;
  toggled(open: boolean): void;
}

export class FilesPanel {
  readonly #panel = element("files");
  readonly #button = element("files-button");
  readonly #preview = new Preview();
  readonly #directory: Directory;
  readonly #changes: Changes;
  readonly #menu: EntryMenu;
  readonly #rows: Rows;
  readonly #progress: UploadProgress;
  readonly #uploads: Uploads;
  #session: string | undefined;
  #order = BY_NAME;
  /** The entry that gets the keyboard once the directory is listed. `""`: whichever had it. */
  #next: string | undefined;

  constructor(private readonly host: PanelHost) {
    this.#directory = new Directory({
      isSeen: () => this.isOpen && !document.hidden && this.#preview.path === undefined,
      changed: () => this.#draw(),
      moved: () => this.#remember(),
      slow: () => this.#announce("Looking…"),
    });
    this.#changes = new Changes(this.#directory, {
      carryOut: (change, next) => this.#carryOut(change, next),
      announce: (words) => this.#announce(words),
      focus: () => this.focus(),
    });
    this.#menu = new EntryMenu((act, entry) => this.#act(act, entry));
    this.#rows = new Rows(element("files-rows"), {
      open: (entry) => this.#open(entry),
      menu: (entry, at) => this.#menu.open(entry, at),
      rename: (entry) => void this.#changes.rename(entry),
      remove: (entry) => void this.#changes.remove(this.#meant(entry)),
      up: () => this.#up(),
      selected: () => drawSelected(this.#rows.selected),
    });
    this.#uploads = new Uploads(
      () => this.#progress.changed(),
      (path) => {
        const directory = this.#directory.path;
        if (directory !== undefined && isWithin(path, directory)) this.#directory.scheduleSoon();
      },
    );
    this.#progress = new UploadProgress(this.#uploads, (words) => this.#announce(words));
    this.#wire();
    takeDrops({
      accepts: () => this.#directory.api !== undefined,
      over: (on) => this.#panel.classList.toggle("dropping", on),
      dropped: (items) => {
        if (!this.isOpen) this.toggle(true);
        void this.#uploadDropped(items);
      },
    });
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  /** Whether files are on their way. Leaving the page would stop them. */
  get isBusy(): boolean {
    return this.#uploads.summary.open > 0;
  }

  /** A session's shell runs, so its files are within reach. */
  attach(session: string): void {
    const place = recallPlace(session);
    this.#session = session;
    this.#directory.attach(session, place?.path);
    this.#button.hidden = false;
    if (place !== undefined && !this.isOpen) this.#reveal(true);
    this.#draw();
    this.#directory.schedule();
  }

  /** The session is over, and its files are out of reach. */
  detach(): void {
    const { api, path, roots } = this.#directory;
    if (api === undefined) return;
    this.#uploads.cancel();
    this.#uploads.clear();
    this.#preview.close();
    const kept = path !== undefined && isStorage(path, roots);
    this.#directory.detach(
      kept
        ? "The session has ended. What was saved to your storage is kept: a new session shows it again."
        : "The session has ended, and the files of its sandbox are gone. A new session begins with new ones.",
    );
    this.#draw();
  }

  /** The terminal has printed something. */
  stirred(): void {
    this.#directory.stirred();
  }

  toggle(open = !this.isOpen): void {
    if (this.#button.hidden && open) return;
    this.#reveal(open);
    this.#remember();
    if (!open) {
      this.#preview.close();
      this.#directory.stop();
      return this.host.leave();
    }
    this.#draw();
    this.focus();
    // The list may not be there yet. It gets the keyboard when it is.
    this.#next ??= "";
    this.#directory.schedule();
  }

  focus(): void {
    if (this.#preview.path !== undefined) return this.#preview.focus();
    if (!this.#rows.focus()) element(this.#directory.trouble === undefined ? "files-upload" : "files-close").focus();
  }

  #reveal(open: boolean): void {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    this.host.toggled(open);
  }

  #remember(): void {
    const [session, path] = [this.#session, this.#directory.path];
    rememberPlace(this.isOpen && session !== undefined ? { session, ...(path !== undefined && { path }) } : undefined);
  }

  // --- controls ----------------------------------------------------------------------------------------------------------------------

  #wire(): void {
    const onClick = (id: string, act: () => void) => element(id).addEventListener("click", act);
    this.#button.addEventListener("click", () => this.toggle());
    onClick("files-close", () => this.toggle(false));
    onClick("files-retry", () => void this.#directory.retry().then(() => this.focus()));
    onClick("files-new", () => void this.#changes.newFolder());
    onClick("files-preview-back", () => this.#closePreview());
    onClick("files-chosen-download", () => this.#downloadSelected());
    onClick("files-chosen-delete", () => void this.#changes.remove(this.#rows.selected));
    onClick("files-chosen-none", () => {
      this.#rows.select(false);
      this.focus();
    });
    for (const [button, input] of [
      ["files-upload", "files-input"],
      ["files-upload-folder", "files-folder-input"],
    ] as const) {
      const field = element<HTMLInputElement>(input);
      onClick(button, () => field.click());
      field.addEventListener("change", () => {
        this.#upload(chosen(field.files));
        field.value = "";
      });
    }
    element("files-upload-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype) || matchMedia("(hover: none)").matches;
    element("files-order").addEventListener("click", ({ target }) => {
      const by = target instanceof Element ? target.closest<HTMLElement>("[data-by]")?.dataset["by"] : undefined;
      if (by === undefined) return;
      this.#order = reordered(this.#order, by as Order["by"]);
      this.#draw();
    });
    for (const id of ["files-crumbs", "files-places"]) element(id).addEventListener("click", ({ target }) => this.#followCrumb(target));
    this.#panel.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => this.#directory.schedule());
  }

  #key(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.target instanceof HTMLInputElement) return;
    if (event.key === "Escape") {
      event.preventDefault();
      if (this.#preview.path !== undefined) this.#closePreview();
      else if (this.#rows.selected.length > 0) this.#rows.select(false);
      else this.host.leave();
    }
    if (event.key === "Backspace" && this.#preview.path !== undefined) {
      event.preventDefault();
      this.#closePreview();
    }
  }

  #act(act: EntryAct, entry: Entry): void {
    this.#rows.focus(entry.name);
    switch (act) {
      case "open":
        return this.#open(entry);
      case "download":
        return this.#changes.download(entry);
      case "rename":
        return void this.#changes.rename(entry);
      case "delete":
        return void this.#changes.remove(this.#meant(entry));
      case "choose":
        return this.#rows.toggle(entry.name);
    }
  }

  /** What an act on an entry is about: all selected entries, if this one is among them. */
  #meant(entry: Entry): readonly Entry[] {
    const { selected } = this.#rows;
    return selected.some(({ name }) => name === entry.name) ? selected : [entry];
  }

  #downloadSelected(): void {
    for (const entry of this.#rows.selected) if (entry.kind === "file") this.#changes.download(entry);
  }

  /** Waits for a change, reports how it failed, and shows the directory as it is then. */
  async #carryOut(change: Promise<{ ok: boolean; status?: number; error?: string }>, next?: string): Promise<boolean> {
    this.#panel.setAttribute("aria-busy", "true");
    const { ok, status = 0, error } = await change;
    this.#panel.removeAttribute("aria-busy");
    if (!ok) this.#announce(failure({ status, ...(error === undefined ? {} : { error }) }), true);
    if (ok && next !== undefined) this.#next = next;
    await this.#directory.refresh();
    return ok;
  }

  // --- moving ------------------------------------------------------------------------------------------------------------------------

  /** Goes to a directory, and there to the entry `next`. */
  #show(path: string, next = ""): void {
    this.#preview.close();
    this.#rows.select(false);
    this.#next = next;
    this.#directory.show(path);
  }

  #open(entry: Entry): void {
    const { api, path: directory } = this.#directory;
    if (api === undefined || directory === undefined) return;
    const path = join(directory, entry.name);
    if (entry.kind === "directory") return this.#show(path);
    if (entry.kind !== "file") return this.#announce(`${shown(entry.name)} is ${entry.kind === "link" ? "a link that leads nowhere" : "no regular file"}.`, true);
    const showing = this.#preview.show(api, path, entry);
    this.#draw();
    this.#preview.focus();
    void showing;
  }

  #closePreview(): void {
    this.#preview.close();
    this.#draw();
    this.#rows.focus();
    this.#directory.schedule();
  }

  #up(): void {
    const { path, roots } = this.#directory;
    if (path === undefined || places(roots).some((place) => place.path === path)) return;
    this.#show(parent(path), basename(path));
  }

  #followCrumb(target: EventTarget | null): void {
    const path = target instanceof Element ? target.closest<HTMLElement>("[data-path]")?.dataset["path"] : undefined;
    if (path === undefined || this.#directory.api === undefined) return;
    const from = this.#directory.path ?? "";
    this.#show(path, isWithin(from, path) ? from.slice(path === "/" ? 1 : path.length + 1).split("/")[0] : undefined);
  }

  // --- uploading ---------------------------------------------------------------------------------------------------------------------

  #upload(items: readonly Item[]): void {
    const { api, path } = this.#directory;
    if (api === undefined || path === undefined || items.length === 0) return;
    const put = async (path: string, file: Blob | undefined, options: Parameters<FilesApi["put"]>[2]) => {
      if (file !== undefined) return api.put(path, file, options);
      const made = await api.makeDirectory(path);
      // A folder that exists already is what was wanted.
      return !made.ok && made.status === 409 ? ({ ok: true, value: undefined } as const) : made;
    };
    if (this.#uploads.add(path, items, { put })) return;
    this.#announce(`That is more than ${MAX_QUEUED} files at once. Pack them into one, or bring them in from the terminal.`, true);
  }

  async #uploadDropped(items: Promise<Item[]>): Promise<void> {
    // A panel that was closed does not know its directory yet.
    if (this.#directory.path === undefined) await this.#directory.refresh();
    try {
      this.#upload(await items);
    } catch {
      this.#announce("The browser could not read what was dropped. Try the Upload button.", true);
    }
  }

  // --- drawing -----------------------------------------------------------------------------------------------------------------------

  #draw(): void {
    if (!this.isOpen) return;
    const { api, path, roots, listing, trouble } = this.#directory;
    const isPreviewing = this.#preview.path !== undefined;
    const entries = sorted((listing?.entries ?? []).filter((entry) => !isUnfinished(entry)), this.#order);
    if (listing !== undefined || trouble !== undefined || path === undefined) this.#rows.draw(entries, Date.now());
    drawPanel({ path, roots, listing, entries: entries.length, trouble, order: this.#order, isAttached: api !== undefined, isPreviewing });

    if (listing === undefined || this.#next === undefined || isPreviewing) return;
    const next = this.#next;
    this.#next = undefined;
    this.#announce(`${path === undefined ? "" : basename(path)}, ${count(entries.length, "entry", "entries")}`);
    if (document.activeElement === document.body || this.#panel.contains(document.activeElement)) {
      if (!this.#rows.focus(next)) element("files-upload").focus();
    }
  }

  /** Says something to screen readers. `seen`: shows it as well. */
  #announce(words: string, seen = false): void {
    setText("files-live", words);
    if (!seen) return;
    setText("files-notice-words", words);
    setVisible("files-notice", true);
    element("files-notice-close").onclick = () => {
      setVisible("files-notice", false);
      this.focus();
    };
  }
}
