/**
 * Finds elements of index.html by their ids, and changes one only if its content changes, so that nothing flickers and screen readers say
 * nothing twice.
 */

export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element #${id}`);
  return found as T;
}

export function setText(id: string, text: string): void {
  setTextOf(element(id), text);
}

export function setTextOf(node: Element | null, text: string): void {
  if (node !== null && node.textContent !== text) node.textContent = text;
}

export function setVisible(id: string, visible: boolean): void {
  const node = element(id);
  if (node.hidden === visible) node.hidden = !visible;
}

/** Sets the text of an element that is hidden while it has none. */
export function setOptionalText(id: string, text: string): void {
  setText(id, text);
  setVisible(id, text !== "");
}

/** Makes the browser save the file at this address. */
export function download(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
