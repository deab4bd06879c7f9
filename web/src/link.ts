/**
 * The life of the way to one session: when a lost connection is tried again, and when it is over. A pure step function; knows no socket
 * and no clock, and the chance in its pauses is given to it.
 *
 * ```text
 *                  ready                  lost
 *   ┌─▶ opening ──────────▶ up ───────────────────────┐
 *   │      │  └─ lost ──────────────────────────────┐ │
 *   │      │                 └─ over ─┐             ▼ ▼
 *   │      └─ over ──────────────────▶ over ◀──── pausing
 *   └───────────────────────────────────────────────┘
 *                     due, or hurry
 * ```
 *
 * The first try after a loss comes at once, further ones after pauses that grow. `hurry` ends a pause: the network is back, somebody looks
 * at the page, or presses the button. A connection that does not stay up for a while does not make the pauses short again.
 */

export type Link =
  | { readonly phase: "opening"; readonly tries: number }
  | { readonly phase: "up"; readonly tries: number; readonly since: number }
  /** `pause`: how long until the next try, in milliseconds. */
  | { readonly phase: "pausing"; readonly tries: number; readonly pause: number }
  | { readonly phase: "over" };

export type LinkEvent =
  | { readonly kind: "ready" }
  /** `afterMs`: when the broker asked to be tried again. */
  | { readonly kind: "lost"; readonly afterMs?: number }
  | { readonly kind: "due" }
  | { readonly kind: "hurry" }
  | { readonly kind: "over" };

export const OPENING: Link = { phase: "opening", tries: 0 };

/** Pause before the second try, in milliseconds; it doubles with each further one. */
const FIRST_PAUSE_MS = 500;
/** The longest pause, in milliseconds: half of the time for which the broker keeps control for who drives. */
export const MAX_PAUSE_MS = 15_000;
/** A connection that was up for this long was a good one, in milliseconds. */
const STEADY_MS = 5_000;

/** What follows a close code: `again` where the session is still there for whoever comes back. */
export function fate(code: number): "again" | "over" {
  // Going away, no code at all, lost, restarting, no room now.
  return [1001, 1005, 1006, 1012, 1013].includes(code) ? "again" : "over";
}

/** The link after one event at `now`, in milliseconds of any steady clock. `chance` is in [0, 1): pauses of many pages must not meet. */
export function step(link: Link, event: LinkEvent, now: number, chance: number): Link {
  if (link.phase === "over" || event.kind === "over") return { phase: "over" };
  switch (event.kind) {
    case "ready":
      return link.phase === "opening" ? { phase: "up", tries: link.tries, since: now } : link;
    case "lost": {
      if (link.phase === "pausing") return link;
      const tries = link.phase === "up" && now - link.since >= STEADY_MS ? 0 : link.tries;
      return { phase: "pausing", tries: tries + 1, pause: Math.max(pauseBefore(tries, chance), (event.afterMs ?? 0) * (1 + chance / 2)) };
    }
    case "due":
    case "hurry":
      return link.phase === "pausing" ? { phase: "opening", tries: link.tries } : link;
  }
}

function pauseBefore(tries: number, chance: number): number {
  if (tries === 0) return 0;
  return Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1)) * (0.5 + chance / 2);
}
