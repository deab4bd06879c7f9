/** What a finger does to this terminal: a drag scrolls the window, the history or the program, and a long press selects. */
import type { Terminal as Xterm } from "@xterm/xterm";
import type { Panning } from "./panning";
import { Selecting } from "./selecting";
import { type Point, takeTouches } from "./touch";

/** `selected` is given the text once the finger has left it. */
export function takeGestures(xterm: Xterm, container: HTMLElement, panning: Panning, selected: (text: string) => void): void {
  const screen = () => container.querySelector(".xterm-screen") ?? container;
  const selecting = new Selecting(xterm, container);
  takeTouches(container, {
    rowHeight: () => Math.max(1, screen().clientHeight / xterm.rows),
    scroll: (rows, at) => {
      if (panning.scrollBy(rows)) return;
      if (xterm.buffer.active.type === "normal" && xterm.modes.mouseTrackingMode === "none") return xterm.scrollLines(rows);
      // The program scrolls, by reports of the wheel or by arrow keys. It gets one event for each row, as from the notches of a wheel.
      for (let row = 0; row < Math.abs(rows); row++) screen().dispatchEvent(notch(Math.sign(rows), at));
    },
    selectWord: (at) => selecting.selectWord(at),
    extendSelection: (to) => selecting.extend(to),
    selected: () => selected(xterm.getSelection()),
  });
}

/** One notch of a wheel, down or up. */
function notch(direction: number, { clientX, clientY }: Point): WheelEvent {
  return new WheelEvent("wheel", { deltaY: direction, deltaMode: WheelEvent.DOM_DELTA_LINE, clientX, clientY, bubbles: true, cancelable: true });
}
