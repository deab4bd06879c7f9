/** What a file's content can be shown as. Pure: a name and its first bytes in, text or a picture's type out. */

/** Bytes of a text that are shown, at most. More is for an editor. */
export const MAX_TEXT = 256 * 1024;
/** Bytes of a picture that is shown, at most. */
export const MAX_PICTURE = 16 * 1024 * 1024;

/** Pictures that every browser of this page draws, by the end of their names. */
const PICTURES: ReadonlyMap<string, string> = new Map([
  ["png", "image/png"],
  ["apng", "image/apng"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["gif", "image/gif"],
  ["webp", "image/webp"],
  ["avif", "image/avif"],
  ["bmp", "image/bmp"],
  ["ico", "image/x-icon"],
  ["svg", "image/svg+xml"],
]);

/** The type of a picture of this name; none where it is no picture. */
export function pictureType(name: string): string | undefined {
  const dot = name.lastIndexOf(".");
  return dot < 0 ? undefined : PICTURES.get(name.slice(dot + 1).toLowerCase());
}

/**
 * The bytes as text, where they are UTF-8 or UTF-16 with its mark; none where they are something else. `cut`: there are more bytes, so a
 * character may end with them.
 */
export function asText(bytes: Uint8Array, cut: boolean): string | undefined {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: cut });
    // Text has no control characters but these; a terminal's recording has escapes.
    return /[\0-\x06\x0e-\x1a\x1c-\x1f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}
