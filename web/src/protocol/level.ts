/**
 * Which level of the protocol a server speaks, judged by its first message. Needed if the handshake does not say, because a proxy may
 * have dropped the field that does. Pure.
 */
import { parseObject } from "./json";

/** The level of a server that sends this text message first, or `undefined` if it may be either. */
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
