/**
 * What the page says when a session is over for it: every close code in plain words, with what to do next. Pure. At level 0 the sandbox
 * ends with the connection, at level 1 the session may go on without this page, and the words say which.
 */
import { keepWords } from "../page/durations";

export interface Ending {
  /** `calm`: it was meant to end. `trouble`: something has to be repaired. */
  readonly tone: "calm" | "trouble";
  readonly title: string;
  /** The server's last words, if any. */
  readonly detail?: string;
  readonly advice: string;
  /** `sign-in`: no connection opens until the person has signed in. `attach`: the session goes on, and the person can come back. */
  readonly next: "restart" | "sign-in" | "attach";
  /** A server before the broker wants a sign-in. */
  readonly signIn?: true;
}

/** How a connection ended. */
export interface Closing {
  readonly code: number;
  /** The text in the Close frame. */
  readonly reason: string;
  /** The server had accepted the WebSocket. */
  readonly opened: boolean;
  /** The shell ran. */
  readonly wasReady: boolean;
  /** The session outlives its connections, as it does at level 1. */
  readonly kept?: boolean;
  /** How long this page had been away, and how long the session lives without windows, in milliseconds. */
  readonly awayMs?: number;
  readonly keepMs?: number;
  /** The message of the last `error` frame, and of the last `status` frame after `ready`. */
  readonly error?: string;
  readonly status?: string;
  readonly provider?: string;
  /** Storage was mounted. */
  readonly storage?: true;
  /** What was wrong with the storage at the end. */
  readonly storageTrouble?: string;
}

/** Describes one ending. */
export function describeEnding(closing: Closing): Ending {
  const ending = describe(closing);
  if (closing.storageTrouble === undefined) return ending;
  if (!closing.wasReady) {
    const advice = "No sandbox starts without its storage. Ask the operator to mend what is said here, then start again.";
    return closing.code === 4500 ? { ...ending, title: "The storage cannot be used", advice } : ending;
  }
  const detail = [closing.storageTrouble, ending.detail].filter(Boolean).join(" — ");
  return { ...ending, tone: "trouble", title: "Some files may not be saved", detail };
}

/** Describes a session that this page has left. `keepMs`: how long it lives without windows, if that is known. */
export function detached(keepMs: number | undefined): Ending {
  const long = keepMs === undefined ? "for a while" : `for ${keepWords(keepMs)}`;
  return {
    tone: "calm",
    title: "Detached",
    advice: `The session goes on without this window, and ${long} without any. Attach again to come back to it.`,
    next: "attach",
  };
}

/** Asks before a session that nobody has asked for yet, because a page of another site led here. */
export function led(): Ending {
  return {
    tone: "calm",
    title: "Start a session?",
    advice: "A link on another page led here. A session takes a sandbox of this broker, so it starts only when you say so.",
    next: "restart",
  };
}

function describe(closing: Closing): Ending {
  const kept = closing.storage ? "The sandbox is gone; what was saved in its storage is kept." : "The sandbox is gone, with everything in it.";
  const fresh = closing.storage ? "A new session starts in a new sandbox with the same storage." : "A new session starts in a new, empty sandbox.";
  const said = closing.error ?? (closing.reason || undefined);
  const ending = (tone: Ending["tone"], title: string, advice: string, detail = said, next: Ending["next"] = "restart"): Ending => ({
    tone,
    title,
    ...(detail === undefined ? {} : { detail }),
    advice,
    next,
  });
  const gone = closing.wasReady ? `${kept} ` : "";
  if (closing.kept === true && closing.wasReady) {
    switch (closing.code) {
      case 1008:
      case 1009:
      case 1011:
        return ending("trouble", "The broker closed this connection", "The session goes on for a while: attach again.", said, "attach");
    }
  }

  switch (closing.code) {
    case 1000:
      return closing.wasReady
        ? ending("calm", "The session has ended", closing.storage ? `${kept} ${fresh}` : kept, closing.status ?? said)
        : ending("trouble", "The session ended before its shell was ready", "Start again. If it happens again, the broker's log says why.");
    case 1001:
    case 1012:
      return ending("calm", "The broker is restarting", `${gone}Wait a moment, then start again.`);
    case 1008:
      return ending("trouble", "The broker closed this session", `${gone}It got messages that its rules do not allow. Start again, or reload the page if it repeats.`);
    case 1009:
      return ending("trouble", "One message was too large", `${gone}Start again, and paste less at a time or fetch large data as a file.`);
    case 1013:
      return ending("trouble", "The broker is busy", `${gone}It takes no more sessions right now. Wait a moment, then start again.`);
    case 4001:
      return ending("calm", "This window was opened elsewhere", "Another window took its place, and the session goes on there. Attach again to use it in both.", undefined, "attach");
    case 4404:
      return closing.wasReady
        ? ending("trouble", "The session is over", `${whileAway(closing)} ${fresh}`)
        : ending("trouble", "There is no such session", "It has ended, or it belongs to somebody else. Start a new one, or ask for a new link.");
    case 4401:
      return ending("trouble", "Sign-in needed", `${gone}Sign in, and a new session starts.`, said, "sign-in");
    case 4403:
      return ending("trouble", "Not allowed", "Open this page at the broker's own address, or ask its operator to allow this one (server.frontend_url).");
    case 4408:
      return ending("calm", "The session's time was over", `${kept} ${fresh}`);
    case 4500: {
      const who = closing.provider === undefined ? "The provider" : `The provider “${closing.provider}”`;
      return ending("trouble", `${who} failed`, `${gone}Start again. If it happens again, ask the operator to check the provider's settings and the broker's log.`);
    }
    case 1005:
    case 1006:
      return closing.opened
        ? ending("trouble", "The connection was lost", `${closing.wasReady ? kept : "The sandbox, if there was one already, is gone."} Check your network, then start again.`)
        : unreachable();
    case 1011:
      return ending("trouble", "The broker failed", `${gone}Start again. If it happens again, the broker's log says why.`);
    default:
      return ending("trouble", `The connection was closed (code ${closing.code})`, `${gone}Start again. If it happens again, the broker's log says why.`);
  }
}

function whileAway({ awayMs, keepMs }: Closing): string {
  if (awayMs === undefined || keepMs === undefined || awayMs < keepMs) return "It ended while this page was away.";
  return `This page was away for ${keepWords(awayMs)}, and the broker keeps a session for ${keepWords(keepMs)} without a window.`;
}

/** Describes a broker that does not answer at all. */
export function unreachable(): Ending {
  return {
    tone: "trouble",
    title: "The broker does not answer",
    advice: "Check your network and that the broker is running, then try again.",
    next: "restart",
  };
}
