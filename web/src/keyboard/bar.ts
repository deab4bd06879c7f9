/** The bar of keys that touch keyboards lack. Its Ctrl holds for the next key, also for one of the on-screen keyboard. Knows no terminal. */
import { element } from "../page/element";
import type { Modifiers } from "./press";
import { keySequence, type SoftKey, softPress, withCtrl } from "./soft";

/** How long an arrow is held until it repeats, and then how often it does, in milliseconds. */
const HOLD_MS = 450;
const REPEAT_MS = 60;

export interface KeyBarHost {
  type(text: string): void;
  /** What a key sends in the protocol that the program asked for, where it asked for one. */
  sequence(key: string, held: Partial<Modifiers>): string | undefined;
  /** The program asked for application cursor keys (DECCKM). */
  applicationCursorKeys(): boolean;
  pasteWanted(): void;
}

export class KeyBar {
  readonly #bar = element("keys");
  readonly #ctrl = this.#bar.querySelector<HTMLElement>("[data-key=ctrl]");
  #repeat: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: KeyBarHost) {
    const bar = this.#bar;
    const nameOf = ({ target }: Event) => (target as Element).closest<HTMLElement>("[data-key]")?.dataset["key"];
    // The focus, and with it the on-screen keyboard, stays where it is.
    bar.addEventListener("pointerdown", (event) => event.preventDefault());
    bar.addEventListener("mousedown", (event) => event.preventDefault());
    bar.addEventListener("click", (event) => {
      const name = nameOf(event);
      if (name !== undefined) this.#press(name);
    });
    bar.addEventListener("pointerdown", (event) => {
      const name = nameOf(event);
      if (name !== undefined && ["up", "down", "left", "right"].includes(name)) this.#again(name, HOLD_MS);
    });
    for (const type of ["pointerup", "pointercancel", "pointerleave"]) bar.addEventListener(type, () => clearTimeout(this.#repeat));
    bar.addEventListener("contextmenu", (event) => event.preventDefault());
    const paste = bar.querySelector<HTMLElement>("[data-key=paste]");
    if (paste) paste.hidden = navigator.clipboard?.readText === undefined;
  }

  /** Typed text as Ctrl makes it, if the bar's Ctrl is down. */
  take(text: string): string {
    if (!this.#isCtrlDown) return text;
    this.#isCtrlDown = false;
    return this.host.sequence(text, { ctrl: true }) ?? withCtrl(text);
  }

  get #isCtrlDown(): boolean {
    return this.#ctrl?.getAttribute("aria-pressed") === "true";
  }

  set #isCtrlDown(down: boolean) {
    this.#ctrl?.setAttribute("aria-pressed", String(down));
  }

  #press(name: string): void {
    if (name === "ctrl") return void (this.#isCtrlDown = !this.#isCtrlDown);
    if (name === "paste") return this.host.pasteWanted();
    const ctrl = this.#isCtrlDown;
    const { key, ...modifiers } = softPress(name as SoftKey, ctrl);
    const sequence = this.host.sequence(key, modifiers) ?? keySequence(name as SoftKey, { application: this.host.applicationCursorKeys(), ctrl });
    this.#isCtrlDown = false;
    this.host.type(sequence);
  }

  #again(name: string, wait: number): void {
    this.#repeat = setTimeout(() => {
      this.#press(name);
      this.#again(name, REPEAT_MS);
    }, wait);
  }
}
