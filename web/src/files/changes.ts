/** What a person does with the entries of the directory that is shown: make, rename, delete and download them. Asks first, and draws nothing. */
import { download } from "../page/element";
import type { Entry } from "./api";
import { askDelete, askName } from "./dialogs";
import type { Directory } from "./directory";
import { isStorage, join, shown } from "./paths";

export interface ChangesHost {
  /** Waits for a change, reports how it failed, and shows the directory as it is then. `next`: the entry that the keyboard goes to. */
  carryOut(change: Promise<{ ok: boolean; status?: number; error?: string }>, next?: string): Promise<boolean>;
  announce(words: string): void;
  /** The questions are answered, and the keyboard can go back. */
  focus(): void;
}

export class Changes {
  constructor(
    private readonly directory: Directory,
    private readonly host: ChangesHost,
  ) {}

  async newFolder(): Promise<void> {
    const { api, path, taken } = this.directory;
    if (api === undefined || path === undefined) return;
    const name = await askName({ title: "New folder", action: "Make folder", value: "", taken });
    if (name !== undefined) await this.host.carryOut(api.makeDirectory(join(path, name)), name);
    this.host.focus();
  }

  async rename({ name }: Entry): Promise<void> {
    const { api, path, taken } = this.directory;
    if (api === undefined || path === undefined) return;
    const to = await askName({ title: `Rename ${shown(name)}`, action: "Rename", value: name, taken: new Set([...taken].filter((other) => other !== name)) });
    if (to !== undefined && to !== name) await this.host.carryOut(api.rename(join(path, name), join(path, to)), to);
    this.host.focus();
  }

  async remove(entries: readonly Entry[]): Promise<void> {
    const { api, path, roots } = this.directory;
    const removable = entries.filter(({ storage }) => !storage);
    if (api === undefined || path === undefined || removable.length === 0) return;
    if (await askDelete(removable, isStorage(path, roots))) {
      // One after the other, up to the first failure: the sandbox deletes one at a time anyway.
      const all = async () => {
        for (const { name } of removable) {
          const removed = await api.remove(join(path, name));
          if (!removed.ok) return removed;
        }
        return { ok: true } as const;
      };
      const [first] = removable;
      if (await this.host.carryOut(all())) this.host.announce(removable.length === 1 ? `${shown(first?.name ?? "")} is deleted.` : `${removable.length} entries are deleted.`);
    }
    this.host.focus();
  }

  download({ name }: Entry): void {
    const { api, path } = this.directory;
    if (api !== undefined && path !== undefined) download(api.contentUrl(join(path, name)), name);
  }
}
