/**
 * The life of one session as the person sees it: a pure step function over what happens. Knows no socket, no terminal and no screen.
 *
 * ```text
 *   checking ──▶ signin ──▶ checking
 *      │           ▲
 *      ▼           │
 *   starting ──▶ live ◀──▶ away
 *      │           │        │
 *      └───────────┴────────┴──▶ ended ──▶ checking (start again, or attach again)
 * ```
 *
 * `away` exists only at level 1: the connection is lost, and the session is not. At level 0 the session ends with its connection.
 */
import type { Obstacle } from "../access/obstacle";
import type { ErrorFrame, ReadyFrame, StatusFrame } from "../protocol/level0";
import type { Client, ClientsFrame, ExitFrame, JoinedFrame, Role, SizeFrame } from "../protocol/level1";
import { describeEnding, detached, type Ending } from "./ending";
import { addStatus, settle, type Steps, total } from "./steps";

export interface Session {
  readonly phase: "checking" | "signin" | "starting" | "live" | "away" | "ended";
  readonly steps: Steps;
  readonly provider?: string;
  /** How well the provider isolates its sandboxes, in the broker's words. */
  readonly isolation?: string;
  readonly id?: string;
  /** The broker's version. */
  readonly version?: string;
  /** When the shell was reached, and how long that took, in milliseconds of the page's clock. */
  readonly readyAt?: number;
  readonly readyMs?: number;
  readonly endedAt?: number;
  readonly ending?: Ending;
  /** Why signing in failed, or is needed. */
  readonly signInError?: string;
  /** The server's last words, if no step and no ending shows them. */
  readonly remark?: string;
  readonly lastStatus?: string;
  readonly lastError?: string;
  /** Storage is mounted, and kept when the sandbox goes. */
  readonly storage?: true;
  /** What is wrong with the storage now. */
  readonly storageTrouble?: string;
  /** What this window is in the session. Level 1 only. */
  readonly window?: Membership;
  /** The session was there before this page came. */
  readonly attaching?: true;
  /** Old output is still being drawn, so the screen does not show the present. */
  readonly catchingUp?: true;
  /** Since when it is `away`, in milliseconds of the page's clock. */
  readonly awaySince?: number;
  /** What keeps this page from its broker, while the page tries to reach it. */
  readonly obstacle?: Obstacle;
  /** The session ends with its connection: the server speaks level 0. */
  readonly fragile?: true;
  /** While `away`: when the next try begins, in milliseconds of the page's clock. None during a try. */
  readonly nextTryAt?: number;
}

export interface Membership {
  /** This window's name. */
  readonly client: string;
  readonly role: Role;
  /** It may take control. */
  readonly mayDrive: boolean;
  /** It came by an invitation, and the session is somebody else's. */
  readonly guest?: true;
  /** Admits others to the session, to watch. */
  readonly invitation?: string;
  /** All clients, including this window. */
  readonly clients: readonly Client[];
  readonly cols?: number;
  readonly rows?: number;
  readonly durability?: "durable" | "best-effort";
  /** How long the session lives without windows, in milliseconds. */
  readonly keepMs?: number;
}

export type SessionFrame = StatusFrame | ReadyFrame | ErrorFrame | JoinedFrame | ClientsFrame | SizeFrame | ExitFrame;

export type Event =
  | { readonly kind: "begin" }
  | { readonly kind: "signin"; readonly error?: string }
  /** `attaching`: to a session that exists. `viewer`: this window asks only to watch. `guest`: it comes by an invitation. */
  | { readonly kind: "connect"; readonly provider?: string; readonly version?: string; readonly attaching?: boolean; readonly viewer?: boolean; readonly guest?: boolean }
  | { readonly kind: "frame"; readonly frame: SessionFrame }
  /** The connection is lost. The next try begins after `pause` milliseconds. */
  | { readonly kind: "lost"; readonly pause: number }
  | { readonly kind: "trying" }
  /** What is in the way. None: nothing is. */
  | { readonly kind: "obstacle"; readonly obstacle?: Obstacle }
  | { readonly kind: "fragile" }
  /** All output is drawn that was there when this page came. */
  | { readonly kind: "caught-up" }
  | { readonly kind: "detached" }
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
      const { provider, version, attaching, viewer, guest } = event;
      const step = { label: "Connect to the broker", state: "active", since: now } as const;
      return {
        phase: "starting",
        steps: [step],
        ...(provider === undefined ? {} : { provider }),
        ...(version === undefined ? {} : { version }),
        ...(attaching === true ? { attaching } : {}),
        ...(viewer === true ? { window: { client: "", role: "viewer", mayDrive: false, clients: [], ...(guest === true && { guest }) } as const } : {}),
      };
    }
    case "frame":
      return isRunning(session) || session.phase === "starting" ? addFrame(session, event.frame, now) : session;
    case "lost":
      if (session.phase === "starting") return { ...session, steps: addStatus(session.steps, RETRYING, now) };
      return isRunning(session) ? { ...withoutWords(session), phase: "away", awaySince: session.awaySince ?? now, nextTryAt: now + event.pause } : session;
    case "trying": {
      const { nextTryAt: _, ...trying } = session;
      return session.phase === "away" ? trying : session;
    }
    case "obstacle": {
      const { obstacle: _, ...rest } = session;
      if (session.phase !== "starting" && session.phase !== "away") return session;
      return event.obstacle === undefined ? rest : { ...rest, obstacle: event.obstacle };
    }
    case "fragile":
      return session.phase === "starting" ? { ...session, fragile: true } : session;
    case "caught-up": {
      if (session.catchingUp === undefined) return session;
      const { catchingUp: _, ...present } = session;
      return present;
    }
    case "detached":
      return isRunning(session) ? over(session, detached(session.window?.keepMs), now) : session;
    case "closed":
      return close(session, event, now);
    case "failed":
      return over(session, event.ending, now);
  }
}

