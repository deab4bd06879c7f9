/** What draws the terminal: WebGL if that is wanted and works, else xterm.js's own text elements. */
import { WebglAddon } from "@xterm/addon-webgl";
import type { Terminal as Xterm } from "@xterm/xterm";
import type { TerminalOptions } from "./options";

export class Renderer {
  #webgl: WebglAddon | undefined;

  constructor(private readonly xterm: Xterm) {}

  use(renderer: TerminalOptions["renderer"]): void {
    if (renderer === "dom") {
      this.#webgl?.dispose();
      this.#webgl = undefined;
    } else if (this.#webgl === undefined) {
      try {
        const webgl = new WebglAddon();
        // The browser may take WebGL away at any time. Without the addon, xterm.js goes on with text elements.
        webgl.onContextLoss(() => webgl.dispose());
        this.xterm.loadAddon(webgl);
        this.#webgl = webgl;
      } catch {
        // No WebGL 2: xterm.js draws with text elements already.
      }
    }
  }
}
