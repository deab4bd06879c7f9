/**
 * Which level of the protocol a server speaks, where the handshake does not say: a proxy may have dropped the field that does. Told by the
 * server's first message. Pure.
 */
import { parseObject } from "./protocol";

/** The level of a server whose first text message this is, or `undefined` where it may be either. */
export function levelOf(message: string): 0 | 1 | undefined {
  const frame = parseObject(message);
  switch (frame?.["type"]) {
    case "stage":
    case "exit":
      return 1;
    case "ready":
      return typeof frame["client"] === "string" && typeof frame["epoch"] === "number" ? 1 : 0;
    case "error":
      return typeof frame["code"] === "string" ? 1 : 0;
    case "status":
    case "output":
      return 0;
    default:
      return undefined;
  }
}
