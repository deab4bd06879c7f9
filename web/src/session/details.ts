/** The popover *About this session*: facts about it, and who is there. Draws a `Session`, and decides nothing. */
import { formatMs, keepWords } from "../page/durations";
import { element, setText, setVisible } from "../page/element";
import type { Membership, Session } from "./session";

/** How long the broker keeps a session whose windows were all closed, in milliseconds from its last output (decision 11). */
const CLOSED_MS = 15 * 60_000;

export function drawDetails(session: Session): void {
  drawFacts(session);
  drawPeople(session);
}

function drawFacts(session: Session): void {
  const facts: [string, string | undefined][] = [
    ["Provider", session.provider],
    ["Isolation", session.isolation],
    ["Session", session.id],
    ["Terminal", session.window?.cols === undefined ? undefined : `${session.window.cols} × ${session.window.rows}`],
    ["Durability", session.window && durabilityWords(session.window)],
    ["Ready after", session.readyMs === undefined ? undefined : formatMs(session.readyMs)],
    ["Broker", session.version],
  ];
  const nodes = facts.flatMap(([name, value]) => {
    if (value === undefined) return [];
    const [term, words] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    words.textContent = value;
    if (name === "Session") words.append(copyButton(value));
    return [term, words];
  });
  element("details").querySelector("dl")?.replaceChildren(...nodes);
}

function copyButton(value: string): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the session's id");
  button.dataset["copy"] = value;
  return button;
}

function drawPeople({ window }: Session): void {
  const clients = window?.clients ?? [];
  setVisible("people", clients.length > 0);
  setText("people-title", clients.length === 1 ? "1 window" : `${clients.length} windows`);
  const nodes = clients.map(({ client, role, size, setsSize, guest }) => {
    const [item, name, facts] = [document.createElement("li"), document.createElement("span"), document.createElement("small")];
    const does = [role === "driver" ? "types" : "watches", size && `${size.cols} × ${size.rows}`, setsSize && "sets the size"];
    const other = guest === undefined ? `Window ${client.slice(0, 8)}` : `Guest: ${guest}`;
    name.textContent = client === window?.client ? "This window" : other;
    facts.textContent = does.filter(Boolean).join(" · ");
    item.append(name, facts);
    return item;
  });
  element("people").querySelector("ul")?.replaceChildren(...nodes);
}

function durabilityWords({ durability, keepMs }: Membership): string | undefined {
  if (durability === "best-effort") return "best effort: a restart of the broker ends it";
  if (durability !== "durable") return undefined;
  if (keepMs === undefined) return "durable";
  if (keepMs <= CLOSED_MS) return `durable, kept ${keepWords(keepMs)} without a window`;
  return `durable: kept ${keepWords(keepMs)} after Detach or a lost connection, ${keepWords(CLOSED_MS)} after its last output once its windows are closed`;
}
