// What each worker has earned so far, kept beside its row in the very step that settles the job, and told to those that understand it.
import type { Currency, Money, WorkerId } from "@qubix/shared/domain";
import type { Machine } from "./machine.ts";
import type { SettlementLine } from "./model.ts";
import type { CoreState } from "./state.ts";
import { put, send } from "./tables.ts";

/** As many totals as one message may carry; currencies are few, and made by admins. */
const CURRENCIES_TOLD_MAX = 50;

/** Adds a settlement's shares to the workers they are for. */
export function addEarnings(state: CoreState, currency: Currency, lines: readonly SettlementLine[]): void {
  const shares = new Map<WorkerId, bigint>();
  for (const { workerId, amount } of lines) {
    if (workerId !== undefined && amount > 0n) shares.set(workerId, (shares.get(workerId) ?? 0n) + amount);
  }
  for (const [workerId, amount] of shares) {
    const machine = state.ix.machines.get(workerId);
    if (machine === undefined) continue;
    const { worker } = machine;
    put(state, "workers", worker.id, { ...worker, earned: withMore(worker.earned, { amount, currency }) });
    tellEarnings(state, machine);
  }
}

/** To workers that offer `earnings`: older ones do not know the message. */
export function tellEarnings(state: CoreState, machine: Machine): void {
  const { earned } = machine.worker;
  if (!machine.features.has("earnings")) return;
  // What is taken back in the step that settled it was never durable: only the newest word of a step is said.
  state.step.effects = state.step.effects.filter(
    (effect) => effect.kind !== "send" || effect.workerId !== machine.id || effect.message.kind !== "earnings",
  );
  send(state, machine.id, {
    kind: "earnings",
    totals: earned.slice(0, CURRENCIES_TOLD_MAX).map((money) => ({ ...money })),
  });
}

function withMore(earned: readonly Money[], more: Money): readonly Money[] {
  if (!earned.some(({ currency }) => currency === more.currency)) return [...earned, more];
  // What all went back was not earned.
  return earned.flatMap((money) => {
    const amount = money.currency === more.currency ? money.amount + more.amount : money.amount;
    return amount === 0n ? [] : [{ ...money, amount }];
  });
}

/** Takes from the workers' totals what went back to a consumer. */
export function takeBackEarnings(
  state: CoreState,
  currency: Currency,
  lost: readonly { readonly workerId: WorkerId; readonly amount: bigint }[],
): void {
  for (const { workerId, amount } of lost) {
    const machine = state.ix.machines.get(workerId);
    if (machine === undefined || amount === 0n) continue;
    const { worker } = machine;
    put(state, "workers", worker.id, { ...worker, earned: withMore(worker.earned, { amount: -amount, currency }) });
    tellEarnings(state, machine);
  }
}
