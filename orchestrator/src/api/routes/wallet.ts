// The wallet: balances, entries, and the deposits that an administrator grants.
import { z } from "zod";
import type { TransferId } from "@qubix/shared/domain";
import { depositRequestSchema, pageOf, pageQuerySchema, walletEntrySchema, walletSchema } from "@qubix/shared/protocol";
import { walletEntries, walletOf, type WalletCursor } from "../../accounts/wallet.ts";
import { depositId } from "../../core/index.ts";
import { accountFor } from "../accounts.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idempotencyOf } from "../input.ts";
import { expectReply, invalidField } from "../problems.ts";
import { accountQuerySchema, problems } from "../schemas.ts";

const depositedSchema = z.object({ transferId: z.string(), wallet: walletSchema });
const cursorSchema = z.strictObject({
  before: z.string().max(100),
  balances: z.record(z.string().max(200), z.string().regex(/^-?[0-9]{1,40}$/)),
});

export function walletRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/wallet",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary:
        "What an account can spend, what is held for its jobs, what it earned (pending, payable) and staked; micro-units",
      querystring: accountQuerySchema,
      response: { 200: walletSchema, ...problems(400, 401, 403, 404) },
    },
    handler: async (request) => {
      const account = accountFor(ctx, actorOf(request), request.query.accountId);
      return walletOf(ctx.writer.state(), ctx.writer.store, account.id, ctx.chains.backing);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/wallet/entries",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: "Every movement of money, newest first",
      querystring: pageQuerySchema.extend(accountQuerySchema.shape).strict(),
      response: { 200: pageOf(walletEntrySchema), ...problems(400, 401, 403, 404) },
    },
    handler: async (request) => {
      const { accountId, cursor, limit } = request.query;
      const account = accountFor(ctx, actorOf(request), accountId);
      const page = walletEntries(ctx.writer.store, account.id, decodeCursor(cursor), limit);
      return { items: [...page.items], nextCursor: page.next === null ? null : encodeCursor(page.next) };
    },
  });

  app.route({
    method: "POST",
    url: "/v1/wallet/deposits",
    config: { access: ["admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Grant credit to an account",
      body: depositRequestSchema,
      response: { 201: depositedSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const { accountId, amount, reference, id } = request.body;
      const deposited = await ctx.writer.submit({
        kind: "deposit",
        actor: actorOf(request),
        accountId,
        amount: amount.amount,
        currency: amount.currency,
        reference,
        ...(id === undefined ? {} : { id: depositId(id) }),
        ...idempotencyOf(ctx, request, "POST /v1/wallet/deposits"),
      });
      const { transferId } = expectReply(deposited, "transfer");
      reply.code(201);
      return { transferId, wallet: walletOf(ctx.writer.state(), ctx.writer.store, accountId, ctx.chains.backing) };
    },
  });
}

function encodeCursor(cursor: WalletCursor): string {
  return Buffer.from(JSON.stringify(cursor)).toString("base64url");
}

function decodeCursor(text: string | undefined): WalletCursor | undefined {
  if (text === undefined) return undefined;
  try {
    const parsed = cursorSchema.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
    return { before: parsed.before as TransferId, balances: parsed.balances };
  } catch {
    throw invalidField("query.cursor", "not a cursor that a page before this one gave");
  }
}
