// CLOCK_MONOTONIC: one clock for all processes of a machine, so that a time taken in one can be subtracted from a time taken in another.

const NS_PER_MS = 1e6;

/** Milliseconds with a fraction; zero is the start of the machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / NS_PER_MS;
}

export function sleepMs(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Waits until `ready` gives a value; throws `what` when it has not within `timeoutMs`. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  ready: () => Promise<T | undefined> | T | undefined,
  pollMs = 50,
): Promise<T> {
  const deadline = monotonicMs() + timeoutMs;
  for (;;) {
    const value = await ready();
    if (value !== undefined) return value;
    if (monotonicMs() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleepMs(pollMs);
  }
}
