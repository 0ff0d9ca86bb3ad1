// Disputes of what was paid for a job: opened by its consumer, decided by an administrator.
import type { JobId } from "@qubix/shared/domain";
import { disputeRequestSchema, disputeResolutionSchema, disputeSchema } from "@qubix/shared/protocol";
import { viewDispute } from "../../accounts/cases.ts";
import { caseIdOf } from "../../core/index.ts";
import { casesOf } from "../cases.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idempotencyOf } from "../input.ts";
import { endedJob } from "../jobs.ts";
import { idParams, problems } from "../schemas.ts";
import { caseReadRoutes } from "./case-reads.ts";

/** A job has a few transfers: its hold, its end, and what was frozen and decided of it. */
const TRANSFERS_OF_JOB_MAX = 100;

export function disputeRoutes(app: Api, ctx: ApiContext): void {
  const disputes = casesOf(ctx, "dispute", viewDispute);
  app.route({
    method: "POST",
    url: "/v1/jobs/:id/dispute",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Dispute an ended job while its pay is pending: what was paid is frozen until an admin decides",
      params: idParams,
      body: disputeRequestSchema,
      response: { 201: disputeSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      // Before anything is read.
      const asOf = ctx.writer.state().meta.eventSeq;
      const { jobId, ended } = endedJob(ctx, actor, request.params.id);
      const previous = disputes.stored(caseIdOf("dispute", jobId)) ?? null;
      const { reason } = request.body;
      const returned = previous === null && wentBack(ctx, jobId);
      const idempotency = idempotencyOf(ctx, request, `POST /v1/jobs/${jobId}/dispute`);
      const about = { actor, jobId, reason, ended, previous, returned, asOf, ...idempotency };
      const opened = await disputes.submit(actor, { kind: "job.dispute", ...about });
      reply.code(201);
      return opened;
    },
  });

  caseReadRoutes(app, disputes, {
    url: "/v1/disputes",
    schema: disputeSchema,
    all: "Disputes about your jobs or your pay; an administrator sees all",
    one: "One dispute",
  });

  app.route({
    method: "POST",
    url: "/v1/disputes/:id/resolve",
    config: { access: ["admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Decide a dispute: how much goes back to the consumer, the rest goes to the providers",
      params: idParams,
      body: disputeResolutionSchema,
      response: { 200: disputeSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { id } = disputes.find(actor, request.params.id);
      return await disputes.submit(actor, { kind: "dispute.resolve", actor, disputeId: id, ...request.body });
    },
  });
}

/** Whether something that was frozen of the job's pay was returned to its consumer. */
function wentBack(ctx: ApiContext, jobId: JobId): boolean {
  return ctx.writer.store
    .transfers({ jobId, limit: TRANSFERS_OF_JOB_MAX })
    .some(
      ({ kind, postings }) => kind === "resolution" && postings.some(({ account }) => account.startsWith("customer:")),
    );
}
