// A consumer's program: it sends each request until it is answered, with one idempotency key, as the SDK does.
import { type CoreEvent, findSource, type Reply } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { AccountId, JobId } from "@qubix/shared/domain";
import { check } from "./counts.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { Intent } from "./workload.ts";
import type { Trees } from "./trees.ts";
import type { World } from "./world.ts";

export interface Client {
  submit(intent: Intent): void;
  /** The ids of accepted jobs, by intent. */
  readonly accepted: ReadonlyMap<number, JobId>;
  readonly refused: ReadonlyMap<number, string>;
  readonly cancelled: ReadonlySet<JobId>;
  /** Asks for the removal of some checkpoint of some job, once, whatever comes of it. */
  removeCheckpoint(): void;
  /** Whether every request has its answer. */
  isServed(): boolean;
}

/** The share of repeats that is lost answers. */
const LOST_ANSWERS = 0.25;
const AGAIN_MS_MIN = 50;
const AGAIN_MS_MAX = 700;
/** An answer is on its way for at most so long. */
const ANSWER_MS_MAX = 30;

export function createClient(world: World, orchestrator: OrchestratorNode, store: Store, trees: Trees): Client {
  const accepted = new Map<number, JobId>();
  const refused = new Map<number, string>();
  const cancelled = new Set<JobId>();
  const owners = new Map<JobId, AccountId>();
  const removing = new Set<JobId>();
  let open = 0;
  /** Under which name a request holds the checkpoint that its job is to begin from. */
  const held = new Map<CoreEvent, `from:${number}`>();

  /** Asks until there is an answer. Answers can be lost on their way: then it is asked again, though it was done. */
  function ask(make: () => CoreEvent, onReply: (reply: Reply) => void): void {
    const again = () => world.after(world.rng.int(AGAIN_MS_MIN, AGAIN_MS_MAX), () => ask(make, onReply));
    const event = make();
    orchestrator.submit(event, (answer) => {
      settleSource(event, answer.kind === "reply" ? answer.reply : null);
      if (answer.kind === "unavailable" || world.strikes("repeats", LOST_ANSWERS)) again();
      else world.after(world.rng.int(1, ANSWER_MS_MAX), () => onReply(answer.reply));
    });
  }

  function request(make: () => CoreEvent, onReply: (reply: Reply) => void): void {
    open += 1;
    ask(make, (reply) => {
      open -= 1;
      onReply(reply);
    });
  }

  /** The request for a job; one that begins from another's checkpoint holds that until it is answered, as the API does. */
  function creation(intent: Intent): CoreEvent {
    const { accountId, index, spec } = intent;
    const actor = { accountId, role: "consumer" } as const;
    const idempotency = { route: "POST /v1/jobs", key: `intent-${index}`, bodyHash: `${index}` };
    const from = intent.fork === null ? undefined : accepted.get(intent.fork);
    if (from === undefined) return { kind: "job.create", actor, spec, idempotency };
    const wanted = { job: from };
    const source = findSource(actor, wanted, store.job(from)?.job);
    const event: CoreEvent = {
      kind: "job.create",
      actor,
      spec: { ...spec, fromCheckpoint: wanted },
      source,
      idempotency,
    };
    if (source.kind === "found") {
      const holder = `from:${held.size}` as const;
      held.set(event, holder);
      const isThere = trees.hold(holder, source.checkpoint.tree.manifestCid);
      check(isThere, () => `invariant 3: checkpoint ${source.checkpoint.seq} of ${from} is kept and is not whole`);
    }
    return event;
  }

  /** The job's own reference comes before the other one goes; where nobody knows, both stay. */
  function settleSource(event: CoreEvent, reply: Reply | null): void {
    if (event.kind !== "job.create" || event.source?.kind !== "found" || reply === null) return;
    const { manifestCid } = event.source.checkpoint.tree;
    const holder = held.get(event);
    if (reply.kind === "job" && !reply.repeated) trees.hold(reply.jobId, manifestCid);
    if (holder !== undefined) trees.release(holder, manifestCid);
  }

  return {
    accepted,
    refused,
    cancelled,
    isServed: () => open === 0,
    submit(intent) {
      const actor = { accountId: intent.accountId, role: "consumer" } as const;
      const make = () => creation(intent);
      request(make, (reply) => {
        if (reply.kind === "refused") {
          refused.set(intent.index, reply.refusal.code);
          return;
        }
        check(reply.kind === "job", () => `a job was asked for, and ${reply.kind} was answered`);
        const { jobId } = reply;
        check(store.job(jobId) !== undefined, () => `invariant 1: ${jobId} is accepted and not durable`);
        accepted.set(intent.index, jobId);
        owners.set(jobId, intent.accountId);
        if (intent.cancelAtMs === null) return;
        world.after(Math.max(0, intent.cancelAtMs - world.nowMs()), () => {
          cancelled.add(jobId);
          request(
            () => ({ kind: "job.cancel", actor, jobId }),
            () => {},
          );
        });
      });
    },
    removeCheckpoint() {
      const ids = [...owners.keys()];
      if (ids.length === 0) return;
      const jobId = world.rng.pick(ids);
      // One of a job at a time, as the API does it.
      if (removing.has(jobId)) return;
      const job = store.job(jobId)?.job;
      const accountId = owners.get(jobId);
      if (job === undefined || accountId === undefined || job.checkpoints.length === 0) return;
      const { seq } = world.rng.pick(job.checkpoints);
      const ended = job.endedAtMs === null ? null : job;
      const actor = { accountId, role: "consumer" } as const;
      world.note(`checkpoint ${seq} of ${jobId} is to be removed`);
      removing.add(jobId);
      orchestrator.submit({ kind: "checkpoint.remove", actor, jobId, seq, ended }, () => removing.delete(jobId));
    },
  };
}
