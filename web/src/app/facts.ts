/** What the page asks its broker over HTTP once the shell runs: what the session is called, whether there is a sign-in, what else runs. */
import { offer } from "../page/offer";
import { wasShown } from "../session/memory";
import { isRunning, isViewing } from "../session/session";
import { isSignedIn, type Listed, listSessions, showSession } from "../sessions/api";
import { leftRunning, leftWords } from "../sessions/left";
import type { Tab } from "./tab";

export interface FactsHost {
  /** There is something else to draw. */
  changed(): void;
  showList(): void;
}

export class Facts {
  /** Whether this browser is signed in and can sign out. */
  signedIn = false;

  constructor(
    private readonly tab: Tab,
    private readonly host: FactsHost,
  ) {}

  async learn(): Promise<void> {
    const { id, window } = this.tab.session;
    const [asked, found] = await Promise.all([isSignedIn(), id === undefined || window?.guest === true ? undefined : showSession(id)]);
    this.signedIn = asked;
    this.host.changed();
    if (found?.ok === true) this.named(found.value);
    if (!this.tab.cameAfresh || id === undefined) return;
    this.tab.cameAfresh = false;
    await this.#offerLeft(id);
  }

  /** The person has named a session, possibly this one. */
  named(listed: Listed): void {
    if (listed.id !== this.tab.session.id) return;
    this.tab.name = listed.name;
    this.host.changed();
  }

  /** Offers the sessions that the person left running, in place of the one that has just started. */
  async #offerLeft(here: string): Promise<void> {
    const { tab } = this;
    const answer = await listSessions();
    if (!answer.ok || tab.session.id !== here || !isRunning(tab.session)) return;
    // Without sign-in the broker lists everybody's sessions.
    const left = leftRunning(answer.value, (id) => id !== here && (this.signedIn || wasShown(id)));
    const [only] = left;
    if (only === undefined) return;
    if (left.length > 1) return offer(leftWords(left), "Show them", () => this.host.showList(), "Leave them");
    const open = () => {
      // A session in which nothing was typed is no loss, and its sandbox would wait for nobody.
      if (!tab.hasTyped && tab.session.id === here && !isViewing(tab.session)) tab.visit?.kill();
      void tab.attach({ session: only.id, role: "driver" });
    };
    offer(leftWords(left), "Open it", open, "Leave it");
  }
}
