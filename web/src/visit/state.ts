/**
 * When a lost connection is tried again, and when a visit is over. A pure step function: knows no socket and no clock, and is given the
 * random part of its pauses.
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
 * The first try follows a loss at once. Later tries follow pauses that grow. `hurry` ends a pause: the network is back, or somebody looks
 * at the page or presses the button. Only a connection that stayed up for a while makes the pauses short again.
 */

export type VisitState =
  | { readonly phase: "opening"; readonly tries: number }
  | { readonly phase: "up"; readonly tries: number; readonly since: number }
  /** `pause`: how long until the next try, in milliseconds. */
  | { readonly phase: "pausing"; readonly tries: number; readonly pause: number }
  | { readonly phase: "over" };

export type VisitEvent =
  | { readonly kind: "ready" }
  /** `afterMs`: how long the broker asked to wait. */
  | { readonly kind: "lost"; readonly afterMs?: number }
  | { readonly kind: "due" }
  | { readonly kind: "hurry" }
  | { readonly kind: "over" };

export const OPENING: VisitState = { phase: "opening", tries: 0 };

/** Pause before the second try, in milliseconds. It doubles with each further try. */
const FIRST_PAUSE_MS = 500;
/** The longest pause, in milliseconds: half of the time for which the broker keeps control for an absent driver. */
export const MAX_PAUSE_MS = 15_000;
/** A connection that was up for this long was a good one, in milliseconds. */
const STEADY_MS = 5_000;

/** What follows a close code: `again` if the session is still there for a client that comes back. */
export function fate(code: number): "again" | "over" {
  // Going away, no code at all, lost, restarting, no room now.
  return [1001, 1005, 1006, 1012, 1013].includes(code) ? "again" : "over";
}

/**
 * The state after one event at `now`, in milliseconds of any steady clock. `chance`, in [0, 1), spreads the pauses, so that many pages do
 * not all come back at the same moment.
 */
export function next(state: VisitState, event: VisitEvent, now: number, chance: number): VisitState {
  if (state.phase === "over" || event.kind === "over") return { phase: "over" };
  switch (event.kind) {
    case "ready":
      return state.phase === "opening" ? { phase: "up", tries: state.tries, since: now } : state;
    case "lost": {
      if (state.phase === "pausing") return state;
      const tries = state.phase === "up" && now - state.since >= STEADY_MS ? 0 : state.tries;
      return { phase: "pausing", tries: tries + 1, pause: Math.max(pauseBefore(tries, chance), (event.afterMs ?? 0) * (1 + chance / 2)) };
    }
    case "due":
    case "hurry":
      return state.phase === "pausing" ? { phase: "opening", tries: state.tries } : state;
  }
}

function pauseBefore(tries: number, chance: number): number {
  if (tries === 0) return 0;
  return Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1)) * (0.5 + chance / 2);
}
