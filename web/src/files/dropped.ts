/** Reads what a person dropped or chose, folders included, into a flat list. Knows the browser's objects and nothing of the page. */
import type { Item } from "./uploads";
import { MAX_QUEUED } from "./uploads";

/** Whether something dragged over the page holds files. */
export function holdsFiles(transfer: DataTransfer | null): boolean {
  return transfer?.types.includes("Files") ?? false;
}

/** What was dropped. Must be called within the event, for the browser forgets the list after it. */
export function dropped(transfer: DataTransfer): Promise<Item[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  // Some sources give files without entries.
  if (entries.length === 0) return Promise.resolve([...transfer.files].map((file) => ({ path: file.name, file })));
  return walk(entries);
}

/** What was chosen by a file input, of files or of a folder. */
export function chosen(files: FileList | null): Item[] {
  return [...(files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

async function walk(entries: readonly FileSystemEntry[]): Promise<Item[]> {
  const items: Item[] = [];
  const queue = [...entries];
  for (let entry = queue.shift(); entry !== undefined && items.length <= MAX_QUEUED; entry = queue.shift()) {
    const path = entry.fullPath.replace(/^\//, "") || entry.name;
    if (entry.isDirectory) {
      const children = await children_of(entry as FileSystemDirectoryEntry);
      if (children.length === 0) items.push({ path });
      queue.push(...children);
    } else {
      items.push({ path, file: await file_of(entry as FileSystemFileEntry) });
    }
  }
  return items;
}

async function children_of(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const all: FileSystemEntry[] = [];
  // A reader gives a hundred at a time, and none at its end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0 || all.length > MAX_QUEUED) return all;
    all.push(...some);
  }
}

function file_of(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
