// Budgets: what an account's jobs may cost in all, or in a calendar month.
import { budgetListSchema, clearBudgetQuerySchema, setBudgetSchema } from "@qubix/shared/protocol";
import { viewBudgets } from "../../accounts/budgets.ts";
import { accountFor } from "../accounts.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { expectReply } from "../problems.ts";
import { accountQuerySchema, problems } from "../schemas.ts";

export function budgetRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/budgets",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "The budgets of an account: what is spent, what its jobs may still cost, what is left",
      querystring: accountQuerySchema,
      response: { 200: budgetListSchema, ...problems(400, 401, 403, 404) },
    },
    handler: async (request) => {
      const account = accountFor(ctx, actorOf(request), request.query.accountId);
      return viewBudgets(ctx.writer.state(), account.id, ctx.wallOf);
    },
  });

  app.route({
    method: "PUT",
    url: "/v1/budgets",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "Set a hard limit for your jobs; an administrator sets one that the account cannot raise",
      body: setBudgetSchema,
      response: { 200: budgetListSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { accountId = actor.accountId, period, amount: money } = request.body;
      const set = { kind: "budget.set", actor, accountId, period, ...money } as const;
      expectReply(await ctx.writer.submit(set), "budgets");
      return viewBudgets(ctx.writer.state(), accountId, ctx.wallOf);
    },
  });

  app.route({
    method: "DELETE",
    url: "/v1/budgets",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "Take a limit away that you have set; one that is not there is no error",
      querystring: clearBudgetQuerySchema,
      response: { 200: budgetListSchema, ...problems(400, 401, 403, 404, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { accountId = actor.accountId, period, currency } = request.query;
      expectReply(await ctx.writer.submit({ kind: "budget.clear", actor, accountId, period, currency }), "budgets");
      return viewBudgets(ctx.writer.state(), accountId, ctx.wallOf);
    },
  });
}
