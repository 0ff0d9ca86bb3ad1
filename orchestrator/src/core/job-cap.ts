// What a job may cost at the most, as its own record says: functions of the record alone, because the indexes use them.
import { formatUnits } from "@qubix/shared/domain";
import type { CapSource, JobRecord } from "./model.ts";

/** Nothing that the job is charged for may ever come to more than this. */
export function capOf({ cap, settlement }: JobRecord): bigint {
  return cap === undefined ? settlement.hold : cap.amount;
}

/** What of a budget it takes up as long as it is not settled: all that it has cost so far, and all that it may still cost. */
export function mayCost(job: JobRecord): bigint {
  return job.settlement.phase === "held" ? capOf(job) : 0n;
}

const SOURCE_WORDS: Readonly<Record<CapSource, string>> = {
  job: "its own budgetMax",
  total: "the account's budget",
  month: "the account's budget of this month",
  admin_total: "the budget that an admin set for the account",
  admin_month: "the monthly budget that an admin set for the account",
};

/** The name of what set the limit, for people. */
export function capWords(source: CapSource): string {
  return SOURCE_WORDS[source];
}

/** Why it ended; of a job that never ran as well. */
export function exhaustedText({ cap, currency, id, checkpoints }: JobRecord): string {
  if (cap === undefined) return "Its budget is used up.";
  const limit = `${formatUnits(cap.amount)} ${currency}`;
  const goOn =
    checkpoints.length === 0
      ? "Raise the budget and submit it again."
      : `Raise the budget, then go on from its newest checkpoint: qubix run … --from-checkpoint ${id}.`;
  return `It used up what it may cost, ${limit}, by ${capWords(cap.source)}. ${goOn}`;
}
