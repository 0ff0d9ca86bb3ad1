// Chains, for admins: how it stands with them, what ledger and chain say differently, and what a person who has looked can do.
import type { z } from "zod";
import type { ReconcileReport } from "@qubix/contracts-bridge/port";
import type { JobId } from "@qubix/shared/domain";
import { chainReleaseSchema, chainReportSchema, chainsSchema, chainStatusSchema } from "@qubix/shared/protocol";
import type { CoreState } from "../../core/index.ts";
import type { Chain } from "../../settlement/chain.ts";
import { askChain, chainNamed } from "../chains.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { expectReply, refusalError } from "../problems.ts";
import { driverParams, problems } from "../schemas.ts";

/** Jobs that one answer names; the next ones come when these are done. */
const REFUSED_TOLD_MAX = 100;

export function chainRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/chains",
    config: { access: ["admin"] },
    schema: {
      tags: ["chains"],
      summary: "The chains on which money lies, and how it stands with them",
      response: { 200: chainsSchema, ...problems(401, 403) },
    },
    handler: async () => ({ items: ctx.chains.list().map((chain) => viewChain(ctx.writer.state(), chain)) }),
  });

  app.route({
    method: "POST",
    url: "/v1/chains/:driver/reconcile",
    config: { access: ["admin"] },
    schema: {
      tags: ["chains"],
      summary: "Compare what the ledger says with what the contract holds, now",
      params: driverParams,
      response: { 200: chainReportSchema, ...problems(401, 403, 404, 503) },
    },
    handler: async (request) => {
      const chain = chainNamed(ctx, request.params.driver);
      return viewReport(await askChain(() => chain.reconcile()));
    },
  });

  app.route({
    method: "POST",
    url: "/v1/chains/:driver/resume",
    config: { access: ["admin"] },
    schema: {
      tags: ["chains"],
      summary: "Go on after a halt, and try again what the chain refused",
      params: driverParams,
      response: { 200: chainStatusSchema, ...problems(401, 403, 404, 503) },
    },
    handler: async (request) => {
      const chain = chainNamed(ctx, request.params.driver);
      const driver = chain.terms.driver;
      // Before what is tried again: where it was refused that the contract may take tokens, that comes first.
      chain.resume();
      const tried = await ctx.writer.submit({ kind: "chain.retry", actor: actorOf(request), driver });
      if (tried.kind === "refused") throw refusalError(tried.refusal);
      return viewChain(ctx.writer.state(), chain);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/chains/:driver/release",
    config: { access: ["admin"] },
    schema: {
      tags: ["chains"],
      summary: "Make a job's pay that the chain refused payable here, to be paid out by hand",
      params: driverParams,
      body: chainReleaseSchema,
      response: { 200: chainStatusSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 503) },
    },
    handler: async (request) => {
      const chain = chainNamed(ctx, request.params.driver);
      const jobId = request.body.jobId as JobId;
      expectReply(await ctx.writer.submit({ kind: "chain.release", actor: actorOf(request), jobId }), "none");
      return viewChain(ctx.writer.state(), chain);
    },
  });
}

function viewChain({ rows }: CoreState, chain: Chain): z.output<typeof chainStatusSchema> {
  const { driver } = chain.terms;
  const { report, ...status } = chain.status();
  const refused = new Set<string>();
  for (const { id, chain: at } of rows.jobs.values()) {
    if (at?.driver === driver && at.deposit === "refused") refused.add(id);
  }
  for (const { id, chain: at, phase } of rows.chainPays.values()) {
    if (at.driver === driver && (at.deposit === "refused" || phase === "refused")) refused.add(id);
  }
  const refusedJobs = [...refused].slice(0, REFUSED_TOLD_MAX);
  return { ...status, refusedJobs, report: report === null ? null : viewReport(report) };
}

function viewReport({ place, jobs, underWay, differences, sum }: ReconcileReport): z.output<typeof chainReportSchema> {
  const { owed, there } = sum;
  return { place, jobs, underWay, differences: [...differences], sum: { owed: `${owed}`, there: `${there}` } };
}
