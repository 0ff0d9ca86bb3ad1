// What is to happen on a chain, derived from the rows of the core alone: after any crash the same comes out again, under the same names, and the outbox knows
// which of it it has.
import type { ChainAccount, Expectation, ExpectedJob, Intent } from "@qubix/contracts-bridge/port";
import type { JobId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { ChainPayRecord, CoreState, JobRecord, PayoutRecord } from "../core/index.ts";

const MS_PER_S = 1_000;
/** A contract gives an escrow back to whoever asks once its deadline is over: far behind any end of the job. Retries and failovers, which wait anew, are within it. */
const DEADLINE_MARGIN_MS = 60 * 24 * 3_600_000;

/** What an intent is about: its name in the outbox. `tries` rises when an admin has it tried again. */
export type Purpose =
  /** The contract may take the operator's tokens. */
  | { readonly kind: "allow"; readonly tries: number }
  | { readonly kind: "deposit" | "pay"; readonly jobId: JobId; readonly tries: number }
  | { readonly kind: "payout"; readonly payoutId: string }
  /** The operator takes what the contract owes him. */
  | { readonly kind: "collect"; readonly atMs: number };

export function nameOf(purpose: Purpose): string {
  switch (purpose.kind) {
    case "allow":
      return `allow - ${purpose.tries}`;
    case "deposit":
    case "pay":
      return `${purpose.kind} ${purpose.jobId} ${purpose.tries}`;
    case "payout":
      return `payout ${purpose.payoutId}`;
    case "collect":
      return `collect ${purpose.atMs}`;
    default:
      return unreachable(purpose);
  }
}

/** The purpose of an intent of the outbox. Throws a RangeError for a name that was never given. */
export function purposeOf(name: string): Purpose {
  const [kind = "", id = "", tries = ""] = name.split(" ");
  if (kind === "allow") return { kind, tries: Number(tries) };
  if (kind === "deposit" || kind === "pay") return { kind, jobId: id as JobId, tries: Number(tries) };
  if (kind === "payout") return { kind, payoutId: id };
  if (kind === "collect") return { kind, atMs: Number(id) };
  throw new RangeError(`the outbox has an intent of an unknown kind: ${name}`);
}

export interface Derived {
  readonly purpose: Purpose;
  readonly intent: Intent;
}

/** As the operator set the chain up. */
export interface ChainTerms {
  readonly driver: string;
  readonly currency: string;
  /** Of the token's smallest units, in a micro-unit. */
  readonly unitsPerMicro: bigint;
  /** Where the network's fee goes; `null` where it stays with the operator's other tokens. */
  readonly feeTo: ChainAccount | null;
}

/** What a job asks of its chain. `wallMs`: now, in milliseconds since 1970. */
export function intentsOfJob(state: CoreState, id: JobId, terms: ChainTerms, wallMs: number): readonly Derived[] {
  const [job, pay] = [state.rows.jobs.get(id), state.rows.chainPays.get(id)];
  const chain = job?.chain ?? pay?.chain;
  if (chain?.driver !== terms.driver) return [];
  const derived: Derived[] = [];
  const hold = job?.settlement.hold ?? pay?.hold ?? 0n;
  if (chain.deposit === "sent" && hold > 0n) {
    const lifeMs = job === undefined ? 0 : lifeMsMax(job);
    const deadlineMs = wallMs + lifeMs + state.config.disputeWindowMs + DEADLINE_MARGIN_MS;
    const purpose = { kind: "deposit", jobId: id, tries: chain.tries } as const;
    derived.push({ purpose, intent: { kind: "deposit", jobId: id, amount: hold * terms.unitsPerMicro, deadlineMs } });
  }
  if (pay?.phase === "paying" && chain.deposit !== "refused" && hold > 0n) {
    derived.push({ purpose: { kind: "pay", jobId: id, tries: pay.tries }, intent: payIntent(pay, terms) });
  }
  return derived;
}

function payIntent({ id: jobId, payees, fee }: ChainPayRecord, { unitsPerMicro, feeTo }: ChainTerms): Intent {
  const shares = payees.map(({ address: to, amount }) => ({ to, amount: amount * unitsPerMicro }));
  if (fee > 0n && feeTo !== null) shares.push({ to: feeTo, amount: fee * unitsPerMicro });
  return shares.length === 0 ? { kind: "refund", jobId } : { kind: "settle", jobId, shares };
}

/** A withdrawal for a provider; `undefined` for a payout by hand or of another chain. */
export function intentOfPayout(payout: PayoutRecord | undefined, terms: ChainTerms): Derived | undefined {
  if (payout?.by !== "contract" || payout.driver !== terms.driver || payout.phase !== "requested") return undefined;
  const { id: payoutId, destination: owner } = payout;
  return { purpose: { kind: "payout", payoutId }, intent: { kind: "payout", owner } };
}

/** What the ledger says of everything on this chain that is not over. */
export function expectationOf(state: CoreState, { driver, currency, unitsPerMicro }: ChainTerms): Expectation {
  const external = state.rows.balances.get(`external:${driver} ${currency}`)?.amount ?? 0n;
  const jobs: ExpectedJob[] = [];
  for (const { id, chain, settlement } of state.rows.jobs.values()) {
    if (chain?.driver !== driver || settlement.phase !== "held" || settlement.hold === 0n) continue;
    const expects = chain.deposit === "sent" ? "underWay" : "held";
    jobs.push({ jobId: id, expects, amount: settlement.hold * unitsPerMicro });
  }
  for (const { id, chain, phase, hold } of state.rows.chainPays.values()) {
    if (chain.driver !== driver || hold === 0n) continue;
    const expects = chain.deposit === "sent" || phase === "paying" ? "underWay" : "held";
    jobs.push({ jobId: id, expects, amount: hold * unitsPerMicro });
  }
  return { owed: -external * unitsPerMicro, jobs };
}

/** The longest that the job may wait and run, twice. */
function lifeMsMax({ spec }: JobRecord): number {
  return (spec.queueS + spec.durationMaxS) * 2 * MS_PER_S;
}
