/** The settings dialog: shows the preferences as controls, and reports which one the person changed. Owns no preference and stores none. */
import { isMac } from "../keyboard/platform";
import { element } from "../page/element";
import { MAX_FAMILY, MAX_FONT, MAX_SCROLLBACK, MIN_FONT, type Preferences } from "./preferences";

type Name = keyof Preferences;

interface Row {
  readonly name: Name;
  readonly label: string;
  /** What it does, if the label does not say so. */
  readonly hint?: string;
  /** The values of a choice, with their words. */
  readonly options?: readonly (readonly [value: string, words: string])[];
  /** Attributes of the input field, for a number or a text. */
  readonly input?: Readonly<Record<string, string>>;
  /** Whether it has a meaning on this device. */
  readonly when?: boolean;
}

interface Group {
  readonly title: string;
  readonly rows: readonly Row[];
}

const GROUPS: readonly Group[] = [
  {
    title: "Appearance",
    rows: [
      {
        name: "appearance",
        label: "Theme",
        options: [
          ["auto", "As the system"],
          ["light", "Light"],
          ["dark", "Dark"],
          ["contrast-light", "High contrast, light"],
          ["contrast-dark", "High contrast, dark"],
        ],
      },
      { name: "fontSize", label: "Text size", input: { type: "number", min: String(MIN_FONT), max: String(MAX_FONT), step: "1" } },
      { name: "fontFamily", label: "Font", input: { type: "text", maxlength: String(MAX_FAMILY), placeholder: "Monospace", autocomplete: "off", spellcheck: "false" } },
      {
        name: "cursorStyle",
        label: "Cursor",
        options: [
          ["block", "Block"],
          ["bar", "Bar"],
          ["underline", "Underline"],
        ],
      },
      { name: "cursorBlink", label: "Cursor blinks" },
    ],
  },
  {
    title: "Terminal",
    rows: [
      { name: "scrollback", label: "Scrollback lines", input: { type: "number", min: "0", max: String(MAX_SCROLLBACK), step: "1000" } },
      {
        name: "bell",
        label: "Bell",
        options: [
          ["visual", "Flash"],
          ["sound", "Sound"],
          ["both", "Flash and sound"],
          ["none", "None"],
        ],
      },
      { name: "systemNotices", label: "Notify outside this page", hint: "When a program rings or has a message while you are elsewhere. The browser asks you first." },
    ],
  },
  {
    title: "Keyboard and mouse",
    rows: [
      { name: "copyOnSelect", label: "Copy what is selected" },
      {
        name: "rightClick",
        label: "Right click",
        options: [
          ["menu", "Browser’s menu"],
          ["paste", "Paste"],
          ["copy-paste", "Copy, else paste"],
        ],
      },
      { name: "askBeforePaste", label: "Ask before pasting several lines" },
      { name: "ctrlVPastes", label: "Ctrl+V pastes", when: !isMac },
      { name: "optionIsMeta", label: "Option is Meta", when: isMac },
    ],
  },
  {
    title: "Accessibility",
    rows: [
      { name: "screenReader", label: "Screen reader support" },
      {
        name: "renderer",
        label: "Drawing",
        options: [
          ["auto", "Fastest"],
          ["dom", "As text, without WebGL"],
        ],
      },
    ],
  },
];

export class Settings {
  readonly #controls = new Map<Name, HTMLInputElement | HTMLSelectElement>();

  /** `changed` is told what the person chose, which is not checked yet. */
  constructor(changed: (name: Name, value: unknown) => void) {
    const nodes = GROUPS.map((group) => this.#group(group));
    element("settings-groups").replaceChildren(...nodes);
    for (const [name, control] of this.#controls) {
      control.addEventListener("change", () => changed(name, valueOf(control)));
    }
  }

  /** Shows the preferences as they are. */
  show(preferences: Preferences): void {
    for (const [name, control] of this.#controls) {
      const value = preferences[name];
      if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = value === true;
      else if (control.value !== String(value)) control.value = String(value);
    }
  }

  #group({ title, rows }: Group): HTMLElement {
    const group = document.createElement("fieldset");
    group.appendChild(document.createElement("legend")).textContent = title;
    group.append(...rows.filter(({ when }) => when !== false).flatMap((row) => this.#row(row)));
    return group;
  }

  #row({ name, label, hint, options, input }: Row): HTMLElement[] {
    const row = document.createElement("div");
    row.className = "row";
    const words = row.appendChild(document.createElement("label"));
    words.textContent = label;
    const control = document.createElement(options === undefined ? "input" : "select") as HTMLInputElement | HTMLSelectElement;
    if (control instanceof HTMLSelectElement) control.append(...(options ?? []).map(([value, words]) => new Option(words, value)));
    else if (input === undefined) {
      control.type = "checkbox";
      control.setAttribute("role", "switch");
    } else for (const [attribute, value] of Object.entries(input)) control.setAttribute(attribute, value);
    control.id = words.htmlFor = `setting-${name}`;
    row.append(control instanceof HTMLInputElement && control.type === "number" ? stepper(control, label) : control);
    this.#controls.set(name, control);
    if (hint === undefined) return [row];
    const more = document.createElement("p");
    more.className = "hint";
    more.id = `${control.id}-hint`;
    more.textContent = hint;
    control.setAttribute("aria-describedby", more.id);
    return [row, more];
  }
}

/** A number between buttons that make it smaller and larger: touch keyboards have no arrow keys. */
function stepper(field: HTMLInputElement, label: string): HTMLElement {
  const group = document.createElement("span");
  group.className = "stepper";
  const button = (sign: string, words: string, move: () => void) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = sign;
    made.setAttribute("aria-label", `${label}: ${words}`);
    made.addEventListener("click", () => {
      move();
      field.dispatchEvent(new Event("change"));
    });
    return made;
  };
  group.append(
    button("−", "less", () => field.stepDown()),
    field,
    button("+", "more", () => field.stepUp()),
  );
  return group;
}

function valueOf(control: HTMLInputElement | HTMLSelectElement): unknown {
  if (control instanceof HTMLSelectElement) return control.value;
  if (control.type === "checkbox") return control.checked;
  return control.type === "number" ? (control.value === "" ? undefined : Number(control.value)) : control.value;
}
