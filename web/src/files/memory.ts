/** Remembers over a reload where this tab's panel was. If the browser refuses storage, a reload closes the panel. */

export interface Place {
  readonly session: string;
  /** The directory that was shown. None if that was not known yet. */
  readonly path?: string;
}

const KEY = "sandbox-broker.files";

/** Where the panel was, if it was open for this session. */
export function recallPlace(session: string): Place | undefined {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    if (typeof value !== "object" || value === null || !("session" in value) || value.session !== session) return undefined;
    const path = "path" in value && typeof value.path === "string" && value.path.startsWith("/") ? value.path : undefined;
    return { session, ...(path !== undefined && { path }) };
  } catch {
    return undefined;
  }
}

/** `undefined`: the panel is closed. */
export function rememberPlace(place: Place | undefined): void {
  try {
    if (place === undefined) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify(place));
  } catch {
    // A private window or a full disk.
  }
}
