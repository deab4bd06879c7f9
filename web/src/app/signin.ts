/** The form that asks for the broker's token. */
import { signIn } from "../access/api";
import { describeAccess } from "../access/obstacle";
import { element } from "../page/element";
import type { Tab } from "./tab";

export function wireSignIn(tab: Tab): void {
  const form = element<HTMLFormElement>("signin");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit(tab, form);
  });
}

async function submit(tab: Tab, form: HTMLFormElement): Promise<void> {
  const field = element<HTMLInputElement>("token");
  const button = form.querySelector("button");
  if (button?.disabled !== false) return;
  button.disabled = true;
  const access = await signIn(field.value);
  button.disabled = false;
  if (access.kind === "granted") {
    field.value = "";
    return tab.start();
  }
  tab.on({ kind: "signin", error: access.kind === "denied" ? (access.error ?? "The broker does not know this token.") : trouble(access) });
  field.select();
}

function trouble(access: Parameters<typeof describeAccess>[0]): string {
  const { title, detail, advice } = describeAccess(access);
  return [title, detail, advice].filter(Boolean).join(". ");
}
