// The receipt of a job: for its consumer, and for each provider what is his.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import { receiptSchema } from "@qubix/shared/protocol";
import { providedFor, receiptOf, type ReceiptView } from "../../accounts/receipt.ts";
import { type Actor, findWorker } from "../../core/index.ts";
import type { StoredJob } from "../../store/port.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { lookUp } from "../jobs.ts";
import { notFound } from "../problems.ts";
import { idParams, problems } from "../schemas.ts";

export function receiptRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/jobs/:id/receipt",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary:
        "The whole account of a job, to be verified by anyone; of a running one so far. A provider sees what is his",
      params: idParams,
      response: { 200: receiptSchema, ...problems(400, 401, 404) },
    },
    handler: async (request) => {
      const { id } = request.params;
      const found = lookUp(ctx, id as JobId);
      const view = found === undefined ? null : viewFor(actorOf(request), found.stored);
      if (found === undefined || view === null) throw notFound("job", id);
      const { store } = ctx.writer;
      const { orchestratorId, wallOf } = ctx;
      const publicKeyOf = (workerId: WorkerId) => findWorker(ctx.writer.state(), workerId)?.publicKey ?? "";
      return receiptOf({ store, orchestratorId, wallOf, publicKeyOf }, found.stored, view);
    },
  });
}

/** Null for an account that the job is no business of. */
function viewFor(actor: Actor, stored: StoredJob): ReceiptView | null {
  if (actor.role === "admin" || stored.job.accountId === actor.accountId) return { kind: "consumer" };
  return providedFor(stored, actor.accountId) ? { kind: "provider", accountId: actor.accountId } : null;
}
