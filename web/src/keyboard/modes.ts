/**
 * Which keyboard protocol the program in the terminal has asked for. Reads the program's sequences with the emulator's parser, so that it is
 * right after a screen was redrawn as well. Answers the program's questions about the protocol. Knows no key.
 */
import type { IParser } from "@xterm/xterm";
import { ALL_FLAGS } from "./encode";

/** Most flags kept on each screen's stack. Beyond that the oldest are forgotten, as kitty's specification says. */
const MAX_STACK = 16;

/** The emulator, as far as the modes need it. */
export interface Emulator {
  readonly parser: IParser;
  /** Whether the alternate screen is shown. */
  isAlternate(): boolean;
  /** Sends an answer to the program. */
  answer(text: string): void;
}

type Parameters = readonly (number | number[])[];

export class KeyboardModes {
  /** Kitty's flags of the two screens. The last of each is in force. None means 0. */
  #main: number[] = [];
  #alternate: number[] = [];
  #otherKeys = 0;
  #otherFormat = 0;

  constructor(private readonly emulator: Emulator) {
    const { parser } = emulator;
    parser.registerCsiHandler({ prefix: ">", final: "u" }, (p) => this.#push(at(p, 0)));
    parser.registerCsiHandler({ prefix: "<", final: "u" }, (p) => this.#pop(at(p, 0) || 1));
    parser.registerCsiHandler({ prefix: "=", final: "u" }, (p) => this.#set(at(p, 0), at(p, 1) || 1));
    parser.registerCsiHandler({ prefix: "?", final: "u" }, () => this.#answer(`\x1b[?${this.flags}u`));
    parser.registerCsiHandler({ prefix: ">", final: "m" }, (p) => this.#setOther(p));
    parser.registerCsiHandler({ prefix: ">", final: "n" }, (p) => this.#clearOther(p));
    parser.registerCsiHandler({ prefix: ">", final: "f" }, (p) => this.#setFormat(p));
    parser.registerCsiHandler({ prefix: "?", final: "m" }, (p) => at(p, 0) === OTHER_KEYS && this.#answer(`\x1b[>4;${this.#otherKeys}m`));
    parser.registerCsiHandler({ prefix: "?", final: "g" }, (p) => at(p, 0) === OTHER_KEYS && this.#answer(`\x1b[>4;${this.#otherFormat}f`));
    // RIS. Returning false lets the emulator reset everything else.
    parser.registerEscHandler({ final: "c" }, () => {
      this.reset();
      return false;
    });
  }

  /** Kitty's flags in force. 0: its protocol is off. */
  get flags(): number {
    return this.#stack.at(-1) ?? 0;
  }

  /** Xterm's modifyOtherKeys: 0, 1 or 2. */
  get otherKeys(): number {
    return this.#otherKeys;
  }

  /** Xterm's formatOtherKeys: 0 or 1. */
  get otherFormat(): number {
    return this.#otherFormat;
  }

  reset(): void {
    this.#main = [];
    this.#alternate = [];
    this.#otherKeys = this.#otherFormat = 0;
  }

  get #stack(): number[] {
    return this.emulator.isAlternate() ? this.#alternate : this.#main;
  }

  #push(flags: number): true {
    const stack = this.#stack;
    // An emptied stack goes back to what was in force before the first push.
    if (stack.length === 0) stack.push(0);
    stack.push(flags & ALL_FLAGS);
    if (stack.length > MAX_STACK) stack.shift();
    return true;
  }

  #pop(count: number): true {
    const stack = this.#stack;
    stack.length = Math.max(0, stack.length - count);
    return true;
  }

  #set(flags: number, how: number): true {
    const stack = this.#stack;
    const before = stack.pop() ?? 0;
    const wanted = flags & ALL_FLAGS;
    stack.push(how === 2 ? before | wanted : how === 3 ? before & ~wanted : wanted);
    return true;
  }

  /** XTMODKEYS. Only the resource modifyOtherKeys is supported. */
  #setOther(parameters: Parameters): boolean {
    if (at(parameters, 0) === OTHER_KEYS) this.#otherKeys = Math.min(at(parameters, 1), 2);
    // Without parameters, all resources are reset.
    if (parameters.length <= 1 && at(parameters, 0) === 0) this.#otherKeys = 0;
    return true;
  }

  #clearOther(parameters: Parameters): boolean {
    if (at(parameters, 0) === OTHER_KEYS) this.#otherKeys = 0;
    return true;
  }

  /** XTFMTKEYS. */
  #setFormat(parameters: Parameters): boolean {
    if (at(parameters, 0) === OTHER_KEYS || (parameters.length <= 1 && at(parameters, 0) === 0)) this.#otherFormat = Math.min(at(parameters, 1), 1);
    return true;
  }

  #answer(text: string): true {
    this.emulator.answer(text);
    return true;
  }
}

/** The number of modifyOtherKeys and formatOtherKeys among xterm's key resources. */
const OTHER_KEYS = 4;

/** The number at `index`, or 0 if it is missing. */
function at(parameters: Parameters, index: number): number {
  const value = parameters[index];
  const number = typeof value === "number" ? value : (value?.[0] ?? 0);
  return Math.max(0, number);
}
