// A contract's source with one change, and the search for a scenario that notices it.
import type { Scenario } from "./scenarios.ts";

export interface Mutant {
  readonly name: string;
  readonly source: string;
}

/** Throws where the text that is to be changed is not in the source exactly once. */
export function mutantsOf(
  source: string,
  changes: readonly (readonly [name: string, find: string, replace: string])[],
): readonly Mutant[] {
  return changes.map(([name, find, replace]) => {
    const places = source.split(find).length - 1;
    if (places !== 1) throw new Error(`mutant "${name}": its text is in the source ${places} times`);
    return { name, source: source.replace(find, () => replace) };
  });
}

/**
 * Says which mutant is noticed by none of the scenarios; `notices` tries one on one. Mutants stand beside those of the same part of the contract, as scenarios do:
 * the search begins where the last mutant was noticed, and goes on to both sides.
 */
export async function survivorsOf(
  mutants: readonly Mutant[],
  scenarios: readonly Scenario[],
  notices: (mutant: number, scenario: Scenario) => Promise<boolean>,
): Promise<readonly string[]> {
  const survivors: string[] = [];
  let last = 0;
  for (const [n, { name }] of mutants.entries()) {
    const order = [...scenarios.keys()].toSorted((a, b) => Math.abs(a - last) - Math.abs(b - last));
    const found = await firstOf(order, async (at) => {
      const scenario = scenarios[at];
      return scenario !== undefined && (await notices(n, scenario));
    });
    if (found === undefined) survivors.push(name);
    else last = found;
  }
  return survivors;
}

async function firstOf(order: readonly number[], holds: (at: number) => Promise<boolean>): Promise<number | undefined> {
  for (const at of order) if (await holds(at)) return at;
  return undefined;
}
