// The HTTP server: fastify with our bounds, our problem documents, the routes of the public surface, and the WebSockets beside them.
import { EventEmitter } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import websocket from "@fastify/websocket";
import { fastify, type FastifyReply } from "fastify";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { EVENTS_SUBPROTOCOL, HTTP_BODY_BYTES_MAX } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { installAuth } from "./auth.ts";
import type { Api, ApiContext } from "./context.ts";
import { installBodyParsers, zodValidator } from "./input.ts";
import {
  CONNECTIONS_MAX,
  EVENT_INCOMING_BYTES_MAX,
  HEADERS_TIMEOUT_MS,
  HEADER_BYTES_MAX,
  KEEP_ALIVE_TIMEOUT_MS,
  PARAM_LENGTH_MAX,
  REQUEST_TIMEOUT_MS,
  STOP_GRACE_MS,
} from "./limits.ts";
import { installLiveEvents } from "./live.ts";
import { createMetrics } from "./metrics.ts";
import { installOpenapi, openapiRoute } from "./openapi.ts";
import { PROBLEM_CONTENT_TYPE, RETRY_AFTER_S, problemOf, toQubixError } from "./problems.ts";
import { installNotFound } from "./not-found.ts";
import { accountRoutes } from "./routes/accounts.ts";
import { chainRoutes } from "./routes/chains.ts";
import { checkpointRoutes } from "./routes/checkpoints.ts";
import { depositAddressRoutes } from "./routes/deposit-addresses.ts";
import { healthRoutes } from "./routes/health.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { logRoutes } from "./routes/logs.ts";
import { marketRoutes } from "./routes/market.ts";
import { outputRoutes } from "./routes/outputs.ts";
import { payoutRoutes } from "./routes/payouts.ts";
import { receiptRoutes } from "./routes/receipts.ts";
import { statementRoutes } from "./routes/statements.ts";
import { canaryRoutes } from "./routes/canaries.ts";
import { statsRoutes } from "./routes/stats.ts";
import { timelineRoutes } from "./routes/timeline.ts";
import { disputeRoutes } from "./routes/disputes.ts";
import { ratingRoutes } from "./routes/ratings.ts";
import { slashRoutes } from "./routes/slashes.ts";
import { stakeRoutes } from "./routes/stakes.ts";
import { uploadRoutes } from "./routes/uploads.ts";
import { budgetRoutes } from "./routes/budgets.ts";
import { walletRoutes } from "./routes/wallet.ts";
import { createWatch } from "./watch.ts";

/** Takes WebSocket upgrades that are not the API's own; false: not mine. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;

export interface ApiServer {
  readonly app: Api;
  /** Takes the address and returns the URL; answers 503 `starting` until {@link ApiServer.open}. Port 0 takes a free one. Throws `listen_failed`. */
  listen(address: { readonly host: string; readonly port: number }): Promise<string>;
  /** The writer has started: takes requests. */
  open(): void;
  /** Takes no more connections, answers what is under way, closes sockets. Callable twice. */
  stop(): Promise<void>;
}

