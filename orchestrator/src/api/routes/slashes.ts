// Accusations that may cost a provider's stake: proposed with evidence, appealed, decided.
import type { z } from "zod";
import { appealRequestSchema, slashRequestSchema, slashResolutionSchema, slashSchema } from "@qubix/shared/protocol";
import { contradictionFault } from "@qubix/shared/runtime";
import { viewSlash } from "../../accounts/cases.ts";
import { findWorker } from "../../core/index.ts";
import { createEvidenceCheck, type EvidenceCase } from "../../proofs/evidence.ts";
import { casesOf } from "../cases.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { findJob } from "../jobs.ts";
import { invalidField, notFound } from "../problems.ts";
import { idParams, problems } from "../schemas.ts";
import { caseReadRoutes } from "./case-reads.ts";

type SlashRequest = z.output<typeof slashRequestSchema>;

export function slashRoutes(app: Api, ctx: ApiContext): void {
  const slashes = casesOf(ctx, "slash", viewSlash);
  const failedProofFault = createEvidenceCheck();
  /** Why the evidence does not hold; null where it does, or where nobody can tell without running the job again. */
  const faultOf = async (offence: SlashRequest["offence"], of: EvidenceCase): Promise<string | null> => {
    if (offence === "contradiction") return contradictionFault(of.publicKey, of.evidence);
    return offence === "failed_proof" ? await failedProofFault(of) : null;
  };
  caseReadRoutes(app, slashes, {
    url: "/v1/slashes",
    schema: slashSchema,
    all: "Slashes of your stake, or about your jobs; an administrator sees all",
    one: "One slash, with all of its evidence",
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
      const { id: jobId } = findJob(ctx, actor, request.body.jobId).stored.job;
      const fault = await faultOf(offence, { publicKey: worker.publicKey, evidence });
      if (fault !== null) throw invalidField("evidence", fault);
      // It may have ended meanwhile.
      const { stored, live } = findJob(ctx, actor, jobId);
      const proposed = await slashes.submit(actor, {
        kind: "slash.propose",
        actor,
        offence,
        workerId: worker.id,
        jobId,
        evidence,
        ended: live ? null : stored.job,
      });
      reply.code(201);
      return proposed;
    },
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
      const { id } = slashes.find(actor, request.params.id);
      return await slashes.submit(actor, { kind: "slash.appeal", actor, slashId: id, text: request.body.text });
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
      const { id } = slashes.find(actor, request.params.id);
      return await slashes.submit(actor, { kind: "slash.resolve", actor, slashId: id, ...request.body });
    },
  });
}
