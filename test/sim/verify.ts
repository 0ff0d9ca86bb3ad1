// The reckoning after the faults have stopped: every job has ended, with the right result, and every unit of money is where it belongs.
import type { AttemptRecord, JobRecord, SettlementLine, StandbyRecord } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import { attemptId, type JobId, type WorkerId } from "@qubix/shared/domain";
import { hasAudit, reckonAccounts, reckonReceipt } from "./accounts.ts";
import type { WorkerNode } from "./agent.ts";
import { isBudgetEnd, isBudgetRefusal, reckonCaps } from "./budgets.ts";
import type { Client } from "./client.ts";
import { check, checksDone } from "./counts.ts";
import { egressCost, egressHold, reckonEgress } from "./egress.ts";
import type { Monitor } from "./monitor.ts";
import type { ContainerTruth } from "./truth.ts";
import { reckonParts } from "./prices.ts";
import { resultOf, treeOf } from "./programs.ts";
import { reckonCanaries } from "./canaries.ts";
import { reckonChecks } from "./checks.ts";
import { reckonMirror, runsOf } from "./mirrors.ts";
import { lostToDisputes, reckonTrust, refundedJobs } from "./trust.ts";
import type { Intent } from "./workload.ts";

export interface Reckoning {
  readonly seed: number;
  readonly store: Store;
  readonly monitor: Monitor;
  readonly client: Client;
  readonly intents: readonly Intent[];
  readonly workers: readonly WorkerNode[];
  readonly liars: ReadonlySet<WorkerId>;
  readonly forgers: ReadonlySet<WorkerId>;
  /** Invariants that were looked at before this seed. */
  readonly checksBefore: number;
}

/** Transfers of what was brought up about a job: they are reckoned apart. */
const ABOUT_JOBS: ReadonlySet<string> = new Set(["freeze", "resolution", "slash"]);
const MS_PER_HOUR = 3_600_000n;
const ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);
/** Why any job may fail; what else it may fail of lies in the job. */
const OTHER_REASONS: ReadonlySet<string> = new Set(["failovers_exhausted"]);

/** Why no job was made from another's checkpoint. */
const FORK_REFUSALS: ReadonlySet<string> = new Set(["checkpoint_none", "checkpoint_not_kept"]);

