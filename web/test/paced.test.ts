import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { paced } from "../src/page/paced";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("the first call is done at once, and of a thousand more the newest when the time is over", () => {
  const done: number[] = [];
  const act = paced(50, (value: number) => done.push(value));
  for (let value = 0; value <= 1000; value++) act(value);
  expect(done).toEqual([0]);
  vi.advanceTimersByTime(50);
  expect(done).toEqual([0, 1000]);
  act(1001);
  expect(done).toEqual([0, 1000]);
  vi.advanceTimersByTime(50);
  expect(done).toEqual([0, 1000, 1001]);
  vi.advanceTimersByTime(500);
  act(1002);
  expect(done).toEqual([0, 1000, 1001, 1002]);
});
