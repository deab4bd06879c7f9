/**
 * The directory that the panel shows: which one it is, what is in it, and when to ask for it again. Polls while somebody sees the panel,
 * and asks once more when the terminal has printed something and is quiet. Draws nothing.
 */
import { FilesApi, type Listing, type Root } from "./api";
import { isWithin, parent } from "./paths";
import { failure } from "./words";

/** How often the directory is asked for, in milliseconds. */
const POLL_MS = 4000;
/** The longest pause after failures, in milliseconds. It doubles up to this. */
const MAX_POLL_MS = 30_000;
/** The terminal is quiet when it has printed nothing for this long, in milliseconds. */
const QUIET_MS = 400;
/** The shortest time between two requests that the terminal or an upload causes, in milliseconds. */
const SOON_MS = 1000;
/** A first answer that takes longer than this is announced, in milliseconds. */
const SLOW_MS = 300;

export interface DirectoryHost {
  /** Whether somebody sees the directory, so that asking for it makes sense. */
  isSeen(): boolean;
  /** There is something else to draw. */
  changed(): void;
  /** Another directory is shown, or the first one is known. */
  moved(): void;
  /** The first answer is late. */
  slow(): void;
}

export class Directory {
  #api: FilesApi | undefined;
  #roots: readonly Root[] = [];
  #path: string | undefined;
  /** Shown before a reload, and wanted again. */
  #remembered: string | undefined;
  #listing: Listing | undefined;
  #trouble: string | undefined;
  /** How many requests in a row failed. */
  #failures = 0;
  #askedAt = 0;
  /** Counts requests, so that an answer to an older one is not taken for the newest. */
  #request = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #quiet: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: DirectoryHost) {}

  /** None where the files are out of reach. */
  get api(): FilesApi | undefined {
    return this.#api;
  }

  get roots(): readonly Root[] {
    return this.#roots;
  }

  get path(): string | undefined {
    return this.#path;
  }

  /** What is in the directory, if that is known. */
  get listing(): Listing | undefined {
    return this.#listing;
  }

  /** Words to show in place of the listing. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** The names in the directory. */
  get taken(): ReadonlySet<string> {
    return new Set(this.#listing?.entries.map(({ name }) => name));
  }

  /** Shows this session's files, at first the directory `remembered` if it is still within reach. */
  attach(session: string, remembered: string | undefined): void {
    this.#api = new FilesApi(session);
    this.#roots = [];
    this.#path = undefined;
    this.#remembered = remembered;
    this.#forget();
  }

  /** The files are out of reach, for the reason that `trouble` tells. */
  detach(trouble: string): void {
    this.#api = undefined;
    this.#request++;
    this.stop();
    this.#listing = undefined;
    this.#trouble = trouble;
  }

  /** Goes to another directory. */
  show(path: string): void {
    this.#path = path;
    this.#forget();
    this.host.moved();
    this.host.changed();
    this.schedule();
  }

  /** Asks for the directory after `wait` milliseconds, if somebody sees it. */
  schedule(wait = 0): void {
    clearTimeout(this.#timer);
    if (this.#isWanted) this.#timer = setTimeout(() => void this.refresh(), wait);
  }

  /** Asks for the directory soon: something in it may have changed. */
  scheduleSoon(): void {
    this.schedule(Math.max(0, this.#askedAt + SOON_MS - performance.now()));
  }

  /** The terminal has printed something. Once it is quiet, something here may have changed. */
  stirred(): void {
    if (!this.#isWanted) return;
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.scheduleSoon(), QUIET_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async refresh(): Promise<void> {
    const api = this.#api;
    if (api === undefined || !this.#isWanted) return;
    const request = ++this.#request;
    this.#askedAt = performance.now();
    const slow = setTimeout(() => this.#listing === undefined && this.host.slow(), SLOW_MS);
    const answer = await this.#ask(api);
    clearTimeout(slow);
    if (request !== this.#request) return;
    if (answer.ok) {
      this.#failures = 0;
      this.#trouble = undefined;
      if (answer.value !== "same") this.#listing = answer.value;
      this.host.moved();
    } else {
      this.#failures++;
      // One failure does not take away what is shown, unless the directory is gone.
      if (this.#listing === undefined || answer.status === 404 || answer.status === 403 || this.#failures > 2) {
        this.#listing = undefined;
        this.#trouble = failure(answer);
      }
    }
    this.host.changed();
    this.schedule(Math.min(MAX_POLL_MS, POLL_MS * 2 ** this.#failures));
  }

  /** Tries again at once after trouble. */
  async retry(): Promise<void> {
    this.#trouble = undefined;
    this.#failures = 0;
    // A directory that cannot be listed may be gone. The one around it is probably there.
    if (this.#path !== undefined && !this.#roots.some(({ path }) => path === this.#path)) this.#path = parent(this.#path);
    await this.refresh();
  }

  get #isWanted(): boolean {
    return this.#api !== undefined && this.host.isSeen();
  }

  #forget(): void {
    this.#listing = undefined;
    this.#trouble = undefined;
    this.#failures = 0;
  }

  async #ask(api: FilesApi) {
    if (this.#path === undefined) {
      const roots = await api.roots();
      if (!roots.ok) return roots;
      const first = roots.value[0];
      if (first === undefined) return { ok: false, status: 409, error: "this session has no directory for files; its operator sets one as sandbox.workdir" } as const;
      if (api !== this.#api) return { ok: false, status: 0 } as const;
      this.#roots = roots.value;
      const remembered = this.#remembered;
      this.#path = remembered !== undefined && roots.value.some(({ path }) => isWithin(remembered, path)) ? remembered : first.path;
      this.#remembered = undefined;
    }
    return api.list(this.#path, this.#listing?.etag);
  }
}
