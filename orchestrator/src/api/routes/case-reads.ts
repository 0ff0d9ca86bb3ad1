// Cases of one kind, listed and one by one: the same for each kind that has a list.
import type { z } from "zod";
import { caseListQuerySchema, pageOf } from "@qubix/shared/protocol";
import type { DisputeView, SlashView } from "../../accounts/cases.ts";
import type { CaseKind } from "../../core/index.ts";
import type { Cases } from "../cases.ts";
import { actorOf, type Api } from "../context.ts";
import { idParams, problems } from "../schemas.ts";

interface Listed {
  readonly url: string;
  readonly schema: z.ZodType<DisputeView | SlashView>;
  /** Summaries of the two routes. */
  readonly all: string;
  readonly one: string;
}

/** `GET url` and `GET url/:id`. */
export function caseReadRoutes(
  app: Api,
  cases: Pick<Cases<CaseKind, DisputeView | SlashView>, "list" | "show">,
  { url, schema, all, one }: Listed,
): void {
  app.route({
    method: "GET",
    url,
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: all,
      querystring: caseListQuerySchema.strict(),
      response: { 200: pageOf(schema), ...problems(400, 401) },
    },
    handler: async (request) => cases.list(actorOf(request), request.query),
  });

  app.route({
    method: "GET",
    url: `${url}/:id`,
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary: one,
      params: idParams,
      response: { 200: schema, ...problems(401, 404) },
    },
    handler: async (request) => cases.show(actorOf(request), request.params.id),
  });
}
