// One place through which every call goes: headers, time-outs, retries, errors.
import { QubixError } from "@qubix/shared/errors";
import { errorFromResponse, errorFromTimeout, errorFromTransport, isRetryable } from "./problem.ts";
import { backoffMs, sleep } from "./retry.ts";
import type { Transport, TransportRequest, TransportResponse } from "./transport.ts";

export interface CallOptions {
  /** Ends the call, its retries included. */
  readonly signal?: AbortSignal | undefined;
  /** Time one try may take until its head is there, and for plain answers its body too; milliseconds. */
  readonly timeoutMs?: number | undefined;
}

export interface CreateOptions extends CallOptions {
  /** Made up when not given, so that a repeated try creates nothing twice. */
  readonly idempotencyKey?: string | undefined;
}

export interface Call extends CallOptions {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON, or as it is when it is bytes. */
  readonly body?: unknown;
  readonly idempotencyKey?: string | undefined;
  /** Whether the same call twice does no harm: then it is tried again even when nobody knows whether it arrived. */
  readonly idempotent: boolean;
}

export interface Requester {
  /** The JSON of a 2xx answer; throws `QubixError` for all else. */
  json<T>(call: Call): Promise<T>;
  /** The body of a 2xx answer as it comes. The time-out covers the head only. */
  stream(call: Call): Promise<TransportResponse>;
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
}

export interface RequesterConfig {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  readonly transport: Transport;
  readonly timeoutMs: number;
  readonly retries: number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly userAgent: string | undefined;
}

/** Creates the requester of a client. */
export function createRequester(config: RequesterConfig): Requester {
  const attempt = (call: Call, timeoutMs: number) => tryOnce(config, call, timeoutMs);
  return {
    baseUrl: config.baseUrl,
    apiKey: config.apiKey,
    json: <T>(call: Call) =>
      retrying(config, call, async () => {
        const exchange = await attempt(call, call.timeoutMs ?? config.timeoutMs);
        try {
          const text = await exchange.guard(exchange.response.text());
          return { response: exchange.response, value: () => parseJson(text, exchange.url) as T, text };
        } finally {
          exchange.release();
        }
      }),
    stream: (call) =>
      retrying(config, call, async () => {
        const exchange = await attempt(call, call.timeoutMs ?? config.timeoutMs);
        if (isOk(exchange.response.status)) {
          exchange.disarm();
          const body = whileRead(exchange);
          return { response: body, value: () => body, text: "" };
        }
        try {
          const text = await exchange.guard(exchange.response.text());
          return { response: exchange.response, value: () => exchange.response, text };
        } finally {
          exchange.release();
        }
      }),
  };
}

interface Tried<T> {
  readonly response: TransportResponse;
  readonly value: () => T;
  readonly text: string;
}

/** Tries until an answer counts: nothing was done on 429 and 503; a lost connection is tried again only where twice does no harm. */
async function retrying<T>(config: RequesterConfig, call: Call, once: () => Promise<Tried<T>>): Promise<T> {
  for (let n = 1; ; n += 1) {
    let retryAfter: string | null = null;
    try {
      const { response, value, text } = await once();
      if (isOk(response.status)) return value();
      const error = errorFromResponse(response.status, text);
      if (n > config.retries || !isRetryable(response.status)) throw error;
      retryAfter = response.header("retry-after");
    } catch (error) {
      if (!(error instanceof QubixError) || !call.idempotent || n > config.retries || !isLost(error)) throw error;
    }
    await sleep(backoffMs(n, config.random(), retryAfter), call.signal);
  }
}

function isLost(error: QubixError): boolean {
  return error.code === "cannot_connect" || error.code === "request_timeout";
}

function isOk(status: number): boolean {
  return status >= 200 && status < 300;
}

interface Exchange {
  readonly response: TransportResponse;
  readonly url: string;
  /** Turns a rejection of `work` into the error it means. */
  guard<T>(work: Promise<T>): Promise<T>;
  /** Stops the time-out; the caller's signal goes on to count. */
  disarm(): void;
  /** Forgets the time-out and the caller's signal. */
  release(): void;
}

async function tryOnce(config: RequesterConfig, call: Call, timeoutMs: number): Promise<Exchange> {
  call.signal?.throwIfAborted();
  const url = urlOf(config.baseUrl, call);
  const controller = new AbortController();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    controller.abort();
  }, timeoutMs);
  const abort = () => controller.abort(call.signal?.reason);
  call.signal?.addEventListener("abort", abort, { once: true });
  const disarm = () => clearTimeout(timer);
  const release = () => {
    clearTimeout(timer);
    call.signal?.removeEventListener("abort", abort);
  };
  const guard = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (cause) {
      release();
      if (timedOut) throw errorFromTimeout(url, timeoutMs);
      if (call.signal?.aborted) throw call.signal.reason;
      throw cause instanceof QubixError ? cause : errorFromTransport(url, cause);
    }
  };
  const response = await guard(config.transport(requestOf(config, call, url, controller.signal)));
  return { response, url, guard, disarm, release };
}

/** The answer, whose body lets go of the caller's signal when it was read, was left, or was cut off; and what goes wrong in it is told as elsewhere. */
function whileRead(exchange: Exchange): TransportResponse {
  const { response } = exchange;
  return {
    status: response.status,
    header: (name) => response.header(name),
    text: () => exchange.guard(response.text()).finally(() => exchange.release()),
    stream: async function* () {
      const bytes = response.stream()[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await exchange.guard(bytes.next());
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        exchange.release();
        await bytes.return?.();
      }
    },
  };
}

function requestOf(config: RequesterConfig, call: Call, url: string, signal: AbortSignal): TransportRequest {
  const headers: Record<string, string> = { accept: "application/json" };
  if (config.apiKey !== undefined) headers["authorization"] = `Bearer ${config.apiKey}`;
  if (config.userAgent !== undefined) headers["user-agent"] = config.userAgent;
  if (call.idempotencyKey !== undefined) headers["idempotency-key"] = call.idempotencyKey;
  const base = { method: call.method, url, headers, signal };
  if (call.body === undefined) return base;
  if (call.body instanceof Uint8Array) {
    headers["content-type"] = "application/octet-stream";
    return { ...base, body: call.body as Uint8Array<ArrayBuffer> };
  }
  headers["content-type"] = "application/json";
  return { ...base, body: JSON.stringify(call.body) };
}

function urlOf(baseUrl: string, call: Call): string {
  const query = Object.entries(call.query ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(String(value))}`)
    .join("&");
  return `${baseUrl}${call.path}${query === "" ? "" : `?${query}`}`;
}

function parseJson(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new QubixError(
      "bad_answer",
      `${url} did not answer with JSON. Is the URL that of a Qubix orchestrator, with nothing in between that answers in its place?`,
      { category: "platform", cause },
    );
  }
}
