import { expect, it } from "vitest";
import { fate, MAX_PAUSE_MS, next, OPENING, type VisitEvent, type VisitState } from "../src/visit/state";

const run = (state: VisitState, events: VisitEvent[], now = 0, chance = 0.5) => events.reduce((at, event) => next(at, event, now, chance), state);
const lostFor = (times: number) => Array.from({ length: times }, () => [{ kind: "lost" }, { kind: "due" }] as const).flat();

it("tries again at once after a good connection, then after pauses that grow up to a bound", () => {
  const up = run(OPENING, [{ kind: "ready" }]);
  expect(next(up, { kind: "lost" }, 60_000, 0.5)).toEqual({ phase: "pausing", tries: 1, pause: 0 });
  const pauses = [1, 2, 3, 4, 5, 6, 20].map((times) => run(up, [...lostFor(times), { kind: "lost" }]));
  expect(pauses.map((state) => state.phase === "pausing" && state.pause)).toEqual([375, 750, 1500, 3000, 6000, 11250, 11250]);
});

it("spreads the pauses of many pages", () => {
  const tried = run(OPENING, lostFor(3));
  const [least, most] = [0, 0.999].map((chance) => next(tried, { kind: "lost" }, 0, chance));
  if (least?.phase !== "pausing" || most?.phase !== "pausing") throw new Error("it does not pause");
  expect(most.pause).toBeGreaterThan(least.pause * 1.9);
  expect(most.pause).toBeLessThanOrEqual(MAX_PAUSE_MS);
});

it("does not hammer a broker that takes connections and drops them", () => {
  let state = OPENING;
  for (let n = 0; n < 6; n++) state = run(state, [{ kind: "ready" }, { kind: "lost" }, { kind: "due" }], 1000);
  expect(next(state, { kind: "lost" }, 1000, 0.5)).toMatchObject({ phase: "pausing", pause: 11250 });
});

it("waits as long as the broker asked", () => {
  expect(next(OPENING, { kind: "lost", afterMs: 2000 }, 0, 0)).toMatchObject({ pause: 2000 });
  expect(run(OPENING, [...lostFor(5), { kind: "lost", afterMs: 10 }])).toMatchObject({ pause: 6000 });
});

it("ends a pause where somebody has reason to hope, and nothing else", () => {
  const pausing = run(OPENING, [...lostFor(4), { kind: "lost" }]);
  expect(next(pausing, { kind: "hurry" }, 0, 0.5)).toEqual({ phase: "opening", tries: 5 });
  expect(next(OPENING, { kind: "hurry" }, 0, 0.5)).toBe(OPENING);
  expect(next(pausing, { kind: "lost" }, 0, 0.5)).toBe(pausing);
});

it("comes back where the session is still there, and only there", () => {
  const again = [1001, 1005, 1006, 1012, 1013];
  expect(again.map(fate)).toEqual(again.map(() => "again"));
  for (const code of [1000, 1002, 1008, 1009, 1011, 4001, 4401, 4404, 4408, 4500]) expect(fate(code), String(code)).toBe("over");
});

it("never leaves the end, over random histories", () => {
  const kinds = ["ready", "lost", "due", "hurry", "over"] as const;
  for (let history = 0; history < 300; history++) {
    let state = OPENING;
    let ended = false;
    for (let n = 0; n < 30; n++) {
      const kind = kinds[Math.floor(Math.random() * kinds.length)] ?? "due";
      state = next(state, { kind }, n * 700, Math.random());
      ended ||= kind === "over";
      expect(state.phase === "over").toBe(ended);
      if (state.phase === "pausing") expect(state.pause).toBeLessThanOrEqual(MAX_PAUSE_MS);
    }
  }
});
