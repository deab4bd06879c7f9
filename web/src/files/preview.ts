/**
 * The preview of one file, over the list. The bytes come from the broker as an opaque file. Here they become text, or an image with a `blob:`
 * address, in which no script runs.
 */
import { element } from "../page/element";
import type { Entry, FilesApi } from "./api";
import { basename, shown } from "./paths";
import { asText, MAX_PICTURE, MAX_TEXT, pictureType } from "./content";
import { failure, size } from "./words";

export class Preview {
  readonly #section = element("files-preview");
  readonly #content = element("files-preview-content");
  #stop = new AbortController();
  #picture: string | undefined;
  #shown: string | undefined;

  /** The path of the file that is shown. */
  get path(): string | undefined {
    return this.#shown;
  }

  async show(api: FilesApi, path: string, entry: Entry): Promise<void> {
    this.close();
    const stop = new AbortController();
    this.#stop = stop;
    this.#shown = path;
    this.#section.hidden = false;
    element("files-preview-name").textContent = shown(basename(path));
    element("files-preview-facts").textContent = size(entry.size);
    const save = element<HTMLAnchorElement>("files-preview-save");
    save.href = api.contentUrl(path);
    save.download = basename(path);
    this.#say("Loading…");
    const type = pictureType(entry.name);
    if (type !== undefined && entry.size > MAX_PICTURE) return this.#say(`This picture is too large to show here (more than ${size(MAX_PICTURE)}). Download it.`);
    const answer = await api.read(path, type === undefined ? MAX_TEXT : MAX_PICTURE, stop.signal);
    if (stop.signal.aborted) return;
    if (!answer.ok) return this.#say(failure(answer), true);
    if (type === undefined) this.#text(answer.value, entry.size);
    else this.#show(answer.value, type, entry.name);
  }

  close(): void {
    this.#stop.abort();
    this.#shown = undefined;
    this.#section.hidden = true;
    this.#content.replaceChildren();
    if (this.#picture !== undefined) URL.revokeObjectURL(this.#picture);
    this.#picture = undefined;
  }

  focus(): void {
    element("files-preview-back").focus();
  }

  #text(bytes: Uint8Array, whole: number): void {
    if (bytes.length === 0) return this.#say("This file is empty.");
    const cut = bytes.length < whole;
    const text = asText(bytes, cut);
    if (text === undefined) return this.#say("This file is neither text nor a picture. Download it to open it.");
    const facts = [cut ? `the first ${size(bytes.length)} of ${size(whole)}` : size(whole), text.encoding];
    element("files-preview-facts").textContent = facts.filter(Boolean).join(" · ");
    const words = document.createElement("pre");
    words.tabIndex = 0;
    words.textContent = text.text;
    this.#content.replaceChildren(words);
  }

  #show(bytes: Uint8Array<ArrayBuffer>, type: string, name: string): void {
    const image = document.createElement("img");
    image.alt = name;
    image.addEventListener("load", () => {
      if (image.naturalWidth > 0) element("files-preview-facts").textContent += ` · ${image.naturalWidth} × ${image.naturalHeight}`;
    });
    image.addEventListener("error", () => this.#say("This picture cannot be shown. It may be damaged, or not be what its name says."));
    this.#picture = URL.createObjectURL(new Blob([bytes], { type }));
    image.src = this.#picture;
    this.#content.replaceChildren(image);
  }

  #say(words: string, trouble = false): void {
    const line = document.createElement("p");
    line.textContent = words;
    line.className = trouble ? "trouble" : "";
    this.#content.replaceChildren(line);
  }
}
