// What people bring up about work and money while everything else goes wrong: consumers rate and dispute ended jobs, providers stake and ask it back, an admin
// accuses and decides, or lets the time run out. Draws of its own: a seed's jobs and faults are as they were without it.
import { type Actor, type CaseOf, caseIdOf, type CoreEvent, type JobRecord } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { AccountId, JobId } from "@qubix/shared/domain";
import { check } from "./counts.ts";
import type { Monitor } from "./monitor.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import { createRng } from "./random.ts";
import type { World } from "./world.ts";

export interface TrustParts {
  readonly world: World;
  readonly orchestrator: OrchestratorNode;
  readonly monitor: Monitor;
  readonly store: Store;
  readonly admin: AccountId;
  readonly providers: readonly AccountId[];
}

/** After the last act all is decided within this time: a note, an appeal window, a decision, and what comes late. */
const DECIDED_MS = 120_000;
const RNG_SALT = 0x7a57;
const ACT_MS_MIN = 200;
const ACT_MS_MAX = 1_600;
/** The share of requests that are sent again, though they arrived. */
const REPEATED = 0.2;
const STAKE_MAX = 60_000;
const BPS_ALL = 10_000;

/** Lets them act until the faults stop. */
export function scheduleTrust(of: TrustParts): void {
  const { world } = of;
  const rng = createRng(world.seed ^ RNG_SALT);
  const busy = new Set<JobId>();
  const next = () => {
    if (world.calm && world.nowMs() >= world.scale.faultsUntilMs) return;
    act();
    world.after(rng.int(ACT_MS_MIN, ACT_MS_MAX), next);
  };
  world.after(world.scale.submitFromMs + rng.int(ACT_MS_MIN, ACT_MS_MAX), next);

  /** What is read of the store comes with the request, as the API reads it: each time anew. */
  function send(make: () => CoreEvent, done: () => void = () => {}): void {
    const event = make();
    world.note(`asked: ${event.kind}`);
    of.orchestrator.submit(event, () => {
      if (rng.chance(REPEATED)) of.orchestrator.submit(make(), done);
      else done();
    });
  }

  function act(): void {
    const admin = { accountId: of.admin, role: "admin" } as const;
    const providerId = rng.pick(of.providers);
    const provider = { accountId: providerId, role: "provider" } as const;
    const ended = [...of.monitor.jobs.values()].filter(({ endedAtMs }) => endedAtMs !== null);
    const job = ended.length === 0 ? undefined : of.store.job(rng.pick(ended).id)?.job;
    const amount = BigInt(rng.int(1, STAKE_MAX));
    const what = rng.next();
    if (what < 0.18) {
      const from = rng.pick(["payable", "spendable"] as const);
      return send(() => ({ kind: "stake.add", actor: provider, amount, currency: "USD", from }));
    }
    if (what < 0.34) return unstake(provider, amount);
    if (what < 0.58) return job === undefined ? undefined : ofConsumer(job);
    if (what < 0.74) return job === undefined ? undefined : accuse(job);
    const disputes = open("dispute");
    const slashes = open("slash");
    if (what < 0.83 && disputes.length > 0) {
      const consumerBps = rng.pick([0, BPS_ALL, rng.int(0, BPS_ALL)]);
      const disputeId = rng.pick(disputes).id;
      return send(() => ({ kind: "dispute.resolve", actor: admin, disputeId, consumerBps, note: "" }));
    }
    if (slashes.length === 0) return undefined;
    const { id: slashId, providerId: owner } = rng.pick(slashes);
    const actor = { accountId: owner, role: "provider" } as const;
    if (what < 0.91) return send(() => ({ kind: "slash.appeal", actor, slashId, text: "no" }));
    const decision = rng.pick(["uphold", "dismiss"] as const);
    return send(() => ({ kind: "slash.resolve", actor: admin, slashId, decision, note: "" }));
  }

  /** Some, or all of it: then a slash has to take back what waits. */
  function unstake(actor: Actor, some: bigint): void {
    const staked = of.store.balances([`stake:${actor.accountId}`])[0]?.amount ?? 0n;
    const amount = staked > 0n && rng.chance(0.6) ? staked : some;
    send(() => ({ kind: "stake.remove", actor, amount, currency: "USD" }));
  }

  /** Of the ones of a job one at a time, as the API does it. */
  function ofConsumer(job: JobRecord): void {
    if (busy.has(job.id)) return;
    busy.add(job.id);
    const actor = { accountId: job.accountId, role: "consumer" } as const;
    const about = { actor, jobId: job.id, ended: job };
    const done = () => busy.delete(job.id);
    if (rng.chance(0.5)) {
      const stars = rng.int(1, 5);
      const previous = () => stored(of.store, "rating", job.id);
      send(() => ({ kind: "job.rate", ...about, stars, comment: "", previous: previous() }), done);
    } else {
      const previous = () => stored(of.store, "dispute", job.id);
      const returned = () => wentBack(of.store, job.id);
      send(
        () => ({ kind: "job.dispute", ...about, reason: "wrong", previous: previous(), returned: returned() }),
        done,
      );
    }
  }

  function accuse(job: JobRecord): void {
    const workers = job.settlement.lines.flatMap(({ workerId }) => workerId ?? []);
    if (workers.length === 0) return;
    const actor = { accountId: of.admin, role: "admin" } as const;
    // Without any it is to be refused.
    const evidence = rng.chance(0.2) ? {} : { of: job.id };
    const about = { workerId: rng.pick(workers), jobId: job.id, ended: job };
    send(() => ({ kind: "slash.propose", actor, offence: "wrong_result", ...about, evidence }));
  }

  function open<Kind extends "dispute" | "slash">(kind: Kind): readonly CaseOf<Kind>[] {
    return of.store.cases({ kind, open: true, limit: 100 }) as readonly CaseOf<Kind>[];
  }
}

