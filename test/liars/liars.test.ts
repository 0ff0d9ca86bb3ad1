// 10% of a fleet lie, at 5% of spot checks: the liars are caught, and nobody else is accused. The full measurement is `npm run -s bench -- liars`.
import { describe, expect, test } from "vitest";
import { type FleetOptions, runFleet } from "./fleet.ts";

const FLEET: Omit<FleetOptions, "seed"> = {
  workers: 50,
  liars: 5,
  jobs: 2_000,
  checkShare: 0.05,
  lieShare: 1,
  lieAfter: 0,
  lies: "own",
  unlikeShare: 0,
};
const SEEDS = [1, 2, 3, 4];

function run(options: Partial<FleetOptions>) {
  const results = SEEDS.map((seed) => runFleet({ ...FLEET, ...options, seed }));
  const liars = results.flatMap((result) => result.liars);
  const sum = (of: (result: (typeof results)[number]) => number) => results.reduce((all, one) => all + of(one), 0);
  return {
    caught30: liars.filter(({ caughtAfter }) => caughtAfter !== null && caughtAfter <= 30).length / liars.length,
    honestAccused: sum((one) => one.honestAccused),
    checkedShare: sum((one) => one.jobsChecked) / sum((one) => one.jobs),
    inconclusive: sum((one) => one.inconclusive),
    checked: sum((one) => one.jobsChecked),
    given: sum((one) => one.canariesGiven),
    jobs: sum((one) => one.jobs),
  };
}

describe("a fleet with 10% liars", () => {
  test("loses them within 30 jobs each, and nobody honest, at about the mean share of checks", () => {
    const { caught30, honestAccused, checkedShare } = run({});
    expect(caught30).toBeGreaterThanOrEqual(0.95);
    expect(honestAccused).toBe(0);
    // Everybody is new here, and new workers are checked more often; in the long run it is 5%.
    expect(checkedShare).toBeLessThan(0.08);
  });

  test("that all tell the same lie finds them as well, and accuses nobody honest", () => {
    const { caught30, honestAccused } = run({ lies: "same" });
    expect(caught30).toBeGreaterThanOrEqual(0.95);
    expect(honestAccused).toBe(0);
  });

  test("and jobs that give something else on every machine accuses nobody for those", () => {
    const { honestAccused, inconclusive } = run({ unlikeShare: 0.3 });
    expect(honestAccused).toBe(0);
    expect(inconclusive).toBeGreaterThan(0);
  });

  test("is found by canaries alone, at the price of one run each, and nobody honest is accused", () => {
    const canaries = { checkShare: 0, canaries: 60, canaryShare: 0.05 };
    const { caught30, honestAccused, checked, given, jobs } = run(canaries);
    expect([caught30 >= 0.9, honestAccused, checked]).toEqual([true, 0, 0]);
    expect(given / jobs).toBeLessThan(0.1);
  });

  test("finds nothing without checks", () => {
    const { caught30, checked } = run({ checkShare: 0 });
    expect([caught30, checked]).toEqual([0, 0]);
  });
});
