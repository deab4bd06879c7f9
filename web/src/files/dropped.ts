/** Reads the files that a person dropped or chose, including folders, into a flat list. Knows nothing of the page. */
import { type Item, MAX_QUEUED } from "./uploads";

/** Whether files are being dragged. */
export function holdsFiles(transfer: DataTransfer | null): boolean {
  return transfer?.types.includes("Files") ?? false;
}

/** What was dropped. Must be called within the event, because the browser empties the list afterwards. */
export function dropped(transfer: DataTransfer): Promise<Item[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  // Some sources have files but no entries.
  if (entries.length === 0) return Promise.resolve([...transfer.files].map((file) => ({ path: file.name, file })));
  return walk(entries);
}

/** What was chosen with a file input, for files or for a folder. */
export function chosen(files: FileList | null): Item[] {
  return [...(files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

async function walk(entries: readonly FileSystemEntry[]): Promise<Item[]> {
  const items: Item[] = [];
  const queue = [...entries];
  for (let entry = queue.shift(); entry !== undefined && items.length <= MAX_QUEUED; entry = queue.shift()) {
    const path = entry.fullPath.replace(/^\//, "") || entry.name;
    if (entry.isDirectory) {
      const children = await childrenOf(entry as FileSystemDirectoryEntry);
      if (children.length === 0) items.push({ path });
      queue.push(...children);
    } else {
      items.push({ path, file: await fileOf(entry as FileSystemFileEntry) });
    }
  }
  return items;
}

async function childrenOf(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const all: FileSystemEntry[] = [];
  // A reader returns a hundred entries at a time, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0 || all.length > MAX_QUEUED) return all;
    all.push(...some);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
