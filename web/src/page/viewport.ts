/** Keeps the page as tall as what the on-screen keyboard leaves of the window. Only Safari needs this: others resize the page themselves. */
import { element } from "./element";

export function followOnScreenKeyboard(): void {
  const follow = () => {
    const viewport = window.visualViewport;
    if (!viewport || viewport.scale > 1.01) return;
    element("app").style.setProperty("--height", `${viewport.height}px`);
    if (viewport.offsetTop > 0) window.scrollTo(0, 0);
  };
  window.visualViewport?.addEventListener("resize", follow);
  window.visualViewport?.addEventListener("scroll", follow);
  follow();
}
