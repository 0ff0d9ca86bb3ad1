// Payouts: where a provider wants to be paid, what he asks for, and what the operator made of it.
import { z } from "zod";
import {
  pageOf,
  pageQuerySchema,
  payoutAddressRequestSchema,
  payoutAddressSchema,
  payoutCompleteSchema,
  payoutRejectSchema,
  payoutRequestSchema,
  payoutSchema,
  toWireMoney,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Actor, PayoutAddressRecord, PayoutRecord } from "../../core/index.ts";
import { addressInvalid, askChain, chainNamed } from "../chains.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idCursor, idempotencyOf } from "../input.ts";
import { pageOfRows } from "../pages.ts";
import { expectReply, invalidField, notFound } from "../problems.ts";
import { driverParams, idParams, problems } from "../schemas.ts";

const addressesSchema = z.object({ items: z.array(payoutAddressSchema) });

export function payoutRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/payout-addresses",
    config: { access: ["provider"] },
    schema: {
      tags: ["payouts"],
      summary: "Where you are paid on chains",
      response: { 200: addressesSchema, ...problems(401, 403) },
    },
    handler: async (request) => {
      const { accountId } = actorOf(request);
      const { payoutAddresses } = ctx.writer.state().rows;
      const own = ctx.chains.list().flatMap(({ terms }) => payoutAddresses.get(`${terms.driver} ${accountId}`) ?? []);
      return { items: own.map((record) => viewAddress(ctx, record)) };
    },
  });

  app.route({
    method: "PUT",
    url: "/v1/payout-addresses/:driver",
    config: { access: ["provider"] },
    schema: {
      tags: ["payouts"],
      summary: "Say where you want to be paid on a chain; work that is paid there comes only with it",
      params: driverParams,
      body: payoutAddressRequestSchema,
      response: { 200: payoutAddressSchema, ...problems(400, 401, 403, 404, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const { driver } = chainNamed(ctx, request.params.driver);
      const address = driver.account(request.body.address);
      if (address === null) throw addressInvalid(request.params.driver);
      const event = { kind: "payout.address", actor: actorOf(request), driver: driver.caps().name, address } as const;
      return viewAddress(ctx, expectReply(await ctx.writer.submit(event), "payoutAddress").record);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/payouts",
    config: { access: ["provider"] },
    schema: {
      tags: ["payouts"],
      summary: "Ask for what is payable to you, or withdraw what a chain's contract owes you",
      body: payoutRequestSchema,
      response: { 201: payoutSchema, ...problems(400, 401, 402, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const { amount: money, withdraw, destination } = request.body;
      const asked =
        money === undefined
          ? await withdrawalOf(ctx, actor, withdraw ?? "")
          : ({ by: "hand", ...money, destination } as const);
      const event = { kind: "payout.request", actor, ...asked } as const;
      const made = await ctx.writer.submit({ ...event, ...idempotencyOf(ctx, request, "POST /v1/payouts") });
      const { payoutId, payout } = expectReply(made, "payout");
      reply.code(201);
      return viewPayout(ctx, payout ?? storedPayout(ctx, payoutId));
    },
  });

  app.route({
    method: "GET",
    url: "/v1/payouts",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["payouts"],
      summary: "Your payouts, newest first; an administrator sees all",
      querystring: pageQuerySchema.strict(),
      response: { 200: pageOf(payoutSchema), ...problems(400, 401, 403) },
    },
    handler: async (request) => {
      const { cursor, limit } = request.query;
      const { accountId: account, role } = actorOf(request);
      const before = idCursor(cursor, "pay-");
      const found = ctx.writer.store.payouts({
        ...(role === "admin" ? {} : { account }),
        ...(before === undefined ? {} : { before }),
        limit: limit + 1,
      });
      return pageOfRows(found, limit, (payout) => [viewPayout(ctx, payout)]);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/payouts/:id/complete",
    config: { access: ["admin"] },
    schema: {
      tags: ["payouts"],
      summary: "Say that a payout was sent, with its reference for the books",
      params: idParams,
      body: payoutCompleteSchema,
      response: { 200: payoutSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 503) },
    },
    handler: async (request) => endPayout(ctx, actorOf(request), request.params.id, "complete", request.body.reference),
  });

  app.route({
    method: "POST",
    url: "/v1/payouts/:id/reject",
    config: { access: ["admin"] },
    schema: {
      tags: ["payouts"],
      summary: "Say why a payout is not sent; the money is payable again",
      params: idParams,
      body: payoutRejectSchema,
      response: { 200: payoutSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 503) },
    },
    handler: async (request) => endPayout(ctx, actorOf(request), request.params.id, "reject", request.body.reason),
  });
}

/** Said again, it is as it was; said otherwise, it is refused. */
async function endPayout(
  ctx: ApiContext,
  actor: Actor,
  payoutId: string,
  outcome: "complete" | "reject",
  reference: string,
) {
  const known = ctx.writer.store.payout(payoutId);
  if (known === undefined) throw notFound("payout", payoutId);
  if (known.phase !== "requested") {
    const isSame = known.phase === ENDS[outcome] && known.reference === reference;
    if (isSame) return viewPayout(ctx, known);
    throw new QubixError("payout_ended", `Payout ${payoutId} is ${known.phase} already (${known.reference}).`, {
      category: "conflict",
      status: 409,
    });
  }
  const ended = await ctx.writer.submit({ kind: "payout.end", actor, payoutId, outcome, reference });
  return viewPayout(ctx, expectReply(ended, "payout").payout ?? storedPayout(ctx, payoutId));
}

const ENDS = { complete: "completed", reject: "rejected" } as const;

/** What the contract owes a provider now, to his own address. */
async function withdrawalOf(ctx: ApiContext, { accountId }: Actor, currency: string) {
  const chain = ctx.chains.find(currency);
  if (chain === undefined || chain.terms.currency !== currency) {
    throw invalidField(
      "withdraw",
      `${currency} does not lie on a chain here: ask for an amount, which the operator sends`,
    );
  }
  const { driver, terms } = chain;
  const address = ctx.writer.state().rows.payoutAddresses.get(`${terms.driver} ${accountId}`)?.address;
  if (address === undefined) {
    const message = `You have not said where you want to be paid on ${terms.driver} (PUT /v1/payout-addresses/${terms.driver}).`;
    throw new QubixError("payout_address_missing", message, { category: "user", status: 409 });
  }
  const amount = (await askChain(() => driver.readCredit(address))) / terms.unitsPerMicro;
  return { by: "contract", amount, currency, destination: address } as const;
}

function storedPayout(ctx: ApiContext, id: string): PayoutRecord {
  const payout = ctx.writer.store.payout(id);
  if (payout === undefined) throw notFound("payout", id);
  return payout;
}

function viewAddress(ctx: ApiContext, { driver, address, setAtMs }: PayoutAddressRecord) {
  return { driver, address, setAt: ctx.wallOf(setAtMs) };
}

function viewPayout(ctx: ApiContext, payout: PayoutRecord): z.output<typeof payoutSchema> {
  const { id, accountId, phase, by, driver, destination, reference, endedAtMs } = payout;
  return {
    id,
    accountId,
    phase,
    by,
    driver,
    amount: toWireMoney(payout.amount, payout.currency),
    destination,
    reference,
    requestedAt: ctx.wallOf(payout.requestedAtMs),
    endedAt: endedAtMs === null ? null : ctx.wallOf(endedAtMs),
  };
}
