// Budgets as their owners set them, and what a new job may cost under them. One that is lowered takes effect on what runs: the newest jobs give way first, and
// none below what it has already earned its providers.
import { capTable, formatUnits, holdFor } from "@qubix/shared/domain";
import { fullHoldOf, type JobSpec } from "@qubix/shared/protocol";
import { armBudget } from "./budget-deadline.ts";
import { accruedSoFar } from "./charges.ts";
import type { Actor, CoreEvent, Refusal } from "./events.ts";
import { capWords, mayCost } from "./job-cap.ts";
import type { BudgetRecord, CapSource, JobCap, JobRecord } from "./model.ts";
import { jobNumber } from "./random.ts";
import { budgetsOf, leftOf, reservedOf, sourceOf, spendingOf, spentOf, type Tightest, tightestOf } from "./spending.ts";
import type { CoreState } from "./state.ts";
import { emit, emitJob, patchJob, put, refusal, refuse } from "./tables.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

/** Of one account by one owner: two periods of more currencies than anybody holds. All are in memory. */
export const BUDGETS_MAX = 40;

// ── A new job ──

export interface Allowance {
  /** What is locked for the job: the most it may cost. */
  readonly hold: bigint;
  /** The budget that makes it less than its price cap over the whole of its time; missing where none does. */
  readonly tightest?: Tightest;
  /** What is left does not suffice. */
  readonly refusal?: Refusal;
}

/** What a job of this account may cost now; or why there is not enough left. */
export function allowanceOf(state: CoreState, actor: Pick<Actor, "accountId">, spec: JobSpec): Allowance {
  const { amount, currency } = spec.priceMaxPerHour;
  const full = fullHoldOf(spec);
  const own: Tightest | undefined = spec.budgetMax && { left: spec.budgetMax.amount, source: "job" };
  const account = tightestOf(state, actor.accountId, currency);
  const tightest = own !== undefined && (account === undefined || own.left <= account.left) ? own : account;
  if (tightest === undefined || tightest.left >= full) return { hold: full };
  const runS = needsWhole(spec) ? spec.durationMaxS : Math.min(spec.durationMaxS, state.config.budgetRunS);
  const needed = holdFor(amount, runS);
  const refused = tightest.left < needed ? { refusal: exceeded(tightest, { needed, currency, runS }) } : {};
  return { hold: tightest.left, tightest, ...refused };
}

/** Its runs share one hold: what is left of it for the others is known only when the first is over. */
function needsWhole({ verification: { mode } }: JobSpec): boolean {
  return mode === "majority" || mode === "adaptive";
}

const REMEDIES: Readonly<Record<CapSource, string>> = {
  job: "Raise budgetMax, or lower priceMaxPerHour.",
  total: "Raise it (qubix budget set), wait until jobs that run have ended, or lower priceMaxPerHour.",
  month:
    "Raise it (qubix budget set --month), wait for the next month or until jobs that run have ended, or lower priceMaxPerHour.",
  admin_total: "Ask your admin to raise it, or wait until jobs that run have ended.",
  admin_month: "Ask your admin to raise it, or wait for the next month or until jobs that run have ended.",
};

function exceeded(
  { left, source }: Tightest,
  { needed, currency, runS }: { readonly needed: bigint; readonly currency: string; readonly runS: number },
): Refusal {
  const message = `Of ${capWords(source)} ${formatUnits(left)} ${currency} are left, and ${runS} s of this job may cost ${formatUnits(needed)}. ${REMEDIES[source]}`;
  return refusal(402, "budget_exceeded", message, {
    budget: source,
    left: left.toString(),
    needed: needed.toString(),
    currency,
  });
}

// ── Setting and clearing ──