/** The shell runs, as far as this page knows. */
export function isRunning({ phase }: Session): boolean {
  return phase === "live" || phase === "away";
}

/** This window watches and does not type. */
export function isViewing({ window }: Session): boolean {
  return window?.role === "viewer";
}

const RETRYING: StatusFrame = { type: "status", message: "The broker does not answer yet; trying again" };

function addFrame(session: Session, frame: SessionFrame, now: number): Session {
  switch (frame.type) {
    case "status": {
      if (session.obstacle !== undefined) return addFrame(withoutObstacle(session), frame, now);
      const provider = frame.provider === undefined ? {} : { provider: frame.provider };
      const mounted = frame.stage === "mount" && frame.state === "done" ? { storage: true as const } : {};
      if (session.phase === "starting") {
        return { ...withTrouble(session, frame), ...provider, ...mounted, steps: addStatus(session.steps, frame, now) };
      }
      // After `ready`, a status with a stage is about the storage or the way to the shell. One without says how the shell ended.
      if (frame.stage === undefined) return { ...session, ...provider, lastStatus: frame.message, remark: frame.message };
      return { ...withTrouble(session, frame), ...provider, remark: frame.message };
    }
    case "ready":
      return session.phase === "live" ? session : ready(session, frame, now);
    case "joined":
      return join(session, frame, now);
    case "clients": {
      if (session.window === undefined) return session;
      const role = frame.clients.find(({ client }) => client === session.window?.client)?.role ?? session.window.role;
      return { ...session, window: { ...session.window, role, clients: frame.clients } };
    }
    case "size":
      return session.window === undefined ? session : { ...session, window: { ...session.window, cols: frame.cols, rows: frame.rows } };
    case "exit":
      return { ...session, lastStatus: frame.message };
    case "error":
      // The page comes back to a broker that restarts, so the person need not know.
      return frame.code === "draining" ? { ...session, lastError: frame.message } : { ...session, lastError: frame.message, remark: frame.message };
  }
}

function ready(session: Session, frame: ReadyFrame, now: number): Session {
  return {
    ...session,
    phase: "live",
    steps: settle(session.steps, "done", now),
    readyAt: session.readyAt ?? now,
    readyMs: session.readyMs ?? total(session.steps, now),
    ...(frame.provider === undefined ? {} : { provider: frame.provider }),
    ...(frame.isolation === undefined ? {} : { isolation: frame.isolation }),
    ...(frame.session === undefined ? {} : { id: frame.session }),
  };
}

function join(session: Session, frame: JoinedFrame, now: number): Session {
  const { nextTryAt: _, lastError: __, awaySince: ___, obstacle: ____, catchingUp: _____, ...rest } = session;
  const { provider, isolation, size, durability, keepMs, invitation } = frame;
  const live = ready(rest, { type: "ready", session: frame.session, ...(provider && { provider }), ...(isolation && { isolation }) }, now);
  return {
    ...live,
    ...(frame.offset < frame.live && { catchingUp: true as const }),
    window: {
      client: frame.client,
      role: frame.role,
      mayDrive: session.window?.mayDrive ?? true,
      clients: session.window?.clients ?? [],
      ...size,
      ...(durability && { durability }),
      ...(keepMs !== undefined && { keepMs }),
      ...(session.window?.guest && { guest: true as const }),
      ...(invitation !== undefined && { invitation }),
    },
  };
}

/** Keeps what a stage says about the storage. */
function withTrouble(session: Session, frame: StatusFrame): Session {
  if (frame.stage !== "storage" && frame.stage !== "mount") return session;
  if (frame.state === "failed") return { ...session, storageTrouble: frame.message };
  if (frame.state !== "done") return session;
  const { storageTrouble: _, ...well } = session;
  return well;
}

function withoutObstacle({ obstacle: _, ...rest }: Session): Session {
  return rest;
}

function withoutWords(session: Session): Session {
  const { remark: _, ...rest } = session;
  return rest;
}

function close(session: Session, event: Extract<Event, { kind: "closed" }>, now: number): Session {
  if (!isRunning(session) && session.phase !== "starting") return session;
  const ending = describeEnding({
    ...event,
    wasReady: isRunning(session),
    ...(session.window === undefined ? {} : { kept: true }),
    ...(session.awaySince === undefined ? {} : { awayMs: now - session.awaySince, ...(session.window?.keepMs === undefined ? {} : { keepMs: session.window.keepMs }) }),
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
  const { nextTryAt: _, awaySince: __, obstacle: ___, catchingUp: ____, ...rest } = withoutWords(session);
  return { ...rest, phase: "ended", steps: settle(session.steps, "failed", now), endedAt: now, ending };
}