function stored<Kind extends "rating" | "dispute">(store: Store, kind: Kind, jobId: JobId): CaseOf<Kind> | null {
  const found = store.case(caseIdOf(kind, jobId));
  return found?.kind === kind ? (found as CaseOf<Kind>) : null;
}

/** As the API tells: a check may have found the result wrong. */
function wentBack(store: Store, jobId: JobId): boolean {
  return store
    .transfers({ jobId, limit: TRANSFERS_OF_JOB_MAX })
    .some(
      ({ kind, postings }) => kind === "resolution" && postings.some(({ account }) => account.startsWith("customer:")),
    );
}
const TRANSFERS_OF_JOB_MAX = 20;

/** Invariant 7 for cases: nothing is open for ever. */
export function waitForDecisions({ world, monitor }: Pick<TrustParts, "world" | "monitor">): void {
  const open = () => [...monitor.cases.values()].filter((each) => each.kind !== "rating" && each.endedAtMs === null);
  const inTime = world.run(world.nowMs() + DECIDED_MS, () => open().length === 0);
  check(inTime, () => {
    const left = open().map((each) => `${each.id} ${"phase" in each ? each.phase : ""}`);
    return `invariant 7: never decided: ${left.join(", ")}`;
  });
}

/** Invariants 5 and 6, of all that was brought up: what was set aside has gone where its end says, once, and nothing was taken without evidence. */
export function reckonTrust(store: Store, monitor: Monitor): void {
  const balances = new Map(store.load().rows.balances.map(({ account, amount }) => [account as string, amount]));
  const moved = new Map(monitor.transfers.map((transfer) => [transfer.id as string, transfer]));
  const sumOf = (id: string, account: string) =>
    (moved.get(id)?.postings ?? []).reduce((sum, each) => (each.account === account ? sum + each.amount : sum), 0n);
  let slashed = 0n;
  for (const record of monitor.cases.values()) {
    if (record.kind === "rating") continue;
    const { id, phase } = record;
    check(record.endedAtMs !== null, () => `invariant 7: ${id} is ${phase}`);
    if (record.kind === "dispute") {
      const { gross, jobId, accountId, decision } = record;
      check(sumOf(`${id}/hold`, `disputed:${jobId}`) === gross, () => `invariant 5: ${id} froze another amount`);
      check(sumOf(`${id}/end`, `disputed:${jobId}`) === -gross, () => `invariant 5: ${id} did not end with ${gross}`);
      const back = (gross * BigInt(decision?.consumerBps ?? 0)) / BigInt(BPS_ALL);
      check(sumOf(`${id}/end`, `customer:${accountId}`) === back, () => `invariant 5: ${id} gave back another amount`);
      check(sumOf(`${id}/end`, "fee") === ((gross - back) * 500n) / 10_000n, () => `invariant 5: the fee of ${id}`);
      check(!balances.has(`disputed:${jobId}`), () => `invariant 5: something of ${id} is frozen still`);
      continue;
    }
    const { amount, providerId } = record;
    check(sumOf(`${id}/hold`, `reserved:${id}`) === amount, () => `invariant 5: ${id} set another amount aside`);
    check(!balances.has(`reserved:${id}`), () => `invariant 5: something of ${id} is set aside still`);
    const to = { applied: "slashed", voided: `stake:${providerId}`, paid: `provider:${providerId}` } as const;
    const payee = phase === "applied" || phase === "voided" || phase === "paid" ? to[phase] : `stake:${providerId}`;
    check(
      sumOf(`${id}/end`, payee) === amount,
      () => `invariant 5: ${id} is ${phase}, and ${payee} did not get ${amount}`,
    );
    if (phase === "applied") slashed += amount;
  }
  check(
    (balances.get("slashed") ?? 0n) === slashed,
    () => `invariant 6: ${balances.get("slashed")} are slashed, ${slashed} decided`,
  );
  for (const { kind, memo, postings } of monitor.transfers) {
    if (kind !== "slash" || !postings.some(({ account }) => account === "slashed")) continue;
    const record = monitor.cases.get(memo);
    check(
      record?.kind === "slash" && record.evidence.length > 2,
      () => `invariant 6: slashed without evidence: ${memo}`,
    );
  }
}

/** What disputes took from the workers' earnings, by currency: frozen, and not given back to them. */
export function lostToDisputes(monitor: Monitor): ReadonlyMap<string, bigint> {
  const lost = new Map<string, bigint>();
  for (const { kind, currency, postings } of monitor.transfers) {
    if (kind !== "freeze" && kind !== "resolution") continue;
    for (const { account, amount } of postings) {
      if (/^(pending|provider):/.test(account)) lost.set(currency, (lost.get(currency) ?? 0n) - amount);
    }
  }
  return lost;
}

/** Jobs of which something went back: their workers' shares are no longer what the settlement says. */
export function refundedJobs(monitor: Monitor): ReadonlySet<JobId> {
  const jobs = new Set<JobId>();
  for (const record of monitor.cases.values()) {
    if (record.kind === "dispute" && (record.decision?.consumerBps ?? 0) > 0) jobs.add(record.jobId);
  }
  return jobs;
}
