/**
 * What this tab shows: which session it leads to, the way there (sign-in, then a visit), and how the session is. Starts over when the person
 * goes to another session. Draws nothing.
 */
import { checkAccess } from "../access/api";
import { describeAccess, findObstacle, type Obstacle } from "../access/obstacle";
import type { FilesPanel } from "../files/panel";
import type { Board } from "../notices/board";
import { takeBack } from "../page/offer";
import { removeToast, toast } from "../page/toast";
import { type Ending, led } from "../session/ending";
import { forget, isAlone, newName, newSession, recall, remember, rememberShown } from "../session/memory";
import { advance, type Event, IDLE, type Session } from "../session/session";
import { type Link, readLink, withoutLink } from "../sessions/links";
import { Inbox, leftOut } from "../terminal/inbox";
import type { Terminal } from "../terminal/terminal";
import { Connection } from "../visit/connection";
import { type Target, Visit, type VisitHost } from "../visit/visit";

/** How often a broker that did not answer is asked again, in milliseconds. */
const ASK_AGAIN_MS = 3000;

/** The parts of the page that show the session. */
export interface TabParts {
  readonly terminal: Terminal;
  readonly files: FilesPanel;
  readonly board: Board;
}

export class Tab {
  #session: Session = IDLE;
  #visit: Visit | undefined;
  /** Where the visit leads, or will. */
  #target: Target = { session: newSession(), create: true, client: newName(), role: "driver" };
  /** The session is from this tab's memory. If it is gone, a new one is as good. */
  #fromMemory = false;
  /** A page of another site led here, as the broker says in the document. Nothing new starts before the person says so. */
  #wasLed = document.documentElement.dataset["led"] !== undefined;
  /** How many WebSockets in a row did not open. */
  #failures = 0;
  /** Counts starts, so that an answer meant for an older one is not taken for the newest. */
  #start = 0;

  /** Neither the address nor the tab's memory named a session, so the person may want one that they left. */
  cameAfresh = false;
  /** What the program calls itself. */
  title = "";
  /** What the person calls the session. */
  name: string | undefined;
  hasTyped = false;

  /** `changed` gets the session after each event, and as it was before. */
  constructor(
    private readonly parts: TabParts,
    private readonly changed: (session: Session, before: Session) => void,
  ) {}

  get session(): Session {
    return this.#session;
  }

  get visit(): Visit | undefined {
    return this.#visit;
  }

  get target(): Target {
    return this.#target;
  }

