// Deposits from chains: a consumer shows that an account on the chain is his, and what it sends to the operator is credited to him once it is final.
import { z } from "zod";
import { depositAddressRequestSchema, depositAddressSchema } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { AccountId } from "@qubix/shared/domain";
import type { Chain } from "../../settlement/chain.ts";
import { addressInvalid } from "../chains.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { expectReply, notFound } from "../problems.ts";
import { driverParams, problems } from "../schemas.ts";

const addressesSchema = z.object({ items: z.array(depositAddressSchema) });

export function depositAddressRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/deposit-addresses",
    config: { access: ["consumer", "admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Where to send tokens of currencies that lie on a chain, and from where yours come",
      response: { 200: addressesSchema, ...problems(401, 403) },
    },
    handler: async (request) => {
      const { accountId } = actorOf(request);
      const chains = ctx.chains.list().filter(({ driver }) => driver.payments !== null);
      return { items: chains.map((chain) => view(ctx, chain, accountId)) };
    },
  });

  app.route({
    method: "PUT",
    url: "/v1/deposit-addresses/:driver",
    config: { access: ["consumer", "admin"] },
    schema: {
      tags: ["wallet"],
      summary: "Say from where on a chain your tokens come, signed by that account",
      params: driverParams,
      body: depositAddressRequestSchema,
      response: { 200: depositAddressSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const name = request.params.driver;
      const chain = ctx.chains.list().find(({ terms, driver }) => terms.driver === name && driver.payments !== null);
      if (chain === undefined) throw notFound("chain", name);
      const address = chain.driver.account(request.body.address);
      if (address === null) throw addressInvalid(name);
      const text = textFor(ctx, chain, actor.accountId, address);
      if ((await chain.driver.payments?.proves(address, text, request.body.signature)) !== true) {
        throw new QubixError(
          "signature_invalid",
          `The signature is not of ${address} over this text, letter by letter: ${text}`,
          { category: "user", status: 403 },
        );
      }
      const event = { kind: "deposit.address", actor, driver: chain.terms.driver, address } as const;
      expectReply(await ctx.writer.submit(event), "depositAddress");
      return view(ctx, chain, actor.accountId);
    },
  });
}

function view(ctx: ApiContext, chain: Chain, accountId: AccountId): z.output<typeof depositAddressSchema> {
  const { driver, currency } = chain.terms;
  const own = [...ctx.writer.state().rows.depositAddresses.values()].find(
    (record) => record.accountId === accountId && record.driver === driver,
  );
  return {
    driver,
    currency,
    sendTo: chain.driver.signer(),
    address: own?.address ?? null,
    text: textFor(ctx, chain, accountId, own?.address ?? "ADDRESS"),
  };
}

/** Names both ends and this orchestrator, so that the signature says nothing anywhere else. */
function textFor({ orchestratorId }: ApiContext, { driver }: Chain, accountId: AccountId, address: string): string {
  return `Qubix ${orchestratorId}: what ${address} sends to ${driver.signer()} is credited to ${accountId}`;
}
