/** The broker's sessions over HTTP: lists, names and ends them, fetches recordings, and signs out. Every outcome is a value, also "no answer". */

/** How long an answer may take, in milliseconds. */
const TIMEOUT_MS = 10_000;
/** Most sessions shown. */
const MAX_SESSIONS = 200;
/** Longest text kept of one fact, in UTF-16 units. */
const MAX_FACT = 200;
/** Longest name that the broker takes, in characters. */
export const MAX_NAME = 80;

export interface Listed {
  readonly id: string;
  readonly provider?: string;
  readonly state?: string;
  /** How old it is, in seconds or in the broker's words. */
  readonly age?: string | number;
  readonly durability?: string;
  readonly user?: string;
  /** What the person calls it. */
  readonly name?: string;
  /** What its program calls it. */
  readonly title?: string;
  /** The directory that its shell is in. */
  readonly directory?: string;
  /** How long it lives on if nobody comes, in seconds. None while somebody is there. */
  readonly keptFor?: number;
  /** How many windows it has, and how many of those are guests'. */
  readonly windows: number;
  readonly guests: number;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };

/** The person's own sessions. A broker without sign-in lists everybody's. */
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

/** The facts about one session. */
export async function showSession(id: string): Promise<Answer<Listed>> {
  const response = await ask(at(id), { headers: { Accept: "application/json" } });
  return response?.ok === true ? one(response) : refused(response);
}

/** Gives a session a name. An empty one removes the name. */
export async function renameSession(id: string, name: string): Promise<Answer<Listed>> {
  const init = { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) };
  const response = await ask(at(id), init);
  return response?.ok === true ? one(response) : refused(response);
}

/** What is wrong with a name that a person typed. `undefined`: the broker takes it. */
export function nameProblem(name: string): string | undefined {
  if (/[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u.test(name)) return "A name is one line of text.";
  return Array.from(name.trim()).length > MAX_NAME ? `A name has at most ${MAX_NAME} characters.` : undefined;
}

/** Whether this browser is signed in. No, if the broker has no sign-in. */
export async function isSignedIn(): Promise<boolean> {
  const response = await ask("api/session", { headers: { Accept: "application/json" } });
  if (response?.ok !== true) return false;
  try {
    const answer: unknown = await response.json();
    return typeof answer === "object" && answer !== null && "required" in answer && answer.required === true;
  } catch {
    return false;
  }
}

/** Ends this browser's sign-in. If it has ended already, that is a success. */
export async function signOut(): Promise<Answer<undefined>> {
  const response = await ask("sign-out", { method: "POST" });
  return response?.ok === true || response?.status === 401 ? { ok: true, value: undefined } : refused(response);
}

/** Ends a session. If it is over already, that is a success. */
export async function endSession(id: string): Promise<Answer<undefined>> {
  const response = await ask(at(id), { method: "DELETE" });
  return response?.ok === true || response?.status === 404 ? { ok: true, value: undefined } : refused(response);
}

/** The address of a session's recording. */
export function recordingUrl(id: string): string {
  return new URL(`${at(id)}/recording`, document.baseURI).href;
}

/** The lines of a session's recording, as they come. Returns an error if the recording breaks off. */
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

function at(id: string): string {
  return `api/sessions/${encodeURIComponent(id)}`;
}

async function one(response: Response): Promise<Answer<Listed>> {
  try {
    const [session] = decode(await response.json());
    if (session !== undefined) return { ok: true, value: session };
  } catch {
    // Reported below.
  }
  return { ok: false, error: "The broker's answer is not a session." };
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
  const { id, provider, state, age, durability, user, name, title, directory, kept_for: keptFor, clients } = value as Record<string, unknown>;
  if (typeof id !== "string" || id === "") return [];
  const all: unknown[] = Array.isArray(clients) ? clients : [];
  const fact = (name: string, value: unknown) => (typeof value === "string" && value !== "" ? { [name]: value.slice(0, MAX_FACT) } : {});
  return [
    {
      id,
      windows: all.length,
      guests: all.filter((client: unknown) => typeof client === "object" && client !== null && "guest" in client && typeof client.guest === "string").length,
      ...fact("provider", provider),
      ...fact("state", state),
      ...(typeof age === "number" && Number.isFinite(age) ? { age } : fact("age", age)),
      ...fact("durability", durability),
      ...fact("user", user),
      ...fact("name", name),
      ...fact("title", title),
      ...fact("directory", directory),
      ...(typeof keptFor === "number" && keptFor >= 0 && { keptFor }),
    },
  ];
}
