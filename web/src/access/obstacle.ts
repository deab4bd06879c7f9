/**
 * Finds out over HTTP what stands between this page and its broker: nothing, a sign-in proxy, another server, or a proxy that is set up
 * wrongly. Describes the cause and the way out. Decides nothing and draws nothing.
 */
import { type Access, askAsPage, checkAccess } from "./api";

export interface Obstacle {
  readonly title: string;
  /** What was observed, if it says more than the title. */
  readonly detail?: string;
  readonly advice: string;
  /** A server before the broker wants a sign-in. Opening this page in a new tab leads to it. */
  readonly signIn?: true;
  /** It may pass by itself. In this page there is nothing to do but wait. */
  readonly passes?: true;
}

/** `clear`: nothing is in the way of HTTP. `sign-in`: the broker's own. */
export type Found = { readonly kind: "clear" } | { readonly kind: "sign-in"; readonly error?: string } | { readonly kind: "obstacle"; readonly obstacle: Obstacle };

/**
 * `failed`: how often in a row a WebSocket did not open. `client`: this window's name, by which the broker remembers how its handshake
 * arrived.
 */
export async function findObstacle(failed: number, client: string): Promise<Found> {
  const access = await checkAccess(client);
  if (access.kind === "denied") return { kind: "sign-in", ...(access.error === undefined ? {} : { error: access.error }) };
  if (access.kind !== "granted") return { kind: "obstacle", obstacle: describeAccess(access) };
  if (failed === 0) return { kind: "clear" };
  // A browser sends the page's origin with this request, as with a WebSocket.
  const asked = await askAsPage();
  if (asked.kind === "refused") return { kind: "obstacle", obstacle: describeRefusal(asked, new URL(location.href), access.host) };
  if (access.handshake === "no-upgrade") return { kind: "obstacle", obstacle: noUpgrade(true) };
  return failed < FAILURES ? { kind: "clear" } : { kind: "obstacle", obstacle: noUpgrade(false) };
}

/** When so many WebSockets in a row do not open although HTTP works, a proxy must be the cause. */
const FAILURES = 4;

/** Describes an answer that does not grant access. */
export function describeAccess(access: Exclude<Access, { kind: "granted" | "denied" }>): Obstacle {
  switch (access.kind) {
    case "unreachable":
      return {
        title: "The broker does not answer",
        advice: "Check your network and that the broker is running. This page goes on by itself when it answers.",
        passes: true,
      };
    case "elsewhere":
      return {
        title: "Somebody else answers in the broker's place",
        detail: access.what,
        advice: "Your sign-in at the proxy before the broker has probably expired. Sign in there in a new tab; this page goes on by itself when the broker answers again.",
        signIn: true,
      };
    case "refused":
      return describeRefusal(access, new URL(location.href));
    case "unwell":
      return {
        title: "The broker is not well",
        detail: access.what,
        advice: "This page tries again by itself. If it lasts, the broker's log, or that of a proxy before it, says why.",
        passes: true,
      };
  }
}

/** `here`: the address of this page. `host`: the name that the broker was asked by. */
export function describeRefusal({ code, what: detail }: Extract<Access, { kind: "refused" }>, here: URL, host?: string): Obstacle {
  // The broker was asked by another name than the one in the address bar.
  if (host !== undefined && ![here.host, `${here.hostname}:${here.protocol === "https:" ? 443 : 80}`].includes(host.toLowerCase())) {
    return {
      // Without the broker's words: it cannot see the proxy, and names another remedy.
      title: "A proxy does not pass on the address of this page",
      advice: `The broker was asked as “${host}”, and this page is at “${here.host}”. Let the proxy pass the Host field (nginx: proxy_set_header Host $http_host), and set server.public_url = "${here.origin}" in broker.toml.`,
    };
  }
  if (code === "foreign_origin" || code === "foreign_host") {
    return {
      title: "The broker does not know this address as its own",
      detail,
      advice: `Set server.public_url = "${here.origin}" in broker.toml. The change is live within a second, and this page goes on by itself.`,
    };
  }
  return { title: "The broker refuses this page", detail, advice: "Open the broker's own address, or ask its operator to allow this one." };
}

function noUpgrade(seen: boolean): Obstacle {
  return {
    title: "A proxy does not let WebSockets through",
    ...(seen ? { detail: "The broker got the request for the terminal without its Upgrade field." } : {}),
    advice:
      "Everything else reaches the broker. The proxy before it has to pass on Upgrade and Connection, in HTTP/1.1 (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade). This page goes on by itself when that is done.",
  };
}
