// Logs of a job as NDJSON. Following, new lines leave in the turn of their commit; a slow reader holds up only himself, and nothing is buffered for him:
// the next lines are read from the store when his socket has taken the last ones.
import type { ServerResponse } from "node:http";
import type { JobId } from "@qubix/shared/domain";
import { logLineSchema, logsQuerySchema, type LogLine } from "@qubix/shared/protocol";
import type { StoredLog } from "../../store/port.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { numberCursor } from "../input.ts";
import { findJob, lookUp } from "../jobs.ts";
import { LOG_ROWS_PER_READ } from "../limits.ts";
import { idParams, problems } from "../schemas.ts";

export function logRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/jobs/:id/logs",
    config: { access: "any" },
    // A HEAD of a stream that may last for hours serves nobody.
    exposeHeadRoute: false,
    schema: {
      tags: ["jobs"],
      summary: "Log lines as NDJSON; follow=true goes on until the job has ended",
      params: idParams,
      querystring: logsQuerySchema.strict(),
      response: {
        200: { description: "One line each", content: { "application/x-ndjson": { schema: logLineSchema } } },
        ...problems(400, 401, 404, 503),
      },
    },
    handler: async (request, reply) => {
      const { stored } = findJob(ctx, actorOf(request), request.params.id);
      const after = numberCursor(request.query.after, "query.after");
      const bell = createBell();
      const unfollow = request.query.follow ? ctx.watch.followLogs(stored.job.id, bell.ring) : () => {};
      try {
        reply.hijack();
        const response = reply.raw;
        response.on("drain", bell.ring).on("close", bell.ring).on("error", bell.ring);
        response.writeHead(200, {
          "content-type": "application/x-ndjson; charset=utf-8",
          "cache-control": "no-store",
          "x-accel-buffering": "no",
        });
        response.flushHeaders();
        await stream(ctx, { ...request.query, jobId: stored.job.id, after }, response, bell);
        response.end();
      } catch (error) {
        // The head is gone: all that can be said is that the stream is not whole.
        ctx.logger.error({ event: "log_stream_failed", jobId: stored.job.id, err: error }, "log stream failed");
        reply.raw.destroy();
      } finally {
        unfollow();
      }
    },
  });
}

interface Wanted {
  readonly jobId: JobId;
  readonly after: number;
  readonly follow: boolean;
  readonly replica?: number | undefined;
}

async function stream(
  ctx: ApiContext,
  { jobId, after, follow, replica }: Wanted,
  response: ServerResponse,
  bell: Bell,
): Promise<void> {
  let cursor = after;
  while (!response.destroyed && !ctx.watch.stopped()) {
    // Looked at before reading: lines that come with the end are then read too.
    const ended = lookUp(ctx, jobId)?.live !== true;
    const rows = ctx.writer.store.logs({ jobId, after: cursor, limit: LOG_ROWS_PER_READ });
    cursor = rows.at(-1)?.id ?? cursor;
    const shown =
      replica === undefined ? rows : rows.filter((row) => row.replica === replica || row.stream === "marker");
    if (shown.length > 0) response.write(shown.map(logLine).join(""));
    while (response.writableNeedDrain && !response.destroyed) {
      await bell.heard();
      // It may have rung for new lines: they are looked for in the next round.
      if (!response.writableNeedDrain) bell.ring();
    }
    if (rows.length === LOG_ROWS_PER_READ) await turn();
    else if (!follow || ended) return;
    else await bell.heard();
  }
}

function logLine(row: StoredLog): string {
  const line: LogLine = {
    epoch: row.epoch,
    ...(row.replica === 0 ? {} : { replica: row.replica }),
    stream: row.stream,
    offset: row.offset,
    time: row.time,
    text: row.text,
    cursor: String(row.id),
  };
  return `${JSON.stringify(line)}\n`;
}

/** Remembers a ring until it is heard, so that none is missed between looking and waiting. */
interface Bell {
  readonly ring: () => void;
  heard(): Promise<void>;
}

function createBell(): Bell {
  let rung = false;
  let wake: (() => void) | null = null;
  return {
    ring() {
      rung = true;
      wake?.();
    },
    async heard() {
      if (!rung) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      rung = false;
      wake = null;
    },
  };
}

/** Lets others have their turn between two reads of a long log. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
