// What is brought up about work and money after a job: ratings, disputes, stakes, slashes.
import { z } from "zod";
import type { JobId } from "@qubix/shared/domain";
import {
  accountIdSchema,
  appealRequestSchema,
  caseListQuerySchema,
  disputeRequestSchema,
  disputeResolutionSchema,
  disputeSchema,
  pageOf,
  ratingRequestSchema,
  ratingSchema,
  slashRequestSchema,
  slashResolutionSchema,
  slashSchema,
  stakeRequestSchema,
  stakesSchema,
  unstakeRequestSchema,
} from "@qubix/shared/protocol";
import { contradictionFault } from "@qubix/shared/runtime";
import { stakesOf, viewDispute, viewRating, viewSlash } from "../../accounts/cases.ts";
import { type Actor, type CaseKind, type CaseOf, type CaseRecord, caseIdOf, findWorker } from "../../core/index.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idempotencyOf } from "../input.ts";
import { findJob, lookUp } from "../jobs.ts";
import { expectReply, invalidField, notFound } from "../problems.ts";
import { idParams, problems } from "../schemas.ts";
import { accountFor } from "./accounts.ts";

/** An administrator may name another account. */
const stakesQuerySchema = z.strictObject({ accountId: accountIdSchema.optional() });

export function trustRoutes(app: Api, ctx: ApiContext): void {
  ratingRoutes(app, ctx);
  disputeRoutes(app, ctx);
  stakeRoutes(app, ctx);
  slashRoutes(app, ctx);
}

// ── Ratings ──

function ratingRoutes(app: Api, ctx: ApiContext): void {
  const inTurn = createTurns();
  app.route({
    method: "POST",
    url: "/v1/jobs/:id/rating",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Rate an ended job, from 1 to 5 stars; it may be changed for a day",
      params: idParams,
      body: ratingRequestSchema,
      response: { 200: ratingSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { jobId } = endedJob(ctx, actor, request.params.id);
      // What was said before is read, and then replaced: one rating of a job at a time.
      return await inTurn(jobId, async () => {
        const { ended } = endedJob(ctx, actor, jobId);
        const previous = storedCase(ctx, "rating", caseIdOf("rating", jobId)) ?? null;
        const { stars, comment } = request.body;
        const reply = await ctx.writer.submit({ kind: "job.rate", actor, jobId, stars, comment, ended, previous });
        const { caseId } = expectReply(reply, "case");
        return viewRating(findCase(ctx, actor, "rating", caseId), ctx.wallOf);
      });
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/rating",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "How a job was rated",
      params: idParams,
      response: { 200: ratingSchema, ...problems(401, 404) },
    },
    handler: async (request) => {
      const id = caseIdOf("rating", request.params.id as JobId);
      return viewRating(findCase(ctx, actorOf(request), "rating", id), ctx.wallOf);
    },
  });
}

// ── Disputes ──

function disputeRoutes(app: Api, ctx: ApiContext): void {
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
      const previous = storedCase(ctx, "dispute", caseIdOf("dispute", jobId)) ?? null;
      const { reason } = request.body;
      const returned = previous === null && wentBack(ctx, jobId);
      const idempotency = idempotencyOf(ctx, request, `POST /v1/jobs/${jobId}/dispute`);
      const about = { actor, jobId, reason, ended, previous, returned, asOf, ...idempotency };
      const answer = await ctx.writer.submit({ kind: "job.dispute", ...about });
      const { caseId } = expectReply(answer, "case");
      reply.code(201);
      return viewDispute(findCase(ctx, actor, "dispute", caseId), ctx.wallOf);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/disputes",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "Disputes about your jobs or your pay; an administrator sees all",
      querystring: caseListQuerySchema.strict(),
      response: { 200: pageOf(disputeSchema), ...problems(400, 401) },
    },
    handler: async (request) =>
      listCases(ctx, actorOf(request), "dispute", request.query, (each) => viewDispute(each, ctx.wallOf)),
  });

  app.route({
    method: "GET",
    url: "/v1/disputes/:id",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "One dispute",
      params: idParams,
      response: { 200: disputeSchema, ...problems(401, 404) },
    },
    handler: async (request) => viewDispute(findCase(ctx, actorOf(request), "dispute", request.params.id), ctx.wallOf),
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
      const { id } = findCase(ctx, actor, "dispute", request.params.id);
      const event = { kind: "dispute.resolve", actor, disputeId: id, ...request.body } as const;
      expectReply(await ctx.writer.submit(event), "case");
      return viewDispute(findCase(ctx, actor, "dispute", id), ctx.wallOf);
    },
  });
}

