/**
 * What a person pastes or drops into the terminal, made harmless: pasted text can end no bracketed paste, press no control key, and run no
 * line that the person has not seen. Pure but for the listeners; knows no socket.
 */

/**
 * The text without what steers: control characters of ASCII (C0 and DEL) but tab and line ends, and those of ISO 8859 (C1), of which 9B
 * begins a sequence as `ESC [` does. So no text holds the mark that ends a bracketed paste.
 */
export function cleanPaste(text: string): string {
  return text.toWellFormed().replace(/[\0-\x08\v\f\x0e-\x1f\x7f-\x9f]/g, "");
}

/** How many lines a text has; one that ends with a line end has a line more. */
export function lineCount(text: string): number {
  return text.split(/\r\n|\r|\n/).length;
}

export interface PasteHost {
  text(text: string): void;
  /** Something dragged was dropped, or files were pasted. Must be read within the event. */
  files(transfer: DataTransfer): void;
}

/** Hears all pasting and dropping in `element`, before anybody else. */
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
    // The browser tells of it several times a second, and nothing of its end outside the window.
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
  // What keyboards and assistants of the system put in at once is pasted as well: typing makes no line ends but by its key.
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

/** Office programs put a picture of the text beside it; a file manager puts the file's name beside the file. */
function isForFiles(transfer: DataTransfer): boolean {
  if (transfer.files.length === 0) return false;
  const text = transfer.getData("text/plain");
  return text === "" || [...transfer.files].every(({ name }) => text.includes(name));
}
