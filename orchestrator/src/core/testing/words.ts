// What the worker of a job's newest attempt says as its container starts, saves, and ends.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import type { StepResult } from "../events.ts";
import { type Network, refOf, treeOf } from "./kit.ts";

type Message<Kind extends WorkerMessage["kind"]> = Extract<WorkerMessage, { kind: Kind }>;

export function start(net: Network, id: JobId, more: Partial<Message<"started">> = {}): StepResult {
  const attempt = net.attempt(id);
  return net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: attempt.fromSeq, ...more });
}

/** A checkpoint after the one before it. */
export function save(
  net: Network,
  id: JobId,
  seq: number,
  ranMs: number,
  more: Partial<Message<"checkpoint">> = {},
): StepResult {
  const attempt = net.attempt(id);
  return net.say(attempt.workerId, {
    kind: "checkpoint",
    attempt: refOf(attempt),
    seq,
    parentSeq: seq - 1,
    tree: treeOf(`checkpoint${"abcdefghi"[seq]}`),
    ranMs,
    progress: null,
    signature: "signature",
    ...more,
  });
}

/** It saves once more. */
export function saveNext(
  net: Network,
  id: JobId,
  ranMs: number,
  more: Partial<Message<"checkpoint">> = {},
): StepResult {
  return save(net, id, (net.job(id).checkpoints.at(-1)?.seq ?? 0) + 1, ranMs, more);
}

export function end(net: Network, id: JobId, ranMs: number, outcome: Message<"ended">["outcome"]): StepResult {
  const attempt = net.attempt(id);
  return net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs, outcome });
}

export function succeed(net: Network, id: JobId, ranMs: number): StepResult {
  return end(net, id, ranMs, { kind: "succeeded", outputs: null });
}

/** It starts, runs for that long, and succeeds. */
export function work(net: Network, id: JobId, ranMs: number): StepResult {
  start(net, id);
  net.pass(ranMs);
  return succeed(net, id, ranMs);
}

/** Its standby has unpacked that checkpoint; where that is. */
export function standbyReady(net: Network, id: JobId, checkpointSeq = 0): WorkerId {
  const standby = net.standby(id);
  assert(standby !== undefined, "nothing is reserved");
  net.say(standby.workerId, { kind: "standby.ready", standbyId: standby.id, checkpointSeq });
  return standby.workerId;
}
