// What consumers think of their jobs.
import type { JobId } from "@qubix/shared/domain";
import { ratingRequestSchema, ratingSchema } from "@qubix/shared/protocol";
import { viewRating } from "../../accounts/cases.ts";
import { caseIdOf } from "../../core/index.ts";
import { casesOf } from "../cases.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { endedJob } from "../jobs.ts";
import { idParams, problems } from "../schemas.ts";

export function ratingRoutes(app: Api, ctx: ApiContext): void {
  const ratings = casesOf(ctx, "rating", viewRating);
  const inTurn = createTurns();
  app.route({
    method: "POST",
    url: "/v1/jobs/:id/rating",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "Rate an ended job, from 1 to 5 stars; it may be changed for a day",
      params: idParams,
      body: ratingRequestSchema,
      response: { 200: ratingSchema, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 503) },
    },
    handler: async (request) => {
      const actor = actorOf(request);
      const { jobId } = endedJob(ctx, actor, request.params.id);
      // What was said before is read, and then replaced: one rating of a job at a time.
      return await inTurn(jobId, async () => {
        const { ended } = endedJob(ctx, actor, jobId);
        const previous = ratings.stored(caseIdOf("rating", jobId)) ?? null;
        const { stars, comment } = request.body;
        return await ratings.submit(actor, { kind: "job.rate", actor, jobId, stars, comment, ended, previous });
      });
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/rating",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "How a job was rated",
      params: idParams,
      response: { 200: ratingSchema, ...problems(401, 404) },
    },
    handler: async (request) => ratings.show(actorOf(request), caseIdOf("rating", request.params.id as JobId)),
  });
}

/** Runs one thing of a key at a time, in the order in which they came. */
function createTurns() {
  const last = new Map<string, Promise<unknown>>();
  return async <T>(key: string, run: () => Promise<T>): Promise<T> => {
    const before = last.get(key);
    const own = (async () => {
      await before?.catch(() => {});
      return await run();
    })();
    last.set(key, own);
    try {
      return await own;
    } finally {
      if (last.get(key) === own) last.delete(key);
    }
  };
}
