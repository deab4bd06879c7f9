/**
 * What is said when a session is over: every close code in plain words, with what to do next. Pure words; knows no screen. Honest about
 * level 0: a connection is a sandbox, so whatever ended the one ended the other.
 */

export interface Ending {
  /** `calm`: as asked for. `trouble`: somebody has something to mend. */
  readonly tone: "calm" | "trouble";
  readonly title: string;
  /** What the server said last, if anything. */
  readonly detail?: string;
  readonly advice: string;
  /** `sign-in`: a new connection is useless until the person has signed in. */
  readonly next: "restart" | "sign-in";
}

/** How a connection ended. */
export interface Closing {
  readonly code: number;
  /** The close frame's own text. */
  readonly reason: string;
  /** The WebSocket was accepted. */
  readonly opened: boolean;
  /** The shell had been reached. */
  readonly wasReady: boolean;
  /** The last `error` frame's message, and the last `status` frame's after `ready`. */
  readonly error?: string;
  readonly status?: string;
  readonly provider?: string;
}

const GONE = "The sandbox is gone, with everything in it.";
const FRESH = "A new session starts in a new, empty sandbox.";

/** The words for one ending. */
export function describeEnding(closing: Closing): Ending {
  const said = closing.error ?? (closing.reason || undefined);
  const ending = (tone: Ending["tone"], title: string, advice: string, detail = said, next: Ending["next"] = "restart"): Ending => ({
    tone,
    title,
    ...(detail === undefined ? {} : { detail }),
    advice,
    next,
  });
  const gone = closing.wasReady ? `${GONE} ` : "";

  switch (closing.code) {
    case 1000:
      return closing.wasReady
        ? ending("calm", "The session has ended", `${GONE} ${FRESH}`, closing.status ?? said)
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
    case 4401:
      return ending("trouble", "Sign-in needed", `${gone}Sign in, and a new session starts.`, said, "sign-in");
    case 4403:
      return ending("trouble", "Not allowed", "Open this page at the broker's own address, or ask its operator to allow this one (server.frontend_url).");
    case 4408:
      return ending("calm", "Ended after a long time without use", `${GONE} ${FRESH}`);
    case 4500: {
      const who = closing.provider === undefined ? "The provider" : `The provider “${closing.provider}”`;
      return ending("trouble", `${who} failed`, `${gone}Start again. If it happens again, ask the operator to check the provider's settings and the broker's log.`);
    }
    case 1005:
    case 1006:
      return closing.opened
        ? ending("trouble", "The connection was lost", `${closing.wasReady ? GONE : "The sandbox, if there was one already, is gone."} Check your network, then start again.`)
        : unreachable();
    case 1011:
      return ending("trouble", "The broker failed", `${gone}Start again. If it happens again, the broker's log says why.`);
    default:
      return ending("trouble", `The connection was closed (code ${closing.code})`, `${gone}Start again. If it happens again, the broker's log says why.`);
  }
}

/** The words for a broker that does not answer at all. */
export function unreachable(): Ending {
  return {
    tone: "trouble",
    title: "The broker does not answer",
    advice: "Check your network and that the broker is running, then try again.",
    next: "restart",
  };
}

/** The words for a broker that answers HTTP, but not as a broker should. */
export function unwell(what: string): Ending {
  return {
    tone: "trouble",
    title: "The broker is not well",
    detail: what,
    advice: "Try again in a moment. If it happens again, the broker's log, or that of a proxy before it, says why.",
    next: "restart",
  };
}
