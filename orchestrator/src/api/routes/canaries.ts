// Canaries as their operator sees them: which there are, and what they came to. What they are is in his own file.
import { canaryListSchema } from "@qubix/shared/protocol";
import { canaryStandings } from "../../core/index.ts";
import type { Api, ApiContext } from "../context.ts";
import { problems } from "../schemas.ts";

export function canaryRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/canaries",
    config: { access: ["admin"] },
    schema: {
      tags: ["stats"],
      summary: "The network's jobs with known results, and what workers came to",
      response: { 200: canaryListSchema, ...problems(401, 403) },
    },
    handler: async () => {
      const state = ctx.writer.state();
      return { share: state.config.canaryShare, items: canaryStandings(state) };
    },
  });
}
