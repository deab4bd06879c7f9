/** What the session's menu and the buttons around the terminal do with the session. */
import { copyText, showText } from "../page/clipboard";
import { download } from "../page/element";
import { confirmEnd } from "../page/questions";
import { toast } from "../page/toast";
import { isRunning, isViewing } from "../session/session";
import { recordingUrl, signOut } from "../sessions/api";
import { type Link, linkTo } from "../sessions/links";
import type { SessionList } from "../sessions/list";
import type { SessionAct } from "../sessions/menu";
import { rename } from "../sessions/naming";
import type { Player } from "../sessions/player";
import type { Search } from "../terminal/search";
import type { Terminal } from "../terminal/terminal";
import type { Facts } from "./facts";
import type { Tab } from "./tab";

export interface ActingParts {
  readonly terminal: Terminal;
  readonly facts: Facts;
  readonly search: Search;
  readonly list: SessionList;
  readonly player: Player;
}

export class Acts {
  constructor(
    private readonly tab: Tab,
    private readonly parts: ActingParts,
  ) {}

  /** Does what was chosen in the menu. */
  choose(act: SessionAct): void {
    const { tab, parts } = this;
    const { id } = tab.session;
    if (act === "search") return parts.search.open();
    if (act === "list") return void parts.list.open();
    if (act === "sign-out") return void this.#signOut();
    if (id === undefined) return;
    switch (act) {
      case "open":
        window.open(linkTo({ session: id, role: "driver" }, document.baseURI), "_blank", "noopener");
        return;
      case "copy":
        return void this.#copyLink({ session: id, role: "driver" });
      case "copy-viewer": {
        // A guest passes on the invitation that it was given.
        const invitation = tab.session.window?.invitation ?? tab.target.invitation;
        return void this.#copyLink({ session: id, role: "viewer", ...(invitation !== undefined && { invitation }) });
      }
      case "rename":
        return void this.#rename(id);
      case "play":
        return void parts.player.open(id);
      case "save":
        download(recordingUrl(id), `session-${id.slice(0, 8)}.cast`);
        return parts.terminal.focus();
      case "detach":
        return tab.detach();
      case "kill":
        return void this.#end();
    }
  }

  /** Ends the session, if the person agrees, and starts a new one. */
  async startNew(): Promise<void> {
    const { tab } = this;
    // A viewer who leaves ends nothing.
    if (isRunning(tab.session) && !isViewing(tab.session)) {
      const asked = tab.session.id;
      if (!(await this.#confirmEnd(" A new one starts empty.", "End it and start a new one"))) return isRunning(tab.session) ? this.parts.terminal.focus() : undefined;
      if (asked === tab.session.id) tab.visit?.kill();
    }
    await tab.startNew();
  }

  async #end(): Promise<void> {
    if (await this.#confirmEnd("", "End it")) this.tab.visit?.kill();
    if (isRunning(this.tab.session)) this.parts.terminal.focus();
  }

  #confirmEnd(more: string, action: string): Promise<boolean> {
    const others = (this.tab.session.window?.clients.length ?? 0) > 1 ? ", and for the other windows too" : "";
    return confirmEnd({ title: "End this session?", words: `Its sandbox goes away at once, with every file and program in it${others}.${more}`, action });
  }

  async #rename(id: string): Promise<void> {
    const { name, title } = this.tab;
    const listed = await rename({ id, ...(name !== undefined && { name }), ...(title !== "" && { title }) });
    if (listed !== undefined) this.parts.facts.named(listed);
  }

  async #copyLink(to: Link): Promise<void> {
    const link = linkTo(to, document.baseURI);
    const whose = to.role === "viewer" ? "Whoever may use this broker can watch with it." : "It is for your own windows: with it one can type.";
    if (!(await copyText(link))) return showText(link);
    toast(`Link copied. ${whose}`);
    this.parts.terminal.focus();
  }

  async #signOut(): Promise<void> {
    const left = await signOut();
    if (!left.ok) return toast(left.error, true);
    this.parts.facts.signedIn = false;
    this.tab.signedOut();
  }
}
