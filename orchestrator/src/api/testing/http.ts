// A caller for tests: fetch with a key, and the answer read as JSON.
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // Tests look into answers of every shape.
  readonly body: Readonly<Record<string, unknown>> & { readonly items?: readonly Record<string, unknown>[] };
  readonly text: string;
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is, e.g. broken JSON. */
  readonly raw?: string | Uint8Array;
}

export type Call = (route: string, body?: unknown, options?: CallOptions) => Promise<Answer>;

/** `route` is `METHOD /path`. */
export function createCall(url: string, key?: string): Call {
  return async (route, body, options = {}) => {
    const [method = "GET", path = "/"] = route.split(" ");
    const sent = options.raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        ...(sent === undefined ? {} : { "content-type": "application/json" }),
        ...options.headers,
      },
      ...(sent === undefined ? {} : { body: sent }),
    });
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    const parsed = isJson && !text.includes("\n") && text !== "" ? (JSON.parse(text) as Answer["body"]) : {};
    return { status: response.status, headers: response.headers, body: parsed, text };
  };
}
