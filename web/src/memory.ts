/**
 * What this tab remembers over a reload: which session it shows, also while that is being made, and its name there. Kept in the tab's own storage, so two tabs are two
 * windows. And what this browser remembers: which sessions it has shown. Works, without memory, where storage is refused.
 */

export interface Remembered {
  readonly session: string;
  readonly client: string;
  /** The session is this page's own and was not there yet. */
  readonly create?: true;
}

const KEY = "sandbox-broker.window";
const SHOWN_KEY = "sandbox-broker.shown";
/** Most sessions that a browser remembers to have shown. */
const MAX_SHOWN = 64;
/** Random bytes of a window's name: no two windows of one session may ever share one. */
const NAME_BYTES = 12;
/** Random bytes of a session's id: nobody guesses another's. */
const SESSION_BYTES = 16;

/** What was remembered, checked; none where there is nothing, or nothing right. */
export function recall(): Remembered | undefined {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    if (typeof value !== "object" || value === null) return undefined;
    const { session, client, create } = value as Record<string, unknown>;
    return isName(session) && isName(client) ? { session, client, ...(create === true && { create }) } : undefined;
  } catch {
    return undefined;
  }
}

export function remember(window: Remembered): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(window));
  } catch {
    // Private windows and full disks: a reload begins anew.
  }
}

export function forget(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // As above: there is nothing to forget.
  }
}

/** This browser shows this session. */
export function rememberShown(session: string): void {
  try {
    localStorage.setItem(SHOWN_KEY, JSON.stringify([...shown().filter((one) => one !== session), session].slice(-MAX_SHOWN)));
  } catch {
    // As above: a session that was left here is not offered again.
  }
}

/** Whether this browser has shown this session. A broker that knows no persons lists everybody's. */
export function wasShown(session: string): boolean {
  return shown().includes(session);
}

function shown(): readonly string[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(SHOWN_KEY) ?? "[]");
    return Array.isArray(value) ? value.filter(isName) : [];
  } catch {
    return [];
  }
}

/** A new name for a window. */
export function newName(): string {
  return hexadecimal(NAME_BYTES);
}

/** An id for a session that this page is about to ask for. */
export function newSession(): string {
  return hexadecimal(SESSION_BYTES);
}

function hexadecimal(bytes: number): string {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Whether this window is the only one of that name in this browser, from now until it is closed. A duplicated tab has a copy of the other
 * one's memory, and must not take its place. Where the browser cannot tell, the answer is yes.
 */
export function isAlone(client: string): Promise<boolean> {
  // Only pages of a secure origin have locks.
  const locks = navigator.locks as LockManager | undefined;
  if (locks === undefined) return Promise.resolve(true);
  return new Promise((resolve) => {
    const held = locks.request(`sandbox-broker.${client}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      // Never settled: the lock goes with the page.
      return lock === null ? undefined : new Promise<never>(() => {});
    });
    held.catch(() => resolve(true));
  });
}

function isName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(value);
}
