// What happened to a job: its events and its checkpoints.
import { z } from "zod";
import {
  checkpointViewSchema,
  eventViewSchema,
  jobEventsQuerySchema,
  pageOf,
  type EventView,
} from "@qubix/shared/protocol";
import type { CheckpointRecord } from "../../core/index.ts";
import type { StoredEvent } from "../../store/port.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { numberCursor } from "../input.ts";
import { findJob } from "../jobs.ts";
import { idParams, problems } from "../schemas.ts";

export function timelineRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/jobs/:id/events",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "The timeline of a job, oldest first",
      params: idParams,
      querystring: jobEventsQuerySchema.strict(),
      response: { 200: pageOf(eventViewSchema), ...problems(400, 401, 404) },
    },
    handler: async (request) => {
      const { stored } = findJob(ctx, actorOf(request), request.params.id);
      const { cursor, limit } = request.query;
      const after = Math.max(numberCursor(cursor), request.query.after ?? 0);
      const events = ctx.writer.store.events({ jobId: stored.job.id, after, limit: limit + 1 });
      const page = events.slice(0, limit);
      return { items: page.map(viewEvent), nextCursor: events.length > limit ? String(page.at(-1)?.seq) : null };
    },
  });

  app.route({
    method: "GET",
    url: "/v1/jobs/:id/checkpoints",
    config: { access: "any" },
    schema: {
      tags: ["jobs"],
      summary: "The committed checkpoints that are kept, oldest first",
      params: idParams,
      response: { 200: z.object({ items: z.array(checkpointViewSchema) }), ...problems(401, 404) },
    },
    handler: async (request) => {
      const { stored } = findJob(ctx, actorOf(request), request.params.id);
      return { items: stored.job.checkpoints.map((checkpoint) => viewCheckpoint(ctx, checkpoint)) };
    },
  });
}

/** An event as the wire has it. */
export function viewEvent(event: StoredEvent): EventView {
  return {
    seq: event.seq,
    time: new Date(event.wallMs).toISOString(),
    clockMs: event.atMs,
    channel: event.channel,
    kind: event.kind,
    jobId: event.jobId,
    workerId: event.workerId,
    data: { ...event.data },
  };
}

function viewCheckpoint(ctx: ApiContext, checkpoint: CheckpointRecord): z.output<typeof checkpointViewSchema> {
  return {
    seq: checkpoint.seq,
    epoch: checkpoint.epoch,
    parentSeq: checkpoint.parentSeq,
    workerId: checkpoint.workerId,
    bytes: checkpoint.tree.bytes,
    bytesMoved: checkpoint.tree.bytesMoved,
    shipMs: checkpoint.shipMs ?? null,
    files: checkpoint.tree.files,
    manifestCid: checkpoint.tree.manifestCid,
    ranMs: checkpoint.ranMs,
    progress: checkpoint.progress,
    committedAt: ctx.wallOf(checkpoint.committedAtMs),
  };
}
