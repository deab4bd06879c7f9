/**
 * Scrolling with a finger. xterm.js 6.0 has none (xtermjs/xterm.js#5489), so a drag becomes the wheel events that it does understand:
 * they scroll the history, and in full-screen programs they are the wheel that the program asked for.
 */

/** A finger that moved less than this is a tap, in CSS pixels. */
const SLOP = 8;
/** What is left of a flick's speed after one frame. */
const FRICTION = 0.95;
/** A flick slower than this has ended, in CSS pixels per millisecond. */
const STOPPED = 0.02;

export function scrollByTouch(host: HTMLElement): void {
  let last: { y: number; time: number } | undefined;
  let moved = 0;
  let speed = 0;
  let frame = 0;

  const scroll = (y: number, touch: { clientX: number; clientY: number }) => {
    const target = host.querySelector(".xterm-screen") ?? host;
    const { clientX, clientY } = touch;
    target.dispatchEvent(new WheelEvent("wheel", { deltaY: y, deltaMode: WheelEvent.DOM_DELTA_PIXEL, clientX, clientY, bubbles: true, cancelable: true }));
  };

  host.addEventListener(
    "touchstart",
    (event) => {
      cancelAnimationFrame(frame);
      const touch = event.touches[0];
      last = event.touches.length === 1 && touch ? { y: touch.clientY, time: event.timeStamp } : undefined;
      moved = speed = 0;
    },
    { passive: true },
  );
  host.addEventListener(
    "touchmove",
    (event) => {
      const touch = event.touches[0];
      if (last === undefined || touch === undefined) return;
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
      if (last === undefined || touch === undefined || event.timeStamp - last.time > 50) return;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const point = { clientX: touch.clientX, clientY: touch.clientY };
      let before = performance.now();
      const glide = (now: number) => {
        scroll(speed * (now - before), point);
        before = now;
        speed *= FRICTION;
        if (Math.abs(speed) > STOPPED) frame = requestAnimationFrame(glide);
      };
      if (Math.abs(speed) > STOPPED) frame = requestAnimationFrame(glide);
    },
    { passive: true },
  );
}
