// Statistics: what the network's promises came to.
import { recoveryQuerySchema, recoveryStatsSchema } from "@qubix/shared/protocol";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { recoveryKinds } from "../recovery-stats.ts";
import { problems } from "../schemas.ts";

/** Counted at a time: beyond it the newest. A fleet in which more goes wrong in a window asks for a shorter one. */
const RECOVERIES_MAX = 10_000;
const MS_PER_S = 1000;

export function statsRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/stats/recovery",
    config: { access: ["consumer", "admin"] },
    schema: {
      tags: ["stats"],
      summary: "How long recoveries took and what work they lost: of your jobs; an administrator sees all",
      querystring: recoveryQuerySchema.strict(),
      response: { 200: recoveryStatsSchema, ...problems(400, 401, 403) },
    },
    handler: async (request) => {
      const { accountId, role } = actorOf(request);
      const { windowS } = request.query;
      const sinceWallMs = Date.now() - windowS * MS_PER_S;
      const found = ctx.writer.store.recoveries({
        sinceWallMs,
        limit: RECOVERIES_MAX + 1,
        ...(role === "admin" ? {} : { account: accountId }),
      });
      const counted = found.slice(0, RECOVERIES_MAX);
      return {
        windowS,
        since: new Date(sinceWallMs).toISOString(),
        recoveries: counted.length,
        truncated: found.length > counted.length,
        kinds: recoveryKinds(counted),
      };
    },
  });
}