/** Checks all that only shows at the end. */
export function reckon(of: Reckoning): void {
  const { store, monitor, client, intents, workers } = of;
  for (const [currency, sums] of store.audit()) {
    check(sums.postings === 0n && sums.balances === 0n && sums.mismatches === 0, () => {
      return `invariant 5: ${currency}: postings sum to ${sums.postings}, balances to ${sums.balances}, ${sums.mismatches} differ`;
    });
  }
  monitor.counts.checks = checksDone() - of.checksBefore;
  const asked = [...monitor.jobs.values()].filter((job) => job.check === undefined).length;
  check(asked === client.accepted.size, () => {
    return `invariant 1: ${client.accepted.size} jobs were accepted, ${asked} exist`;
  });
  const containers = containersByJob(monitor);
  for (const intent of intents) {
    const jobId = client.accepted.get(intent.index);
    if (intent.kind === "poor") {
      const code = client.refused.get(intent.index);
      check(code === "insufficient_funds", () => `a job without money was answered with ${code}`);
      continue;
    }
    if (isBudgetRefusal(of.seed, client.refused.get(intent.index))) continue;
    if (jobId === undefined && intent.fork !== null) {
      const code = client.refused.get(intent.index) ?? "";
      check(FORK_REFUSALS.has(code), () => `a job from another's checkpoint was refused with ${code}`);
      continue;
    }
    check(
      jobId !== undefined,
      () => `invariant 1: intent ${intent.index} was refused: ${client.refused.get(intent.index)}`,
    );
    const stored = store.job(jobId);
    check(stored !== undefined, () => `invariant 1: accepted job ${jobId} is lost`);
    reckonResult(of, intent, stored.job, stored.attempts);
    reckonMirror(stored.job, stored.attempts);
    reckonRows(stored.job, stored.attempts, stored.standbys);
    reckonBudgets(stored.job, stored.attempts);
    reckonParts(stored.attempts, stored.standbys);
    reckonEgress(stored.job, stored.attempts, of.liars, (id) =>
      Math.max(
        ...(containers.get(jobId) ?? []).map((one) => (one.attempts.includes(id) ? Math.round(ranMsOf(one)) : 0)),
      ),
    );
    const sent = stored.attempts.reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
    monitor.counts.egressPaid += sent > 0 ? 1 : 0;
    reckonMoney(of, stored.job, stored.attempts, stored.standbys);
    if (hasAudit(of.seed)) reckonReceipt(store, stored);
    for (const attempts of runsOf(stored.job, stored.attempts)) {
      const ids = new Set<string>(attempts.map(({ id }) => id));
      const own = (containers.get(jobId) ?? []).filter((container) => container.attempts.some((id) => ids.has(id)));
      reckonTime(of, stored.job, attempts, own);
    }
    for (const standby of stored.standbys) reckonStandby(of, standby, stored.attempts);
  }
  for (const { id, check: checks } of monitor.jobs.values()) {
    const stored = checks === undefined ? undefined : store.job(id);
    if (stored === undefined) continue;
    reckonRows(stored.job, stored.attempts, stored.standbys);
    reckonBudgets(stored.job, stored.attempts);
    reckonMoney(of, stored.job, stored.attempts, stored.standbys);
  }
  reckonChecks(of);
  reckonCanaries(of);
  reckonEarnings(store, monitor);
  reckonCaps(store, monitor.jobs.values());
  reckonPending(store, monitor);
  reckonTrust(store, monitor);
  if (hasAudit(of.seed)) {
    reckonAccounts(
      store,
      store.load().rows.accounts.map(({ id }) => id),
    );
  }
  const unproven = monitor.unproven();
  check(unproven.length === 0, () => `not proven though it is there: ${unproven.join(", ")}`);
  for (const worker of workers) {
    if (worker.isLost()) continue;
    const left = worker.leftovers();
    check(left.length === 0, () => `${worker.machine.workerId} still holds ${left.join(", ")}`);
  }
}

// ── Invariants 4 and 7: results and ends ──

function reckonResult(
  { client, monitor, seed }: Reckoning,
  intent: Intent,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
): void {
  check(ENDS.has(job.phase), () => `invariant 7: ${job.id} is still ${job.phase}`);
  if (job.phase === "succeeded") {
    const undisturbed = treeOf(intent.program, "outputs", resultOf(intent.program));
    // What a forger handed over, or a job gives that is another one everywhere, is told by its checks, afterwards.
    const isForged = job.spec.verification.mode !== "none" && intent.program.mirrored !== undefined;
    check(isForged || job.outputs?.manifestCid === undisturbed.manifestCid, () => {
      return `invariant 4: the result of ${job.id} differs from that of an undisturbed run`;
    });
    check(intent.kind !== "unfit" && intent.kind !== "failing", () => `${job.id} cannot have succeeded`);
    return;
  }
  if (job.phase === "cancelled") {
    check(client.cancelled.has(job.id), () => `${job.id} was cancelled, and nobody asked for it`);
    return;
  }
  const own: ReadonlySet<string | undefined> = new Set([
    intent.program.failure?.kind,
    intent.kind === "endless" ? "deadline" : undefined,
    intent.program.hang?.runs === Number.POSITIVE_INFINITY ? "stalled" : undefined,
    // Nobody tells of it on a machine whose agent does not look.
    intent.program.hang !== undefined && attempts.some(({ workerId }) => monitor.blind.has(workerId))
      ? "deadline"
      : undefined,
    // Every machine is back long before queueS is over, but not every seed has a GPU.
    // A mirror job needs up to three providers, of which one that was lost cannot come back to another run.
    intent.kind === "unfit" || job.spec.resources.gpus.count > 0 || job.mirror !== undefined ? "no_offer" : undefined,
    // One forger alone is always outvoted.
    intent.program.mirrored === "unlike" || (job.mirror !== undefined && intent.program.failure !== null)
      ? "mirror_disagreement"
      : undefined,
  ]);
  if (isBudgetEnd(seed, job)) return;
  check(job.reason !== null && (OTHER_REASONS.has(job.reason) || own.has(job.reason)), () => {
    return `${job.id} (${intent.kind}) failed with ${job.reason}: ${job.message}`;
  });
}

