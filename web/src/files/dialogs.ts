/** The panel's questions: a name, and whether to delete. Each resolves when the person has answered or given up. */
import { element } from "../page/element";
import { ask } from "../page/questions";
import type { Entry } from "./api";
import { nameProblem, shown } from "./paths";

export interface NameQuestion {
  readonly title: string;
  readonly action: string;
  readonly value: string;
  readonly taken: ReadonlySet<string>;
}

/** Asks for a name. `undefined`: the person gave up. */
export function askName({ title, action, value, taken }: NameQuestion): Promise<string | undefined> {
  const dialog = element<HTMLDialogElement>("file-name");
  const [field, problem] = [element<HTMLInputElement>("file-name-field"), element("file-name-problem")];
  element("file-name-title").textContent = title;
  element("file-name-action").textContent = action;
  field.value = value;
  problem.textContent = "";
  const answer = ask(dialog, () => {
    const wrong = nameProblem(field.value, taken);
    problem.textContent = wrong ?? "";
    if (wrong !== undefined) field.focus();
    return wrong === undefined;
  });
  // Without the ending after the last dot, which people mostly keep.
  field.setSelectionRange(0, value.lastIndexOf(".") > 0 ? value.lastIndexOf(".") : value.length);
  return answer.then((choice) => (choice === "ok" ? field.value : undefined));
}

/** Asks whether to delete one entry or several for good. */
export function askDelete(entries: readonly Entry[], storage: boolean): Promise<boolean> {
  const [first] = entries;
  const folders = entries.filter(({ kind }) => kind === "directory").length;
  element("file-delete-title").textContent = entries.length === 1 ? `Delete ${shown(first?.name ?? "")}?` : `Delete ${entries.length} entries?`;
  const several = folders === 0 ? "They go for good." : `They go for good, ${folders === 1 ? "one folder" : `${folders} folders`} with everything in it.`;
  const what = entries.length > 1 ? several : folders === 1 ? "The folder goes with everything in it." : "The file goes for good.";
  element("file-delete-words").textContent = storage ? `${what} It is on your storage, so other sessions lose it too.` : `${what} There is no bin to take it back from.`;
  return ask(element<HTMLDialogElement>("file-delete")).then((choice) => choice === "delete");
}
