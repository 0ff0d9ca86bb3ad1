// Budgets in the virtual world: jobs that may cost little, and budgets of accounts that come, are lowered under what runs, and go; and what must hold of the money.
import type { CoreEvent, JobRecord } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { AccountId } from "@qubix/shared/domain";
import { check } from "./counts.ts";
import { createRng, type Rng } from "./random.ts";
import type { Intent } from "./workload.ts";
import type { World } from "./world.ts";

/** Apart from the world's, so that jobs and faults of a seed are the same with budgets and without. */
const APART = 0xb0d6e7;
const SEEDS_EVERY = 3;
const SHARE = 0.5;
/** A job needs no more than this to be accepted: jobs here are over within seconds. */
export const SIM_BUDGET_RUN_S = 1;
/** Of a second at the highest price that the job accepts: it is accepted with one, and most offers ask for less. */
const SECONDS_MIN = 1.05;
const SECONDS_MAX = 1.6;
const LOWERED_MAX = 60_000;
const TIMES_MAX = 4;

export function hasBudgets(seed: number): boolean {
  return seed % SEEDS_EVERY === 0;
}

/** Gives some jobs a budget of their own. */
export function withBudgets(seed: number, intents: readonly Intent[]): readonly Intent[] {
  if (!hasBudgets(seed)) return intents;
  const rng: Rng = createRng(seed ^ APART);
  return intents.map((intent) => {
    if (intent.kind === "poor" || !rng.chance(SHARE)) return intent;
    const seconds = SECONDS_MIN + rng.next() * (SECONDS_MAX - SECONDS_MIN);
    const amount = BigInt(Math.ceil((Number(intent.spec.priceMaxPerHour?.amount ?? 0) / 3_600) * seconds));
    return { ...intent, spec: { ...intent.spec, budgetMax: { amount, currency: "USD" } } };
  });
}

/** Sets budgets of the accounts while jobs run, by themselves or an admin, and takes them away again. A request that meets no orchestrator is lost. */
export function scheduleBudgets(
  world: World,
  orchestrator: { submit(event: CoreEvent): void },
  who: { readonly rich: readonly AccountId[]; readonly admin: AccountId },
): void {
  if (!hasBudgets(world.seed)) return;
  const rng = createRng(world.seed ^ APART ^ 1);
  const { faultsFromMs, faultsUntilMs } = world.scale;
  for (let left = rng.int(0, TIMES_MAX); left > 0; left -= 1) {
    const accountId = rng.pick(who.rich);
    const actor = rng.chance(0.5)
      ? ({ accountId: who.admin, role: "admin" } as const)
      : ({ accountId, role: "consumer" } as const);
    const of = { actor, accountId, period: rng.pick(["total", "month"] as const), currency: "USD" };
    const amount = BigInt(rng.int(0, LOWERED_MAX));
    const atMs = rng.int(faultsFromMs, faultsUntilMs - 1);
    world.after(atMs - world.nowMs(), () => orchestrator.submit({ kind: "budget.set", ...of, amount }));
    world.after(atMs + rng.int(200, 4_000) - world.nowMs(), () => orchestrator.submit({ kind: "budget.clear", ...of }));
  }
}

/** What a job may fail of, or be refused with, because of budgets. */
export function isBudgetEnd(seed: number, job: JobRecord): boolean {
  return hasBudgets(seed) && job.reason === "budget_exhausted" && job.cap !== undefined;
}

export function isBudgetRefusal(seed: number, code: string | undefined): boolean {
  return hasBudgets(seed) && code === "budget_exceeded";
}

/** Invariant: no job cost more than it might, and what accounts are said to have spent is what their jobs cost. */
export function reckonCaps(store: Store, jobs: Iterable<JobRecord>): void {
  const spent = new Map<string, bigint>();
  for (const { id, accountId, currency, settlement, cap, check: run } of jobs) {
    const gross = settlement.gross ?? 0n;
    const most = cap?.amount ?? settlement.hold;
    check(gross >= 0n && gross <= most && most <= settlement.hold, () => {
      return `invariant 5: ${id} cost ${gross}, it might have cost ${most} of its hold ${settlement.hold}`;
    });
    // A check that the operator pays for costs its account nothing.
    if (run?.payer.startsWith("external:") === true) continue;
    const key = `${accountId} ${currency}`;
    spent.set(key, (spent.get(key) ?? 0n) + gross);
  }
  const rows = new Map(store.load().rows.spending.map((row) => [row.id, row.total]));
  for (const [key, sum] of spent) {
    check((rows.get(key) ?? 0n) === sum, () => `invariant 5: ${key} spent ${sum}, its row says ${rows.get(key)}`);
  }
}