export function setBudget(state: CoreState, event: Event<"budget.set">): void {
  const { actor, accountId, currency, period, amount } = event;
  if (!maySet(state, actor, accountId)) return;
  const owner = ownerOf(actor, accountId);
  const id = `${accountId} ${currency} ${period} ${owner}`;
  const before = state.rows.budgets.get(id);
  if (
    before === undefined &&
    budgetsOf(state, accountId).filter((each) => each.owner === owner).length >= BUDGETS_MAX
  ) {
    const message = `The account has ${BUDGETS_MAX} budgets, as many as may be. Clear those of currencies that it does not use (qubix budget clear).`;
    return refuse(state, 409, "budgets_too_many", message);
  }
  if (before?.amount !== amount) {
    const spentBefore = before?.spentBefore ?? spendingOf(state, accountId, currency).total;
    put(state, "budgets", id, { id, accountId, currency, period, owner, amount, spentBefore, setAtMs: state.nowMs });
    emit(state, {
      channel: "wallet",
      kind: "budget_set",
      accountId,
      data: { period, owner, amount: amount.toString(), currency },
    });
    fitLiveJobs(state, { accountId, currency });
  }
  state.step.reply = { kind: "budgets", accountId };
}

export function clearBudget(state: CoreState, event: Event<"budget.clear">): void {
  const { actor, accountId, currency, period } = event;
  if (!maySet(state, actor, accountId)) return;
  const owner = ownerOf(actor, accountId);
  const id = `${accountId} ${currency} ${period} ${owner}`;
  if (state.rows.budgets.has(id)) {
    put(state, "budgets", id, null);
    emit(state, { channel: "wallet", kind: "budget_cleared", accountId, data: { period, owner, currency } });
  }
  state.step.reply = { kind: "budgets", accountId };
}

/** An admin sets what the account cannot raise; for his own account he is its owner. */
function ownerOf(actor: Actor, accountId: Actor["accountId"]): BudgetRecord["owner"] {
  return actor.role === "admin" && actor.accountId !== accountId ? "admin" : "account";
}

function maySet(state: CoreState, actor: Actor, accountId: Actor["accountId"]): boolean {
  if (actor.accountId !== accountId && actor.role !== "admin") {
    refuse(
      state,
      403,
      "forbidden",
      "Only an admin may set the budget of another account. Leave accountId out, or ask your admin.",
    );
    return false;
  }
  if (state.rows.accounts.has(accountId)) return true;
  refuse(state, 404, "account_not_found", `There is no account ${accountId}. Check the id.`);
  return false;
}

/** What the jobs that are not settled may still cost is brought within what the budgets leave, as far as it is not due already: the newest first. */
export function fitLiveJobs(
  state: CoreState,
  { accountId, currency }: Pick<BudgetRecord, "accountId" | "currency">,
): void {
  for (const budget of budgetsOf(state, accountId, currency)) {
    const over = spentOf(state, budget) + reservedOf(state, accountId, currency) - budget.amount;
    if (over > 0n) lowerCaps(state, budget, over);
  }
}

function lowerCaps(state: CoreState, budget: BudgetRecord, over: bigint): void {
  const mine = [...state.rows.jobs.values()].filter(
    (job) => job.accountId === budget.accountId && job.currency === budget.currency && mayCost(job) > 0n,
  );
  let left = over;
  for (const job of mine.toSorted((a, b) => jobNumber(b.id) - jobNumber(a.id))) {
    if (left <= 0n) return;
    left -= lowerCap(state, job, sourceOf(budget), left);
  }
}

/** By how much it could be lowered: nothing that was worked already is taken from those who did. */
function lowerCap(state: CoreState, job: JobRecord, source: CapSource, by: bigint): bigint {
  const had = job.cap?.amount ?? job.settlement.hold;
  const due = accruedSoFar(state, job);
  const room = had - due;
  const less = room <= 0n ? 0n : room < by ? room : by;
  if (less === 0n) return 0n;
  const cap: JobCap = { phase: capTable.initial, ...job.cap, amount: had - less, source };
  const lowered = patchJob(state, job, { cap });
  emitJob(state, lowered, "budget_lowered", { cap: cap.amount.toString(), currency: job.currency, source });
  armBudget(state, lowered);
  return less;
}

/** For people: every budget of the account, with what it counts. */
export interface BudgetStanding {
  readonly budget: BudgetRecord;
  readonly spent: bigint;
  readonly reserved: bigint;
  readonly left: bigint;
}

export function budgetStandings(state: CoreState, accountId: Actor["accountId"]): readonly BudgetStanding[] {
  return budgetsOf(state, accountId).map((budget) => ({
    budget,
    spent: spentOf(state, budget),
    reserved: reservedOf(state, accountId, budget.currency),
    left: leftOf(state, budget),
  }));
}