// ── Stakes ──

function stakeRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/stakes",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "What you have at risk, and what of it you have asked back",
      querystring: stakesQuerySchema,
      response: { 200: stakesSchema, ...problems(400, 401, 403, 404) },
    },
    handler: async (request) => showStakes(ctx, accountFor(ctx, actorOf(request), request.query.accountId).id),
  });

  app.route({
    method: "POST",
    url: "/v1/stakes",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Put money at risk",
      body: stakeRequestSchema,
      response: { 201: stakesSchema, ...problems(400, 401, 402, 403, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const { amount, from } = request.body;
      const idempotency = idempotencyOf(ctx, request, "POST /v1/stakes");
      expectReply(await ctx.writer.submit({ kind: "stake.add", actor, ...amount, from, ...idempotency }), "done");
      reply.code(201);
      return showStakes(ctx, actor.accountId);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/stakes/unstake",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Ask stake back; it is paid after an appeal window, unless a slash takes it before",
      body: unstakeRequestSchema,
      response: { 201: stakesSchema, ...problems(400, 401, 402, 403, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const idempotency = idempotencyOf(ctx, request, "POST /v1/stakes/unstake");
      const event = { kind: "stake.remove", actor, ...request.body.amount, ...idempotency } as const;
      expectReply(await ctx.writer.submit(event), "case");
      reply.code(201);
      return showStakes(ctx, actor.accountId);
    },
  });
}

function showStakes(ctx: ApiContext, accountId: Actor["accountId"]): z.output<typeof stakesSchema> {
  return stakesOf(ctx.writer.state(), ctx.writer.store, accountId, ctx.wallOf);
}

// ── Slashes ──

function slashRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/slashes",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "Slashes of your stake, or about your jobs; an administrator sees all",
      querystring: caseListQuerySchema.strict(),
      response: { 200: pageOf(slashSchema), ...problems(400, 401) },
    },
    handler: async (request) =>
      listCases(ctx, actorOf(request), "slash", request.query, (each) => viewSlash(each, ctx.wallOf)),
  });

  app.route({
    method: "POST",
    url: "/v1/slashes",
    config: { access: ["admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Accuse a worker, with evidence; its provider may appeal",
      body: slashRequestSchema,
      response: { 201: slashSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const { offence, evidence } = request.body;
      const worker = findWorker(ctx.writer.state(), request.body.workerId);
      if (worker === undefined) throw notFound("worker", request.body.workerId);
      const fault = offence === "contradiction" ? contradictionFault(worker.publicKey, evidence) : null;
      if (fault !== null) throw invalidField("evidence", fault);
      const { stored, live } = findJob(ctx, actor, request.body.jobId);
      const answer = await ctx.writer.submit({
        kind: "slash.propose",
        actor,
        offence,
        workerId: worker.id,
        jobId: stored.job.id,
        evidence,
        ended: live ? null : stored.job,
      });
      const { caseId } = expectReply(answer, "case");
      reply.code(201);
      return viewSlash(findCase(ctx, actor, "slash", caseId), ctx.wallOf);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/slashes/:id",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "One slash, with all of its evidence",
      params: idParams,
      response: { 200: slashSchema, ...problems(401, 404) },
    },
    handler: async (request) => viewSlash(findCase(ctx, actorOf(request), "slash", request.params.id), ctx.wallOf),
  });

  app.route({
    method: "POST",
    url: "/v1/slashes/:id/appeal",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Say no to a slash of your stake, while it is proposed",
      params: idParams,
      body: appealRequestSchema,
      response: { 200: slashSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { id } = findCase(ctx, actor, "slash", request.params.id);
      const { text } = request.body;
      expectReply(await ctx.writer.submit({ kind: "slash.appeal", actor, slashId: id, text }), "case");
      return viewSlash(findCase(ctx, actor, "slash", id), ctx.wallOf);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/slashes/:id/resolve",
    config: { access: ["admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Uphold an appealed slash, or dismiss one",
      params: idParams,
      body: slashResolutionSchema,
      response: { 200: slashSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { id } = findCase(ctx, actor, "slash", request.params.id);
      expectReply(await ctx.writer.submit({ kind: "slash.resolve", actor, slashId: id, ...request.body }), "case");
      return viewSlash(findCase(ctx, actor, "slash", id), ctx.wallOf);
    },
  });
}

// ── Finding ──

/** The job, and its record where it has ended: the core has none of those. */
function endedJob(ctx: ApiContext, actor: Actor, id: string) {
  const found = findJob(ctx, actor, id);
  // It may have ended between two looks.
  const { stored, live } = found.live ? (lookUp(ctx, found.stored.job.id) ?? found) : found;
  return { jobId: stored.job.id, ended: live ? null : stored.job };
}

/** A job has a few transfers: its hold, its end, and what was frozen and decided of it. */
const TRANSFERS_OF_JOB_MAX = 100;

/** Whether something that was frozen of the job's pay was returned to its consumer. */
function wentBack(ctx: ApiContext, jobId: JobId): boolean {
  return ctx.writer.store
    .transfers({ jobId, limit: TRANSFERS_OF_JOB_MAX })
    .some(
      ({ kind, postings }) => kind === "resolution" && postings.some(({ account }) => account.startsWith("customer:")),
    );
}

function storedCase<Kind extends CaseKind>(ctx: ApiContext, kind: Kind, id: string): CaseOf<Kind> | undefined {
  const found = ctx.writer.store.case(id);
  return found?.kind === kind ? (found as CaseOf<Kind>) : undefined;
}

/** A case that the caller may see. Throws 404 otherwise: that it exists is nobody else's business. */
function findCase<Kind extends CaseKind>(ctx: ApiContext, actor: Actor, kind: Kind, id: string): CaseOf<Kind> {
  const found = storedCase(ctx, kind, id);
  if (found === undefined || !maySee(actor, found)) throw notFound(kind, id);
  return found;
}

function maySee(actor: Actor, { parties }: CaseRecord): boolean {
  return actor.role === "admin" || parties.includes(actor.accountId);
}

function listCases<Kind extends CaseKind, View extends { readonly id: string }>(
  ctx: ApiContext,
  actor: Actor,
  kind: Kind,
  { cursor, limit, open }: z.output<typeof caseListQuerySchema>,
  view: (found: CaseOf<Kind>) => View,
): { items: View[]; nextCursor: string | null } {
  const found = ctx.writer.store.cases({
    kind,
    ...(actor.role === "admin" ? {} : { account: actor.accountId }),
    ...(cursor === undefined ? {} : { before: cursor }),
    open,
    limit: limit + 1,
  }) as readonly CaseOf<Kind>[];
  const items = found.slice(0, limit).map(view);
  return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null };
}

/** Runs one thing of a key at a time, in the order in which they came. */
function createTurns() {
  const last = new Map<string, Promise<unknown>>();
  return async <T>(key: string, run: () => Promise<T>): Promise<T> => {
    const before = last.get(key);
    const own = (async () => {
      await before?.catch(() => {});
      return await run();
    })();
    last.set(key, own);
    try {
      return await own;
    } finally {
      if (last.get(key) === own) last.delete(key);
    }
  };
}
