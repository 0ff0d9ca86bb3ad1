// For machines that watch this one: alive, ready, and figures in the Prometheus text format. Sums only, nothing of any account.
import { z } from "zod";
import { QubixError } from "@qubix/shared/runtime";
import type { Api, ApiContext } from "../context.ts";
import { READY_TIMEOUT_MS } from "../limits.ts";
import type { Metrics } from "../metrics.ts";
import { binary, problems } from "../schemas.ts";

const statusSchema = z.object({ status: z.string() });

export function healthRoutes(app: Api, ctx: ApiContext, metrics: Metrics): void {
  app.route({
    method: "GET",
    url: "/healthz",
    config: { access: "public" },
    schema: { tags: ["health"], summary: "The process answers", response: { 200: statusSchema } },
    handler: async () => ({ status: "ok" }),
  });

  app.route({
    method: "GET",
    url: "/readyz",
    config: { access: "public" },
    schema: {
      tags: ["health"],
      summary: "The writer works and the data folder takes writes",
      response: { 200: statusSchema, ...problems(503) },
    },
    handler: async () => {
      if (!ctx.writer.healthy()) throw notReady("the last commit failed");
      await Promise.all([writerAnswers(ctx), ctx.checkStorage()]);
      return { status: "ready" };
    },
  });

  app.route({
    method: "GET",
    url: "/metrics",
    config: { access: "public" },
    schema: {
      tags: ["health"],
      summary: "Prometheus metrics",
      response: { 200: binary("text/plain", "Prometheus text format") },
    },
    handler: async (_request, reply) => {
      reply.type("text/plain; version=0.0.4; charset=utf-8");
      return reply.send(metrics.render());
    },
  });
}

/** Looking whether something is due changes nothing that would not change anyway, and goes the whole way through the writer. */
async function writerAnswers(ctx: ApiContext): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(notReady(`the writer did not answer within ${READY_TIMEOUT_MS} ms`)),
      READY_TIMEOUT_MS,
    );
  });
  try {
    await Promise.race([ctx.writer.submit({ kind: "timer" }), late]);
  } finally {
    clearTimeout(timer);
  }
}

function notReady(why: string): QubixError {
  return new QubixError("not_ready", `The orchestrator is not ready: ${why}. Try again in a few seconds.`, {
    category: "platform",
    status: 503,
    retryable: true,
  });
}
