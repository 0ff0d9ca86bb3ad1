// A job's whole account: what was agreed, what was worked and signed for, what it cost, and every transfer. Made from committed records alone.
import { type AccountId, chargeBetween, egressChargeBetween, FEE_BASIS_POINTS, inParts } from "@qubix/shared/domain";
import {
  egressLimitOf,
  type Receipt,
  type ReceiptAttempt,
  type ReceiptStandby,
  type ReceiptTick,
} from "@qubix/shared/protocol";
import { receiptDigest } from "@qubix/shared/receipts";
import type { AttemptRecord, JobRecord, StandbyRecord } from "../core/index.ts";
import type { Store, StoredJob, StoredTick, StoredTransfer } from "../store/port.ts";

const PAGE_TICKS = 1_000;
const PAGE_TRANSFERS = 100;

/** Who asks: the consumer (or an admin), or a provider, who sees what is his. */
export type ReceiptView = { readonly kind: "consumer" } | { readonly kind: "provider"; readonly accountId: AccountId };

export interface ReceiptPorts {
  readonly store: Pick<Store, "ticks" | "transfers">;
  readonly orchestratorId: string;
  readonly wallOf: (clockMs: number) => string;
  readonly publicKeyOf: (workerId: AttemptRecord["workerId"]) => string;
}

/** Whether this account provided for the job. */
export function providedFor({ attempts, standbys }: StoredJob, accountId: AccountId): boolean {
  return [...attempts, ...standbys].some(({ providerId }) => providerId === accountId);
}

export function receiptOf(ports: ReceiptPorts, stored: StoredJob, view: ReceiptView): Receipt {
  const { job } = stored;
  const { settlement } = job;
  const isFinal = settlement.phase === "settled";
  const sees = (payee: { readonly providerId: AccountId }) =>
    view.kind === "consumer" || payee.providerId === view.accountId;
  // As they were settled: by epoch, then replica.
  const attempts = stored.attempts.toSorted((a, b) => a.epoch - b.epoch || a.replica - b.replica);
  const standbys = stored.standbys.toSorted((a, b) => a.reservedAtMs - b.reservedAtMs || (a.id < b.id ? -1 : 1));
  const due = [...attempts, ...standbys].reduce((sum, payee) => sum + chargeOf(payee), 0n);
  const most = job.cap?.amount ?? settlement.hold;
  const gross = settlement.gross ?? (due < most ? due : most);
  const sumOf = (role: string) =>
    isFinal
      ? settlement.lines.reduce((sum, line) => (line.role === role ? sum + line.amount : sum), 0n).toString()
      : null;
  const ticks = ticksByEpoch(ports.store, stored);
  const receipt = {
    version: 1 as const,
    orchestratorId: ports.orchestratorId,
    jobId: job.id,
    view: view.kind,
    phase: job.phase,
    final: isFinal,
    currency: job.currency,
    createdAt: ports.wallOf(job.createdAtMs),
    startedAt: job.startedAtMs === null ? null : ports.wallOf(job.startedAtMs),
    endedAt: job.endedAtMs === null ? null : ports.wallOf(job.endedAtMs),
    feeBasisPoints: Number(FEE_BASIS_POINTS),
    heldShort: gross < due,
    agreed:
      view.kind === "provider"
        ? null
        : {
            accountId: job.accountId,
            priceMaxPerHour: job.spec.priceMaxPerHour.amount.toString(),
            durationMaxS: job.spec.durationMaxS,
            hold: settlement.hold.toString(),
            ...limitOf(job),
            ...egressAgreed(job),
            mirror: job.mirror !== undefined,
          },
    attempts: attempts.filter(sees).map((attempt) => attemptOf(ports, attempt, ticks.get(keyOf(attempt)) ?? [])),
    standbys: standbys.filter(sees).map(standbyOf),
    totals: view.kind === "provider" ? null : { gross: gross.toString(), fee: sumOf("fee"), refund: sumOf("refund") },
    lines: settlement.lines
      .filter(({ account }) => view.kind === "consumer" || isOf(account, view.accountId))
      .map(({ account, role, amount, ms, workerId }) => ({
        account,
        role,
        amount: amount.toString(),
        ...(ms === undefined ? {} : { ms }),
        ...(workerId === undefined ? {} : { workerId }),
      })),
    transfers: transfersOf(ports.store, stored, view),
  };
  return { ...receipt, digest: receiptDigest(receipt) };
}

/** Less than the price cap over all of its time: by a budget, or because it is one run of a majority, whose hold they share. */
function limitOf({ cap, check, settlement }: JobRecord): { readonly cap?: string } {
  if (cap !== undefined) return { cap: cap.amount.toString() };
  return check?.payer.startsWith("customer:") === true ? { cap: settlement.hold.toString() } : {};
}

/** What of its egress is paid for at most. */
function egressAgreed({ spec }: JobRecord): Pick<NonNullable<Receipt["agreed"]>, "egress"> {
  const limit = egressLimitOf(spec);
  if (limit === undefined) return {};
  return { egress: { bytesMax: limit.bytesMax, priceMaxPerGiB: limit.priceMaxPerGiB.toString() } };
}

function chargeOf(payee: AttemptRecord | StandbyRecord): bigint {
  return timeChargeOf(payee) + ("epoch" in payee ? egressChargeOf(payee) : 0n);
}

