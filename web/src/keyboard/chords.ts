/**
 * Which key of a chord was pressed. It is the letter that the person's layout has on the key, so that Ctrl+Shift+C is where C is on Dvorak
 * and AZERTY as well. In layouts without Latin letters it is the key's place on a US keyboard, as in other programs there. Pure.
 */

/** The letter of a chord in lower case, or else the browser's name for the key. */
export function chordKey({ key, code }: Pick<KeyboardEvent, "key" | "code">): string {
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  if (/^[\x20-\x7e]+$/.test(key)) return key;
  return /^Key([A-Z])$/.exec(code)?.[1]?.toLowerCase() ?? key;
}

/** Whether exactly these modifiers are held, of Ctrl, Shift, Alt and Meta. */
export function holds(event: Pick<KeyboardEvent, "ctrlKey" | "shiftKey" | "altKey" | "metaKey">, ...held: readonly ("ctrl" | "shift" | "alt" | "meta")[]): boolean {
  return (["ctrl", "shift", "alt", "meta"] as const).every((name) => event[`${name}Key`] === held.includes(name));
}
