/** Draws the panel around its rows: the way to the directory, the columns, trouble, and whether files are kept. Decides nothing. */
import { element, setText, setVisible } from "../page/element";
import type { Listing, Root } from "./api";
import { icon } from "./icons";
import { crumbs, isStorage, type Order, places, shown } from "./paths";
import { MAX_ROWS } from "./rows";
import { count } from "./words";

export interface Drawn {
  readonly path: string | undefined;
  readonly roots: readonly Root[];
  readonly listing: Listing | undefined;
  /** How many entries of the listing are meant for people. */
  readonly entries: number;
  /** Words in place of the list. */
  readonly trouble: string | undefined;
  readonly order: Order;
  /** The files are within reach. */
  readonly isAttached: boolean;
  /** A preview covers the list. */
  readonly isPreviewing: boolean;
}

export function drawPanel({ path, roots, listing, entries, trouble, order, isAttached, isPreviewing }: Drawn): void {
  drawPlaces(path, roots);
  const rows = element("files-rows");
  rows.setAttribute("aria-rowcount", String(entries));
  rows.classList.toggle("old", listing === undefined && trouble === undefined);

  setVisible("files-tools", isAttached && !isPreviewing);
  for (const column of element("files").querySelectorAll<HTMLElement>("[data-by]")) {
    const on = column.dataset["by"] === order.by;
    column.setAttribute("aria-pressed", String(on));
    column.dataset["way"] = on ? (order.down ? "down" : "up") : "";
  }
  setVisible("files-order", !isPreviewing && entries > 1);
  setVisible("files-list", !isPreviewing && trouble === undefined);
  setVisible("files-empty", !isPreviewing && listing !== undefined && entries === 0);
  setVisible("files-trouble", !isPreviewing && trouble !== undefined);
  setVisible("files-retry", isAttached);
  setText("files-trouble-words", trouble ?? "");
  const hidden = (listing?.total ?? 0) - (listing?.entries.length ?? 0) + Math.max(0, entries - MAX_ROWS);
  setText("files-more", hidden > 0 ? `${count(hidden, "more entry", "more entries")} not shown. Use the terminal to see all.` : "");
  setVisible("files-more", hidden > 0);
  const stored = path !== undefined && isStorage(path, roots);
  setText("files-kept", path === undefined || trouble !== undefined ? "" : stored ? "On your storage: kept when the session ends" : "On the sandbox: gone when the session ends");
  element("files-kept").classList.toggle("stored", stored);
}

function drawPlaces(path: string | undefined, roots: readonly Root[]): void {
  const way = path === undefined ? [] : crumbs(path, roots);
  const key = JSON.stringify([way, roots]);
  const list = element("files-crumbs");
  if (list.dataset["key"] === key) return;
  list.dataset["key"] = key;
  list.replaceChildren(
    ...way.map(({ label, path }, index) => {
      const item = document.createElement("li");
      const button = item.appendChild(pathButton(path));
      button.title = path;
      if (roots.some((root) => root.storage && root.path === path)) button.append(icon("storage"));
      button.append(shown(label));
      if (index === way.length - 1) button.setAttribute("aria-current", "page");
      return item;
    }),
  );
  list.scrollLeft = list.scrollWidth;
  const starts = places(roots);
  setVisible("files-places", starts.length > 1);
  element("files-places").replaceChildren(
    ...starts.map(({ path, storage }) => {
      const button = pathButton(path);
      button.setAttribute("aria-pressed", String(way[0]?.path === path));
      button.append(icon(storage ? "storage" : "folder"), path);
      return button;
    }),
  );
}

/** A button that leads to a directory. */
function pathButton(path: string): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset["path"] = path;
  return button;
}

/** The bar of buttons for the selected entries. */
export function drawSelected(selected: Listing["entries"]): void {
  setVisible("files-chosen", selected.length > 0);
  if (selected.length === 0) return;
  setText("files-chosen-words", `${selected.length} selected`);
  setText("files-live", `${selected.length} selected`);
  element<HTMLButtonElement>("files-chosen-download").disabled = !selected.some(({ kind }) => kind === "file");
  element<HTMLButtonElement>("files-chosen-delete").disabled = selected.every(({ storage }) => storage);
}
