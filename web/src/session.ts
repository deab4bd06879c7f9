/**
 * The life of one session as the person sees it: a pure step function over what happens. Knows no socket, no terminal and no screen.
 *
 * ```text
 *   checking ──▶ signin ──▶ checking
 *      │
 *      ▼
 *   starting ──▶ live ──▶ ended ──▶ checking (start again)
 *      └──────────────────▲
 * ```
 */
import { describeEnding, type Ending } from "./ending";
import type { ErrorFrame, ReadyFrame, StatusFrame } from "./protocol";
import { addStatus, settle, type Steps, total } from "./steps";

export interface Session {
  readonly phase: "checking" | "signin" | "starting" | "live" | "ended";
  readonly steps: Steps;
  readonly provider?: string;
  /** What the provider's isolation is worth, in the broker's words. */
  readonly isolation?: string;
  readonly id?: string;
  /** The broker's version. */
  readonly version?: string;
  /** When the shell was reached, and how long that took; milliseconds of the page's clock. */
  readonly readyAt?: number;
  readonly readyMs?: number;
  readonly endedAt?: number;
  readonly ending?: Ending;
  /** Why signing in failed, or is needed. */
  readonly signInError?: string;
  /** The last words from the server that no step and no ending shows. */
  readonly remark?: string;
  readonly lastStatus?: string;
  readonly lastError?: string;
  /** What is mounted is kept when the sandbox goes. */
  readonly storage?: true;
  /** What is wrong with it, as long as it is. */
  readonly storageTrouble?: string;
}

export type Event =
  | { readonly kind: "begin" }
  | { readonly kind: "signin"; readonly error?: string }
  | { readonly kind: "connect"; readonly provider?: string; readonly version?: string }
  | { readonly kind: "frame"; readonly frame: StatusFrame | ReadyFrame | ErrorFrame }
  | { readonly kind: "closed"; readonly code: number; readonly reason: string; readonly opened: boolean }
  | { readonly kind: "failed"; readonly ending: Ending };

export const IDLE: Session = { phase: "checking", steps: [] };

/** The session after one event at `now`, in milliseconds of the page's clock. */
export function advance(session: Session, event: Event, now: number): Session {
  switch (event.kind) {
    case "begin":
      return IDLE;
    case "signin":
      return { phase: "signin", steps: [], ...(event.error === undefined ? {} : { signInError: event.error }) };
    case "connect": {
      const { provider, version } = event;
      const step = { label: "Connect to the broker", state: "active", since: now } as const;
      return { phase: "starting", steps: [step], ...(provider === undefined ? {} : { provider }), ...(version === undefined ? {} : { version }) };
    }
    case "frame":
      return session.phase === "starting" || session.phase === "live" ? addFrame(session, event.frame, now) : session;
    case "closed":
      return close(session, event, now);
    case "failed":
      return over(session, event.ending, now);
  }
}

function addFrame(session: Session, frame: StatusFrame | ReadyFrame | ErrorFrame, now: number): Session {
  switch (frame.type) {
    case "status": {
      const provider = frame.provider === undefined ? {} : { provider: frame.provider };
      const mounted = frame.stage === "mount" && frame.state === "done" ? { storage: true as const } : {};
      if (session.phase === "starting") {
        const known = frame.stage === "storage" || frame.stage === "mount" ? withTrouble(session, frame) : session;
        return { ...known, ...provider, ...mounted, steps: addStatus(session.steps, frame, now) };
      }
      // After `ready` a status is news: of the storage, which has a stage, or how the shell ended.
      if (frame.stage === undefined) return { ...session, ...provider, lastStatus: frame.message, remark: frame.message };
      return { ...withTrouble(session, frame), ...provider, remark: frame.message };
    }
    case "ready":
      if (session.phase === "live") return session;
      return {
        ...session,
        phase: "live",
        steps: settle(session.steps, "done", now),
        readyAt: now,
        readyMs: total(session.steps, now),
        ...(frame.provider === undefined ? {} : { provider: frame.provider }),
        ...(frame.isolation === undefined ? {} : { isolation: frame.isolation }),
        ...(frame.session === undefined ? {} : { id: frame.session }),
      };
    case "error":
      return { ...session, lastError: frame.message, remark: frame.message };
  }
}

function withTrouble(session: Session, frame: StatusFrame): Session {
  if (frame.state === "failed") return { ...session, storageTrouble: frame.message };
  if (frame.state !== "done") return session;
  const { storageTrouble: _, ...well } = session;
  return well;
}

function close(session: Session, event: Extract<Event, { kind: "closed" }>, now: number): Session {
  if (session.phase !== "starting" && session.phase !== "live") return session;
  const ending = describeEnding({
    ...event,
    wasReady: session.phase === "live",
    ...(session.lastError === undefined ? {} : { error: session.lastError }),
    ...(session.lastStatus === undefined ? {} : { status: session.lastStatus }),
    ...(session.provider === undefined ? {} : { provider: session.provider }),
    ...(session.storage === undefined ? {} : { storage: session.storage }),
    ...(session.storageTrouble === undefined ? {} : { storageTrouble: session.storageTrouble }),
  });
  if (ending.next === "sign-in") return { phase: "signin", steps: [], signInError: ending.detail ?? ending.advice };
  return over(session, ending, now);
}

function over(session: Session, ending: Ending, now: number): Session {
  const { remark: _, ...rest } = session;
  return { ...rest, phase: "ended", steps: settle(session.steps, "failed", now), endedAt: now, ending };
}
