/**
 * Files that a person pastes or drops into the terminal. They are uploaded to a directory of their own in the session, and their paths are
 * typed: programs in the terminal, agents above all, can read files, and cannot reach a clipboard. Knows no terminal.
 */
import { type Answer, FilesApi, type Listing } from "./api";
import { dropped } from "./dropped";
import { basename, join } from "./paths";
import { type Item, MAX_QUEUED, type Summary, Uploads } from "./uploads";
import { count, failure, size } from "./words";

/** Where they go, relative to the session's directory. */
export const PASTED = ".pasted";
/** An upload that takes longer than this is shown, in milliseconds. */
const SLOW_MS = 300;

export interface PastedFilesHost {
  /** Types this into the terminal, as a paste. */
  type(words: string): void;
  /** Something failed. */
  say(words: string): void;
  /** Shows how far the upload is, with a way to cancel it. Without words: there is nothing more to show. */
  progress(words: string | undefined, cancel: () => void): void;
}

export class PastedFiles {
  #api: FilesApi | undefined;
  readonly #batches = new Set<Batch>();

  constructor(private readonly host: PastedFilesHost) {}

  /** A session's shell runs, so its files are within reach. */
  attach(session: string): void {
    this.detach();
    this.#api = new FilesApi(session);
  }

  /** The session is over, and its files are out of reach. */
  detach(): void {
    this.#api = undefined;
    for (const batch of this.#batches) batch.cancel();
  }

  /** Whether files are on their way. Leaving the page would stop them. */
  get isBusy(): boolean {
    return this.#batches.size > 0;
  }

  /** Uploads what was pasted or dropped. Must be called within the event. */
  async take(transfer: DataTransfer): Promise<void> {
    const api = this.#api;
    const reading = dropped(transfer);
    if (api === undefined) return this.host.say("Files can be pasted once the shell runs.");
    let items: Item[];
    try {
      items = await reading;
    } catch {
      return this.host.say("The browser could not read what was pasted. Save it, then use the Upload button of the files panel.");
    }
    if (items.length === 0 || api !== this.#api) return;
    if (items.length > MAX_QUEUED) return this.host.say(`That is more than ${MAX_QUEUED} files at once. Pack them into one.`);
    const place = await findPlace(api);
    if (!place.ok) return this.host.say(`The files were not uploaded. ${failure(place)}`);
    if (api !== this.#api) return;
    const batch = new Batch(api, place.value.directory, renamed(items, place.value.taken), this.host);
    this.#batches.add(batch);
    const arrived = await batch.done;
    this.#batches.delete(batch);
    // With a space at the end, so that what comes next is a word of its own.
    if (arrived.length > 0 && api === this.#api) this.host.type(`${arrived.map(shellWord).join(" ")} `);
  }
}

/** The files of one paste or drop. */
class Batch {
  /** The paths of the files that have arrived, and of the folders that are complete. */
  readonly done: Promise<readonly string[]>;
  readonly #uploads: Uploads;
  readonly #cancel = () => this.cancel();
  #settle: (arrived: readonly string[]) => void = () => {};
  #slow: ReturnType<typeof setTimeout> | undefined;
  #shown = false;

  constructor(
    api: FilesApi,
    private readonly directory: string,
    private readonly items: readonly Item[],
    private readonly host: PastedFilesHost,
  ) {
    this.done = new Promise((settle) => (this.#settle = settle));
    this.#uploads = new Uploads(() => this.#changed(), () => {});
    this.#slow = setTimeout(() => {
      this.#shown = true;
      this.#changed();
    }, SLOW_MS);
    const put = (path: string, file: Blob | undefined, options: Parameters<FilesApi["put"]>[2]) => (file === undefined ? api.makeDirectory(path) : api.put(path, file, options));
    this.#uploads.add(directory, items, { put });
  }

  cancel(): void {
    this.#uploads.cancel();
  }

  #changed(): void {
    const { all, summary } = this.#uploads;
    if (all.length < this.items.length || this.#slow === undefined) return;
    if (summary.open > 0) {
      if (this.#shown) this.host.progress(progressWords(this.items, summary), this.#cancel);
      return;
    }
    clearTimeout(this.#slow);
    this.#slow = undefined;
    if (this.#shown) this.host.progress(undefined, this.#cancel);
    const bad = all.filter(({ state }) => state !== "done");
    const first = bad.find(({ state }) => state !== "cancelled");
    if (first !== undefined) this.host.say(`${basename(first.name)} was not uploaded. ${failure(first.failure ?? { status: 412 })}`);
    const broken = new Set(bad.map(({ name }) => top(name)));
    this.#settle([...new Set(all.map(({ name }) => top(name)))].filter((name) => !broken.has(name)).map((name) => join(this.directory, name)));
  }
}

/** The absolute path of the directory for them, and the names in it. In the sandbox if possible: storage would keep the files for good. */
async function findPlace(api: FilesApi): Promise<Answer<{ directory: string; taken: Set<string> }>> {
  const roots = await api.roots();
  if (!roots.ok) return roots;
  const root = roots.value.find(({ storage }) => !storage) ?? roots.value[0];
  if (root === undefined) return { ok: false, status: 409, error: "this session has no directory for files; its operator sets one as sandbox.workdir" };
  const around = await api.list(root.path);
  if (!around.ok) return around;
  const directory = join(root.path, PASTED);
  const names = await namesIn(api, directory, around.value);
  // Keeps the files out of a repository in the session's directory.
  if (!names.has(".gitignore")) await api.put(join(directory, ".gitignore"), new Blob(["*\n"]), { replace: false, progress() {}, signal: new AbortController().signal });
  return { ok: true, value: { directory, taken: names } };
}

/** The names in the directory. None if the listing around it says that it does not exist. */
async function namesIn(api: FilesApi, directory: string, around: Listing | "same"): Promise<Set<string>> {
  const isKnown = around !== "same" && around.total === around.entries.length;
  if (isKnown && !around.entries.some(({ name }) => name === basename(directory))) return new Set();
  const there = await api.list(directory);
  return new Set(there.ok && there.value !== "same" ? there.value.entries.map(({ name }) => name) : []);
}

/** The items with names that are free and fit on a command line. */
export function renamed(items: readonly Item[], taken: ReadonlySet<string>): Item[] {
  const used = new Set(taken);
  const names = new Map<string, string>();
  return items.map((item) => {
    const [was, rest] = [top(item.path), item.path.slice(top(item.path).length)];
    // Two files with the same name are different files. Two paths in the same folder stay in one folder.
    const known = rest === "" ? undefined : names.get(was);
    const name = known ?? free(was.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "_"), used);
    used.add(name);
    names.set(was, name);
    return { ...item, path: name + rest };
  });
}

/** The first free name of `image.png`, `image-2.png`, … */
function free(name: string, used: ReadonlySet<string>): string {
  const dot = name.lastIndexOf(".");
  const [stem, end] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  let found = name;
  for (let n = 2; used.has(found); n++) found = `${stem}-${n}${end}`;
  return found;
}

function top(path: string): string {
  return path.split("/", 1)[0] ?? path;
}

/** A path as one word of a POSIX shell. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function progressWords(items: readonly Item[], { bytes, sent, total }: Summary): string {
  const what = total === 1 && items[0] !== undefined ? basename(items[0].path) : count(total, "file");
  return `Uploading ${what}: ${size(sent)} of ${size(bytes)}`;
}
