/**
 * Files that are dropped anywhere on the page. Without this the browser would leave the page to show them, and the sandbox would end.
 * Knows no directory.
 */
import { dropped, holdsFiles } from "./dropped";
import type { Item } from "./uploads";

/** How long after the browser's last word something still counts as dragged over the page, in milliseconds. */
const LEFT_MS = 500;

export interface DropsHost {
  /** Whether there is a place for files now. */
  accepts(): boolean;
  /** Files are being dragged over the page, or no longer. */
  over(on: boolean): void;
  /** Files were dropped, and are still being read. */
  dropped(items: Promise<Item[]>): void;
}

export function takeDrops(host: DropsHost): void {
  let leaving: ReturnType<typeof setTimeout> | undefined;
  window.addEventListener("dragover", (event) => {
    if (!holdsFiles(event.dataTransfer)) return;
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = host.accepts() ? "copy" : "none";
    host.over(host.accepts());
    // The browser repeats this event several times a second, and tells nothing when the drag ends outside the window.
    clearTimeout(leaving);
    leaving = setTimeout(() => host.over(false), LEFT_MS);
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFiles(event.dataTransfer) || event.dataTransfer === null) return;
    event.preventDefault();
    host.over(false);
    if (host.accepts()) host.dropped(dropped(event.dataTransfer));
  });
}
