/** A terminal's size, and its bounds. */

/** Smallest and largest terminal that the broker accepts, in cells, in both directions. */
export const MIN_CELLS = 1;
export const MAX_CELLS = 1000;

/** In cells. */
export interface Size {
  readonly cols: number;
  readonly rows: number;
}

/** A cell count within `MIN_CELLS..=MAX_CELLS`; anything but a number becomes the smallest. */
export function clampCells(count: number): number {
  return Math.min(MAX_CELLS, Math.max(MIN_CELLS, Math.floor(count) || MIN_CELLS));
}

/** A size in a message, if it is within the bounds. */
export function decodeSize(value: unknown): Size | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { cols, rows } = value as Record<string, unknown>;
  return isCells(cols) && isCells(rows) ? { cols, rows } : undefined;
}

function isCells(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= MIN_CELLS && (value as number) <= MAX_CELLS;
}
