/**
 * Paths, names and order of files. Pure. A path here is absolute and clean, as the broker wants it; names come from the sandbox and may
 * hold anything but a slash.
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

/** The directory that a path is in; `/` for `/`. */
export function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

export function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function isWithin(path: string, root: string): boolean {
  return path === root || root === "/" || path.startsWith(`${root}/`);
}

/** The roots that lie in no other: where somebody can start from. */
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

/** Whether a path lies on mounted storage, and so outlives the session. */
export function isStorage(path: string, roots: readonly Root[]): boolean {
  const nearest = roots.filter((root) => isWithin(path, root.path)).sort((a, b) => b.path.length - a.path.length)[0];
  return nearest?.storage ?? false;
}

/** What is wrong with a name that a person typed; nothing where it is a good one. */
export function nameProblem(name: string, taken: ReadonlySet<string>): string | undefined {
  if (name === "") return "Type a name.";
  if (name === "." || name === "..") return "This name has a meaning of its own. Choose another.";
  if (/[/\0]/.test(name)) return "A name has no slash in it.";
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) return "This name is too long.";
  if (taken.has(name)) return "There is something of this name already.";
  return undefined;
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "variant" });

/** Directories first, each part as people order names: `file2` before `file10`. */
export function sorted(entries: readonly Entry[]): readonly Entry[] {
  const rank = ({ kind }: Entry) => (kind === "directory" ? 0 : 1);
  return [...entries].sort((a, b) => rank(a) - rank(b) || collator.compare(a.name, b.name) || (a.name < b.name ? -1 : 1));
}

/** Whether an entry is an upload under way: providers write those beside the file that they become. */
export function isUnfinished({ name, kind }: Entry): boolean {
  return kind === "file" && /^\.upload-[0-9a-z]*-[0-9a-z]+\.part$/i.test(name);
}

/** The name as it can be shown on one line: control characters as their pictures. */
export function shown(name: string): string {
  return name.replace(/[\0-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replaceAll("\x7f", "\u2421");
}

/** The next name, from `start` on and around, that begins as typed. */
export function typeAhead(names: readonly string[], start: number, typed: string): number | undefined {
  const wanted = typed.toLocaleLowerCase();
  for (let step = 0; step < names.length; step++) {
    const at = (start + step) % names.length;
    if (names[at]?.toLocaleLowerCase().startsWith(wanted)) return at;
  }
  return undefined;
}