function reckonRows(job: JobRecord, attempts: readonly AttemptRecord[], standbys: readonly StandbyRecord[]): void {
  const credited = attempts.reduce((sum, { creditedMs }) => sum + creditedMs, 0);
  check(credited === job.creditedMs, () => `${job.id} is credited ${job.creditedMs} ms, its attempts ${credited} ms`);
  for (const { id, phase, lease } of attempts) {
    check(["ended", "lost", "fenced"].includes(phase), () => `${id} of ended ${job.id} is ${phase}`);
    check(lease !== "active", () => `the lease of ${id} is active after the end of its job`);
  }
  for (const { id, phase, lease } of standbys) {
    check(["promoted", "released", "lost"].includes(phase), () => `${id} of ended ${job.id} is ${phase}`);
    check(lease !== "active", () => `the lease of ${id} is active after the end of its job`);
  }
}

/** Ends of attempts, counted again from the rows, against what the consumer allowed. */
function reckonBudgets({ id, spec, mirror }: JobRecord, attempts: readonly AttemptRecord[]): void {
  const adopted = new Set(attempts.map(({ adoptedEpoch }) => adoptedEpoch));
  const ended = attempts.filter(({ epoch }) => !adopted.has(epoch));
  const lost = ended.filter(({ phase, outcome }) => phase === "lost" || outcome?.kind === "worker_failed").length;
  const failed = ended.filter(({ outcome }) => outcome?.kind === "failed").length;
  // The last failover may find both replicas of a mirror job gone.
  const lostMax = spec.failoversMax + (mirror === undefined ? 1 : 2);
  check(lost <= lostMax, () => `invariant 7: ${id} lost ${lost} attempts, ${spec.failoversMax} allowed`);
  // Each run of a mirror job may come to a failure as its result.
  const results = mirror?.results.filter(({ failure }) => failure !== null).length ?? 0;
  const failures = spec.retries + Math.max(1, results);
  check(failed <= failures, () => `invariant 7: ${id} failed ${failed} times, ${spec.retries} retries allowed`);
}

// ── Invariant 5: money, reckoned again from the rows ──

