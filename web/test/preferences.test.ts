/** What a person chose: every stored value is harmless, and every preference has one that holds. */
import { describe, expect, test } from "vitest";
import { checked, MAX_FAMILY, MAX_FONT, MAX_SCROLLBACK, MIN_FONT } from "../src/settings/preferences";

describe("preferences", () => {
  const usual = checked({});

  test("are the defaults where nothing, or nothing right, is stored", () => {
    const wrong = [null, [], {}, "x".repeat(10_000), -1e308, Number.NaN, "constructor", true];
    for (const name of Object.keys(usual) as (keyof typeof usual)[]) {
      for (const value of wrong) {
        const found = checked({ [name]: value });
        expect(typeof found[name], `${name} of ${String(value)}`).toBe(typeof usual[name]);
        expect({ ...found, [name]: usual[name] }, name).toEqual(usual);
      }
    }
    expect(checked({ unknown: 1 })).toEqual(usual);
  });

  test("stay within their bounds", () => {
    expect(checked({ fontSize: 1 }).fontSize).toBe(MIN_FONT);
    expect(checked({ fontSize: 1e9 }).fontSize).toBe(MAX_FONT);
    expect(checked({ fontSize: 13.4 }).fontSize).toBe(13);
    expect(checked({ scrollback: 1e9 }).scrollback).toBe(MAX_SCROLLBACK);
    expect(checked({ fontFamily: "x".repeat(1000) }).fontFamily).toHaveLength(MAX_FAMILY);
  });

  test("a font's name ends nothing in a style sheet", () => {
    expect(checked({ fontFamily: ' Fira "Code\\; } url(x)\n' }).fontFamily).toBe("Fira Code  url(x)");
  });

  test("that are right are kept", () => {
    const chosen = { appearance: "contrast-dark", cursorStyle: "bar", bell: "none", rightClick: "paste", renderer: "dom", copyOnSelect: true, cursorBlink: false } as const;
    expect(checked(chosen)).toEqual({ ...usual, ...chosen });
  });
});
