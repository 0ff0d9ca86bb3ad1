// Waiting between tries: exponential, with full jitter, so that clients that failed together do not come back together.

export const RETRIES_DEFAULT = 4;
/** First wait; doubles each time. */
const BACKOFF_MS_FIRST = 100;
/** A person still waits at the screen: never longer than this between two tries. */
const BACKOFF_MS_MAX = 5_000;
/** A `Retry-After` beyond this is not worth holding a request for. */
const RETRY_AFTER_MS_MAX = 30_000;

/** How long to wait before try `n` (from 1). `random` is in [0, 1). The server's `Retry-After` (seconds) counts where it gave one. */
export function backoffMs(n: number, random: number, retryAfter: string | null = null): number {
  const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** (n - 1));
  const jittered = ceiling / 2 + (ceiling / 2) * random;
  const asked = retryAfter === null ? Number.NaN : Number(retryAfter) * 1000;
  return Number.isFinite(asked) && asked >= 0 ? Math.min(RETRY_AFTER_MS_MAX, asked + jittered) : jittered;
}

/** Resolves after `ms`, rejects with the signal's reason when it aborts first. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
