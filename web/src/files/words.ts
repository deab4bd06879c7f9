/** Sizes, times and failures in words for people. Pure. */

const UNITS = ["kB", "MB", "GB", "TB", "PB"];

/** `0 B`, `999 B`, `1.2 kB`, `64 MB`. Steps of a thousand, as disks and clouds count. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  let unit = 0;
  // 999.95 would be shown as 1000.
  while (value >= 999.95 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** When something changed, as short as possible: `just now`, `5 min ago`, `14:05`, `3 May`, `3 May 2024`. */
export function when(time: number, now: number, locale?: string): string {
  const age = now - time;
  if (age >= -60_000 && age < 60_000) return "just now";
  if (age > 0 && age < 3_600_000) return `${Math.floor(age / 60_000)} min ago`;
  const [then, today] = [new Date(time), new Date(now)];
  const format = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(locale, options).format(then);
  if (then.toDateString() === today.toDateString()) return format({ hour: "2-digit", minute: "2-digit" });
  if (then.getFullYear() === today.getFullYear()) return format({ day: "numeric", month: "short" });
  return format({ day: "numeric", month: "short", year: "numeric" });
}

/** `1 item`, `3 items`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** How a request failed: its HTTP status, or 0 without an answer, and the broker's words. */
export interface Failure {
  readonly status: number;
  readonly error?: string;
}

const ADVICE: Readonly<Record<number, string>> = {
  0: "The broker does not answer. Check your network, then try again.",
  401: "You are signed out. Reload the page and sign in.",
  403: "Choose a place that is yours to change.",
  404: "It may have been moved or deleted in the terminal.",
  408: "Check your network, then try again.",
  409: "Look at what is there, then choose another name or place.",
  412: "Choose whether to replace it.",
  413: "Put it there from the terminal.",
  429: "Too much goes on at once. Try again in a moment.",
  501: "Use the terminal instead.",
  502: "Try again. If it stays, look at the terminal and the broker's log.",
  503: "Try again in a moment.",
  504: "The sandbox or its storage is slow or stuck. Try again, or look at it in the terminal.",
  507: "Make room by deleting something, then try again.",
};

/** What failed and what to do about it, in sentences. */
export function failure({ status, error }: Failure): string {
  const advice = ADVICE[status] ?? (status >= 500 ? ADVICE[502] : undefined) ?? "Try again.";
  return error === undefined ? advice : `${sentence(error)} ${advice}`;
}

function sentence(words: string): string {
  const text = words.trim();
  // A word at the beginning gets a capital letter. A path keeps its case.
  const begun = /^[a-z]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
