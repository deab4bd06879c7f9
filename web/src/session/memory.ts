/**
 * What this tab remembers over a reload: which session it shows, even while that is being made, and the tab's name there. It is kept in the
 * tab's own storage, so two tabs are two windows. Also which sessions this browser has shown. If the browser refuses storage, nothing is
 * remembered and all else works.
 */

export interface Remembered {
  readonly session: string;
  readonly client: string;
  /** This page asked for the session, and it was not there yet. */
  readonly create?: true;
}

const KEY = "sandbox-broker.window";
const SHOWN_KEY = "sandbox-broker.shown";
/** Most sessions that a browser remembers having shown. */
const MAX_SHOWN = 64;
/** Random bytes of a window's name: no two windows of one session may ever share one. */
const NAME_BYTES = 12;
/** Random bytes of a session's id: nobody can guess the id of another's session. */
const SESSION_BYTES = 16;

/** What was remembered, if it is valid. */
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
    // A private window or a full disk: a reload starts a new session.
  }
}

export function forget(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // As above: nothing was remembered.
  }
}

/** Remembers that this browser has shown this session. */
export function rememberShown(session: string): void {
  try {
    localStorage.setItem(SHOWN_KEY, JSON.stringify([...shown().filter((one) => one !== session), session].slice(-MAX_SHOWN)));
  } catch {
    // As above: a session that was left here is not offered again.
  }
}

/** Whether this browser has shown this session. A broker without sign-in lists everybody's sessions. */
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

/** An id for a session that this page asks for. */
export function newSession(): string {
  return hexadecimal(SESSION_BYTES);
}

function hexadecimal(bytes: number): string {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Whether this window is the only one with that name in this browser, from now until it is closed. A duplicated tab has a copy of the
 * other's memory, and must not take its place. Where the browser cannot tell, the answer is yes.
 */
export function isAlone(client: string): Promise<boolean> {
  // Only pages of a secure origin have locks.
  const locks = navigator.locks as LockManager | undefined;
  if (locks === undefined) return Promise.resolve(true);
  return new Promise((resolve) => {
    const held = locks.request(`sandbox-broker.${client}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      // Never settles, so the lock is held as long as the page lives.
      return lock === null ? undefined : new Promise<never>(() => {});
    });
    held.catch(() => resolve(true));
  });
}

function isName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(value);
}
