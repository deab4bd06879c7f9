/** Hears what programs say beside their output, in the emulator's parser. */
import type { IParser } from "@xterm/xterm";
import { osc777, osc9, Osc99, type Said } from "./parse";

export function listen(parser: IParser, told: (said: Said) => void): void {
  const osc99 = new Osc99();
  const hear = (id: number, read: (data: string) => Said | undefined) =>
    parser.registerOscHandler(id, (data) => {
      const said = read(data);
      if (said !== undefined) told(said);
      return true;
    });
  hear(9, osc9);
  hear(777, osc777);
  hear(99, (data) => osc99.take(data));
}
