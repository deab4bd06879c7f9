/** Draws the uploads: one line for all of them, and one for each file that is on its way or has a problem. */
import { element } from "../page/element";
import { icon } from "./icons";
import { shown } from "./paths";
import type { Upload, Uploads } from "./uploads";
import { count, failure, size } from "./words";

/** Most files with a line of their own. The line for all counts the others. */
const MAX_LINES = 20;
/** How long the message stays that all is done, in milliseconds. */
const DONE_MS = 6000;

export class UploadProgress {
  readonly #section = element("files-uploads");
  readonly #list = element("files-uploads-list");
  readonly #lines = new Map<number, HTMLElement>();
  #queued = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly uploads: Uploads,
    private readonly announce: (words: string) => void,
  ) {
    element("files-uploads-cancel").addEventListener("click", () => {
      if (this.uploads.summary.open > 0) this.uploads.cancel();
      this.uploads.clear();
    });
    this.#list.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest<HTMLElement>("[data-act]") : null;
      const id = Number(button?.closest<HTMLElement>("li")?.dataset["id"]);
      if (button?.dataset["act"] === "retry") this.uploads.retry(id);
      if (button?.dataset["act"] === "cancel") this.uploads.cancel(id);
    });
  }

  /** Draws with the browser's next frame, because progress comes more often than that. */
  changed(): void {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.#draw();
    });
  }

  #draw(): void {
    const { all, summary } = this.uploads;
    const { total, done, open, bytes, sent, failed, exists } = summary;
    this.#section.hidden = total === 0;
    const over = open === 0;
    const line = over
      ? [done > 0 && `${count(done, "file")} uploaded`, exists > 0 && `${exists} there already`, failed > 0 && `${failed} failed`].filter(Boolean).join(", ")
      : `Uploading ${Math.min(total, done + 1)} of ${total} · ${size(sent)} of ${size(bytes)}`;
    const words = element("files-uploads-words");
    if (words.textContent !== line) words.textContent = line;
    const bar = element<HTMLProgressElement>("files-uploads-bar");
    bar.hidden = over;
    bar.value = bytes === 0 ? 0 : sent / bytes;
    element("files-uploads-cancel").textContent = over ? "Close" : "Cancel all";
    this.#drawLines(all.filter(({ state }) => state === "travelling" || state === "failed" || state === "exists").slice(0, MAX_LINES));

    clearTimeout(this.#timer);
    if (!over || total === 0) return;
    this.announce(line);
    if (failed === 0 && exists === 0) this.#timer = setTimeout(() => this.uploads.clear(), DONE_MS);
  }

  #drawLines(uploads: readonly Upload[]): void {
    const ids = new Set(uploads.map(({ id }) => id));
    for (const [id, line] of this.#lines) {
      if (ids.has(id)) continue;
      line.remove();
      this.#lines.delete(id);
    }
    uploads.forEach((upload, index) => {
      const line = this.#lines.get(upload.id) ?? newLine(upload);
      this.#lines.set(upload.id, line);
      if (this.#list.children[index] !== line) this.#list.insertBefore(line, this.#list.children[index] ?? null);
      drawLine(line, upload);
    });
  }
}

function newLine({ id, name }: Upload): HTMLElement {
  const line = document.createElement("li");
  line.dataset["id"] = String(id);
  const label = line.appendChild(document.createElement("b"));
  label.textContent = shown(name);
  label.title = name;
  line.appendChild(document.createElement("small"));
  const retry = line.appendChild(document.createElement("button"));
  retry.type = "button";
  retry.dataset["act"] = "retry";
  const cancel = line.appendChild(document.createElement("button"));
  cancel.type = "button";
  cancel.dataset["act"] = "cancel";
  cancel.append(icon("close"));
  const bar = line.appendChild(document.createElement("progress"));
  bar.setAttribute("aria-label", `Upload of ${shown(name)}`);
  return line;
}

function drawLine(line: HTMLElement, { name, state, sent, size: bytes, failure: why }: Upload): void {
  line.className = state;
  const part = <T extends HTMLElement>(selector: string) => line.querySelector<T>(selector) as T;
  const words =
    state === "exists" ? "There is a file of this name already." : state === "failed" ? failure(why ?? { status: 0 }) : sent >= bytes ? "Storing…" : `${size(sent)} of ${size(bytes)}`;
  const small = part("small");
  if (small.textContent !== words) small.textContent = words;
  const retry = part("[data-act=retry]");
  retry.hidden = state === "travelling";
  retry.textContent = state === "exists" ? "Replace" : "Try again";
  part("[data-act=cancel]").setAttribute("aria-label", state === "travelling" ? `Cancel ${shown(name)}` : `Leave ${shown(name)} out`);
  const bar = part<HTMLProgressElement>("progress");
  bar.hidden = state !== "travelling";
  if (sent >= bytes) bar.removeAttribute("value");
  else bar.value = sent / bytes;
}
