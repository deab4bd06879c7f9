/** What happens around the page: the network goes and comes back, the person leaves and returns, the window is closed. */
import { keepWords } from "../page/durations";
import { removeToast, toast } from "../page/toast";
import { isRunning } from "../session/session";
import type { Tab } from "./tab";

export interface OutsideHost {
  /** The person is back at this window. What was asked of the broker may be out of date. */
  returned(): void;
  draw(): void;
  /** Files are on their way, and leaving would stop them. */
  isUploading(): boolean;
}

export function heedOutside(tab: Tab, host: OutsideHost): void {
  window.addEventListener("offline", () => {
    if (tab.session.phase !== "live") return;
    const { window } = tab.session;
    if (window !== undefined) tab.visit?.verify();
    const kept = window?.keepMs === undefined ? "" : ` for ${keepWords(window.keepMs)}`;
    const then = window === undefined ? "If the connection is lost, the sandbox goes with it." : `The session is kept${kept} if the connection is lost.`;
    toast(`This device is offline. ${then}`, true);
  });
  window.addEventListener("online", () => {
    if (tab.session.phase === "live") removeToast();
    tab.visit?.renew();
  });
  // A page that was away, or a machine that slept, may hold a connection that has died.
  window.addEventListener("focus", () => {
    tab.visit?.hurry();
    if (isRunning(tab.session)) host.returned();
  });
  document.addEventListener("visibilitychange", () => {
    host.draw();
    if (!document.hidden) tab.visit?.hurry();
  });
  // Ctrl+W is a key of shells, but the browser takes it. If closing the page ends something, the browser asks first.
  window.addEventListener("beforeunload", (event) => {
    const { session, hasTyped } = tab;
    const losesShell = session.phase === "live" && session.window === undefined && hasTyped;
    if (losesShell || (isRunning(session) && host.isUploading())) event.preventDefault();
  });
}
