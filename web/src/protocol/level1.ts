/**
 * Level 1 of the terminal protocol, `sandbox-broker.v1`: output as binary frames with absolute offsets, numbered input, and the JSON
 * messages between them. Decoding is total: what is malformed or unknown becomes `undefined`, never an exception. Knows no socket, no
 * terminal and no screen.
 */
import { MAX_MESSAGE, MAX_NAME, optional, parseObject, string, whole } from "./json";
import { decodeStatus, type ErrorFrame, type StatusFrame } from "./level0";
import { clampCells, decodeSize, type Size } from "./size";

/** The subprotocol that a client offers and the broker echoes. */
export const SUBPROTOCOL = "sandbox-broker.v1";

/** First byte of a binary frame. */
const OUTPUT = 0x01;
const INPUT = 0x02;
/** That byte and the u64 after it. */
const HEAD_BYTES = 9;

/** Most clients shown of a session. The broker admits fewer. This bounds what a faulty broker can make the page draw. */
const MAX_CLIENTS = 100;

export type Role = "driver" | "viewer";

export interface Client {
  readonly client: string;
  readonly role: Role;
  /** The size of its window, if it has told one. */
  readonly size?: Size;
  /** The terminal has its size, or one side of it, from this window. */
  readonly setsSize?: true;
  /** The name of the guest, if the client came by an invitation. */
  readonly guest?: string;
}

/** The shell runs, and this client is in its session. */
export interface JoinedFrame {
  readonly type: "joined";
  readonly session: string;
  readonly client: string;
  readonly role: Role;
  /** Which numbering the offsets belong to. Another epoch has other bytes at the same offsets. */
  readonly epoch: number;
  /** Offset of the first byte that follows. */
  readonly offset: number;
  /** The end of the output as it is now. Everything before it is replay. */
  readonly live: number;
  /** The highest number of this client's input that was handed to the sandbox. */
  readonly input: number;
  readonly size?: Size;
  readonly provider?: string;
  readonly isolation?: string;
  readonly durability?: "durable" | "best-effort";
  /** Who answers what programs ask of the terminal. */
  readonly answers: "recorder" | "client";
  /** How long the session lives without clients, in milliseconds. */
  readonly keepMs?: number;
  /** Admits others to the session, to watch. */
  readonly invitation?: string;
}

/** Takes the place of all output before `offset`: draws the screen as it was there, on a terminal that was reset. */
export interface ScreenFrame {
  readonly type: "screen";
  readonly offset: number;
  readonly data: string;
  readonly size?: Size;
}

