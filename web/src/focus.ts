/** Where the keyboard goes when a menu or a dialog closes. Knows no dialog by name but those that keep the keyboard to themselves. */

/** Their owner gives the keyboard back to where it was within the panel. */
const OWN = "#file-menu, #file-name, #file-delete, #file-several";

/**
 * Calls `home` when what had the keyboard has closed and left it to nothing, or to the button that had opened it. Who closed it by going
 * elsewhere stays there.
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