function reckonMoney(
  { monitor }: Reckoning,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  standbys: readonly StandbyRecord[],
): void {
  const { settlement, spec } = job;
  const isShare = job.check?.payer.startsWith("customer:") === true;
  // A run of a majority has a part of one hold, which is rounded up once.
  const time = (spec.priceMaxPerHour.amount * BigInt(spec.durationMaxS) + (isShare ? 0n : 3_599n)) / 3_600n;
  const full = time + egressHold(job);
  // A budget may have left less.
  const hold = job.cap === undefined ? full : settlement.hold;
  check(hold <= full, () => `invariant 5: ${job.id} holds ${hold} and could cost ${full}`);
  const cap = job.cap?.amount ?? hold;
  const posted = monitor.transfers.filter(({ jobId, kind }) => jobId === job.id && !ABOUT_JOBS.has(kind));
  const kinds = posted.map(({ kind }) => kind).sort();
  const first = job.check?.payer.startsWith("external:") === true ? "check" : "hold";
  check(kinds.join() === `${first},settlement`, () => `invariant 5: ${job.id} has the transfers ${kinds.join(", ")}`);
  check(settlement.hold === hold, () => `invariant 5: the hold of ${job.id} is ${settlement.hold}, not ${hold}`);
  const sum = total(settlement.lines);
  check(sum === hold, () => `invariant 5: the lines of ${job.id} sum to ${sum}, its hold is ${hold}`);
  check(
    settlement.lines.every(({ amount }) => amount >= 0n),
    () => `invariant 5: ${job.id} has a negative line`,
  );
  const charge = (ratePerHour: bigint, ms: number) => (ratePerHour * BigInt(ms)) / MS_PER_HOUR;
  const charges = [
    // A container that went on under another epoch costs what it would have cost under one.
    ...attempts.map((attempt) => {
      const { ratePerHour, baseRanMs, creditedMs } = attempt;
      return charge(ratePerHour, baseRanMs + creditedMs) - charge(ratePerHour, baseRanMs) + egressCost(attempt);
    }),
    ...standbys.map(({ ratePerHour, creditedMs }) => charge(ratePerHour, creditedMs)),
  ];
  const sumOfCharges = charges.reduce((all, charge) => all + charge, 0n);
  // Three runs of which none was shown to be wrong share the hold, and two that were stopped late what they might cost.
  const gross = job.mirror !== undefined && sumOfCharges > cap ? cap : sumOfCharges;
  check(settlement.gross === gross, () => `invariant 5: the gross of ${job.id} is ${settlement.gross}, not ${gross}`);
  const fee = (gross * 500n) / 10_000n;
  const byRole = (role: SettlementLine["role"]) => total(settlement.lines.filter((line) => line.role === role));
  check(byRole("fee") === fee, () => `invariant 5: the fee of ${job.id} is ${byRole("fee")}, not ${fee}`);
  check(byRole("refund") === hold - gross, () => `invariant 5: the refund of ${job.id} is ${byRole("refund")}`);
  const shares = byRole("primary") + byRole("standby");
  check(shares === gross - fee, () => `invariant 5: the shares of ${job.id} sum to ${shares}, not ${gross - fee}`);
  const payees = new Map([...attempts, ...standbys].map((row) => [row.workerId, `provider:${row.providerId}`]));
  for (const { role, account, workerId } of settlement.lines) {
    const due =
      role === "fee"
        ? "fee"
        : role === "refund"
          ? (job.check?.payer ?? `customer:${job.accountId}`)
          : payees.get(workerId as WorkerId);
    check(account === due, () => `invariant 5: the ${role} of ${job.id} went to ${account}, not to ${due}`);
  }
  const moved = posted.find(({ kind }) => kind === "settlement")?.postings ?? [];
  for (const account of new Set(settlement.lines.map((line) => line.account))) {
    const said = total(settlement.lines.filter((line) => line.account === account));
    const done = total(moved.filter((posting) => payeeOf(posting.account) === account));
    check(said === done, () => `invariant 5: ${account} was promised ${said} for ${job.id} and posted ${done}`);
  }
}

/** What the workers' rows say they earned is what the settlements posted to their providers, a currency and a worker at a time. */
function reckonEarnings(store: Store, monitor: Monitor): void {
  const workers = store.load().rows.workers;
  const posted = new Map<string, bigint>();
  const settled = [...monitor.jobs.values()];
  const wrongCanaries = new Set<string>(
    monitor.transfers.flatMap(({ kind, jobId, postings }) =>
      kind === "resolution" && jobId !== null && postings.some(({ account }) => account === "external:checks")
        ? [jobId]
        : [],
    ),
  );
  const refunded = refundedJobs(monitor);
  const lost = lostToDisputes(monitor);
  for (const { kind, currency, postings } of monitor.transfers) {
    if (kind !== "settlement") continue;
    for (const { account, amount } of postings) {
      if (payeeOf(account).startsWith("provider:")) posted.set(currency, (posted.get(currency) ?? 0n) + amount);
    }
  }
  const earned = new Map<string, bigint>();
  for (const worker of workers) {
    for (const { amount, currency } of worker.earned) earned.set(currency, (earned.get(currency) ?? 0n) + amount);
    // Of a wrong result only who stood by is paid.
    const lines = settled.flatMap(({ id, settlement }) => {
      const isWrong = store.verification(id)?.phase === "failed" || wrongCanaries.has(id);
      return isWrong ? settlement.lines.filter(({ role }) => role === "standby") : settlement.lines;
    });
    const shares = total(lines.filter(({ workerId }) => workerId === worker.id));
    const sum = total(worker.earned);
    if (settled.some(({ id, settlement }) => refunded.has(id) && isPaid(settlement, worker.id))) continue;
    check(sum === shares, () => `invariant 5: ${worker.id} earned ${shares}, its row says ${sum}`);
  }
  for (const currency of new Set([...posted.keys(), ...earned.keys()])) {
    const [rows, books] = [earned.get(currency) ?? 0n, (posted.get(currency) ?? 0n) - (lost.get(currency) ?? 0n)];
    check(rows === books, () => `invariant 5: workers earned ${rows} ${currency}, providers were posted ${books}`);
  }
}