/** Takes the place of output that is gone for this client. */
export interface GapFrame {
  readonly type: "gap";
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

/** Input up to `seq` was handed to the sandbox. */
export interface InputAckFrame {
  readonly type: "input-ack";
  readonly seq: number;
}

/** The terminal has this size from the next byte of output on. */
export interface SizeFrame extends Size {
  readonly type: "size";
}

/** Who is in the session, this client included. */
export interface ClientsFrame {
  readonly type: "clients";
  readonly clients: readonly Client[];
}

/** The session is over. */
export interface ExitFrame {
  readonly type: "exit";
  /** How the shell ended, in words. */
  readonly message: string;
}

/** The answer to a `ping`. */
export interface PongFrame {
  readonly type: "pong";
}

export type Level1Frame = StatusFrame | JoinedFrame | ScreenFrame | GapFrame | InputAckFrame | PongFrame | SizeFrame | ClientsFrame | ExitFrame | ErrorFrame;

/** A text message of the broker. `undefined`: it is malformed or unknown. */
export function decodeMessage(text: string): Level1Frame | undefined {
  const frame = parseObject(text);
  switch (frame?.["type"]) {
    case "stage":
      return decodeStatus(frame, "name");
    case "ready":
      return decodeJoined(frame);
    case "screen": {
      const [offset, data] = [whole(frame["offset"]), frame["data"]];
      if (offset === undefined || typeof data !== "string") return undefined;
      return { type: "screen", offset, data, ...optional("size", decodeSize(frame["size"])) };
    }
    case "gap": {
      const [from, to] = [whole(frame["from"]), whole(frame["to"])];
      if (from === undefined || to === undefined || to < from) return undefined;
      return { type: "gap", from, to, reason: string(frame["reason"], MAX_MESSAGE) ?? "" };
    }
    case "input-ack": {
      const seq = whole(frame["seq"]);
      return seq === undefined ? undefined : { type: "input-ack", seq };
    }
    case "pong":
      return { type: "pong" };
    case "size": {
      const size = decodeSize(frame);
      return size && { type: "size", ...size };
    }
    case "clients":
      return Array.isArray(frame["clients"]) ? { type: "clients", clients: frame["clients"].slice(0, MAX_CLIENTS).flatMap(decodeClient) } : undefined;
    case "exit":
      return { type: "exit", message: exitWords(frame) };
    case "error":
      return {
        type: "error",
        message: string(frame["message"], MAX_MESSAGE) ?? "The broker reported an error without words.",
        ...optional("code", string(frame["code"], MAX_NAME)),
        ...optional("retryMs", whole(frame["retry_ms"])),
      };
    default:
      return undefined;
  }
}

/** Output with the offset of its first byte. `undefined`: the message is not output. The bytes are not copied. */
export function decodeOutput(message: ArrayBuffer): { readonly offset: number; readonly bytes: Uint8Array } | undefined {
  if (message.byteLength < HEAD_BYTES) return undefined;
  const view = new DataView(message);
  const offset = view.getBigUint64(1);
  if (view.getUint8(0) !== OUTPUT || offset > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return { offset: Number(offset), bytes: new Uint8Array(message, HEAD_BYTES) };
}

/** Text, or bytes, as the input with this number. Half a surrogate pair cannot be sent as UTF-8 and becomes U+FFFD. */
export function encodeNumberedInput(seq: number, input: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  const frame = new Uint8Array(HEAD_BYTES + bytes.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, INPUT);
  view.setBigUint64(1, BigInt(seq));
  frame.set(bytes, HEAD_BYTES);
  return frame;
}

/** The colours of this window's terminal, each as `#rrggbb`. */
export interface Colors {
  readonly foreground: string;
  readonly background: string;
  readonly cursor: string;
}

export function encodeColors({ foreground, background, cursor }: Colors): string {
  return JSON.stringify({ type: "colors", foreground, background, cursor });
}

/** Says that all output below this offset is drawn. */
export function encodeAck(offset: number): string {
  return JSON.stringify({ type: "ack", offset });
}

/** A message without members. `ping` asks for any answer. A broker that does not know it complains, which is an answer as well. */
export function encodeWish(type: "detach" | "kill" | "take-control" | "ping"): string {
  return JSON.stringify({ type });
}

/** What a client says of itself in the query of `/terminal`. */
export interface Joining extends Size {
  readonly client: string;
  readonly role: Role;
  readonly session?: string;
  /** Admits the client to somebody else's session. */
  readonly invitation?: string;
  /** The end of the output that the client has, and the epoch that this offset belongs to. */
  readonly since?: { readonly offset: number; readonly epoch: number };
}

/** `endpoint` with a query that says who joins what. */
export function joiningUrl(endpoint: URL, { session, client, role, invitation, since, cols, rows }: Joining): URL {
  const url = new URL(endpoint);
  if (session !== undefined) url.searchParams.set("session", session);
  url.searchParams.set("client", client);
  url.searchParams.set("catch_up", "screen");
  if (role === "viewer") url.searchParams.set("role", role);
  if (invitation !== undefined) url.searchParams.set("invitation", invitation);
  if (since !== undefined) {
    url.searchParams.set("since", String(since.offset));
    url.searchParams.set("epoch", String(since.epoch));
  }
  url.searchParams.set("cols", String(clampCells(cols)));
  url.searchParams.set("rows", String(clampCells(rows)));
  return url;
}

function decodeJoined(frame: Record<string, unknown>): JoinedFrame | undefined {
  const [session, client] = [string(frame["session"], MAX_NAME), string(frame["client"], MAX_NAME)];
  const [epoch, offset, live, input] = [whole(frame["epoch"]), whole(frame["offset"]), whole(frame["live"]), whole(frame["input"])];
  if (session === undefined || client === undefined) return undefined;
  if (epoch === undefined || offset === undefined || live === undefined || input === undefined) return undefined;
  const durability = (["durable", "best-effort"] as const).find((known) => known === frame["durability"]);
  return {
    type: "joined",
    session,
    client,
    role: decodeRole(frame["role"]),
    epoch,
    offset,
    live,
    input,
    ...optional("size", decodeSize(frame["size"])),
    ...optional("provider", string(frame["provider"], MAX_NAME)),
    ...optional("isolation", string(frame["isolation"], MAX_MESSAGE)),
    ...optional("durability", durability),
    answers: frame["answers"] === "recorder" ? "recorder" : "client",
    ...optional("keepMs", whole(frame["keep_ms"])),
    ...optional("invitation", string(frame["invitation"], MAX_NAME)),
  };
}

function decodeClient(value: unknown): Client[] {
  if (typeof value !== "object" || value === null) return [];
  const frame = value as Record<string, unknown>;
  const client = string(frame["client"], MAX_NAME);
  return client === undefined ? [] : [{ client, role: decodeRole(frame["role"]), ...optional("size", decodeSize(frame)), ...(frame["sets_size"] === true && { setsSize: true as const }), ...optional("guest", string(frame["guest"], MAX_NAME)) }];
}

/** Every role but `driver` counts as a viewer, so that in doubt this page types nothing. */
function decodeRole(value: unknown): Role {
  return value === "driver" ? "driver" : "viewer";
}

function exitWords(frame: Record<string, unknown>): string {
  const { code } = frame;
  const [signal, reason] = [string(frame["signal"], MAX_NAME), string(frame["reason"], MAX_MESSAGE)];
  if (typeof code === "number" && Number.isInteger(code)) return `the shell ended with exit status ${code}`;
  return signal === undefined ? (reason ?? "the session is over") : `the shell was ended by ${signal}`;
}
