/** Decides from a file's name and first bytes how it can be shown: as text, as a picture, or not at all. Pure. */

/** Most bytes of a text that are shown. Longer texts are for an editor. */
export const MAX_TEXT = 256 * 1024;
/** Most bytes of a picture that is shown. */
export const MAX_PICTURE = 16 * 1024 * 1024;

/** Pictures that every supported browser draws, by the ending of their names. */
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

/** The media type of a picture with this name. `undefined`: it is not a picture. */
export function pictureType(name: string): string | undefined {
  const dot = name.lastIndexOf(".");
  return dot < 0 ? undefined : PICTURES.get(name.slice(dot + 1).toLowerCase());
}

export interface Text {
  readonly text: string;
  /** The encoding, if it is not UTF-8. */
  readonly encoding?: string;
}

/** Control characters that text does not have. Escape is not among them: recordings of terminals have it. */
const NO_TEXT = /[\0-\x06\x0e-\x1a\x1c-\x1f]/;
/** Bytes that windows-1252 has no character for. */
const UNUSED = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/**
 * The bytes as text, if they are UTF-8, UTF-16, or Latin-1 as Windows has it. `undefined`: they are something else. `cut`: the file has more
 * bytes, so the last character may be cut.
 */
export function asText(bytes: Uint8Array, cut: boolean): Text | undefined {
  const wide = utf16(bytes);
  if (wide !== undefined) return decoded(bytes, wide, cut, "UTF-16");
  const text = decoded(bytes, "utf-8", cut);
  if (text !== undefined || bytes.some((byte) => UNUSED.includes(byte))) return text;
  return decoded(bytes, "windows-1252", cut, "Latin-1");
}

function decoded(bytes: Uint8Array, label: string, cut: boolean, encoding?: string): Text | undefined {
  try {
    const text = new TextDecoder(label, { fatal: true }).decode(bytes, { stream: cut });
    return NO_TEXT.test(text) ? undefined : { text, ...(encoding !== undefined && { encoding }) };
  } catch {
    return undefined;
  }
}

/** UTF-16 begins with its mark. Without one, Western text has zeros in most of every other byte, and nowhere else. */
function utf16(bytes: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  const zeros = [0, 0];
  bytes.forEach((byte, at) => byte === 0 && (zeros[at % 2] = (zeros[at % 2] ?? 0) + 1));
  const [even = 0, odd = 0] = zeros;
  const most = bytes.length / 2 / 2;
  if (odd > most && even === 0) return "utf-16le";
  return even > most && odd === 0 ? "utf-16be" : undefined;
}