/** Builds the API over its ports. `upgrade` gets the sockets of the workers. */
export async function createApiServer(
  ports: Omit<ApiContext, "watch">,
  upgrade: UpgradeHandler = () => false,
): Promise<ApiServer> {
  const watch = createWatch(ports.writer);
  const ctx: ApiContext = { ...ports, watch };
  const upgrades = new EventEmitter();
  let opened = false;
  const app = createApp(ctx);
  const metrics = createMetrics(ctx, () => ({ eventSockets: live.count() }));

  app.setErrorHandler((error, request, reply) => {
    const known = toQubixError(error);
    if (known.category === "internal") {
      ctx.logger.error(
        { event: "request_failed", method: request.method, url: request.url, err: error },
        "request failed",
      );
    }
    if (known.status === 401) reply.header("www-authenticate", 'Bearer realm="qubix"');
    if (known.status === 503 || known.retryable) reply.header("retry-after", String(RETRY_AFTER_S));
    return reply
      .code(known.status)
      .type(PROBLEM_CONTENT_TYPE)
      .send(JSON.stringify(problemOf(known)));
  });
  app.addHook("onResponse", (_request, reply, done) => {
    metrics.answered(reply.statusCode);
    done();
  });
  // Before every other hook: it marks the requests that are WebSockets.
  await app.register(websocket, {
    options: {
      // Sockets of workers never reach this one; see the `upgrade` listener below.
      server: upgrades as unknown as Server,
      maxPayload: EVENT_INCOMING_BYTES_MAX,
      perMessageDeflate: false,
      handleProtocols: (offered: Set<string>) => (offered.has(EVENTS_SUBPROTOCOL) ? EVENTS_SUBPROTOCOL : false),
    },
  });
  app.addHook("onRequest", (_request, _reply, done) => done(opened ? undefined : starting()));
  installBodyParsers(app);
  installAuth(app, ctx.writer);
  installNotFound(app);
  await installOpenapi(app);
  healthRoutes(app, ctx, metrics);
  openapiRoute(app);
  jobRoutes(app, ctx);
  timelineRoutes(app, ctx);
  checkpointRoutes(app, ctx);
  logRoutes(app, ctx);
  outputRoutes(app, ctx);
  uploadRoutes(app, ctx);
  marketRoutes(app, ctx);
  accountRoutes(app, ctx);
  walletRoutes(app, ctx);
  depositAddressRoutes(app, ctx);
  payoutRoutes(app, ctx);
  chainRoutes(app, ctx);
  receiptRoutes(app, ctx);
  statementRoutes(app, ctx);
  budgetRoutes(app, ctx);
  statsRoutes(app, ctx);
  canaryRoutes(app, ctx);
  ratingRoutes(app, ctx);
  disputeRoutes(app, ctx);
  stakeRoutes(app, ctx);
  slashRoutes(app, ctx);
  const live = installLiveEvents(app, ctx);
  app.server.on("upgrade", (request, socket, head) => {
    if (!opened) socket.destroy();
    else if (!upgrade(request, socket, head)) upgrades.emit("upgrade", request, socket, head);
  });

  let stopping: Promise<void> | undefined;
  return {
    app,
    async listen({ host, port }) {
      try {
        await app.listen({ host, port });
      } catch (error) {
        throw listenFailed(host, port, error as NodeJS.ErrnoException);
      }
      return urlOf(app.server.address());
    },
    open() {
      watch.start();
      metrics.start();
      opened = true;
    },
    stop() {
      stopping ??= (async () => {
        watch.stop();
        live.stop();
        metrics.stop();
        // Requests under way get their answers; a reader who takes none of it does not hold up the end.
        const force = setTimeout(() => app.server.closeAllConnections(), STOP_GRACE_MS);
        await app.close();
        clearTimeout(force);
      })();
      return stopping;
    },
  };
}

function createApp(ctx: ApiContext): Api {
  const app = fastify({
    // One line a request would cost more than many requests do; failures are logged by the error handler.
    logger: false,
    bodyLimit: HTTP_BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    forceCloseConnections: "idle",
    http: { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: HEADERS_TIMEOUT_MS, keepAlive: true, noDelay: true },
    routerOptions: { maxParamLength: PARAM_LENGTH_MAX, ignoreTrailingSlash: true },
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket),
    frameworkErrors: (error, _request, reply) => {
      const known = toQubixError(error);
      const untyped = reply as unknown as FastifyReply;
      void untyped
        .code(known.status)
        .type(PROBLEM_CONTENT_TYPE)
        .send(JSON.stringify(problemOf(known)));
    },
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = CONNECTIONS_MAX;
  app.server.on("drop", () => ctx.logger.warn({ event: "connection_dropped" }, "too many connections"));
  app.setValidatorCompiler(zodValidator);
  // Answers are described by their schemas, and written as they are: validating our own words on every request would only cost time.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  return app;
}

/** What the HTTP parser refuses has no request: the document is written by hand. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const [status, title, code, detail] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large", "headers_too_large", `Headers may have ${HEADER_BYTES_MAX} bytes.`]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout", "request_timeout", "The request did not arrive whole in time. Send it again."]
        : [400, "Bad Request", "malformed_request", "This is not an HTTP request."];
  const known = new QubixError(code, detail, { category: "user", status });
  const body = JSON.stringify(problemOf(known));
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nconnection: close\r\ncontent-type: ${PROBLEM_CONTENT_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function urlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === "string") {
    throw new QubixError("no_address", "the server has no address", { category: "internal" });
  }
  return `http://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
}

function starting(): QubixError {
  return new QubixError("starting", "The orchestrator is starting. Try again in a second.", {
    category: "platform",
    status: 503,
    retryable: true,
  });
}

function listenFailed(host: string, port: number, cause: NodeJS.ErrnoException): QubixError {
  const why =
    cause.code === "EADDRINUSE"
      ? `port ${port} is in use by another program. Stop that, or choose another address with --listen`
      : cause.code === "EACCES"
        ? `this user may not use port ${port}. Choose one above 1023 with --listen`
        : `${cause.message}. Choose an address of this machine with --listen`;
  return new QubixError("listen_failed", `Cannot listen on ${host}:${port}: ${why}.`, { category: "platform", cause });
}
