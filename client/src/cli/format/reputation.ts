// How the work of a worker went, in short.
import type { Offer } from "../../sdk/types.ts";

const PERCENT = 100;

/** `87%`, or `87% ★4.5 (12)` where it was rated. */
export function reputationText({ score, stars, ratings }: Offer["reputation"]): string {
  const percent = `${Math.round(score * PERCENT)}%`;
  return stars === null ? percent : `${percent} ★${stars.toFixed(1)} (${ratings})`;
}
