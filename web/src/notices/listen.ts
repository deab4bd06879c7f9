/** Finds programs' announcements in their output, with the emulator's parser. */
import type { IParser } from "@xterm/xterm";
import { osc777, osc9, Osc99, type Announcement } from "./parse";

export function listen(parser: IParser, announced: (announcement: Announcement) => void): void {
  const osc99 = new Osc99();
  const handle = (id: number, read: (data: string) => Announcement | undefined) =>
    parser.registerOscHandler(id, (data) => {
      const announcement = read(data);
      if (announcement !== undefined) announced(announcement);
      return true;
    });
  handle(9, osc9);
  handle(777, osc777);
  handle(99, (data) => osc99.take(data));
}
