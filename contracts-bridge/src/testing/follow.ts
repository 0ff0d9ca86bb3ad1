// Takes a contract through steps beside the model, and says where they differ.
import { createModel, type Rules, type Step, type View } from "./model.ts";
import { FUNDS } from "./scenarios.ts";

/** A deployed contract, with every party funded. Times count from its beginning. */
export interface EscrowLab {
  readonly rules: Rules;
  /** Does a step at that time; whether the chain refused it does not matter here: what counts is what it shows. */
  act(step: Step, atS: number): Promise<void>;
  view(known: { readonly jobs: readonly string[]; readonly slashes: readonly string[] }): Promise<View>;
}

export interface Difference {
  readonly step: number;
  readonly of: Step;
  readonly expected: View;
  readonly found: View;
}

/** The first step after which the contract shows something else than the model; `null` for none. Mixed in: how many steps the model allowed and refused. */
export async function follow(
  lab: EscrowLab,
  steps: readonly Step[],
  count: { allowed: number; refused: number } = { allowed: 0, refused: 0 },
): Promise<Difference | null> {
  const model = createModel(lab.rules, FUNDS);
  const jobs = [...new Set(steps.flatMap(({ act }) => ("job" in act ? [act.job] : [])))];
  const slashes = [...new Set(steps.flatMap(({ act }) => ("slash" in act ? [act.slash] : [])))];
  let atS = 0;
  for (const [index, step] of steps.entries()) {
    atS += Math.max(1, step.afterS ?? 1);
    if (model.apply(step, atS)) count.allowed += 1;
    else count.refused += 1;
    await lab.act(step, atS);
    const [expected, found] = [model.view(), await lab.view({ jobs, slashes })];
    if (textOf(expected) !== textOf(found)) return { step: index, of: step, expected, found };
  }
  return null;
}

function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === "bigint") return inner.toString();
    if (inner === null || typeof inner !== "object" || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}
