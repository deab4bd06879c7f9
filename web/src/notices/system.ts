/** Notices outside the page, shown by the system if the browser may. Never asks for that by itself, and shows one notice at a time. */

/** The shortest time between two notices, in milliseconds. Of those that come in between, the latest is shown then. */
const EVERY_MS = 5000;
/** The tag of every notice, so that each replaces the one before. */
const TAG = "sandbox-broker";

export class SystemNotices {
  #last: Notification | undefined;
  #next: readonly [title: string, body: string] | undefined;
  #wait: ReturnType<typeof setTimeout> | undefined;

  /** `wanted`: whether there still are notices that nobody has seen. */
  constructor(private readonly wanted: () => boolean) {}

  /** Whether the browser would still ask the person. */
  get mayAsk(): boolean {
    return permission() === "default";
  }

  tell(title: string, body: string): void {
    this.#next = [title, body];
    if (this.#wait === undefined) this.#show();
  }

  /** Closes the notice, because everything was seen. */
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
      // On phones, browsers let only service workers show notices.
    }
  }
}

/** Lets the browser ask the person, within a click. Returns whether it may show notices now. */
export async function allowNotices(): Promise<boolean> {
  if (permission() === undefined) return false;
  return (await Notification.requestPermission()) === "granted";
}

/** What the person allowed. `undefined`: the browser has no notices, or not for this page. */
function permission(): NotificationPermission | undefined {
  return "Notification" in window ? Notification.permission : undefined;
}
