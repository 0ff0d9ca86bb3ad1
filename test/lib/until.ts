import { sleep } from "../../scripts/lib/processes.ts";

const POLL_MS = 100;

/** Looks again and again until there is something to see; fails after `timeoutMs`. */
export async function untilSeen<T>(look: () => Promise<T | undefined>, timeoutMs: number): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`nothing was seen within ${timeoutMs} ms`);
    await sleep(POLL_MS);
  }
}