function isPaid({ lines }: JobRecord["settlement"], id: WorkerId): boolean {
  return lines.some(({ workerId, amount }) => workerId === id && amount > 0n);
}

/** A provider's pay waits under a name of its own until its dispute window is over. */
function payeeOf(account: string): string {
  return account.replace(/^pending:/, "provider:");
}

/** What is pending is in a bucket, what is not has been released; together it is what providers earned. */
function reckonPending(store: Store, monitor: Monitor): void {
  const { balances, releases } = store.load().rows;
  const paid = monitor.transfers;
  for (const { account, currency, amount } of balances) {
    if (!/^(pending|provider):/.test(account)) continue;
    const moved = paid.flatMap((transfer) => (transfer.currency === currency ? transfer.postings : []));
    const posted = total(moved.filter((posting) => posting.account === account));
    check(posted === amount, () => `invariant 5: ${account} holds ${amount} and was posted ${posted}`);
    if (!account.startsWith("pending:")) continue;
    const own = releases.filter((row) => account === `pending:${row.providerId}` && row.currency === currency);
    check(total(own) === amount, () => `invariant 5: ${account} holds ${amount}, to be released are ${total(own)}`);
  }
}

function total(lines: readonly { readonly amount: bigint }[]): bigint {
  return lines.reduce((sum, { amount }) => sum + amount, 0n);
}

// ── Invariants 2 and 6: paid time, against the time containers truly ran within their leases ──

function containersByJob(monitor: Monitor): ReadonlyMap<JobId, ContainerTruth[]> {
  const byJob = new Map<JobId, ContainerTruth[]>();
  for (const container of monitor.containers) {
    const jobId = container.attempts[0]?.split("/")[0] as JobId | undefined;
    if (jobId === undefined || container.startedAtMs === null) continue;
    const list = byJob.get(jobId) ?? [];
    byJob.set(jobId, list);
    list.push(container);
  }
  return byJob;
}

function reckonTime(
  { monitor, liars }: Reckoning,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  containers: readonly ContainerTruth[],
): void {
  const credited = attempts.reduce((sum, { creditedMs }) => sum + creditedMs, 0);
  check(credited <= job.spec.durationMaxS * 1000, () => `invariant 6: ${job.id} is credited ${credited} ms`);
  for (const attempt of attempts) {
    const seen = monitor.attempts.get(attempt.id);
    check(seen !== undefined, () => `${attempt.id} was never committed`);
    // An adopted container's lease began with the attempt it was adopted from.
    const leasedFromMs = firstOfContainer(monitor, attempt)?.fromMs ?? seen.fromMs;
    const leasedMs = seen.creditedAtMs - leasedFromMs;
    check(attempt.creditedMs <= leasedMs, () => {
      return `invariant 6: ${attempt.id} is credited ${attempt.creditedMs} ms of a lease of ${leasedMs} ms`;
    });
  }
  if (attempts.some(({ workerId }) => liars.has(workerId))) return;
  const paid = containers
    .map((container) => paidInterval(job, attempts, container, containers))
    .filter(({ fromMs, untilMs }) => untilMs > fromMs)
    .sort((a, b) => a.fromMs - b.fromMs);
  paid.forEach((interval, at) => {
    const before = paid[at - 1];
    check(before === undefined || before.untilMs <= interval.fromMs, () => {
      return `invariant 2: ${job.id} is credited twice from ${interval.fromMs} to ${before?.untilMs}`;
    });
  });
}

