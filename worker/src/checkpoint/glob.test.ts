import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchesOutput } from "./glob.ts";

describe("output patterns", () => {
  it.each([
    ["/out/**", "/out/a", true],
    ["/out/**", "/out/a/b/c", true],
    ["/out", "/out/a/b", true],
    ["/out/sub", "/out/sub/x", true],
    ["/out/sub", "/out/subx", false],
    ["/out/*", "/out/a", true],
    ["/out/*", "/out/a/b", false],
    ["/out/*.txt", "/out/a.txt", true],
    ["/out/*.txt", "/out/a.txt.gz", false],
    ["/out/**/*.txt", "/out/a.txt", true],
    ["/out/**/*.txt", "/out/x/y/a.txt", true],
    ["/out/a?c", "/out/abc", true],
    ["/out/a?c", "/out/ac", false],
    ["/out/**/m/**", "/out/m/x", true],
    ["/out/[a]", "/out/a", false],
  ])("%s and %s: %s", (pattern, path, expected) => {
    expect(matchesOutput(pattern, path)).toBe(expected);
  });

  it("agree with a regular expression on every path", () => {
    const name = fc.stringMatching(/^[ab.]{1,4}$/);
    const part = fc.oneof(name, fc.constant("*"), fc.constant("**"), fc.stringMatching(/^[ab*?]{1,4}$/));
    const parts = fc.array(part, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(parts, fc.array(name, { minLength: 1, maxLength: 4 }), (pattern, names) => {
        fc.pre(pattern.some((one) => /[*?]/.test(one)) && pattern.every((one) => one === "**" || !one.includes("**")));
        const body = pattern
          .map((one) =>
            one === "**"
              ? "(?:/[^/]+)*"
              : `/${one.replace(/[.]/g, "\\.").replace(/\*/g, "[^/]*").replace(/\?/g, "[^/]")}`,
          )
          .join("");
        expect(matchesOutput(`/${pattern.join("/")}`, `/${names.join("/")}`)).toBe(
          new RegExp(`^${body}$`).test(`/${names.join("/")}`),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it("cost no more than pattern times path", () => {
    const pattern = `/out/${"*a".repeat(400)}b`;
    expect(matchesOutput(pattern, `/out/${"a".repeat(4000)}`)).toBe(false);
  });
});
