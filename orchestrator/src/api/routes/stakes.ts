// What providers have at risk, and what of it they ask back.
import type { z } from "zod";
import { stakeRequestSchema, stakesSchema, unstakeRequestSchema } from "@qubix/shared/protocol";
import { stakesOf } from "../../accounts/cases.ts";
import type { Actor } from "../../core/index.ts";
import { accountFor } from "../accounts.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idempotencyOf } from "../input.ts";
import { expectReply } from "../problems.ts";
import { accountQuerySchema, problems } from "../schemas.ts";

export function stakeRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/stakes",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "What you have at risk, and what of it you have asked back",
      querystring: accountQuerySchema,
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
