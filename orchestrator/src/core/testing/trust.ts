// A network with one worker and one paid job, for tests of what is brought up about it afterwards.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { CoreConfig } from "../config.ts";
import type { CaseKind, CaseOf, Offence } from "../case-records.ts";
import { caseIdOf } from "../case-rows.ts";
import type { Actor, CoreEvent, Reply } from "../events.ts";
import { reputationOf } from "../reputation.ts";
import { ADMIN, Network } from "./kit.ts";
import { work } from "./words.ts";

const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

export class TrustNetwork extends Network {
  readonly provider: Actor;
  readonly consumer: Actor;
  readonly workerId: WorkerId;

  constructor(config: Partial<CoreConfig> = {}) {
    // One in twenty is checked: figures that can be followed.
    super({ checkRateMinBps: 500, ...config });
    this.provider = this.account("provider", 1_000n);
    this.consumer = this.account("consumer", 1_000n);
    this.workerId = this.worker(this.provider, "alpha");
  }

  /** One core for an hour at 1 USD: 0.95 for the worker, 0.05 for the network. */
  paidJob(ranMs = HOUR_MS, consumer = this.consumer): JobId {
    const id = this.submit(consumer, { durationMaxS: 7200 });
    work(this, id, ranMs);
    return id;
  }

  rate(jobId: JobId, stars: number, actor = this.consumer): Reply {
    const previous = this.caseOf("rating", caseIdOf("rating", jobId)) ?? null;
    return this.do({ kind: "job.rate", actor, jobId, stars, comment: "", ended: this.endedJob(jobId), previous });
  }

  dispute(jobId: JobId, actor = this.consumer, returned = false): Reply {
    const previous = this.caseOf("dispute", caseIdOf("dispute", jobId)) ?? null;
    const about = { actor, jobId, reason: "wrong", ended: this.endedJob(jobId) };
    return this.do({ kind: "job.dispute", ...about, previous, returned });
  }

  resolve(jobId: JobId, consumerBps: number, actor = ADMIN): Reply {
    const disputeId = caseIdOf("dispute", jobId);
    return this.do({ kind: "dispute.resolve", actor, disputeId, consumerBps, note: "looked at it" });
  }

  stake(units: bigint, from: Event<"stake.add">["from"] = "spendable", actor = this.provider): Reply {
    return this.do({ kind: "stake.add", actor, amount: units * 1_000_000n, currency: "USD", from });
  }

  unstake(units: bigint, actor = this.provider): Reply {
    return this.do({ kind: "stake.remove", actor, amount: units * 1_000_000n, currency: "USD" });
  }

  accuse(
    jobId: JobId,
    offence: Offence = "contradiction",
    actor = ADMIN,
    evidence: object = { statements: ["a", "b"] },
  ) {
    return this.do({
      kind: "slash.propose",
      actor,
      offence,
      workerId: this.workerId,
      jobId,
      evidence: { ...evidence },
      ended: this.endedJob(jobId),
    });
  }

  appeal(slashId: string, actor = this.provider): Reply {
    return this.do({ kind: "slash.appeal", actor, slashId, text: "it was not me" });
  }

  decide(slashId: string, decision: "uphold" | "dismiss", actor = ADMIN): Reply {
    return this.do({ kind: "slash.resolve", actor, slashId, decision, note: "looked at it" });
  }

  caseOf<Kind extends CaseKind>(kind: Kind, id: string): CaseOf<Kind> | undefined {
    const found = this.kept.all("cases").find((each) => each.id === id);
    return found?.kind === kind ? (found as CaseOf<Kind>) : undefined;
  }

  score(): number {
    const worker = this.state.rows.workers.get(this.workerId);
    return worker === undefined ? Number.NaN : reputationOf(this.state, worker).score;
  }

  endedJob(id: JobId) {
    const job = this.job(id);
    return job.endedAtMs === null ? null : job;
  }

  /** Nobody sends heartbeats meanwhile: for long times. */
  wait(ms: number): void {
    const beating = new Map(this.beating);
    for (const workerId of beating.keys()) this.close(workerId);
    this.pass(ms);
  }
}

export function codeOf(reply: Reply): string {
  return reply.kind === "refused" ? reply.refusal.code : reply.kind;
}

export function caseId(reply: Reply): string {
  return reply.kind === "case" ? reply.caseId : codeOf(reply);
}
