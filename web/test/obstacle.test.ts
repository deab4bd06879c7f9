import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { describeRefusal, findObstacle } from "../src/access/obstacle";

/** What answers `METHOD /path`. */
let answers: Record<string, () => Response | Promise<Response>> = {};
beforeEach(() => {
  answers = {};
  vi.stubGlobal("document", { baseURI: "https://term.example.com/" });
  vi.stubGlobal("location", { href: "https://term.example.com/" });
  vi.stubGlobal("fetch", (url: URL, { method = "GET" }: RequestInit) => Promise.resolve(answers[`${method} ${url.pathname}`]?.() ?? Promise.reject(new TypeError("failed"))));
});
afterEach(() => void vi.unstubAllGlobals());

const json = (status: number, body: object) => () => Response.json(body, { status });
const html = (status: number) => () => new Response("<h1>Sign in</h1>", { status, headers: { "content-type": "text/html; charset=utf-8" } });
const granted = { authenticated: true, host: "term.example.com" };

async function obstacle(failed = 1) {
  const found = await findObstacle(failed, "w");
  return found.kind === "obstacle" ? found.obstacle : found.kind;
}

describe("what is in the way", () => {
  it.each([
    ["a redirect", () => ({ type: "opaqueredirect", status: 0, ok: false, headers: new Headers() }) as Response],
    ["a page of its own", html(200)],
    ["401 with a page", html(401)],
    ["401 without the broker's words", () => new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } })],
    ["403 with a page", html(403)],
  ])("is a sign-in proxy: %s", async (_, answer) => {
    answers["GET /api/session"] = answer;
    expect(await obstacle()).toMatchObject({ signIn: true, title: expect.stringContaining("Somebody else") });
  });

  it("is the broker's own sign-in", async () => {
    answers["GET /api/session"] = json(401, { authenticated: false, required: true, error: "sign in" });
    expect(await obstacle()).toBe("sign-in");
  });

  it("is a proxy without Upgrade, where the broker saw that, or at last where nothing else is wrong", async () => {
    answers["GET /api/session"] = json(200, { ...granted, handshake: "no-upgrade" });
    answers["POST /terminal"] = json(405, { error: "no" });
    expect(await obstacle()).toMatchObject({ title: expect.stringContaining("WebSockets"), detail: expect.stringContaining("Upgrade") });
    answers["GET /api/session"] = json(200, granted);
    expect(await obstacle(1)).toBe("clear");
    expect(await obstacle(4)).toMatchObject({ title: expect.stringContaining("WebSockets") });
  });

  it("is a proxy that keeps the Host, or a broker that does not know its address", async () => {
    answers["POST /terminal"] = json(403, { error: "origin https://term.example.com may not", code: "foreign_origin" });
    answers["GET /api/session"] = json(200, { ...granted, host: "127.0.0.1:3000" });
    expect(await obstacle()).toMatchObject({ title: expect.stringContaining("does not pass on the address"), advice: expect.stringContaining("127.0.0.1:3000") });
    answers["GET /api/session"] = json(200, granted);
    expect(await obstacle()).toMatchObject({ advice: expect.stringContaining('public_url = "https://term.example.com"') });
  });

  it("is nobody's answer, and a proxy whose broker is down", async () => {
    expect(await obstacle()).toMatchObject({ title: "The broker does not answer" });
    answers["GET /api/session"] = html(502);
    expect(await obstacle()).toMatchObject({ title: "The broker is not well" });
  });

  it("is not looked for where nothing failed", async () => {
    answers["GET /api/session"] = json(200, granted);
    expect(await obstacle(0)).toBe("clear");
  });
});

it("takes a port that is the scheme's own for the same address", () => {
  const refusal = { kind: "refused", code: "foreign_origin", what: "no" } as const;
  expect(describeRefusal(refusal, new URL("https://term.example.com/"), "TERM.example.com:443").title).toContain("does not know this address");
});
