/**
 * What stands between this page and its broker, found out by asking over HTTP: nobody, a sign-in proxy, another server, or a proxy that is
 * set up wrongly. Each has a cause and a way out in words. Decides nothing and draws nothing.
 */
import { type Access, askAsPage, checkAccess } from "./api";

export interface Obstacle {
  readonly title: string;
  /** What was seen, if it says more than the title. */
  readonly detail?: string;
  readonly advice: string;
  /** Somebody else wants a sign-in first: this page, opened in a tab of its own, leads to it. */
  readonly signIn?: true;
  /** It may pass, and nothing but waiting is to be done in this page. */
  readonly passes?: true;
}

/** What `look` found: nothing in the way of HTTP, the broker's own sign-in, or an obstacle. */
export type Found = { readonly kind: "clear" } | { readonly kind: "sign-in"; readonly error?: string } | { readonly kind: "obstacle"; readonly obstacle: Obstacle };

/**
 * Looks what answers in the broker's place. `failed`: how often in a row a WebSocket did not open. `client`: this window's name, by which
 * the broker knows how its handshake arrived.
 */
export async function look(failed: number, client: string): Promise<Found> {
  const access = await checkAccess(client);
  if (access.kind === "denied") return { kind: "sign-in", ...(access.error === undefined ? {} : { error: access.error }) };
  if (access.kind !== "granted") return { kind: "obstacle", obstacle: describeAccess(access) };
  if (failed === 0) return { kind: "clear" };
  // What a browser sends with a WebSocket it sends with this as well: its page's origin.
  const asked = await askAsPage();
  if (asked.kind === "refused") return { kind: "obstacle", obstacle: describeRefusal(asked, new URL(location.href), access.host) };
  if (access.handshake === "no-upgrade") return { kind: "obstacle", obstacle: noUpgrade(true) };
  return failed < FAILURES ? { kind: "clear" } : { kind: "obstacle", obstacle: noUpgrade(false) };
}

/** So many WebSockets in a row that do not open, while HTTP works, are no accident. */
const FAILURES = 4;

/** The words for an answer that is not the broker's consent. */
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

/** `here`: the address of this page. `host`: by which name the broker was asked for it. */
export function describeRefusal({ code, what: detail }: Extract<Access, { kind: "refused" }>, here: URL, host?: string): Obstacle {
  // The broker was asked for by another name than the one in the address bar.
  if (host !== undefined && ![here.host, `${here.hostname}:${here.protocol === "https:" ? 443 : 80}`].includes(host.toLowerCase())) {
    return {
      // The broker's own words name another remedy, as it cannot see the proxy.
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
