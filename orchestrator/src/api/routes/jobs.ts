// Jobs: create (one, or a batch in one commit), list, look at, wait for, cancel, move.
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { JobId } from "@qubix/shared/domain";
import {
  BATCH_JOBS_MAX,
  batchRequestSchema,
  batchResultSchema,
  getJobQuerySchema,
  jobSpecSchema,
  jobViewSchema,
  listJobsQuerySchema,
  moveRequestSchema,
  pageOf,
  type JobView,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Actor, Idempotency } from "../../core/index.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idCursor, idempotencyOf, noValidator, parseSpec } from "../input.ts";
import { findJob, lookUp, viewJob } from "../jobs.ts";
import { pageOfRows } from "../pages.ts";
import { expectReply, problemOf, toQubixError, type ProblemDocument } from "../problems.ts";
import { idParams, problems } from "../schemas.ts";
import { submitJob } from "../submit-job.ts";

const CREATE_ROUTE = "POST /v1/jobs";
const BATCH_ROUTE = "POST /v1/jobs/batch";

export function jobRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "POST",
    url: "/v1/jobs",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Submit a job",
      body: jobSpecSchema,
      response: { 201: jobViewSchema, 200: jobViewSchema, ...problems(400, 401, 402, 403, 409, 413, 415, 422, 503) },
    },
    // The hot path: parsed once, by the handler.
    validatorCompiler: noValidator,
    handler: (request, reply) => createJob(ctx, request, reply),
  });

  app.route({
    method: "POST",
    url: "/v1/jobs/batch",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Submit up to 100 jobs; each is judged alone",
      body: batchRequestSchema,
      response: { 200: batchResultSchema, ...problems(400, 401, 409, 413, 415, 503) },
    },
    handler: (request) => createBatch(ctx, request, request.body.jobs),
  });

  app.route({
    method: "GET",
    url: "/v1/jobs",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "List jobs, newest first",
      querystring: listJobsQuerySchema.strict(),
      response: { 200: pageOf(jobViewSchema), ...problems(400, 401) },
    },
    handler: async (request) => listJobs(ctx, request, request.query),
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "One job; with waitS, once it has ended",
      params: idParams,
      querystring: getJobQuerySchema.strict(),
      response: { 200: jobViewSchema, ...problems(400, 401, 404, 503) },
    },
    handler: async (request, reply) => {
      await waitForEnd(ctx, request, reply, request.params.id, request.query.waitS);
      return viewJob(ctx, findJob(ctx, actorOf(request), request.params.id));
    },
  });

  app.route({
    method: "POST",
    url: "/v1/jobs/:id/cancel",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Cancel a job; where it runs, it is stopped first",
      params: idParams,
      body: z.strictObject({}).nullish(),
      response: { 200: jobViewSchema, ...problems(401, 404, 409, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { stored, live } = findJob(ctx, actor, request.params.id);
      const { id } = stored.job;
      const reply = live ? await ctx.writer.submit({ kind: "job.cancel", actor, jobId: id }) : null;
      // One that has ended, perhaps this very moment, is shown as it is: it will not run, which is what was asked.
      if (reply !== null && lookUp(ctx, id)?.live === true) expectReply(reply, "job");
      return viewJob(ctx, findJob(ctx, actor, request.params.id));
    },
  });

  app.route({
    method: "POST",
    url: "/v1/jobs/:id/move",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Move a running job to another worker; it saves first and loses nothing",
      params: idParams,
      body: moveRequestSchema.nullish(),
      response: { 200: jobViewSchema, ...problems(400, 401, 404, 409, 503) },
    },
    handler: (request) =>
      moveJob(ctx, actorOf(request), request.params.id, request.body ?? moveRequestSchema.parse({})),
  });
}

async function moveJob(ctx: ApiContext, actor: Actor, id: string, body: z.output<typeof moveRequestSchema>) {
  const { stored, live } = findJob(ctx, actor, id);
  const jobId = stored.job.id;
  if (!live) throw jobNotRunning(jobId, stored.job.phase);
  expectReply(
    await ctx.writer.submit({ kind: "job.move", actor, jobId, to: body.to ?? null, force: body.force }),
    "job",
  );
  return viewJob(ctx, findJob(ctx, actor, id));
}

