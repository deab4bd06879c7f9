/** The dialog that plays a session's recording, in its own terminal. Nothing in it reaches the session. */
import { clock } from "../page/durations";
import { element } from "../page/element";
import type { TerminalOptions } from "../terminal/options";
import { Terminal } from "../terminal/terminal";
import { recordingLines } from "./api";
import { CastReader, MAX_PAUSE_MS } from "./cast";
import { Playback } from "./playback";

/** How far the arrow keys jump, in milliseconds. */
const JUMP_MS = 5000;

export class Player {
  readonly #dialog = element<HTMLDialogElement>("player");
  readonly #position = element<HTMLInputElement>("player-position");
  readonly #speed = element<HTMLSelectElement>("player-speed");
  #duration = 0;
  #playback: Playback | undefined;
  #terminal: Terminal | undefined;
  #loading: AbortController | undefined;
  #frame = 0;

  /** `options`: those of the page's terminal now. */
  constructor(private readonly options: () => TerminalOptions) {
    element("player-close").addEventListener("click", () => this.#dialog.close());
    element("player-toggle").addEventListener("click", () => this.#toggle());
    this.#position.addEventListener("input", () => this.#seek(Number(this.#position.value)));
    // The event comes late: the dialog may be open again, for another recording.
    this.#dialog.addEventListener("close", () => !this.#dialog.open && this.#leave());
    this.#dialog.addEventListener("keydown", (event) => {
      const within = (controls: string) => event.target instanceof Element && event.target.closest(controls) !== null;
      const jump = { ArrowLeft: -JUMP_MS, ArrowRight: JUMP_MS }[event.key];
      if (event.key === " " && !within("button, select")) this.#toggle();
      else if (jump !== undefined && !within("select")) this.#seek((this.#playback?.position ?? 0) + jump);
      else return;
      event.preventDefault();
    });
  }

  /** Fetches the recording of a session, as far as it goes now, and plays it. */
  async open(session: string): Promise<void> {
    this.#leave();
    const loading = new AbortController();
    this.#loading = loading;
    this.#say("Loading the recording…");
    this.#draw();
    this.#dialog.showModal();
    const reader = new CastReader();
    const lines = recordingLines(session, loading.signal);
    let line = await lines.next();
    while (line.done !== true && reader.push(line.value)) line = await lines.next();
    if (loading.signal.aborted) return;
    if (line.done !== true) loading.abort();
    if (line.done === true && !line.value.ok) return this.#say(line.value.error);
    const cast = reader.finish();
    if (cast === undefined) return this.#say("What the broker sent is not a recording.");

    const host = document.createElement("div");
    host.className = "screen";
    element("player-screen").replaceChildren(host);
    const terminal = new Terminal(host, { input() {}, binary() {}, pasted() {}, pastedFiles() {}, selected() {}, room() {}, oversized() {}, title() {}, bell() {}, announced() {}, copied() {}, awayFromEnd() {}, link() {}, pasteWanted() {}, pageKey: () => true }, this.options());
    this.#terminal = terminal;
    // The dialog is as large as the largest size in the recording.
    const sizes = [cast.size, ...cast.events.flatMap(({ size }) => size ?? [])];
    for (const side of ["cols", "rows"] as const) this.#dialog.style.setProperty(`--${side}`, String(sizes.reduce((most, size) => Math.max(most, size[side]), 0)));
    this.#duration = cast.duration;
    this.#playback = new Playback(cast, {
      reset: () => terminal.reset(),
      write: (output) => terminal.write(output, true),
      setSize: (size) => terminal.setSize(size),
    });
    const words = [cast.cut ? "Only the beginning is played here; the download has all." : "", `Pauses are shortened to ${MAX_PAUSE_MS / 1000} s.`];
    this.#say(words.filter(Boolean).join(" "));
    element("player-toggle").focus();
    this.#toggle();
  }

  /** The page's options have changed. */
  applyOptions(): void {
    this.#terminal?.setOptions(this.options());
  }

  get #isPlaying(): boolean {
    return this.#dialog.hasAttribute("data-playing");
  }

  #toggle(on = !this.#isPlaying): void {
    const playback = this.#playback;
    if (playback === undefined) return;
    if (on && playback.isAtEnd) playback.seek(0);
    cancelAnimationFrame(this.#frame);
    this.#dialog.toggleAttribute("data-playing", on);
    element("player-toggle").setAttribute("aria-label", on ? "Pause" : "Play");
    this.#draw();
    if (!on) return;
    let before = performance.now();
    const play = (now: number) => {
      playback.seek(playback.position + Math.max(0, now - before) * Number(this.#speed.value));
      before = now;
      this.#draw();
      if (playback.isAtEnd) this.#toggle(false);
      else this.#frame = requestAnimationFrame(play);
    };
    this.#frame = requestAnimationFrame(play);
  }

  #seek(to: number): void {
    this.#playback?.seek(to);
    this.#draw();
  }

  #draw(): void {
    const position = this.#playback?.position ?? 0;
    const words = `${clock(position)} / ${clock(this.#duration)}`;
    this.#position.max = String(Math.ceil(this.#duration / 100) * 100);
    this.#position.value = this.#playback?.isAtEnd === true ? this.#position.max : String(position);
    this.#position.disabled = this.#playback === undefined;
    this.#position.setAttribute("aria-valuetext", words.replace("/", "of"));
    element("player-time").textContent = words;
  }

  #say(words: string): void {
    element("player-words").textContent = words;
  }

  #leave(): void {
    this.#loading?.abort();
    this.#toggle(false);
    this.#playback = undefined;
    this.#duration = 0;
    this.#terminal?.dispose();
    this.#terminal = undefined;
    element("player-screen").replaceChildren();
  }
}
