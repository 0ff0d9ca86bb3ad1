// A job that begins from a checkpoint of another one of the same consumer.
import type { JobSpec } from "@qubix/shared/protocol";
import type { Actor, SourceFound } from "./events.ts";
import type { CheckpointRecord, JobRecord } from "./model.ts";
import { refusal } from "./tables.ts";

type Wanted = NonNullable<JobSpec["fromCheckpoint"]>;

/** The checkpoint that is wanted of `source`, the job of that id, running or ended. What belongs to others looks unknown. Changes nothing. */
export function findSource(actor: Actor, wanted: Wanted, source: JobRecord | undefined): SourceFound {
  if (source === undefined || source.accountId !== actor.accountId) {
    return refused(
      "checkpoint_job_unknown",
      `There is no job ${wanted.job} of yours to take a checkpoint from. Check the id and the key (qubix jobs).`,
    );
  }
  const kept = source.checkpoints;
  if (kept.length === 0) {
    return refused(
      "checkpoint_none",
      `Job ${source.id} has no committed checkpoint. Wait for its first one (qubix checkpoints ${source.id}), or leave fromCheckpoint out.`,
    );
  }
  const { seq } = wanted;
  const checkpoint = seq === undefined ? kept.at(-1) : kept.find((candidate) => candidate.seq === seq);
  if (checkpoint !== undefined) return { kind: "found", checkpoint };
  const seqs = kept.map((candidate) => candidate.seq);
  return refused(
    "checkpoint_not_kept",
    `Job ${source.id} does not keep checkpoint ${seq} (any more). It keeps ${seqs.join(", ")}: name one of these, or none for the newest.`,
    { kept: seqs },
  );
}

/**
 * That checkpoint as the first one of the new job: its numbering is its own. No time of the new job has run for it, and
 * `signature` is still the one by which the other job's worker vouched for the tree.
 */
export function firstCheckpoint(job: Pick<JobRecord, "id">, source: CheckpointRecord, nowMs: number): CheckpointRecord {
  const { shipMs: _, ...rest } = source;
  return {
    ...rest,
    jobId: job.id,
    seq: 1,
    parentSeq: 0,
    tree: { ...source.tree, bytesMoved: 0 },
    ranMs: 0,
    committedAtMs: nowMs,
  };
}

function refused(code: string, message: string, details?: Readonly<Record<string, unknown>>): SourceFound {
  return { kind: "refused", refusal: refusal(422, code, message, details) };
}
