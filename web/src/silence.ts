/**
 * Keeps the terminal emulator from answering: where the recorder answers; within replay, since the program that asked has its answer since
 * long, or is gone, and an answer would be typed into whatever runs now; and where somebody else types, since their terminal answers.
 * Knows what in a program's output asks.
 *
 * An answer is given while the question is parsed, before anything else happens in the page. So each question is let through to the emulator,
 * and what comes out of it is an answer until this piece of output is parsed: keys, mouse and focus come as events of their own, and never
 * between.
 */
import type { IFunctionIdentifier, IParser } from "@xterm/xterm";

/** Questions by CSI sequences. Also those that xterm.js does not answer yet. */
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
/** To switch on the reports of the focus asks for one, which only a window can answer. */
const FOCUS: IFunctionIdentifier = { prefix: "?", final: "h" };
/** Questions by OSC: each of these sets something, and with `?` asks for it. */
const OSC = [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 50];
/** Questions by DCS. */
const DCS: readonly IFunctionIdentifier[] = [
  { intermediates: "$", final: "q" }, // DECRQSS
  { intermediates: "+", final: "q" }, // XTGETTCAP
];
/** The clipboard: an old copy must not replace what is on it now, and a viewer's is not the program's. */
const CLIPBOARD = 52;

export class Silence {
  /** What is parsed is replay. */
  #replay = false;
  /** Somebody else types. */
  viewer = false;
  /** The recorder answers. */
  recorded = false;
  #answering = false;

  /** Has to be made after everything else that handles the same sequences. */
  constructor(parser: IParser) {
    for (const id of CSI) parser.registerCsiHandler(id, () => this.#ask(this.recorded));
    for (const id of OSC) parser.registerOscHandler(id, () => this.#ask(this.recorded));
    for (const id of DCS) parser.registerDcsHandler(id, () => this.#ask(this.recorded));
    parser.registerCsiHandler(FOCUS, () => this.#ask(false));
    parser.registerOscHandler(CLIPBOARD, () => this.#replay || this.viewer);
  }

  /** What the emulator says now is an answer that nobody may hear. */
  get isAnswering(): boolean {
    return this.#answering;
  }

  get replay(): boolean {
    return this.#replay;
  }

  /** To be set between two pieces of output, in their order. */
  set replay(replay: boolean) {
    this.#replay = replay;
    this.#answering = false;
  }

  /** Somebody else has `answered`, where it is so. False: the emulator goes on with it. */
  #ask(answered: boolean): false {
    if (!this.#answering && (answered || this.#replay || this.viewer)) {
      this.#answering = true;
      queueMicrotask(() => void (this.#answering = false));
    }
    return false;
  }
}
