// The kinds of call that the parts of a client are made of: which may be repeated when nobody knows whether it arrived, and which may not.
import type { Call, CallOptions, CreateOptions, Requester } from "./request.ts";

export interface Calls {
  readonly get: <T>(path: string, query?: Call["query"], options?: CallOptions) => Promise<T>;
  readonly put: <T>(path: string, body: unknown, options?: CallOptions) => Promise<T>;
  /** Changes nothing, or the same thing however often it comes. */
  readonly post: <T>(path: string, body: unknown, options?: CallOptions) => Promise<T>;
  /** Creates something; a key makes it safe to repeat. */
  readonly postCreating: <T>(path: string, body: unknown, options?: CreateOptions) => Promise<T>;
  /** Is not repeated: its answer holds a secret that is shown once, or a second one would be refused. */
  readonly postOnce: <T>(path: string, body: unknown, options?: CallOptions) => Promise<T>;
}

export function callsOf(requester: Requester): Calls {
  return {
    get: (path, query = {}, options = {}) =>
      requester.json({ method: "GET", path, query, idempotent: true, ...options }),
    put: (path, body, options = {}) => requester.json({ method: "PUT", path, body, idempotent: true, ...options }),
    post: (path, body, options = {}) => requester.json({ method: "POST", path, body, idempotent: true, ...options }),
    postCreating: (path, body, options = {}) => {
      const idempotencyKey = options.idempotencyKey ?? globalThis.crypto.randomUUID();
      return requester.json({ method: "POST", path, body, idempotent: true, ...options, idempotencyKey });
    },
    postOnce: (path, body, options = {}) =>
      requester.json({ method: "POST", path, body, idempotent: false, ...options }),
  };
}
