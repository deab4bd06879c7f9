/** The preferences in force, together with what the system wants, as the terminal's options. Stores what the person changes. */
import { allowNotices } from "../notices/system";
import { toast } from "../page/toast";
import { checked, loadPreferences, onStored, type Preferences, savePreferences } from "../settings/preferences";
import type { TerminalOptions } from "../terminal/options";
import { themeWhileSearching } from "../terminal/search";
import { themeFor } from "../terminal/theme";

const PHONE_FONT = 13;
const DESKTOP_FONT = 14;

export class Options {
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #contrast = matchMedia("(prefers-contrast: more)");
  readonly #lessMotion = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #usualFont = matchMedia("(hover: none) and (pointer: coarse)").matches ? PHONE_FONT : DESKTOP_FONT;
  #preferences = loadPreferences(this.#usualFont);
  /** The search is open, and marks what it found with the selection. */
  isSearching = false;

  /** `changed`: the terminal's options are others now. */
  constructor(private readonly changed: () => void) {
    onStored(() => {
      this.#preferences = loadPreferences(this.#usualFont);
      changed();
    });
    for (const system of [this.#dark, this.#contrast, this.#lessMotion]) system.addEventListener("change", () => changed());
  }

  get preferences(): Preferences {
    return this.#preferences;
  }

  get wantsLessMotion(): boolean {
    return this.#lessMotion.matches;
  }

  get terminal(): TerminalOptions {
    const theme = themeFor(this.#preferences.appearance, { dark: this.#dark.matches, contrast: this.#contrast.matches });
    return {
      ...this.#preferences,
      theme: this.isSearching ? themeWhileSearching(theme) : theme,
      cursorBlink: this.#preferences.cursorBlink && !this.#lessMotion.matches,
      ...(new URLSearchParams(location.search).get("renderer") === "dom" && { renderer: "dom" }),
    };
  }

  /** The person changes a preference, to a value that is not checked yet. */
  prefer(change: Partial<Record<keyof Preferences, unknown>>): void {
    if (change.systemNotices === true) return void this.#askForNotices();
    this.#save(checked({ ...this.#preferences, ...change }));
  }

  /** The browser asks the person, which it allows because the person has just asked for notices. */
  async #askForNotices(): Promise<void> {
    const allowed = await allowNotices();
    this.#save({ ...this.#preferences, systemNotices: allowed });
    if (!allowed) toast("The browser does not let this page show notices outside it. Its settings for this site can change that.");
  }

  #save(preferences: Preferences): void {
    this.#preferences = preferences;
    savePreferences(preferences, this.#usualFont);
    this.changed();
  }
}
