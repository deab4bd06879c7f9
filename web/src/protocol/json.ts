/**
 * Reads the members of the broker's JSON messages. Total: what is missing or wrong becomes `undefined`, never an exception. Knows no
 * message.
 */

/** Longest text kept of a message for people, in UTF-16 units. A longer one is cut: it is read on a card, not in a log. */
export const MAX_MESSAGE = 2000;
/** Longest name kept of a provider, a session or a stage, in UTF-16 units. */
export const MAX_NAME = 120;

/** A JSON object, or `undefined` for everything else. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** A text of at least one and at most `limit` UTF-16 units; a longer one is cut. */
export function string(value: unknown, limit: number): string | undefined {
  return typeof value === "string" && value !== "" ? value.slice(0, limit).toWellFormed() : undefined;
}

/** A whole number that JavaScript holds exactly. */
export function whole(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

/** `{ [key]: value }`, or `{}` when there is no value. */
export function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
