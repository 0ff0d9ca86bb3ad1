// How fast the line to the orchestrator is, each way: a round trip, a small transfer that opens the line up, and one that lasts a second at most.
import { LINE_MEASURE_BYTES_MAX } from "@qubix/shared/protocol";
import type { BulkLink } from "../link/bulk.ts";

export interface LineSpeed {
  readonly uplinkMbps: number;
  readonly downlinkMbps: number;
}

const FIRST_BYTES = 256 * 1024;
/** What the measure may keep the line busy for. */
const SECONDS_MAX = 1;

/** Throws what the link throws: the line was cut, or was measured a moment ago. */
export async function measureLine(link: Pick<BulkLink, "measure">, signal: AbortSignal): Promise<LineSpeed> {
  const roundTripMs = await link.measure("up", 1, signal);
  const uplinkMbps = await measureWay(link, "up", roundTripMs, signal);
  const downlinkMbps = await measureWay(link, "down", roundTripMs, signal);
  return { uplinkMbps, downlinkMbps };
}

async function measureWay(
  link: Pick<BulkLink, "measure">,
  way: "up" | "down",
  roundTripMs: number,
  signal: AbortSignal,
): Promise<number> {
  const first = rateOf(FIRST_BYTES, (await link.measure(way, FIRST_BYTES, signal)) - roundTripMs);
  const bytes = Math.min(LINE_MEASURE_BYTES_MAX, Math.round((first * 1_000_000 * SECONDS_MAX) / 8));
  // A line that is known well enough by now.
  if (bytes <= FIRST_BYTES) return first;
  return rateOf(bytes, (await link.measure(way, bytes, signal)) - roundTripMs);
}

/** 10⁶ bits a second. */
function rateOf(bytes: number, ms: number): number {
  return (bytes * 8) / 1000 / Math.max(ms, 1);
}
