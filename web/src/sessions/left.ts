/** Sessions that the person left running and may want back: which they are, and the words that offer them. Pure. */
import { keepWords } from "../ending";
import type { Listed } from "./api";
import { called } from "./naming";

/** Those that run, wait for somebody and are the person's; `isOwn` decides the last. */
export function leftRunning(sessions: readonly Listed[], isOwn: (id: string) => boolean): readonly Listed[] {
  return sessions.filter(({ id, state, windows, keptFor }) => state === "running" && windows === 0 && keptFor !== undefined && isOwn(id));
}

/** What is said of them; `left` has at least one. */
export function leftWords(left: readonly Listed[]): string {
  const ends = `in ${keepWords(Math.min(...left.map(({ keptFor }) => keptFor ?? 0)) * 1000)}`;
  const [only] = left;
  if (only === undefined || left.length > 1) return `You left ${left.length} sessions running. The first one ends ${ends}.`;
  return `You left a session running: ${[`“${called(only)}”`, only.directory].filter(Boolean).join(", ")}. It ends ${ends}.`;
}
