/**
 * The queue of uploads: sends a few at a time, and keeps each one's state. Knows no element and no address: a `Carrier` sends one file.
 */
import type { Answer } from "./api";
import type { Failure } from "./words";

/** Files that are sent at a time. More would not be faster, and a browser has six connections to a server. */
const AT_ONCE = 3;
/** Most files in the queue: each takes a little memory, and nobody follows more. */
export const MAX_QUEUED = 5000;

/** Something to upload: a file, or an empty directory if there is no file. */
export interface Item {
  /** Relative to the directory that it is uploaded to: `name` or `folder/name`. */
  readonly path: string;
  readonly file?: Blob;
}

export type UploadState = "waiting" | "travelling" | "done" | "exists" | "failed" | "cancelled";

export interface Upload {
  readonly id: number;
  /** The item's path. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly size: number;
  readonly state: UploadState;
  readonly sent: number;
  readonly failure?: Failure;
}

export interface Carrier {
  /** Writes one file, or makes a directory if there is no file. */
  put(path: string, file: Blob | undefined, options: { replace: boolean; progress(sent: number): void; signal: AbortSignal }): Promise<Answer<undefined>>;
}

interface Job {
  upload: Upload;
  readonly file: Blob | undefined;
  replace: boolean;
  readonly stop: AbortController;
  readonly carrier: Carrier;
}

export interface Summary {
  readonly total: number;
  readonly done: number;
  readonly bytes: number;
  readonly sent: number;
  /** Files that wait or are being sent. */
  readonly open: number;
  readonly failed: number;
  readonly exists: number;
}

export class Uploads {
  readonly #jobs = new Map<number, Job>();
  #next = 1;

  /** `changed` is told of every change, and `finished` the path of each file that has arrived. */
  constructor(
    private readonly changed: () => void,
    private readonly finished: (path: string) => void,
  ) {}

  get all(): readonly Upload[] {
    return [...this.#jobs.values()].map(({ upload }) => upload);
  }

  get summary(): Summary {
    const all = this.all.filter(({ state }) => state !== "cancelled");
    const of = (...states: UploadState[]) => all.filter(({ state }) => states.includes(state)).length;
    return {
      total: all.length,
      done: of("done"),
      bytes: all.reduce((sum, { size }) => sum + size, 0),
      sent: all.reduce((sum, { sent, size, state }) => sum + (state === "done" ? size : sent), 0),
      open: of("waiting", "travelling"),
      failed: of("failed"),
      exists: of("exists"),
    };
  }

  /** Queues items for a directory. False: there are too many, and none is queued. */
  add(directory: string, items: readonly Item[], carrier: Carrier): boolean {
    // Uploads that are over are shown until new ones begin.
    if (this.summary.open === 0) this.clear();
    if (this.#jobs.size + items.length > MAX_QUEUED) return false;
    for (const { path, file } of items) {
      const id = this.#next++;
      const upload: Upload = { id, name: path, path: `${directory === "/" ? "" : directory}/${path}`, size: file?.size ?? 0, state: "waiting", sent: 0 };
      this.#jobs.set(id, { upload, file, replace: false, stop: new AbortController(), carrier });
    }
    this.changed();
    this.#go();
    return true;
  }

  /** Cancels one, or all. Files that have arrived stay. */
  cancel(id?: number): void {
    for (const job of this.#jobs.values()) {
      if (id !== undefined && job.upload.id !== id) continue;
      if (job.upload.state === "done" || job.upload.state === "cancelled") continue;
      job.stop.abort();
      this.#set(job, { state: "cancelled" });
    }
    this.#go();
  }

  /** Sends again what failed or, with the word of the person, replaces what is there. */
  retry(id: number): void {
    const job = this.#jobs.get(id);
    if (job === undefined || (job.upload.state !== "failed" && job.upload.state !== "exists")) return;
    job.replace ||= job.upload.state === "exists";
    this.#set(job, { state: "waiting", sent: 0 });
    this.#go();
  }

  /** Forgets the uploads that are over. */
  clear(): void {
    for (const [id, { upload }] of this.#jobs) if (upload.state !== "waiting" && upload.state !== "travelling") this.#jobs.delete(id);
    this.changed();
  }

  #go(): void {
    const jobs = [...this.#jobs.values()];
    let free = AT_ONCE - jobs.filter(({ upload }) => upload.state === "travelling").length;
    for (const job of jobs) {
      if (free <= 0) return;
      if (job.upload.state !== "waiting") continue;
      free--;
      void this.#carry(job);
    }
  }

  async #carry(job: Job): Promise<void> {
    this.#set(job, { state: "travelling", sent: 0 });
    const progress = (sent: number) => {
      // The request's body may be a little larger than the file.
      if (job.upload.state === "travelling") this.#set(job, { sent: Math.min(sent, job.upload.size) });
    };
    const { upload, file, replace, stop } = job;
    const answer = await job.carrier.put(upload.path, file, { replace, progress, signal: stop.signal });
    if (stop.signal.aborted) return this.#go();
    if (answer.ok) {
      this.#set(job, { state: "done", sent: job.upload.size });
      this.finished(job.upload.path);
    } else if (answer.status === 412) {
      this.#set(job, { state: "exists", sent: 0 });
    } else {
      const { status, error } = answer;
      this.#set(job, { state: "failed", sent: 0, failure: { status, ...(error === undefined ? {} : { error }) } });
    }
    this.#go();
  }

  #set(job: Job, change: Partial<Upload>): void {
    job.upload = { ...job.upload, ...change };
    this.changed();
  }
}
