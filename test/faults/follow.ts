// The log of a counter job as its consumer follows it, across promotions and restarts of the orchestrator: which tick came when, from which attempt.
import type { Client } from "@qubix/client/sdk";
import { sleep } from "../../scripts/lib/processes.ts";

export interface Tick {
  /** When it was seen (ms, monotonic). */
  readonly atMs: number;
  readonly epoch: number;
  readonly tick: number;
}

export interface Followed {
  readonly ticks: readonly Tick[];
  /** The highest seen before a moment; 0 for none. */
  newest(beforeMs?: number): number;
  close(): void;
}

const AGAIN_MS = 50;

export function followTicks(client: Client, id: string): Followed {
  const ticks: Tick[] = [];
  const over = new AbortController();
  const rest = new Map<string, string>();
  const take = (epoch: number, stream: string, text: string) => {
    const atMs = performance.now();
    const lines = ((rest.get(`${epoch} ${stream}`) ?? "") + text).split("\n");
    rest.set(`${epoch} ${stream}`, lines.pop() ?? "");
    for (const line of lines) {
      const found = /^tick (\d+)\//.exec(line)?.[1];
      if (found !== undefined) ticks.push({ atMs, epoch, tick: Number(found) });
    }
  };
  const follow = async () => {
    let after: string | undefined;
    while (!over.signal.aborted) {
      try {
        for await (const line of client.jobs.logs(id, { follow: true, after, signal: over.signal })) {
          after = line.cursor;
          if (line.stream !== "marker") take(line.epoch, line.stream, line.text);
        }
        return;
      } catch {
        // The orchestrator was away for longer than the client waits.
        await sleep(AGAIN_MS);
      }
    }
  };
  void follow();
  return {
    ticks,
    newest: (beforeMs = Number.POSITIVE_INFINITY) =>
      ticks.reduce((max, { atMs, tick }) => (atMs < beforeMs ? Math.max(max, tick) : max), 0),
    close: () => over.abort(),
  };
}
