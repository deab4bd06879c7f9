/** The broker's sessions over HTTP: which there are, ending one, and its recording. Every answer is a value, also "no answer". */

/** How long an answer may take, in milliseconds. */
const TIMEOUT_MS = 10_000;
/** Most sessions shown. */
const MAX_SESSIONS = 200;
/** Longest text kept of one fact, in UTF-16 units. */
const MAX_FACT = 120;

export interface Listed {
  readonly id: string;
  readonly provider?: string;
  readonly state?: string;
  /** Since when, in the broker's words or in seconds. */
  readonly age?: string | number;
  readonly durability?: string;
  readonly user?: string;
  /** How many windows there are. */
  readonly windows: number;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };

/** The person's own sessions, or all where the broker knows no persons. */
export async function listSessions(): Promise<Answer<readonly Listed[]>> {
  const response = await ask("api/sessions", { headers: { Accept: "application/json" } });
  if (!response?.ok) return refused(response);
  try {
    const { sessions } = (await response.json()) as { sessions?: unknown };
    return { ok: true, value: (Array.isArray(sessions) ? sessions : []).slice(0, MAX_SESSIONS).flatMap(decode) };
  } catch {
    return { ok: false, error: "The broker's answer is not a list of sessions." };
  }
}

/** Ends a session. One that is over already is a success. */
export async function endSession(id: string): Promise<Answer<undefined>> {
  const response = await ask(`api/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
  return response?.ok === true || response?.status === 404 ? { ok: true, value: undefined } : refused(response);
}

/** Where a session's recording is. */
export function recordingUrl(id: string): string {
  return new URL(`api/sessions/${encodeURIComponent(id)}/recording`, document.baseURI).href;
}

/** The lines of a session's recording, as they come. Ends without an error where `signal` says so. */
export async function* recordingLines(id: string, signal: AbortSignal): AsyncGenerator<string, Answer<undefined>> {
  let rest = "";
  try {
    const response = await fetch(recordingUrl(id), { cache: "no-store", signal });
    if (!response.ok || response.body === null) return refused(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + part.value).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
    if (rest !== "") yield rest;
    return { ok: true, value: undefined };
  } catch {
    return { ok: false, error: "The recording broke off. Check your network, then try again." };
  }
}

async function ask(path: string, init: RequestInit): Promise<Response | undefined> {
  try {
    return await fetch(new URL(path, document.baseURI), { ...init, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    return undefined;
  }
}

function refused(response: Response | undefined): { readonly ok: false; readonly error: string } {
  const words: Readonly<Record<number, string>> = {
    401: "You are signed out. Reload the page to sign in.",
    403: "The broker does not allow this.",
    404: "The broker has nothing of this session any more.",
    409: "The session is not that far yet. Try again in a moment.",
  };
  if (response === undefined) return { ok: false, error: "The broker does not answer. Check your network, then try again." };
  return { ok: false, error: words[response.status] ?? `The broker answered with HTTP status ${response.status}. Try again in a moment.` };
}

function decode(value: unknown): Listed[] {
  if (typeof value !== "object" || value === null) return [];
  const { id, provider, state, age, durability, user, clients } = value as Record<string, unknown>;
  if (typeof id !== "string" || id === "") return [];
  const fact = (name: string, value: unknown) => (typeof value === "string" && value !== "" ? { [name]: value.slice(0, MAX_FACT) } : {});
  return [
    {
      id,
      windows: Array.isArray(clients) ? clients.length : 0,
      ...fact("provider", provider),
      ...fact("state", state),
      ...(typeof age === "number" && Number.isFinite(age) ? { age } : fact("age", age)),
      ...fact("durability", durability),
      ...fact("user", user),
    },
  ];
}
