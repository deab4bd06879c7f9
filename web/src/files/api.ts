/**
 * The broker's files API, as far as the page needs it. Every outcome is a value, also "no answer". Knows no element of the page.
 */
import type { Failure } from "./words";

/** How long an answer may take, in milliseconds. The broker's own deadlines for the sandbox are shorter. */
const TIMEOUT_MS = 60_000;

/** A directory with a session's files. */
export interface Root {
  readonly path: string;
  /** Mounted storage, which outlives the session. */
  readonly storage: boolean;
}

export interface Entry {
  readonly name: string;
  readonly kind: "file" | "directory" | "link" | "other";
  /** In bytes. 0 if it is not a file. */
  readonly size: number;
  /** In milliseconds since 1970, if known. */
  readonly modified?: number;
  readonly storage: boolean;
}

export interface Listing {
  readonly entries: readonly Entry[];
  /** How many entries the directory has. The broker may list fewer. */
  readonly total: number;
  /** Identifies this listing, so that the broker need not send it again. */
  readonly etag: string;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | ({ readonly ok: false } & Failure);

export interface PutOptions {
  /** A file with that name may be replaced. */
  readonly replace: boolean;
  /** Is told how many bytes have left this browser. */
  progress(sent: number): void;
  readonly signal: AbortSignal;
}

/** The files of one session. */
export class FilesApi {
  readonly #base: string;

  /** `base`: the page's own address, with a slash at its end. */
  constructor(session: string, base: string = document.baseURI) {
    this.#base = new URL(`api/sessions/${encodeURIComponent(session)}/files`, base).href;
  }

  async roots(): Promise<Answer<readonly Root[]>> {
    return this.#json("", {}, (body) => list(body["roots"]).flatMap(decodeRoot));
  }

  /** What is in a directory. `same`: still the listing with this `etag`. */
  async list(path: string, etag?: string): Promise<Answer<Listing | "same">> {
    const headers: Record<string, string> = etag === undefined ? {} : { "If-None-Match": etag };
    const response = await this.#ask(this.#at("", path), { headers });
    if (response?.status === 304) return { ok: true, value: "same" };
    return decode(response, (body, headers) => {
      const entries = list(body["entries"]).flatMap(decodeEntry);
      const total = typeof body["total"] === "number" ? body["total"] : entries.length;
      return { entries, total, etag: headers.get("ETag") ?? "" };
    });
  }

  async makeDirectory(path: string): Promise<Answer<undefined>> {
    return settled(await this.#ask(this.#at("/directory", path), { method: "POST" }));
  }

  async rename(from: string, to: string): Promise<Answer<undefined>> {
    const headers = { "Content-Type": "application/json" };
    return settled(await this.#ask(`${this.#base}/rename`, { method: "POST", headers, body: JSON.stringify({ from, to }) }));
  }

  async remove(path: string): Promise<Answer<undefined>> {
    return settled(await this.#ask(this.#at("", path), { method: "DELETE" }));
  }

  /** The first `limit` bytes of a file. */
  async read(path: string, limit: number, signal: AbortSignal): Promise<Answer<Uint8Array<ArrayBuffer>>> {
    const headers = { Range: `bytes=0-${limit - 1}` };
    const response = await this.#ask(this.contentUrl(path), { headers, signal });
    // An empty file has no first byte.
    if (response?.status === 416) return { ok: true, value: new Uint8Array() };
    if (!response?.ok) return failed(response);
    try {
      return { ok: true, value: new Uint8Array(await response.arrayBuffer()) };
    } catch {
      return { ok: false, status: 0 };
    }
  }

  /** The address of a file's content. */
  contentUrl(path: string): string {
    return this.#at("/content", path);
  }

  /** Writes a whole file. Not with `fetch`, which reports no progress. */
  put(path: string, file: Blob, { replace, progress, signal }: PutOptions): Promise<Answer<undefined>> {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      const none = () => resolve({ ok: false, status: 0 });
      request.open("PUT", this.contentUrl(path));
      if (!replace) request.setRequestHeader("If-None-Match", "*");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.addEventListener("progress", ({ loaded }) => progress(loaded));
      request.addEventListener("load", () => {
        const { status, responseText } = request;
        if (status >= 200 && status < 300) return resolve({ ok: true, value: undefined });
        resolve({ ok: false, status, ...words(responseText) });
      });
      request.addEventListener("error", none);
      request.addEventListener("abort", none);
      signal.addEventListener("abort", () => request.abort(), { once: true });
      if (signal.aborted) return none();
      request.send(file);
    });
  }

  #at(route: string, path: string): string {
    return `${this.#base}${route}?path=${encodeURIComponent(path.toWellFormed())}`;
  }

  async #json<T>(route: string, init: RequestInit, read: (body: Body) => T): Promise<Answer<T>> {
    return decode(await this.#ask(`${this.#base}${route}`, init), read);
  }

  async #ask(url: string, init: RequestInit): Promise<Response | undefined> {
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const signal = init.signal ? AbortSignal.any([init.signal, late]) : late;
    try {
      return await fetch(url, { ...init, cache: "no-store", signal });
    } catch {
      return undefined;
    }
  }
}

type Body = Readonly<Record<string, unknown>>;

async function decode<T>(response: Response | undefined, read: (body: Body, headers: Headers) => T): Promise<Answer<T>> {
  if (!response?.ok) return failed(response);
  const body = parse(await response.text().catch(() => ""));
  if (body === undefined) return { ok: false, status: 502, error: "the broker's answer was cut off" };
  return { ok: true, value: read(body, response.headers) };
}

async function settled(response: Response | undefined): Promise<Answer<undefined>> {
  return response?.ok ? { ok: true, value: undefined } : failed(response);
}

async function failed(response: Response | undefined): Promise<{ readonly ok: false } & Failure> {
  if (response === undefined) return { ok: false, status: 0 };
  return { ok: false, status: response.status, ...words(await response.text().catch(() => "")) };
}

function words(text: string): { error?: string } {
  const error = parse(text)?.["error"];
  return typeof error === "string" && error !== "" ? { error } : {};
}

function parse(text: string): Body | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Body) : undefined;
  } catch {
    return undefined;
  }
}

function list(value: unknown): readonly Body[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null) : [];
}

function decodeRoot({ path, storage }: Body): Root[] {
  return typeof path === "string" ? [{ path: path.replace(/(.)\/+$/, "$1"), storage: storage === true }] : [];
}

/** An entry, or nothing if it is malformed. */
export function decodeEntry({ name, kind, size, modified, storage }: Body): Entry[] {
  if (typeof name !== "string" || name === "" || name.includes("/")) return [];
  const time = typeof modified === "string" ? Date.parse(modified) : Number.NaN;
  return [
    {
      name,
      kind: (["file", "directory", "link"] as const).find((known) => known === kind) ?? "other",
      size: typeof size === "number" && size >= 0 ? size : 0,
      ...(Number.isNaN(time) ? {} : { modified: time }),
      storage: storage === true,
    },
  ];
}