function egressChargeOf({ egress }: AttemptRecord): bigint {
  if (egress === undefined) return 0n;
  return egressChargeBetween(egress.pricePerGiB, egress.baseBytes, egress.baseBytes + egress.bytes);
}

/** A standby has no time before; an attempt that took a running container over goes on from what that was paid for. */
function timeChargeOf(payee: AttemptRecord | StandbyRecord): bigint {
  const fromMs = "baseRanMs" in payee ? payee.baseRanMs : 0;
  return chargeBetween(payee.ratePerHour, fromMs, fromMs + payee.creditedMs);
}

function attemptOf(ports: ReceiptPorts, attempt: AttemptRecord, ticks: readonly StoredTick[]): ReceiptAttempt {
  const { id, replica, epoch, workerId, providerId, phase, adoptedEpoch, baseRanMs, creditedMs } = attempt;
  return {
    id,
    replica,
    epoch,
    workerId,
    providerId,
    publicKey: ports.publicKeyOf(workerId),
    phase,
    ratePerHour: attempt.ratePerHour.toString(),
    adoptedEpoch,
    baseRanMs,
    creditedMs,
    charge: chargeOf(attempt).toString(),
    ...partsOf(attempt),
    ...egressOf(attempt),
    ...(attempt.isRefused === true ? { refused: true } : {}),
    ticks: ticks.map(tickOf),
    ticksLeftOut: attempt.ticks?.unkept ?? 0,
  };
}

function partsOf(payee: AttemptRecord | StandbyRecord): Pick<ReceiptAttempt, "parts"> {
  if (payee.parts === undefined) return {};
  const rates = inParts(payee.ratePerHour, payee.parts);
  const rated = payee.parts.map(({ name }) => ({ name, ratePerHour: rates.get(name) ?? 0n }));
  const charges = inParts(timeChargeOf(payee), rated);
  const parts = rated.map(({ name, ratePerHour }) => ({
    part: name,
    ratePerHour: ratePerHour.toString(),
    charge: (charges.get(name) ?? 0n).toString(),
  }));
  // A rate too small to have parts has none.
  return payee.ratePerHour === 0n ? {} : { parts };
}

function egressOf(attempt: AttemptRecord): Pick<ReceiptAttempt, "egress"> {
  if (attempt.egress === undefined) return {};
  const { pricePerGiB, baseBytes, bytes } = attempt.egress;
  const charge = egressChargeOf(attempt).toString();
  return { egress: { pricePerGiB: pricePerGiB.toString(), baseBytes, bytes, charge } };
}

function tickOf({ n, epoch, moment, ranMs, prev, usage, signature, contradicts }: StoredTick): ReceiptTick {
  return {
    n,
    epoch,
    moment,
    ranMs,
    prev,
    ...(usage === undefined ? {} : { usage }),
    signature,
    ...(contradicts === undefined ? {} : { contradicts }),
  };
}

function standbyOf(standby: StandbyRecord): ReceiptStandby {
  const { id, workerId, providerId, phase, creditedMs } = standby;
  const ratePerHour = standby.ratePerHour.toString();
  return {
    id,
    workerId,
    providerId,
    phase,
    ratePerHour,
    creditedMs,
    charge: chargeOf(standby).toString(),
    ...partsOf(standby),
  };
}

function keyOf({ replica, epoch }: { readonly replica: number; readonly epoch: number }): string {
  return `${replica}/${epoch}`;
}

/** All that were kept; how many, is bounded for each job. */
function ticksByEpoch(store: ReceiptPorts["store"], { job }: StoredJob): ReadonlyMap<string, readonly StoredTick[]> {
  const ticks = new Map<string, StoredTick[]>();
  let after = 0;
  for (;;) {
    const page = store.ticks({ jobId: job.id, after, limit: PAGE_TICKS });
    for (const tick of page) {
      const own = ticks.get(keyOf(tick));
      if (own === undefined) ticks.set(keyOf(tick), [tick]);
      else own.push(tick);
      after = tick.seq;
    }
    if (page.length < PAGE_TICKS) return ticks;
  }
}

function transfersOf(store: ReceiptPorts["store"], { job }: StoredJob, view: ReceiptView): Receipt["transfers"] {
  const found: StoredTransfer[] = [];
  for (let page: readonly StoredTransfer[] | null = null; page === null || page.length === PAGE_TRANSFERS; ) {
    const before = found.at(-1)?.id;
    page = store.transfers({ jobId: job.id, limit: PAGE_TRANSFERS, ...(before === undefined ? {} : { before }) });
    found.push(...page);
  }
  return found.toReversed().flatMap(({ id, kind, wallMs, postings }) => {
    const seen = postings.filter(({ account }) => view.kind === "consumer" || isOf(account, view.accountId));
    if (seen.length === 0) return [];
    const wire = seen.map(({ account, amount }) => ({ account, amount: amount.toString() }));
    return [{ id, kind, time: new Date(wallMs).toISOString(), postings: wire }];
  });
}

/** The accounts in which a provider's pay lies. His own spending as a consumer is another matter. */
function isOf(account: string, accountId: AccountId): boolean {
  return account === `provider:${accountId}` || account === `pending:${accountId}`;
}
