/** Where this tab's panel was, over a reload. Works, without memory, where storage is refused. */

export interface Place {
  readonly session: string;
  /** The directory that was shown; none where the panel had seen none yet. */
  readonly path?: string;
}

const KEY = "sandbox-broker.files";

/** Where an open panel of this session was; nothing where it was closed, or of another session. */
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
    // Private windows and full disks: a reload closes the panel.
  }
}
