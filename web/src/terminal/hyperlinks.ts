/** Links in the terminal's text, written by programs (OSC 8) or recognised as addresses. Opens nothing but the web, in a new tab. */
import { WebLinksAddon } from "@xterm/addon-web-links";
import type { ILinkHandler } from "@xterm/xterm";

/** `hovered` is told where the link under the pointer leads, and `undefined` when the pointer leaves it. */
export function linkHandler(hovered: (url: string | undefined) => void): ILinkHandler {
  return { activate: open, hover: (_, url) => hovered(address(url)), leave: () => hovered(undefined) };
}

/** Recognises addresses in plain text. */
export function webLinks(): WebLinksAddon {
  return new WebLinksAddon(open);
}

function open(_: MouseEvent, url: string): void {
  if (/^https?:\/\//i.test(url)) window.open(url, "_blank", "noopener,noreferrer");
}

/** The address as browsers show it, with everything encoded that could mislead: marks of direction, letters that look like others. */
function address(url: string): string {
  return URL.canParse(url) ? new URL(url).href : "";
}
