// A consumer's program: it sends each request until it is answered, with one idempotency key, as the SDK does.
import type { CoreEvent, Reply } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { JobId } from "@qubix/shared/domain";
import { check } from "./monitor.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { Intent } from "./workload.ts";
import type { World } from "./world.ts";

export interface Client {
  submit(intent: Intent): void;
  /** The ids of accepted jobs, by intent. */
  readonly accepted: ReadonlyMap<number, JobId>;
  readonly refused: ReadonlyMap<number, string>;
  readonly cancelled: ReadonlySet<JobId>;
  /** Whether every request has its answer. */
  isServed(): boolean;
}

const AGAIN_MS_MIN = 50;
const AGAIN_MS_MAX = 700;
/** An answer is on its way for at most so long. */
const ANSWER_MS_MAX = 30;

export function createClient(world: World, orchestrator: OrchestratorNode, store: Store): Client {
  const accepted = new Map<number, JobId>();
  const refused = new Map<number, string>();
  const cancelled = new Set<JobId>();
  let open = 0;

  /** Asks until there is an answer. Answers can be lost on their way: then it is asked again, though it was done. */
  function ask(event: CoreEvent, onReply: (reply: Reply) => void): void {
    const again = () => world.after(world.rng.int(AGAIN_MS_MIN, AGAIN_MS_MAX), () => ask(event, onReply));
    orchestrator.submit(event, (answer) => {
      if (answer.kind === "unavailable" || world.strikes(world.faults.repeats / 4)) again();
      else world.after(world.rng.int(1, ANSWER_MS_MAX), () => onReply(answer.reply));
    });
  }

  function request(event: CoreEvent, onReply: (reply: Reply) => void): void {
    open += 1;
    ask(event, (reply) => {
      open -= 1;
      onReply(reply);
    });
  }

  return {
    accepted,
    refused,
    cancelled,
    isServed: () => open === 0,
    submit(intent) {
      const actor = { accountId: intent.accountId, role: "consumer" } as const;
      const idempotency = { route: "POST /v1/jobs", key: `intent-${intent.index}`, bodyHash: `${intent.index}` };
      request({ kind: "job.create", actor, spec: intent.spec, idempotency }, (reply) => {
        if (reply.kind === "refused") {
          refused.set(intent.index, reply.refusal.code);
          return;
        }
        check(reply.kind === "job", () => `a job was asked for, and ${reply.kind} was answered`);
        const { jobId } = reply;
        check(store.job(jobId) !== undefined, () => `invariant 1: ${jobId} is accepted and not durable`);
        accepted.set(intent.index, jobId);
        if (intent.cancelAtMs === null) return;
        world.after(Math.max(0, intent.cancelAtMs - world.nowMs()), () => {
          cancelled.add(jobId);
          request({ kind: "job.cancel", actor, jobId }, () => {});
        });
      });
    },
  };
}
