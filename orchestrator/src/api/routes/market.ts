// The market: offers, workers, and what a job would cost.
import type { z } from "zod";
import type { WorkerId } from "@qubix/shared/domain";
import {
  drainRequestSchema,
  offerViewSchema,
  pageOf,
  pageQuerySchema,
  quoteRequestSchema,
  quoteSchema,
  workerViewSchema,
} from "@qubix/shared/protocol";
import { findSource, findWorker, type Actor, type WorkerRecord } from "../../core/index.ts";
import { isOffered, viewOffer, viewWorker, workersAfter } from "../../market/offers.ts";
import { quoteOf } from "../../market/quotes.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idCursor, parseSpec } from "../input.ts";
import { lookUp } from "../jobs.ts";
import { pageOfRows } from "../pages.ts";
import { expectReply, notFound, refusalError } from "../problems.ts";
import { idParams, problems } from "../schemas.ts";

export function marketRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "POST",
    url: "/v1/quotes",
    config: { access: "any" },
    schema: {
      tags: ["market"],
      summary: "What a job would cost, how many offers match, and why the others do not",
      body: quoteRequestSchema,
      response: { 200: quoteSchema, ...problems(400, 401, 413, 415, 422) },
    },
    handler: async (request) => {
      const spec = parseSpec(request.body.spec);
      const { fromCheckpoint: from } = spec;
      const source = from && findSource(actorOf(request), from, lookUp(ctx, from.job)?.stored.job);
      if (source?.kind === "refused") throw refusalError(source.refusal);
      return quoteOf(ctx.writer.state(), spec, actorOf(request), ctx.chains.backing);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/offers",
    config: { access: "any" },
    schema: {
      tags: ["market"],
      summary: "What can be had now",
      querystring: pageQuerySchema.strict(),
      response: { 200: pageOf(offerViewSchema), ...problems(400, 401) },
    },
    handler: async (request) => {
      const { cursor, limit } = request.query;
      const state = ctx.writer.state();
      const workers = workersAfter(state, idCursor(cursor, "wrk-") as WorkerId | undefined, limit + 1, (worker) =>
        isOffered(state, worker),
      );
      return pageOfRows(workers, limit, (worker) => viewOffer(state, worker, ctx.chains.backing));
    },
  });

  app.route({
    method: "GET",
    url: "/v1/workers",
    config: { access: "any" },
    schema: {
      tags: ["workers"],
      summary: "Your workers; an administrator sees all",
      querystring: pageQuerySchema.strict(),
      response: { 200: pageOf(workerViewSchema), ...problems(400, 401) },
    },
    handler: async (request) => {
      const { cursor, limit } = request.query;
      const actor = actorOf(request);
      const [state, nowMs] = [ctx.writer.state(), ctx.writer.nowMs()];
      const workers = workersAfter(state, idCursor(cursor, "wrk-") as WorkerId | undefined, limit + 1, (worker) =>
        maySee(actor, worker),
      );
      return pageOfRows(workers, limit, (worker) => [viewWorker(state, worker, nowMs)]);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/workers/:id",
    config: { access: "any" },
    schema: {
      tags: ["workers"],
      summary: "One worker",
      params: idParams,
      response: { 200: workerViewSchema, ...problems(401, 404) },
    },
    handler: async (request) => showWorker(ctx, actorOf(request), request.params.id),
  });

  app.route({
    method: "POST",
    url: "/v1/workers/:id/drain",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["workers"],
      summary:
        "Give a worker no new work, with move=true move what runs there, or with draining=false give it work again",
      params: idParams,
      body: drainRequestSchema.nullish(),
      response: { 200: workerViewSchema, ...problems(400, 401, 403, 404, 409) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const worker = ownWorker(ctx, actor, request.params.id);
      const { draining = true, move = false } = request.body ?? {};
      const workerId = worker.id;
      expectReply(await ctx.writer.submit({ kind: "worker.drain", actor, workerId, draining, move }), "worker");
      return showWorker(ctx, actor, worker.id);
    },
  });
}

function showWorker(ctx: ApiContext, actor: Actor, id: string): z.output<typeof workerViewSchema> {
  return viewWorker(ctx.writer.state(), ownWorker(ctx, actor, id), ctx.writer.nowMs());
}

function ownWorker(ctx: ApiContext, actor: Actor, id: string): WorkerRecord {
  const worker = findWorker(ctx.writer.state(), id as WorkerId);
  if (worker === undefined || !maySee(actor, worker)) throw notFound("worker", id);
  return worker;
}

function maySee(actor: Actor, worker: WorkerRecord): boolean {
  return actor.role === "admin" || worker.providerId === actor.accountId;
}