  /** Moves the session on. */
  on(event: Event): void {
    const before = this.#session;
    this.#session = advance(before, event, performance.now());
    this.changed(this.#session, before);
  }

  // --- which session -----------------------------------------------------------------------------------------------------------------

  /** Shows what the address says, else what this tab showed before it was loaded again, else a new session. */
  async open(): Promise<void> {
    const [link, memory] = [readLink(location.href), recall()];
    const session = link?.session ?? memory?.session;
    this.#fromMemory = link === undefined && memory !== undefined && memory.create === undefined;
    // A name that another tab has as well belongs to that tab.
    const own = memory !== undefined && memory.session === session && (await isAlone(memory.client));
    const create = session === undefined || (memory?.session === session && memory.create === true);
    this.#target = { session: session ?? newSession(), client: own ? memory.client : await ownName(), role: "driver", ...(create && { create }), ...link };
    this.cameAfresh = session === undefined;
    if (session === undefined && this.#wasLed) return this.on({ kind: "failed", ending: led() });
    this.start();
  }

  /** Shows a new session in place of what there is. */
  async startNew(): Promise<void> {
    forget();
    this.#fromMemory = this.#wasLed = false;
    history.replaceState(null, "", withoutLink(location.href));
    this.#target = { session: newSession(), create: true, client: await ownName(), role: "driver" };
    this.start();
  }

  /** Shows another session, or comes back to the one that was left. */
  async attach(link: Link): Promise<void> {
    this.#fromMemory = false;
    if (readLink(location.href)?.session !== link.session) history.replaceState(null, "", withoutLink(location.href));
    this.#target = { ...link, client: await ownName() };
    this.start();
  }

  /** Leaves what there is, and goes to the target from the beginning: sign-in if needed, then a visit. */
  start(): void {
    const start = ++this.#start;
    const { board, terminal } = this.parts;
    this.#visit?.detach();
    this.#visit = undefined;
    this.title = "";
    this.name = undefined;
    this.hasTyped = false;
    board.clear();
    this.on({ kind: "begin" });
    takeBack();
    removeToast();
    terminal.focus();
    terminal.setSize(undefined);
    terminal.reset(() => void this.#admit(start));
  }

  /** The session that this tab showed is over. Starts a new one, and says so. `reason`: the text of the Close frame. */
  async #replaceLost(reason: string): Promise<void> {
    if (this.#wasLed) return this.on({ kind: "failed", ending: led() });
    const { lastError } = this.#session;
    const before = this.#target.create === true ? `What was being made is gone: ${lastError ?? (reason || "the broker does not know it")}.` : "The session that this window showed is over.";
    await this.startNew();
    toast(`${before} This is a new one.`, true);
  }

  /** The session goes on, and this window leaves it. */
  detach(): void {
    this.#visit?.detach();
    this.on({ kind: "detached" });
  }

  /** This browser is signed out. */
  signedOut(): void {
    this.#start++;
    this.#askForSignIn();
  }

  // --- the way there -----------------------------------------------------------------------------------------------------------------

  async #admit(start: number): Promise<void> {
    const access = await checkAccess();
    if (start !== this.#start) return;
    switch (access.kind) {
      case "granted":
        return this.#connect(access);
      case "denied":
        return this.on({ kind: "signin" });
      default:
        this.on({ kind: "failed", ending: notAdmitted(describeAccess(access)) });
        setTimeout(() => void this.#admitAgain(start), ASK_AGAIN_MS);
    }
  }

  /** Starts by itself once the broker answers again. */
  async #admitAgain(start: number): Promise<void> {
    if (start !== this.#start || this.#session.phase !== "ended") return;
    const access = await checkAccess();
    if (start !== this.#start || this.#session.phase !== "ended") return;
    if (access.kind === "granted" || access.kind === "denied") return this.start();
    setTimeout(() => void this.#admitAgain(start), ASK_AGAIN_MS);
  }

  #connect(access: { provider?: string; version?: string }): void {
    const target = this.#target;
    this.#failures = 0;
    if (target.create === true) remember({ session: target.session, client: target.client, create: true });
    const endpoint = new URL("terminal", document.baseURI);
    endpoint.protocol = endpoint.protocol.replace("http", "ws");
    this.on({ ...access, kind: "connect", attaching: target.create !== true, viewer: target.role === "viewer", guest: target.invitation !== undefined });
    const { terminal } = this.parts;
    const visit = new Visit(endpoint, target, terminal.room, this.#visitHost(), (url, offers, host) => new Connection(url, offers, host));
    this.#visit = visit;
    visit.setColors(terminal.colors);
  }

  #visitHost(): VisitHost {
    const start = this.#start;
    const { terminal, files } = this.parts;
    const inbox = new Inbox((text, done) => terminal.write(text, false, done));
    return {
      news: (frame) => {
        if (frame.type === "joined") this.#joined(frame.session, frame.client, frame.answers === "recorder");
        this.on({ kind: "frame", frame });
      },
      text: (data) => {
        inbox.push(data);
        files.stirred();
      },
      bytes: (bytes, replay, done) => {
        terminal.write(bytes, replay, done);
        if (!replay) files.stirred();
      },
      redraw: (screen, done) => {
        terminal.reset();
        terminal.write(screen, true, done);
      },
      gap: (bytes, reason, done) => terminal.gap(leftOut(bytes, reason), done),
      size: (size, old) => {
        terminal.setSize(size, old);
        this.on({ kind: "frame", frame: { type: "size", cols: size.cols, rows: size.rows } });
      },
      caughtUp: () => {
        terminal.caughtUp();
        this.on({ kind: "caught-up" });
      },
      fragile: () => {
        forget();
        this.on({ kind: "fragile" });
      },
      state: (state, how) => {
        if (state.phase === "pausing") this.on({ kind: "lost", pause: state.pause });
        if (state.phase === "opening") this.on({ kind: "trying" });
        if (state.phase !== "opening") this.#failures = how?.opened === false ? this.#failures + 1 : 0;
        // The browser does not say why a socket did not open, and waiting does not help in every case.
        if (state.phase === "pausing" && this.#failures > 0) void this.#findObstacle(start);
      },
      unknown: (chars, dropped) => {
        const rest = dropped > 0 ? `, and ${dropped} more did not` : "";
        toast(`The connection broke while input was on its way: its last ${chars} characters may have arrived or not${rest}. Nothing was sent again.`, true);
      },
      closed: (how) => {
        const isReplaceable = this.#fromMemory || this.#target.create === true;
        if (how.code === 4404 && isReplaceable && this.#session.phase === "starting") return void this.#replaceLost(how.reason);
        this.on({ kind: "closed", ...how });
      },
      waiting: (chars) => toast(chars === 0 ? "" : `Sending pasted text, ${(chars / 1e6).toFixed(1)} MB to go. Ctrl+C drops the rest.`, true),
    };
  }

  #joined(session: string, client: string, isRecorded: boolean): void {
    const { create: _, ...target } = this.#target;
    this.#target = { ...target, session, client };
    remember({ session, client });
    if (target.invitation === undefined) rememberShown(session);
    this.parts.terminal.setRecorded(isRecorded);
  }

  /** Finds out what keeps the page from its broker, and asks for sign-in if that is what the broker wants. */
  async #findObstacle(start: number): Promise<void> {
    const found = await findObstacle(this.#failures, this.#target.client);
    if (start !== this.#start || this.#failures === 0) return;
    if (found.kind !== "sign-in") return this.on({ kind: "obstacle", ...(found.kind === "obstacle" && { obstacle: found.obstacle }) });
    this.#askForSignIn(found.error);
  }

  #askForSignIn(error?: string): void {
    this.#visit?.dispose();
    this.#visit = undefined;
    this.on({ kind: "signin", ...(error === undefined ? {} : { error }) });
  }
}

/** A name that no other window has. */
async function ownName(): Promise<string> {
  const name = newName();
  await isAlone(name);
  return name;
}

function notAdmitted({ title, detail, advice, signIn }: Obstacle): Ending {
  return { tone: "trouble", title, ...(detail !== undefined && { detail }), advice, next: "restart", ...(signIn && { signIn }) };
}
