/** Notices that the system shows outside the page, where the browser was allowed to. Never asks by itself, and never shows more than one at a time. */

/** The shortest time between two, in milliseconds; of those between the latest is shown then. */
const EVERY_MS = 5000;
/** Each takes the place of the one before. */
const TAG = "sandbox-broker";

export class SystemNotices {
  #last: Notification | undefined;
  #next: readonly [title: string, body: string] | undefined;
  #wait: ReturnType<typeof setTimeout> | undefined;

  /** `wanted`: whether there still is something that nobody has seen. */
  constructor(private readonly wanted: () => boolean) {}

  /** Whether the person can still be asked. */
  get mayAsk(): boolean {
    return permission() === "default";
  }

  tell(title: string, body: string): void {
    this.#next = [title, body];
    if (this.#wait === undefined) this.#show();
  }

  /** Everything was seen. */
  takeBack(): void {
    this.#last?.close();
    this.#last = this.#next = undefined;
  }

  #show(): void {
    const next = this.#next;
    this.#next = this.#wait = undefined;
    if (next === undefined || permission() !== "granted" || !this.wanted()) return;
    this.#wait = setTimeout(() => this.#show(), EVERY_MS);
    const [title, body] = next;
    try {
      const shown = new Notification(title, { body, tag: TAG });
      shown.addEventListener("click", () => {
        window.focus();
        shown.close();
      });
      this.#last = shown;
    } catch {
      // Browsers of phones let only service workers show one.
    }
  }
}

/** Asks the person, within a click. Whether the browser may show notices now. */
export async function allowNotices(): Promise<boolean> {
  if (permission() === undefined) return false;
  return (await Notification.requestPermission()) === "granted";
}

/** What the browser was told; nothing where it has no such notices, or not for this page. */
function permission(): NotificationPermission | undefined {
  return "Notification" in window ? Notification.permission : undefined;
}
