// A job that begins from another job's checkpoint: the tree gets a reference before the core names it, so that the other job may let go of it at any time.
import type { AccountId, JobId } from "@qubix/shared/domain";
import type { JobSpec } from "@qubix/shared/protocol";
import type { ChunkStore } from "../checkpoints/index.ts";
import { type Actor, type CheckpointRecord, findSource, type JobRecord, type SourceFound } from "../core/index.ts";
import type { Store } from "../store/port.ts";
import type { ApiContext } from "./context.ts";
import { lookUp } from "./jobs.ts";

const HOLDER_BYTES = 12;
const PAGE = 500;

/** A source whose tree is held for as long as the new job is not made. */
export interface HeldSource {
  readonly found: SourceFound;
  /**
   * Called when the writer has answered: with the job that was made, `null` for none, `undefined` where nobody knows. The job's own reference comes
   * before the other one goes; where that is not known, the next start sees to it.
   */
  settle(jobId: JobId | null | undefined): Promise<void>;
}

/** Finds the checkpoint, sees that all of it is there, and holds it. */
export async function holdSource(
  ctx: Pick<ApiContext, "writer" | "chunks" | "random" | "logger">,
  actor: Actor,
  wanted: NonNullable<JobSpec["fromCheckpoint"]>,
): Promise<HeldSource> {
  const found = findSource(actor, wanted, lookUp(ctx, wanted.job)?.stored.job);
  if (found.kind === "refused") return { found, settle: async () => {} };
  const { accountId } = actor;
  const { tree } = found.checkpoint;
  const holder = `from:${Buffer.from(ctx.random.bytes(HOLDER_BYTES)).toString("hex")}`;
  const letGo = () => ctx.chunks.settleTree(accountId, holder, tree.manifestCid, false);
  const verdict = await ctx.chunks.admitTree(accountId, holder, tree);
  if (verdict.kind === "refused") {
    letGo();
    return { found: gone(found.checkpoint, verdict.code), settle: async () => {} };
  }
  return {
    found,
    async settle(jobId) {
      try {
        if (jobId === null) return letGo();
        if (jobId !== undefined) {
          await keepTree(ctx.chunks, accountId, jobId, tree);
          return letGo();
        }
      } catch (error) {
        // The job is accepted all the same, and its tree is held.
        ctx.logger.error({ event: "source_not_kept", jobId, err: error }, "left to the next start");
      }
      ctx.chunks.settleTree(accountId, holder, tree.manifestCid, true);
    },
  };
}

/** Between the look and the hold it went, or the disk lost a piece of it. */
function gone({ jobId, seq }: CheckpointRecord, why: string): SourceFound {
  const message = `Checkpoint ${seq} of job ${jobId} is not whole in the store any more (${why}). Name another one (qubix checkpoints ${jobId}).`;
  return { kind: "refused", refusal: { code: "checkpoint_not_whole", category: "user", status: 422, message } };
}

type Keeper = Pick<ChunkStore, "admitTree" | "settleTree">;

async function keepTree(
  chunks: Keeper,
  accountId: AccountId,
  jobId: JobId,
  tree: CheckpointRecord["tree"],
): Promise<void> {
  await chunks.admitTree(accountId, jobId, tree);
  chunks.settleTree(accountId, jobId, tree.manifestCid, true);
}

/**
 * After a crash between a job's creation and its own reference: gives each job that has not ended, and still keeps the checkpoint it began from, its
 * reference. To be done before anything is let go of. Harmless where it is there already.
 */
export async function keepSources(store: Pick<Store, "jobs">, chunks: Keeper): Promise<void> {
  for (const phase of ["queued", "starting", "running", "finishing"] as const) {
    let before: JobId | undefined;
    do {
      const page: readonly JobRecord[] = store.jobs({
        phase,
        limit: PAGE,
        ...(before === undefined ? {} : { before }),
      });
      for (const { id, accountId, fromCheckpoint, checkpoints } of page) {
        const first = checkpoints[0];
        if (fromCheckpoint !== null && first?.seq === 1) await keepTree(chunks, accountId, id, first.tree);
      }
      before = page.at(-1)?.id;
    } while (before !== undefined);
  }
}
