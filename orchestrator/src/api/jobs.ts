// Finding and showing jobs: those that have not ended are in memory, the others in the store.
import type { JobId } from "@qubix/shared/domain";
import type { JobView } from "@qubix/shared/protocol";
import { jobView, liveJob, type Actor } from "../core/index.ts";
import type { StoredJob } from "../store/port.ts";
import type { ApiContext } from "./context.ts";
import { notFound } from "./problems.ts";

export interface FoundJob {
  readonly stored: StoredJob;
  readonly live: boolean;
}

/** The job with this id if the caller may see it. Throws 404 otherwise: that it exists is nobody else's business. */
export function findJob(ctx: ApiContext, actor: Actor, id: string): FoundJob {
  const found = lookUp(ctx, id as JobId);
  if (found === undefined || !maySee(actor, found.stored)) throw notFound("job", id);
  return found;
}

export function lookUp(ctx: Pick<ApiContext, "writer">, id: JobId): FoundJob | undefined {
  const live = liveJob(ctx.writer.state(), id);
  if (live !== undefined) return { stored: live, live: true };
  const stored = ctx.writer.store.job(id);
  return stored === undefined ? undefined : { stored, live: false };
}

export function viewJob(ctx: ApiContext, found: FoundJob): JobView {
  const state = ctx.writer.state();
  const { job } = found.stored;
  // What is not decided is in memory as well; the store has what is committed of both.
  const verification = job.spec.verification.mode === "none" ? undefined : ctx.writer.store.verification(job.id);
  return jobView(found.live ? state : null, { ...found.stored, verification }, ctx.wallOf, state);
}

function maySee(actor: Actor, stored: StoredJob): boolean {
  return actor.role === "admin" || stored.job.accountId === actor.accountId;
}

/** The job, and its record where it has ended: the core has none of those. Throws 404. */
export function endedJob(ctx: ApiContext, actor: Actor, id: string) {
  const found = findJob(ctx, actor, id);
  // It may have ended between two looks.
  const { stored, live } = found.live ? (lookUp(ctx, found.stored.job.id) ?? found) : found;
  return { jobId: stored.job.id, ended: live ? null : stored.job };
}
