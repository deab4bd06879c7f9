/** Asks the broker over HTTP whether this browser may open a terminal, and signs it in. Every outcome is a value, also "no answer". */

/** How long an answer may take, in milliseconds. These requests do no work on the server. */
const TIMEOUT_MS = 10_000;
/** Longest text from outside that is shown, in UTF-16 units. */
const MAX_WORDS = 400;

export type Access =
  /** `host`: the name that the broker was asked by. `handshake`: how this window's last request for a terminal arrived, if not as a WebSocket. */
  | { readonly kind: "granted"; readonly provider?: string; readonly version?: string; readonly host?: string; readonly handshake?: string }
  | { readonly kind: "denied"; readonly error?: string }
  | { readonly kind: "unreachable" }
  /** Something other than the broker answers. */
  | { readonly kind: "elsewhere"; readonly what: string }
  /** The broker does not serve this page. */
  | { readonly kind: "refused"; readonly code: string; readonly what: string }
  | { readonly kind: "unwell"; readonly what: string };

/** `GET /api/session`: may this browser open a terminal? If the server does not have that route, the WebSocket has to find out. */
export async function checkAccess(client?: string): Promise<Access> {
  const path = client === undefined ? "api/session" : `api/session?${new URLSearchParams({ client })}`;
  const response = await request(path, { headers: { Accept: "application/json" } });
  if (response?.status === 404 && !isHtml(response)) return { kind: "granted" };
  return judge(response);
}

/** `POST /terminal`. It does nothing, but the broker checks the page's origin as for a WebSocket. Only a refusal says something. */
export async function askAsPage(): Promise<Access> {
  const access = await judge(await request("terminal", { method: "POST", headers: { Accept: "application/json" } }));
  return access.kind === "refused" ? access : { kind: "granted" };
}

/** `POST /sign-in` with the form field `token`. On success the server sets its cookie. */
export async function signIn(token: string): Promise<Access> {
  return judge(await request("sign-in", { method: "POST", body: new URLSearchParams({ token }) }));
}

async function judge(response: Response | undefined): Promise<Access> {
  if (response === undefined) return { kind: "unreachable" };
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) return { kind: "elsewhere", what: "The request was sent on to another address." };
  if (isHtml(response) && response.status < 500) return { kind: "elsewhere", what: `What came is a web page (HTTP status ${response.status}), not the broker's answer.` };
  const { error, provider, version, code, host, handshake } = await members(response);
  if (response.ok) return { kind: "granted", ...(provider ? { provider } : {}), ...(version ? { version } : {}), ...(host ? { host } : {}), ...(handshake ? { handshake } : {}) };
  if (response.status === 401) {
    return error === undefined && response.headers.has("www-authenticate")
      ? { kind: "elsewhere", what: "A server before the broker asks for a sign-in (HTTP status 401)." }
      : { kind: "denied", ...(error ? { error } : {}) };
  }
  if (response.status === 403 && code !== undefined) return { kind: "refused", code, what: error ?? "" };
  if (response.status === 403 && error === undefined) return { kind: "elsewhere", what: "A server before the broker refuses the request (HTTP status 403)." };
  return { kind: "unwell", what: error ?? `It answered with HTTP status ${response.status}.` };
}

function isHtml(response: Response): boolean {
  return /^text\/html\b/iu.test(response.headers.get("content-type") ?? "");
}

async function request(path: string, init: RequestInit): Promise<Response | undefined> {
  try {
    // The broker never redirects, so a redirect comes from another server.
    return await fetch(new URL(path, document.baseURI), { ...init, redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    return undefined;
  }
}

/** The text members of a JSON answer. None if the answer is not a JSON object. */
async function members(response: Response): Promise<Partial<Record<"error" | "provider" | "version" | "code" | "host" | "handshake", string>>> {
  try {
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null) return {};
    return Object.fromEntries(Object.entries(body).flatMap(([name, value]) => (typeof value === "string" ? [[name, value.slice(0, MAX_WORDS)]] : [])));
  } catch {
    return {};
  }
}
