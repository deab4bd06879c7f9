/** What a session is called: its name, its title, or the beginning of its id. Owns the dialog that asks for a name. */
import { element } from "../page/element";
import { ask } from "../page/questions";
import { type Listed, nameProblem, renameSession } from "./api";

/** The best name for a session among others. */
export function called({ name, title, id }: Pick<Listed, "name" | "title" | "id">): string {
  return name ?? title ?? short(id);
}

/** Enough of a session's id to tell it from others. */
export function short(id: string): string {
  return id.length > 12 ? id.slice(0, 8) : id;
}

/** Asks for a name and gives it to the session. Resolves with the session as it is then, or `undefined` if the person gives up. */
export async function rename({ id, name, title }: Pick<Listed, "id" | "name" | "title">): Promise<Listed | undefined> {
  const [field, problem] = [element<HTMLInputElement>("session-name-field"), element("session-name-problem")];
  field.value = name ?? "";
  field.placeholder = title ?? short(id);
  problem.textContent = "";
  for (;;) {
    const answer = ask(element<HTMLDialogElement>("session-name"), () => {
      const wrong = nameProblem(field.value);
      problem.textContent = wrong ?? "";
      if (wrong !== undefined) field.focus();
      return wrong === undefined;
    });
    field.select();
    if ((await answer) !== "ok") return undefined;
    const renamed = await renameSession(id, field.value);
    if (renamed.ok) return renamed.value;
    problem.textContent = renamed.error;
  }
}
