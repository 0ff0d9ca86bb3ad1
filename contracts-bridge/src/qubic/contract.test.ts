import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow } from "../testing/follow.ts";
import { steps as anySteps } from "../testing/arbitrary.ts";
import type { Step } from "../testing/model.ts";
import { survivorsOf } from "../testing/mutant.ts";
import { FUNDS, type Scenario, scenariosFor } from "../testing/scenarios.ts";
import { amountInput, FUNCTION, idOf, PROCEDURE, proposalInput, readStakeOutput, slashInput } from "./contract.ts";
import { type Built, buildContracts, contractSource } from "./testing/build.ts";
import { QUBIC_RULES, startLab } from "./testing/lab.ts";
import { mutants } from "./testing/mutants.ts";

const SCENARIOS = scenariosFor(QUBIC_RULES);
const COMPILE_MS_MAX = 300_000;
/** As the contract has them: what others than the operator may take of escrows, and all of the stakes. */
const OPEN_PLACES = 2_048;
const STAKE_PLACES = 2_048;

async function followed(program: string, steps: readonly Step[], variant = 0, count?: Parameters<typeof follow>[2]) {
  const lab = await startLab(program, variant);
  try {
    return await follow(lab, steps, count);
  } finally {
    await lab.stop();
  }
}

describe("the contract does what the model does", () => {
  let built: Built;
  beforeAll(async () => {
    built = await buildContracts([contractSource()], true);
  }, COMPILE_MS_MAX);
  afterAll(() => built?.remove());

  it.each(SCENARIOS)("$name", async ({ steps }) => {
    expect(await followed(built.program, steps)).toBeNull();
  });

  it("whatever is done in whatever order", async () => {
    const count = { allowed: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(anySteps(QUBIC_RULES), async (steps) => {
        expect(await followed(built.program, steps, 0, count)).toBeNull();
      }),
      { numRuns: 100 },
    );
    expect(Math.min(count.allowed, count.refused)).toBeGreaterThan(100);
  });

  it("what has ended is forgotten an epoch later, what is held is not", async () => {
    const lab = await startLab(built.program);
    try {
      for (const job of ["ended", "held"]) {
        await lab.act({ by: "payer", act: { kind: "deposit", job, amount: 5n, deadlineS: 1_000 } }, 1);
      }
      await lab.act({ by: "operator", act: { kind: "refund", job: "ended" } }, 2);
      const jobs = async () => Object.keys((await lab.view({ jobs: ["ended", "held"], slashes: [] })).escrows);
      await lab.endEpoch();
      expect(await jobs()).toEqual(["ended", "held"]);
      await lab.endEpoch();
      expect(await jobs()).toEqual(["held"]);
    } finally {
      await lab.stop();
    }
  });
});

describe("places that one qu could take", () => {
  let built: Built;
  beforeAll(async () => {
    built = await buildContracts([contractSource()]);
  }, COMPILE_MS_MAX);
  afterAll(() => built?.remove());

  it("strangers' deposits leave the operator's half of the places", async () => {
    const lab = await startLab(built.program);
    try {
      const put = (by: "rival" | "operator", n: number) =>
        lab.act({ by, act: { kind: "deposit", job: `${by} ${n}`, amount: 1n, deadlineS: 1_000 } }, 1);
      const kept = async (...jobs: string[]) => Object.keys((await lab.view({ jobs, slashes: [] })).escrows);
      for (let n = 0; n <= OPEN_PLACES; n += 1) await put("rival", n);
      const [last, beyond] = [`rival ${OPEN_PLACES - 1}`, `rival ${OPEN_PLACES}`];
      expect(await kept(last, beyond)).toEqual([last]);
      expect((await lab.view({ jobs: [], slashes: [] })).wallets.rival).toBe(FUNDS - BigInt(OPEN_PLACES));
      await put("operator", 0);
      expect(await kept("operator 0")).toEqual(["operator 0"]);
    } finally {
      await lab.stop();
    }
  });

  it("a stake that was slashed whole leaves its place to another", async () => {
    const lab = await startLab(built.program);
    try {
      const [operator, name] = [idOf("operator"), (n: number) => idOf(`provider ${n}`)];
      const call = (procedure: number, caller: Uint8Array, reward: number, input: Uint8Array) =>
        lab.raw(`call ${procedure} ${hex(caller)} ${reward} ${hex(input)}`);
      const stake = async (n: number) => {
        await lab.raw(`fund ${hex(name(n))} 1`);
        await call(PROCEDURE.addStake, name(n), 1, amountInput(0n));
      };
      await lab.raw("tick 1");
      for (let n = 0; n < STAKE_PLACES; n += 1) await stake(n);
      await call(PROCEDURE.proposeSlash, operator, 0, proposalInput(idOf("s"), name(0), idOf("proof"), 1n));
      await lab.raw(`tick ${1 + QUBIC_RULES.appealS}`);
      await call(PROCEDURE.executeSlash, operator, 0, slashInput(idOf("s")));
      await stake(STAKE_PLACES);
      const { output } = await lab.raw(`ask ${FUNCTION.stake} ${hex(name(STAKE_PLACES))}`);
      expect(readStakeOutput(Uint8Array.from(Buffer.from(String(output), "hex"))).amount).toBe(1n);
    } finally {
      await lab.stop();
    }
  });
});

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

describe("what the network's interface forbids", () => {
  const forbidden =
    /[[\]"'#/%]|::|\b(?:float|double|union|auto|goto|malloc|new|delete)\b|\*\s*\w+\s*[;=,)]|&\s*\w+\s*[;=]/;
  const code = (source: string) => source.replaceAll(/\/\/.*/g, "");

  it("is not in the contract", () => {
    expect(code(contractSource()).match(forbidden)).toBeNull();
  });

  it.each(["x / 2", "x % 2", "a[0]", 'f("x")', "#define A", "float x;", "id* p;", "std::sort"])(
    "%s would be found",
    (bad) => {
      expect(code(`${contractSource()}\n${bad}`)).toMatch(forbidden);
    },
  );
});

it(
  "every check that is taken away is missed by a scenario",
  async () => {
    const all = mutants();
    const built = await buildContracts(all.map(({ source }) => source));
    try {
      for (const { source } of all) expect(source).not.toBe(contractSource());
      const notices = async (n: number, { steps }: Scenario) => (await followed(built.program, steps, n)) !== null;
      expect(await survivorsOf(all, SCENARIOS, notices)).toEqual([]);
    } finally {
      built.remove();
    }
  },
  COMPILE_MS_MAX,
);
