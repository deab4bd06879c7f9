/** The broker's HTTP side as far as this page needs it: who am I, and signing in. Every answer is a value, also "no answer". */

/** How long an answer may take, in milliseconds. These requests do no work on the server. */
const TIMEOUT_MS = 10_000;

export type Access =
  | { readonly kind: "granted"; readonly provider?: string; readonly version?: string }
  | { readonly kind: "denied"; readonly error?: string }
  | { readonly kind: "unreachable" }
  | { readonly kind: "unwell"; readonly what: string };

/** `GET /api/session`: may this browser open a terminal? A server without that route is asked by the WebSocket itself. */
export async function checkAccess(): Promise<Access> {
  const response = await request("api/session", { headers: { Accept: "application/json" } });
  if (response?.status === 404) return { kind: "granted" };
  return judge(response);
}

/** `POST /sign-in` with the form field `token`. On success the server sets its cookie. */
export async function signIn(token: string): Promise<Access> {
  return judge(await request("sign-in", { method: "POST", body: new URLSearchParams({ token }) }));
}

async function judge(response: Response | undefined): Promise<Access> {
  if (response === undefined) return { kind: "unreachable" };
  const { error, provider, version } = await members(response);
  if (response.ok) return { kind: "granted", ...(provider ? { provider } : {}), ...(version ? { version } : {}) };
  if (response.status === 401) return { kind: "denied", ...(error ? { error } : {}) };
  return { kind: "unwell", what: error ?? `It answered with HTTP status ${response.status}.` };
}

async function request(path: string, init: RequestInit): Promise<Response | undefined> {
  try {
    return await fetch(new URL(path, document.baseURI), { ...init, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    return undefined;
  }
}

/** The text members of a JSON answer; none where there is no JSON object. */
async function members(response: Response): Promise<Partial<Record<"error" | "provider" | "version", string>>> {
  try {
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null) return {};
    return Object.fromEntries(Object.entries(body).filter(([, value]) => typeof value === "string"));
  } catch {
    return {};
  }
}
