/** Links to sessions, made and read. Pure. */
import type { Role } from "../level1";

/** A session that a link leads to, and what whoever follows it is there. */
export interface Link {
  readonly session: string;
  readonly role: Role;
  /** Of a session that may be somebody else's: lets this page watch it, and no more. */
  readonly invitation?: string;
}

/** The link in the page's address; none where it leads to no session. */
export function readLink(address: string): Link | undefined {
  const members = new URL(address).searchParams;
  const session = members.get("session");
  if (session === null || session === "") return undefined;
  const invitation = members.get("invitation");
  if (invitation !== null && invitation !== "") return { session, role: "viewer", invitation };
  return { session, role: members.get("role") === "viewer" ? "viewer" : "driver" };
}

/** The address that leads to a session. Nothing of the page's own address but its place goes into it. */
export function linkTo({ session, role, invitation }: Link, page: string): string {
  const url = new URL(".", page);
  url.searchParams.set("session", session);
  if (role === "viewer") url.searchParams.set("role", role);
  if (invitation !== undefined) url.searchParams.set("invitation", invitation);
  return url.href;
}

/** The page's address without the session that it led to, for what comes after it. */
export function withoutLink(address: string): string {
  const url = new URL(address);
  for (const member of ["session", "role", "invitation"]) url.searchParams.delete(member);
  return url.href;
}
