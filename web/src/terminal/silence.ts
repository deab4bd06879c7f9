/**
 * Keeps the emulator's answers from the program in three cases. The recorder answers. Or the question is replay: the program got its answer
 * long ago or is gone, and another would be typed into whatever runs now. Or somebody else drives, and their terminal answers. Knows which
 * sequences ask something.
 *
 * The emulator answers while it parses the question, before anything else happens in the page. So each question goes through to the emulator,
 * and what comes out of it is an answer until this piece of output is parsed. Keys, mouse and focus come as events of their own, and never in
 * between.
 */
import type { IFunctionIdentifier, IParser } from "@xterm/xterm";

/** Questions by CSI sequences, including those that xterm.js does not answer yet. */
const CSI: readonly IFunctionIdentifier[] = [
  { final: "c" }, // DA1
  { prefix: ">", final: "c" }, // DA2
  { prefix: "=", final: "c" }, // DA3
  { final: "n" }, // DSR
  { prefix: "?", final: "n" }, // DSR of DEC
  { intermediates: "$", final: "p" }, // DECRQM of ANSI modes
  { prefix: "?", intermediates: "$", final: "p" }, // DECRQM of DEC's modes
  { prefix: ">", final: "q" }, // XTVERSION
  { final: "t" }, // reports of the window
  { final: "x" }, // DECREQTPARM
  { prefix: "?", final: "u" }, // kitty's keyboard
  { prefix: "?", final: "S" }, // XTSMGRAPHICS
  { intermediates: "$", final: "w" }, // DECRQPSR
  { intermediates: "*", final: "y" }, // DECRQCRA
  { intermediates: "&", final: "u" }, // DECRQUPSS
  { prefix: "?", final: "m" }, // XTQMODKEYS
  { prefix: "?", final: "g" }, // XTQFMTKEYS
];
/** Switching focus reports on asks for one at once, which only a window can answer. */
const FOCUS: IFunctionIdentifier = { prefix: "?", final: "h" };
/** Questions by OSC. Each of these sets something, or asks for it with `?`. */
const OSC = [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 50];
/** Questions by DCS. */
const DCS: readonly IFunctionIdentifier[] = [
  { intermediates: "$", final: "q" }, // DECRQSS
  { intermediates: "+", final: "q" }, // XTGETTCAP
];
/** The clipboard. An old copy must not replace a newer one, and the program must not write to a viewer's clipboard. */
const CLIPBOARD = 52;

export class Silence {
  /** The output that is being parsed is replay. */
  #replay = false;
  /** Somebody else drives. */
  viewer = false;
  /** The recorder answers. */
  recorded = false;
  #answering = false;

  /** Has to be constructed after everything else that handles the same sequences. */
  constructor(parser: IParser) {
    for (const id of CSI) parser.registerCsiHandler(id, () => this.#ask(this.recorded));
    for (const id of OSC) parser.registerOscHandler(id, () => this.#ask(this.recorded));
    for (const id of DCS) parser.registerDcsHandler(id, () => this.#ask(this.recorded));
    parser.registerCsiHandler(FOCUS, () => this.#ask(false));
    parser.registerOscHandler(CLIPBOARD, () => this.#replay || this.viewer);
  }

  /** What comes out of the emulator now is an answer that the program must not get. */
  get isAnswering(): boolean {
    return this.#answering;
  }

  get replay(): boolean {
    return this.#replay;
  }

  /** Has to be set between two pieces of output, in their order. */
  set replay(replay: boolean) {
    this.#replay = replay;
    this.#answering = false;
  }

  /** `answered`: the recorder answers this question. Returns false, so that the emulator handles the question as well. */
  #ask(answered: boolean): false {
    if (!this.#answering && (answered || this.#replay || this.viewer)) {
      this.#answering = true;
      queueMicrotask(() => void (this.#answering = false));
    }
    return false;
  }
}
