import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow } from "../testing/follow.ts";
import { steps as anySteps } from "../testing/arbitrary.ts";
import { survivorsOf } from "../testing/mutant.ts";
import { scenariosFor } from "../testing/scenarios.ts";
import { artifactText, compileEscrow, compileVariants } from "./testing/compile.ts";
import { deployLab, EVM_RULES, type EvmLab } from "./testing/lab.ts";
import { mutants } from "./testing/mutants.ts";
import { startEvmNode, type EvmNode } from "./testing/node.ts";

const SCENARIOS = scenariosFor(EVM_RULES);
const GAS_MAX = 120_000n;
const artifact = compileEscrow();
// Before the node runs: it would take the long silence for the end of its connection.
const variants = mutants();
const compiled = compileVariants(variants.map(({ source }) => source));
let node: EvmNode;
beforeAll(async () => {
  node = await startEvmNode();
});
afterAll(async () => {
  await node?.stop();
});

it("the committed bytecode is what the source compiles to", () => {
  const committed = readFileSync(new URL("artifact.ts", import.meta.url), "utf8");
  expect(committed === artifactText(), "npm run -s contracts makes it anew").toBe(true);
});

describe("the contract does what the model does", () => {
  let lab: EvmLab;
  beforeAll(async () => {
    lab = await deployLab(node, artifact);
  });

  it.each(SCENARIOS)("$name", async ({ steps }) => {
    expect(await anew(() => follow(lab, steps))).toBeNull();
  });

  it("whatever is done in whatever order", async () => {
    const count = { allowed: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(anySteps(EVM_RULES), async (steps) => {
        expect(await anew(() => follow(lab, steps, count))).toBeNull();
      }),
      { numRuns: 40 },
    );
    // Of some hundred steps each: what is drawn is not all of one kind.
    expect(Math.min(count.allowed, count.refused)).toBeGreaterThan(10);
  });

  it("a settlement with two payees costs what it may", async () => {
    const shares = [
      ["alice", 600n],
      ["bob", 300n],
    ] as const;
    await anew(async () => {
      await lab.act({ by: "payer", act: { kind: "deposit", job: "job", amount: 1_000n, deadlineS: 10_000 } }, 1);
      await lab.act({ by: "operator", act: { kind: "settle", job: "job", shares } }, 2);
    });
    console.log(`gas of a settlement with two payees: ${lab.gasUsed()}`);
    expect(lab.gasUsed()).toBeLessThanOrEqual(GAS_MAX);
  });
});

it("every check that is taken away is missed by a scenario", async () => {
  const labs = compiled.map((mutant, n) => {
    if (mutant.bytecode === artifact.bytecode) throw new Error(`"${variants[n]?.name}" was not compiled in`);
    let lab: Promise<EvmLab> | undefined;
    return () => (lab ??= deployLab(node, mutant));
  });
  const survivors = await survivorsOf(variants, SCENARIOS, async (n, { steps }) => {
    const lab = await labs[n]?.();
    if (lab === undefined) throw new Error(`"${variants[n]?.name}" was not compiled`);
    return (await anew(() => follow(lab, steps))) !== null;
  });
  expect(survivors).toEqual([]);
}, 300_000);

/** From the chain as it is, which is the same again afterwards. */
async function anew<T>(work: () => Promise<T>): Promise<T> {
  const before = await node.rpc<string>("evm_snapshot");
  try {
    return await work();
  } finally {
    await node.rpc("evm_revert", before);
  }
}
