// Work that several want at once is done once: all hear of its progress and have its result, and it ends when nobody waits any more.

export interface Waiter {
  readonly signal: AbortSignal;
  progress(text: string): void;
}

export interface Joined<W extends Waiter, T> {
  /** Joins the work of this key, or begins it. Rejects with the work's error, or with the reason of the waiter's own signal. */
  run(key: string, waiter: W, work: (shared: Shared<W>) => Promise<T>): Promise<T>;
}

/** What the work sees of those who wait for it. */
export interface Shared<W extends Waiter> {
  /** Raised when the last one has gone. */
  readonly signal: AbortSignal;
  readonly waiters: ReadonlySet<W>;
  progress(text: string): void;
}

export function createJoined<W extends Waiter, T>(): Joined<W, T> {
  const underWay = new Map<string, { readonly waiters: Set<W>; readonly abort: AbortController; result: Promise<T> }>();

  function begin(key: string, work: (shared: Shared<W>) => Promise<T>) {
    const waiters = new Set<W>();
    const abort = new AbortController();
    let told = "";
    const shared: Shared<W> = {
      signal: abort.signal,
      waiters,
      progress(text) {
        if (text === told) return;
        told = text;
        for (const waiter of waiters) waiter.progress(text);
      },
    };
    const one = { waiters, abort, result: Promise.resolve().then(() => work(shared)) };
    underWay.set(key, one);
    void one.result
      .catch(() => undefined)
      .finally(() => {
        if (underWay.get(key) === one) underWay.delete(key);
      });
    return one;
  }

  return {
    async run(key, waiter, work) {
      waiter.signal.throwIfAborted();
      const one = underWay.get(key) ?? begin(key, work);
      one.waiters.add(waiter);
      return await new Promise<T>((resolve, reject) => {
        const leave = () => {
          one.waiters.delete(waiter);
          if (one.waiters.size === 0) {
            // Whoever comes now begins anew, and does not join what is being given up.
            if (underWay.get(key) === one) underWay.delete(key);
            one.abort.abort();
          }
          reject(waiter.signal.reason as Error);
        };
        waiter.signal.addEventListener("abort", leave, { once: true });
        void one.result.then(resolve, reject).finally(() => {
          waiter.signal.removeEventListener("abort", leave);
          one.waiters.delete(waiter);
        });
      });
    },
  };
}
