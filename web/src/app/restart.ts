/** The buttons, and Enter, after a session has ended: attach again, or start a new one. */
import { element } from "../page/element";
import type { Tab } from "./tab";

/** For this long after the end neither starts anything, in milliseconds: that Enter was meant for the shell. */
export const ENTER_GRACE_MS = 400;

export class Restart {
  constructor(private readonly tab: Tab) {
    element("attach-again").addEventListener("click", () => this.again());
    element("trouble-again").addEventListener("click", () => this.again());
    element("again").addEventListener("click", () => this.#isReady && void tab.startNew());
  }

  /** Does what the card of the ended session offers first. */
  again(): void {
    const { session, target } = this.tab;
    if (!this.#isReady) return;
    if (session.ending?.next === "attach" && session.id !== undefined) void this.tab.attach({ ...target, session: session.id });
    else void this.tab.startNew();
  }

  get #isReady(): boolean {
    const { phase, endedAt } = this.tab.session;
    return phase === "ended" && performance.now() - (endedAt ?? 0) >= ENTER_GRACE_MS;
  }
}
