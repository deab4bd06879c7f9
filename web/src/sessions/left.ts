/** Finds the sessions that the person left running and may want back, and describes them. Pure. */
import { keepWords } from "../page/durations";
import type { Listed } from "./api";
import { called } from "./naming";

/** The sessions that run, have no windows, and are the person's own by `isOwn`. */
export function leftRunning(sessions: readonly Listed[], isOwn: (id: string) => boolean): readonly Listed[] {
  return sessions.filter(({ id, state, windows, keptFor }) => state === "running" && windows === 0 && keptFor !== undefined && isOwn(id));
}

/** Describes them. `left` has at least one. */
export function leftWords(left: readonly Listed[]): string {
  const ends = `in ${keepWords(Math.min(...left.map(({ keptFor }) => keptFor ?? 0)) * 1000)}`;
  const [only] = left;
  if (only === undefined || left.length > 1) return `You left ${left.length} sessions running. The first one ends ${ends}.`;
  return `You left a session running: ${[`“${called(only)}”`, only.directory].filter(Boolean).join(", ")}. It ends ${ends}.`;
}
