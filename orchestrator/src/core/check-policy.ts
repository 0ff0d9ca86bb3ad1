// How often whose work is checked. A mean share of the jobs (`checkShare`) goes where it is needed: who has no history is checked more often, and who has one
// less, until what the new ones took is made up for. What follows from the numbers is in docs/decisions/2026-11-27-verification.md.
import type { CoreConfig } from "./config.ts";
import type { CheckHistory } from "./model.ts";

/** A worker without any history is checked this many times as often as the mean: at 5%, 15% of its jobs, so that who always lies is caught within 30 with 99%. */
const NEW_TIMES = 3;
/** Nobody is checked less often than this part of the mean, however long his history is: else lying would begin to pay after a while. */
const FLOOR_PART = 0.25;
/** What was spent beyond the mean is made up for over about so many jobs. */
const DEBT_JOBS = 100;
/** After a wrong result every job is checked until so many in a row were right. */
const PROBATION_IN_A_ROW = 3;
/** Whoever has fewer results in a row is checked whole: a part shows nothing of what came before it. */
const PARTS_FROM_IN_A_ROW = 3;
/** …and the others whole as often as in part. */
const WHOLE_SHARE = 0.5;
/** As BOINC has it: so many results in a row that others came to make a worker trusted. */
const ADAPTIVE_TRUSTED_IN_A_ROW = 10;

/** With which probability a job of this worker is run again. `debt`: checks beyond the mean so far, at least 0. */
export function checkChance(checkShare: number, debt: number, { inARow, wrong }: CheckHistory): number {
  if (checkShare <= 0) return 0;
  if (wrong > 0 && inARow < PROBATION_IN_A_ROW) return 1;
  const usual = Math.max(checkShare * FLOOR_PART, checkShare - debt / DEBT_JOBS);
  return Math.min(1, Math.max(usual, (NEW_TIMES * checkShare) / (1 + inARow)));
}

/** With which probability a spot check runs the whole job again, and not a part of it. */
export function wholeChance({ inARow }: CheckHistory): number {
  return inARow < PARTS_FROM_IN_A_ROW ? 1 : WHOLE_SHARE;
}

/** The debt after a job that was checked with this probability. Nothing is saved up: there is no debt below 0. */
export function debtAfter(checkShare: number, debt: number, chance: number): number {
  return Math.max(0, debt + chance - checkShare);
}

/** Of `adaptive`: whether the whole job is run by a majority. Otherwise it is spot-checked like any other. */
export function wantsMajority({ adaptiveWorthMin }: CoreConfig, { inARow }: CheckHistory, worth: bigint): boolean {
  return inARow < ADAPTIVE_TRUSTED_IN_A_ROW && worth >= adaptiveWorthMin;
}
