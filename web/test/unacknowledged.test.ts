import { expect, it } from "vitest";
import { LEAP, MAX_UNACKNOWLEDGED_BYTES, Unacknowledged } from "../src/visit/unacknowledged";

it("counts from 1, and is full at its bound until something arrived", () => {
  const input = new Unacknowledged();
  expect(input.next).toBe(1);
  input.sent(10, MAX_UNACKNOWLEDGED_BYTES - 1);
  expect(input.isFull).toBe(false);
  input.sent(1, 1);
  expect(input.isFull).toBe(true);
  input.acknowledge(1);
  expect(input.isFull).toBe(false);
  expect(input.next).toBe(3);
});

it("says after a new connection how much is unknown, once", () => {
  const input = new Unacknowledged();
  input.resume(0);
  for (const chars of [1, 20, 300]) input.sent(chars, chars);
  expect(input.resume(1)).toBe(320);
  expect(input.resume(1)).toBe(0);
  expect(input.next).toBe(4);
});

it("leaps only over numbers of a page before this one", () => {
  const fresh = new Unacknowledged();
  fresh.resume(0);
  fresh.resume(7);
  expect(fresh.next).toBe(8);
  const reloaded = new Unacknowledged();
  reloaded.resume(7);
  expect(reloaded.next).toBe(7 + LEAP + 1);
});
