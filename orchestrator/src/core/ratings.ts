// What consumers think of ended jobs, weighed by what they paid. A rating is an opinion: it moves a reputation by a fifth at most, costs no stake and no pay.
import { checkRunText } from "./check-state.ts";
import type { RatingCase } from "./case-records.ts";
import { caseIdOf, putCase } from "./case-rows.ts";
import type { CoreEvent } from "./events.ts";
import { decayFactor, ratingWeight } from "./reputation-score.ts";
import { payeesOf, tally } from "./reputation.ts";
import type { CoreState } from "./state.ts";
import { emit, refuse } from "./tables.ts";

/** It may be changed for a day: long enough to look at the outputs, and nobody is held to ransom with it for long. */
export const RATING_CHANGE_MS = 24 * 3_600_000;
const STARS_MAX = 5;

export function rateJob(state: CoreState, event: Extract<CoreEvent, { kind: "job.rate" }>): void {
  const { actor, jobId, stars, comment, ended, previous } = event;
  if (ended === null) {
    return refuse(state, 409, "job_not_ended", `Job ${jobId} has not ended. Rate it when it has.`);
  }
  if (actor.accountId !== ended.accountId) {
    return refuse(state, 403, "forbidden", `Job ${jobId} is another account's: its consumer alone may rate it.`);
  }
  if (ended.check !== undefined) return refuse(state, 409, "check_run", checkRunText(ended));
  if (previous !== null && state.nowMs >= previous.createdAtMs + RATING_CHANGE_MS) {
    const message = `Job ${jobId} was rated more than a day ago (${previous.stars} of ${STARS_MAX} stars): that stays.`;
    return refuse(state, 409, "rating_final", message);
  }
  if (previous !== null) takeBack(state, previous);
  const counted = [...payeesOf(ended, ended.settlement.lines)].map(([workerId, paid]) => ({
    workerId,
    weight: ratingWeight(paid),
  }));
  const praise = praiseOf(stars);
  for (const { workerId, weight } of counted) {
    tally(state, workerId, { rated: weight, stars: weight * praise, ratings: 1 });
  }
  const parties = new Set([ended.accountId, ...counted.flatMap(({ workerId }) => providerOf(state, workerId) ?? [])]);
  putCase(state, {
    kind: "rating",
    id: caseIdOf("rating", jobId),
    parties: [...parties],
    createdAtMs: previous?.createdAtMs ?? state.nowMs,
    endedAtMs: state.nowMs,
    jobId,
    accountId: ended.accountId,
    stars,
    comment,
    counted,
    ratedAtMs: state.nowMs,
  });
  report(state, event, counted);
  state.step.reply = { kind: "case", caseId: caseIdOf("rating", jobId) };
}

/** As much as is left of it. */
function takeBack(state: CoreState, { counted, stars, ratedAtMs }: RatingCase): void {
  const left = decayFactor(state.nowMs - ratedAtMs);
  for (const { workerId, weight } of counted) {
    tally(state, workerId, { rated: -weight * left, stars: -weight * left * praiseOf(stars), ratings: -1 });
  }
}

/** One star is none, five are all. */
function praiseOf(stars: number): number {
  return (stars - 1) / (STARS_MAX - 1);
}

function providerOf(state: CoreState, workerId: RatingCase["counted"][number]["workerId"]) {
  return state.rows.workers.get(workerId)?.providerId;
}

/** In the job's timeline, and once for each worker that it is about. */
function report(
  state: CoreState,
  { jobId, actor, stars, comment }: Extract<CoreEvent, { kind: "job.rate" }>,
  counted: RatingCase["counted"],
): void {
  emit(state, { channel: "jobs", kind: "rated", accountId: actor.accountId, jobId, data: { stars, comment } });
  for (const { workerId, weight } of counted) {
    const providerId = providerOf(state, workerId) ?? null;
    const data = { jobId, stars, comment, weight };
    emit(state, { channel: "workers", kind: "worker_rated", providerId, workerId, data });
  }
}
