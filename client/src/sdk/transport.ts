// How one HTTP exchange is made. The default is `fetch`; Node programs may give a transport of their own (see `@qubix/client/node`).

export interface TransportRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
}

export interface TransportResponse {
  readonly status: number;
  header(name: string): string | null;
  /** The whole body as text. */
  text(): Promise<string>;
  /** The body as it comes. Leaving the loop early closes the exchange. */
  stream(): AsyncIterable<Uint8Array>;
}

/** Resolves when the head of the response is there; rejects when no response came (connection refused, reset, aborted). */
export type Transport = (request: TransportRequest) => Promise<TransportResponse>;

export type Fetch = typeof globalThis.fetch;

/** A transport over `fetch`, which keeps connections alive by itself. */
export function createFetchTransport(fetch: Fetch = globalThis.fetch): Transport {
  return async (request) => {
    const response = await fetch(request.url, {
      method: request.method,
      headers: request.headers,
      signal: request.signal,
      redirect: "error",
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    return {
      status: response.status,
      header: (name) => response.headers.get(name),
      text: () => response.text(),
      stream: () => bytesOf(response.body),
    };
  };
}

async function* bytesOf(body: ReadableStream<Uint8Array> | null): AsyncIterable<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Also reached when the caller leaves early: the connection is let go of.
    await reader.cancel().catch(() => {});
  }
}
