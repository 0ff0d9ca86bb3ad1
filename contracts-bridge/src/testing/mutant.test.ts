import { expect, it } from "vitest";
import { survivorsOf } from "./mutant.ts";

it("names the mutants that no scenario notices, after each was tried on it", async () => {
  const mutants = ["a", "b", "c"].map((name) => ({ name, source: "" }));
  const scenarios = ["first", "second", "third"].map((name) => ({ name, steps: [] }));
  const tried: string[] = [];
  const survivors = await survivorsOf(mutants, scenarios, (n, { name }) => {
    tried.push(`${mutants[n]?.name} ${name}`);
    return Promise.resolve(n !== 1 && name === "third");
  });
  expect(survivors).toEqual(["b"]);
  expect(tried.filter((one) => one.startsWith("a"))).toEqual(["a first", "a second", "a third"]);
  // Where the last one was noticed, and from there on.
  expect(tried.filter((one) => one.startsWith("b"))).toEqual(["b third", "b second", "b first"]);
  expect(tried.filter((one) => one.startsWith("c"))).toEqual(["c third"]);
});