function jobNotRunning(id: JobId, phase: string): QubixError {
  const message = `Job ${id} is ${phase}: there is nothing to move.`;
  return new QubixError("job_not_running", message, { category: "conflict", status: 409 });
}

async function createJob(ctx: ApiContext, request: FastifyRequest, reply: FastifyReply) {
  const actor = actorOf(request);
  const spec = parseSpec(request.body);
  const created = expectReply(
    await submitJob(ctx, { actor, spec, ...idempotencyOf(ctx, request, CREATE_ROUTE) }),
    "job",
  );
  reply.code(created.repeated ? 200 : 201).header("location", `/v1/jobs/${created.jobId}`);
  if (created.repeated) reply.header("idempotency-replayed", "true");
  return viewJob(ctx, findJob(ctx, actor, created.jobId));
}

type BatchResult = { readonly job: JobView } | { readonly problem: ProblemDocument };

/** All of a batch reach the writer in one turn, so that one transaction serves them. */
async function createBatch(ctx: ApiContext, request: FastifyRequest, jobs: readonly unknown[]) {
  const whole = idempotencyOf(ctx, request, BATCH_ROUTE).idempotency;
  if (whole !== undefined) refuseReusedKey(ctx, actorOf(request), whole);
  const results = await Promise.all(
    jobs.map((value, index) => {
      const idempotency = whole === undefined ? {} : { idempotency: { ...whole, key: itemKey(whole, index) } };
      return createOne(ctx, request, value, idempotency);
    }),
  );
  return { results };
}

/** Each job of a batch has a key of its own: a space cannot be part of a caller's. */
function itemKey(whole: Idempotency, index: number): string {
  return `${whole.key} ${index}`;
}

/** The bodies are compared whole, before any job of this one is made. */
function refuseReusedKey(ctx: ApiContext, actor: Actor, whole: Idempotency): void {
  const records = ctx.writer.state().rows.idempotency;
  for (let index = 0; index < BATCH_JOBS_MAX; index += 1) {
    const record = records.get(`${actor.accountId} ${whole.route} ${itemKey(whole, index)}`);
    if (record === undefined || record.bodyHash === whole.bodyHash || ctx.writer.nowMs() >= record.expiresAtMs)
      continue;
    throw new QubixError(
      "idempotency_key_reused",
      "This Idempotency-Key was used within 24 hours with another batch. Use a new key for a new request.",
      { category: "conflict", status: 409 },
    );
  }
}

async function createOne(
  ctx: ApiContext,
  request: FastifyRequest,
  value: unknown,
  idempotency: ReturnType<typeof idempotencyOf>,
): Promise<BatchResult> {
  try {
    const actor = actorOf(request);
    const spec = parseSpec(value);
    const reply = expectReply(await submitJob(ctx, { actor, spec, ...idempotency }), "job");
    return { job: viewJob(ctx, findJob(ctx, actor, reply.jobId)) };
  } catch (error) {
    const known = toQubixError(error);
    if (known.category === "internal") ctx.logger.error({ event: "request_failed", err: error }, "batch item failed");
    return { problem: problemOf(known) };
  }
}

function listJobs(ctx: ApiContext, request: FastifyRequest, query: z.output<typeof listJobsQuerySchema>) {
  const actor = actorOf(request);
  const before = idCursor(query.cursor, "job-") as JobId | undefined;
  const records = ctx.writer.store.jobs({
    ...(actor.role === "admin" ? {} : { account: actor.accountId }),
    ...(query.phase === undefined ? {} : { phase: query.phase }),
    ...(before === undefined ? {} : { before }),
    limit: query.limit + 1,
  });
  return pageOfRows(records, query.limit, ({ id }) => {
    const found = lookUp(ctx, id);
    return found === undefined ? [] : [viewJob(ctx, found)];
  });
}

async function waitForEnd(
  ctx: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
  waitS: number,
): Promise<void> {
  const { stored, live } = findJob(ctx, actorOf(request), id);
  if (!live || waitS === 0) return;
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  await ctx.watch.ended(stored.job.id, waitS * 1000, gone.signal);
}
