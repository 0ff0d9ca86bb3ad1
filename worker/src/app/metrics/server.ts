// `GET /metrics` for Prometheus, on the address that --metrics-listen names. Loaded only then.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { METRICS_CONTENT_TYPE, type MetricFamily, renderMetrics } from "@qubix/shared/runtime";

/** Looks per second at the event loop cost CPU time of their own: an idle agent must stay idle. */
const LOOP_RESOLUTION_MS = 50;
const NS_PER_S = 1e9;
const MS_PER_S = 1000;
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 16;

export interface MetricsServer {
  readonly url: string;
  close(): void;
}

/** Listens; throws what the system says when it cannot. `figures` is asked for each scrape, with the longest lag since the last. */
export async function serveMetrics(
  listen: { readonly host: string; readonly port: number },
  figures: (loopLagMaxSeconds: number) => Promise<readonly MetricFamily[]>,
): Promise<MetricsServer> {
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    const path = request.url?.split("?")[0];
    if (path !== "/metrics" || (request.method !== "GET" && request.method !== "HEAD")) {
      response.writeHead(404, { "content-type": "text/plain" }).end("Only GET /metrics is here.\n");
      return;
    }
    figures(takeLag(loop)).then(
      (families) => response.writeHead(200, { "content-type": METRICS_CONTENT_TYPE }).end(renderMetrics(families)),
      () => response.writeHead(500, { "content-type": "text/plain" }).end("The figures could not be gathered.\n"),
    );
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(listen.port, listen.host, () => resolve());
  });
  loop.enable();
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}/metrics`,
    close() {
      loop.disable();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The histogram holds the time between two looks; what is beyond the time they are apart is lag. */
function takeLag(loop: ReturnType<typeof monitorEventLoopDelay>): number {
  const seconds = loop.max / NS_PER_S - LOOP_RESOLUTION_MS / MS_PER_S;
  loop.reset();
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
}
