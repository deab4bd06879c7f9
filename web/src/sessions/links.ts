/** Makes and reads links to sessions. Pure. */
import type { Role } from "../protocol/level1";

/** Where a link leads, and the role of whoever follows it. */
export interface Link {
  readonly session: string;
  readonly role: Role;
  /** Admits this page to a session that may be somebody else's, only to watch. */
  readonly invitation?: string;
}

/** The link in the page's address. `undefined`: it leads to no session. */
export function readLink(address: string): Link | undefined {
  const members = new URL(address).searchParams;
  const session = members.get("session");
  if (session === null || session === "") return undefined;
  const invitation = members.get("invitation");
  if (invitation !== null && invitation !== "") return { session, role: "viewer", invitation };
  return { session, role: members.get("role") === "viewer" ? "viewer" : "driver" };
}

/** The address that leads to a session. Of the page's own address it keeps only origin and path. */
export function linkTo({ session, role, invitation }: Link, page: string): string {
  const url = new URL(".", page);
  url.searchParams.set("session", session);
  if (role === "viewer") url.searchParams.set("role", role);
  if (invitation !== undefined) url.searchParams.set("invitation", invitation);
  return url.href;
}

/** The page's address without the session that it led to. */
export function withoutLink(address: string): string {
  const url = new URL(address);
  for (const member of ["session", "role", "invitation"]) url.searchParams.delete(member);
  return url.href;
}
