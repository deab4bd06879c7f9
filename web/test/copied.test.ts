import { expect, test } from "vitest";
import { copyWords } from "../src/terminal/copied";

test("what a program copies is shown on one line and in bounds", () => {
  expect(copyWords("done", "ls")).toBe("The program put text on your clipboard: “ls”.");
  expect(copyWords("done", "a\n\u202eb\x1b[2J")).toContain("“a b [2J”");
  const long = copyWords("unattended", "😀".repeat(1000));
  expect(long).toContain(`“${"😀".repeat(40)}…”, 1000 characters`);
  expect(long).toContain("you were not in the terminal");
  expect(copyWords("refused", "make")).toContain("“make”");
});
