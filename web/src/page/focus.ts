/** Where the keyboard goes when a menu or a dialog closes. Knows by name only the dialogs of the files panel, which keep the keyboard there. */

/** The files panel gives the keyboard back to where it was in the panel. */
const OWN = "#file-menu, #file-name, #file-delete, #file-several";

/**
 * Calls `home` when a menu or a dialog has closed, and the keyboard is nowhere or on the button that had opened it. A person who closed it
 * by going elsewhere stays there.
 */
export function bringHome(home: () => void): void {
  const closed = (from: HTMLElement) => {
    if (document.querySelector("dialog[open], [popover]:popover-open") !== null) return;
    const at = document.activeElement;
    if (at === null || at === document.body || at.getAttribute("popovertarget") === from.id || (from instanceof HTMLDialogElement && at.closest("#bar") !== null)) home();
  };
  for (const menu of document.querySelectorAll<HTMLElement>(`[popover]:not(${OWN})`)) {
    menu.addEventListener("toggle", (event) => (event as ToggleEvent).newState === "closed" && closed(menu));
  }
  for (const dialog of document.querySelectorAll<HTMLDialogElement>(`dialog:not(${OWN})`)) {
    dialog.addEventListener("close", () => closed(dialog));
  }
}
