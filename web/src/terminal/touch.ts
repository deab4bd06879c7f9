/**
 * Recognises what a finger does: a drag scrolls, with momentum, a long press selects a word, and dragging on selects more. Two fingers belong
 * to the browser, which zooms. Does not know what scrolling or selecting means to the terminal.
 */

/** A finger that moved less than this counts as resting, in CSS pixels. */
const SLOP = 8;
/** What is left of a flick's speed after one frame. */
const FRICTION = 0.95;
/** A flick that is slower than this ends, in CSS pixels per millisecond. */
const STOPPED = 0.02;
/** A finger that rested this long before it left makes no flick, in milliseconds. */
const REST_MS = 50;
/** How long a finger rests until it selects, in milliseconds: the same as elsewhere on phones. */
const LONG_PRESS_MS = 500;

export interface Point {
  readonly clientX: number;
  readonly clientY: number;
}

export interface Touchable {
  /** Height of a row, in CSS pixels. */
  rowHeight(): number;
  /** Scrolls by whole rows. Positive is towards the end. */
  scroll(rows: number, at: Point): void;
  /** Selects the word there. False: there is none. */
  selectWord(at: Point): boolean;
  /** Selects from that word to here. */
  extendSelection(to: Point): void;
  /** The finger has left the screen after selecting. */
  selected(): void;
}

export function takeTouches(host: HTMLElement, target: Touchable): void {
  let last: { y: number; time: number } | undefined;
  let start: Point = { clientX: 0, clientY: 0 };
  let moved = 0;
  let speed = 0;
  let frame = 0;
  /** What the finger moved beyond whole rows, in CSS pixels. */
  let rest = 0;
  let press: ReturnType<typeof setTimeout> | undefined;
  let selecting = false;

  const scroll = (pixels: number, at: Point) => {
    rest += pixels;
    const rows = Math.trunc(rest / target.rowHeight());
    if (rows === 0) return;
    rest -= rows * target.rowHeight();
    target.scroll(rows, at);
  };
  const forget = () => {
    clearTimeout(press);
    last = undefined;
    selecting = false;
  };

  host.addEventListener(
    "touchstart",
    (event) => {
      cancelAnimationFrame(frame);
      forget();
      const touch = event.touches[0];
      if (event.touches.length !== 1 || touch === undefined) return;
      last = { y: touch.clientY, time: event.timeStamp };
      moved = speed = rest = 0;
      const at = { clientX: touch.clientX, clientY: touch.clientY };
      start = at;
      press = setTimeout(() => void (selecting = target.selectWord(at)), LONG_PRESS_MS);
    },
    { passive: true },
  );
  host.addEventListener(
    "touchmove",
    (event) => {
      const touch = event.touches[0];
      if (last === undefined || touch === undefined) return;
      if (selecting) {
        event.preventDefault();
        return target.extendSelection(touch);
      }
      if (Math.hypot(touch.clientX - start.clientX, touch.clientY - start.clientY) >= SLOP) clearTimeout(press);
      const distance = last.y - touch.clientY;
      moved += Math.abs(distance);
      if (moved < SLOP) return;
      event.preventDefault();
      speed = distance / Math.max(1, event.timeStamp - last.time);
      last = { y: touch.clientY, time: event.timeStamp };
      scroll(distance, touch);
    },
    { passive: false },
  );
  host.addEventListener(
    "touchend",
    (event) => {
      const touch = event.changedTouches[0];
      const [before, selected] = [last, selecting];
      forget();
      if (selected) {
        // Keeps the browser from a click, which would clear the selection.
        event.preventDefault();
        return target.selected();
      }
      if (before === undefined || touch === undefined || event.timeStamp - before.time > REST_MS || moved < SLOP) return;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const point = { clientX: touch.clientX, clientY: touch.clientY };
      let then = performance.now();
      const glide = (now: number) => {
        scroll(speed * (now - then), point);
        then = now;
        speed *= FRICTION;
        if (Math.abs(speed) > STOPPED) frame = requestAnimationFrame(glide);
      };
      if (Math.abs(speed) > STOPPED) frame = requestAnimationFrame(glide);
    },
    { passive: false },
  );
  host.addEventListener("touchcancel", forget, { passive: true });
  // The browser's own long press would select page text or open a menu over the terminal.
  host.addEventListener("contextmenu", (event) => {
    if ((event as PointerEvent).pointerType !== "touch") return;
    event.preventDefault();
    event.stopPropagation();
  }, { capture: true });
}
