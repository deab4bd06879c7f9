/**
 * Paths, names and the order of files. Pure. A path is absolute and normalised, as the broker wants it. Names come from the sandbox and may
 * hold everything but a slash.
 */
import type { Entry, Root } from "./api";

/** Longest name of a file on Linux, in bytes of UTF-8. */
const MAX_NAME_BYTES = 255;

export interface Crumb {
  readonly label: string;
  readonly path: string;
}

export function join(directory: string, name: string): string {
  return `${directory === "/" ? "" : directory}/${name}`;
}

/** The directory that a path is in. `/` for `/`. */
export function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

export function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function isWithin(path: string, root: string): boolean {
  return path === root || root === "/" || path.startsWith(`${root}/`);
}

/** The roots that lie in no other root: where a person can start. */
export function places(roots: readonly Root[]): readonly Root[] {
  return roots.filter(({ path }) => !roots.some((other) => other.path !== path && isWithin(path, other.path)));
}

/** The way from the outermost root to `path`, both included. */
export function crumbs(path: string, roots: readonly Root[]): readonly Crumb[] {
  const root = places(roots).find((place) => isWithin(path, place.path))?.path ?? "/";
  const names = path.slice(root === "/" ? 0 : root.length).split("/").filter(Boolean);
  const way: Crumb[] = [{ label: root, path: root }];
  for (const name of names) way.push({ label: name, path: join(way.at(-1)?.path ?? "/", name) });
  return way;
}

/** Whether a path is on mounted storage, and so outlives the session. */
export function isStorage(path: string, roots: readonly Root[]): boolean {
  const nearest = roots.filter((root) => isWithin(path, root.path)).sort((a, b) => b.path.length - a.path.length)[0];
  return nearest?.storage ?? false;
}

/** What is wrong with a name that a person typed. `undefined`: nothing. */
export function nameProblem(name: string, taken: ReadonlySet<string>): string | undefined {
  if (name === "") return "Type a name.";
  if (name === "." || name === "..") return "This name has a meaning of its own. Choose another.";
  if (/[/\0]/.test(name)) return "A name has no slash in it.";
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) return "This name is too long.";
  if (taken.has(name)) return "There is something of this name already.";
  return undefined;
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "variant" });

/** The order of a list. */
export interface Order {
  readonly by: "name" | "size" | "time";
  readonly down: boolean;
}

export const BY_NAME: Order = { by: "name", down: false };

/** The order after a column's heading was pressed: by that column, or reversed. Sizes and times begin with the greatest. */
export function reordered({ by, down }: Order, pressed: Order["by"]): Order {
  return { by: pressed, down: by === pressed ? !down : pressed !== "name" };
}

/** Directories first. Names as people order them: `file2` before `file10`. Entries that are equal otherwise go by name. */
export function sorted(entries: readonly Entry[], { by, down }: Order = BY_NAME): readonly Entry[] {
  const rank = ({ kind }: Entry) => (kind === "directory" ? 0 : 1);
  const names = (a: Entry, b: Entry) => collator.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
  const value = (entry: Entry) => (by === "size" ? entry.size : (entry.modified ?? 0));
  const compare = (a: Entry, b: Entry) => (by === "name" ? names(a, b) * (down ? -1 : 1) : (value(a) - value(b)) * (down ? -1 : 1) || names(a, b));
  return [...entries].sort((a, b) => rank(a) - rank(b) || compare(a, b));
}

/** Letters at the end of a long name that stay when it is shortened: enough for a number and an ending. */
const TAIL = 10;

/** A name in two parts, of which the first may be cut short. Split between two characters, as people count them. */
export function halves(name: string): readonly [head: string, tail: string] {
  const letters = [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(name)].map(({ segment }) => segment);
  if (letters.length <= 2 * TAIL) return [name, ""];
  return [letters.slice(0, -TAIL).join(""), letters.slice(-TAIL).join("")];
}

/** Whether an entry is an unfinished upload. Providers write it beside the file that it becomes. */
export function isUnfinished({ name, kind }: Entry): boolean {
  return kind === "file" && /^\.upload-[0-9a-z]*-[0-9a-z]+\.part$/i.test(name);
}

/** The name on one line, with control characters as visible symbols. */
export function shown(name: string): string {
  return name.replace(/[\0-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replaceAll("\x7f", "\u2421");
}

/** The next name that begins as typed, from `start` on and then from the beginning. */
export function typeAhead(names: readonly string[], start: number, typed: string): number | undefined {
  const wanted = typed.toLocaleLowerCase();
  for (let step = 0; step < names.length; step++) {
    const at = (start + step) % names.length;
    if (names[at]?.toLocaleLowerCase().startsWith(wanted)) return at;
  }
  return undefined;
}
