/** The panel's icons. Made element by element, because the page's policy allows no markup from text. */

const PATHS = {
  folder: "M1.8 12.4V3.9c0-.5.4-.9.9-.9h3.2l1.6 1.8h5.8c.5 0 .9.4.9.9v6.7c0 .5-.4.9-.9.9H2.7c-.5 0-.9-.4-.9-.9z",
  file: "M3.7 1.8h5.1l3.5 3.6v8c0 .5-.3.8-.8.8H3.7c-.5 0-.8-.3-.8-.8V2.6c0-.5.3-.8.8-.8zM8.7 2v3.5h3.5",
  picture: "M2.6 2.8h10.8c.4 0 .8.4.8.8v8.8c0 .4-.4.8-.8.8H2.6c-.4 0-.8-.4-.8-.8V3.6c0-.4.4-.8.8-.8zM2 11.4l3.5-3.6 3 3 1.9-1.8 3.6 3.4M10.6 6.2h.1",
  link: "M6.6 9.4l2.8-2.8M7.3 4.6l1.5-1.5a2.9 2.9 0 0 1 4.1 4.1l-1.5 1.5M8.7 11.4l-1.5 1.5a2.9 2.9 0 0 1-4.1-4.1l1.5-1.5",
  storage: "M4.4 12.6a2.9 2.9 0 0 1-.3-5.8 4 4 0 0 1 7.7-.5 3.2 3.2 0 0 1-.4 6.3z",
  more: "M8 3.4h.01M8 8h.01M8 12.6h.01",
  close: "M4 4l8 8M12 4l-8 8",
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon", name);
  const path = svg.appendChild(document.createElementNS(space, "path"));
  path.setAttribute("d", PATHS[name]);
  return svg;
}
