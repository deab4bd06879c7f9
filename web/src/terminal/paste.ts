/**
 * What a person pastes or drops into the terminal, made harmless: pasted text cannot end a bracketed paste and cannot press a control key.
 * Pure, apart from the listeners. Knows no socket.
 */

/**
 * The text without control characters: those of ASCII (C0 and DEL) except tab and line ends, and those of ISO 8859 (C1), of which 9B begins a
 * sequence as `ESC [` does. So the text cannot hold the sequence that ends a bracketed paste.
 */
export function cleanPaste(text: string): string {
  return text.toWellFormed().replace(/[\0-\x08\v\f\x0e-\x1f\x7f-\x9f]/g, "");
}

/** How many lines a text has. A line end at its end counts as one more line. */
export function lineCount(text: string): number {
  return text.split(/\r\n|\r|\n/).length;
}

export interface PasteHost {
  text(text: string): void;
  /** Files were pasted or dropped. They must be read within the event. */
  files(transfer: DataTransfer): void;
}

/** Takes everything that is pasted or dropped in `element`, before any other listener. */
export function takePastes(element: HTMLElement, host: PasteHost): void {
  const take = (event: Event) => {
    event.preventDefault();
    event.stopPropagation();
  };
  element.addEventListener(
    "paste",
    (event) => {
      take(event);
      if (event.clipboardData === null) return;
      if (isForFiles(event.clipboardData)) return host.files(event.clipboardData);
      const text = event.clipboardData.getData("text/plain");
      if (text !== "") host.text(text);
    },
    { capture: true },
  );
  let leaving: ReturnType<typeof setTimeout> | undefined;
  const over = (on: boolean) => {
    element.classList.toggle("dropping", on);
    // The browser repeats this event several times a second, and tells nothing when the drag ends outside the window.
    clearTimeout(leaving);
    if (on) leaving = setTimeout(() => over(false), 500);
  };
  element.addEventListener("dragover", (event) => {
    if (event.dataTransfer === null || !/^(Files|text\/plain)$/m.test(event.dataTransfer.types.join("\n"))) return;
    take(event);
    event.dataTransfer.dropEffect = "copy";
    over(true);
  });
  element.addEventListener("drop", (event) => {
    over(false);
    if (event.dataTransfer === null) return;
    take(event);
    if (event.dataTransfer.types.includes("Files")) return host.files(event.dataTransfer);
    const text = event.dataTransfer.getData("text/plain");
    if (text !== "") host.text(text);
  });
  // Text that an on-screen keyboard or an assistant inserts at once is a paste as well. Typed text has no line ends, which have a key.
  element.addEventListener(
    "beforeinput",
    (event) => {
      const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
      if (!event.cancelable || text === "" || !/^insert(Text|From.*)$/.test(event.inputType)) return;
      if (event.inputType === "insertText" && cleanPaste(text) === text && !/[\r\n]/.test(text)) return;
      take(event);
      host.text(text);
    },
    { capture: true },
  );
}

/** Whether the files are meant and not the text. Office programs add a picture of the text; file managers add the names of the files. */
function isForFiles(transfer: DataTransfer): boolean {
  if (transfer.files.length === 0) return false;
  const text = transfer.getData("text/plain");
  return text === "" || [...transfer.files].every(({ name }) => text.includes(name));
}
