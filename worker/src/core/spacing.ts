// How far apart checkpoints are taken. Where the line does not keep up with the interval that was asked for, it is doubled until shipping fits in, and halved
// again when shipping is quick: so the newest state is always the next one shipped, and the line has room for other things.

/** At most this many of the asked intervals: a job that is never saved is worse than a line that is always full. */
export const STRETCH_MAX = 8;
/** An interval is shortened only if shipping would take at most this part of it: at the edge it would change with every checkpoint. */
const ROOMY = 0.5;

/** How many asked intervals are to lie between two checkpoints, after one took `shipMs` to ship. `crowded`: by then the job had saved again. */
export function nextStretch(askedMs: number, stretch: number, shipMs: number, crowded: boolean): number {
  let next = stretch;
  if (crowded) while (next < STRETCH_MAX && shipMs > next * askedMs) next *= 2;
  while (next > 1 && shipMs <= (next / 2) * askedMs * ROOMY) next /= 2;
  return next;
}

/** What the job is told when it changes. */
export function spacingNote(askedS: number, before: number, after: number, shipMs: number): string {
  const everyS = askedS * after;
  const tookS = (shipMs / 1_000).toFixed(1);
  if (after > before) {
    return `qubix: shipping the last checkpoint took ${tookS} s, longer than the time between two of them: one is taken every ${everyS} s from now on (${askedS} s were asked for), always the newest.\n`;
  }
  const asked = after === 1 ? "as asked for" : `${askedS} s were asked for`;
  return `qubix: checkpoints are shipped quickly again (${tookS} s): one is taken every ${everyS} s from now on, ${asked}.\n`;
}