function firstOfContainer(monitor: Monitor, attempt: AttemptRecord): { readonly fromMs: number } | undefined {
  let seen = monitor.attempts.get(attempt.id);
  while (seen !== undefined && seen.row.adoptedEpoch !== 0) {
    const { jobId, replica, adoptedEpoch } = seen.row;
    seen = monitor.attempts.get(attemptId({ jobId, replica, epoch: adoptedEpoch }));
  }
  return seen;
}

/** The credited time of a container is the first part of its life. */
function paidInterval(
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  container: ContainerTruth,
  all: readonly ContainerTruth[],
): { readonly fromMs: number; readonly untilMs: number } {
  const fromMs = container.startedAtMs ?? 0;
  const own = attempts.filter((attempt) => containerOf(attempt, all) === container);
  const creditedMs = own.reduce((sum, attempt) => sum + attempt.creditedMs, 0);
  const ranMs = ranMsOf(container);
  check(creditedMs <= ranMs, () => {
    return `invariant 6: a container of ${job.id} is credited ${creditedMs} ms and ran ${ranMs} ms (${container.attempts.join(", ")})`;
  });
  return { fromMs, untilMs: fromMs + creditedMs };
}

/**
 * An attempt whose first container vanished before its start was known runs in the last one: unless what the first one said, long ago, arrives after all,
 * and is what is paid.
 */
function containerOf({ id, creditedMs }: AttemptRecord, all: readonly ContainerTruth[]): ContainerTruth | undefined {
  const own = all.filter((container) => container.attempts.includes(id));
  return own.findLast((container) => ranMsOf(container) >= creditedMs) ?? own.at(-1);
}

function ranMsOf({ startedAtMs, endedAtMs }: ContainerTruth): number {
  return (endedAtMs ?? Number.POSITIVE_INFINITY) - (startedAtMs ?? 0);
}

function reckonStandby({ monitor }: Reckoning, standby: StandbyRecord, attempts: readonly AttemptRecord[]): void {
  if (standby.creditedMs === 0) return;
  const seen = monitor.standbys.get(standby.id);
  const fromMs = seen?.readyAtMs ?? 0;
  const untilMs = seen?.untilMs ?? 0;
  check(standby.creditedMs <= untilMs - fromMs, () => {
    return `invariant 6: ${standby.id} is credited ${standby.creditedMs} ms and was ready for ${untilMs - fromMs} ms`;
  });
  // It stands by for something: time in which no attempt of the job was active is not due.
  // An exclusive job's does so while the lease of an attempt that is gone is waited for, too: until the next one at the latest.
  const isExclusive = monitor.jobs.get(standby.jobId)?.spec.failover === "exclusive";
  let neededMs = 0;
  for (const [index, { id }] of attempts.entries()) {
    const attempt = monitor.attempts.get(id);
    const nextMs = monitor.attempts.get(attempts[index + 1]?.id ?? "")?.fromMs ?? untilMs;
    const endMs = Math.min(untilMs, isExclusive ? nextMs : (attempt?.untilMs ?? untilMs));
    neededMs += Math.max(0, endMs - Math.max(fromMs, attempt?.fromMs ?? untilMs));
  }
  check(standby.creditedMs <= neededMs, () => {
    return `invariant 6: ${standby.id} is credited ${standby.creditedMs} ms and was needed for ${neededMs} ms`;
  });
}
