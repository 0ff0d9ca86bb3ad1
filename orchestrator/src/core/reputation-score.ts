// The arithmetic of reputation: tallies that halve every 30 days, and the score that they come to.
import type { ReputationTallies, WorkerRecord } from "./model.ts";

/** What was done half a year ago weighs one part in sixty-four. */
export const REPUTATION_HALF_LIFE_MS = 30 * 24 * 3_600_000;

/** How much each tally says for or against. A result that was shown to be wrong outweighs twenty jobs that went well; a check that was passed two. */
const FOR = { completed: 1, verified: 2 } as const;
const AGAINST = { failed: 1, disputed: 4, wrong: 20 } as const;
/** Of whom nothing is known is halfway: one good and one bad job are assumed. */
const PRIOR = 1;
/** Ratings move the score by at most this much: they are opinions, and can be bought. */
export const RATING_PART = 0.2;
/** One rating counts for no more than this, in units of the currency that were paid to the worker for the job. */
export const RATING_WEIGHT_MAX = 10;
/** As long as fewer units than this were rated, ratings say little: the rest is taken to be like the work. */
const RATING_PRIOR = 1;
const UNIT = 1_000_000n;
/** Grades are coarse, so that the market need not be sorted anew with every job. */
const GRADES = 10;
export const NEUTRAL_GRADE = GRADES / 2;

export const NO_TALLIES: ReputationTallies = {
  completed: 0,
  verified: 0,
  failed: 0,
  disputed: 0,
  wrong: 0,
  rated: 0,
  stars: 0,
  ratings: 0,
  atMs: 0,
};

type Tally = Exclude<keyof ReputationTallies, "atMs">;
export type TallyChange = Readonly<Partial<Record<Tally, number>>>;

/** As others see it. */
export interface Reputation {
  /** 0 to 1; a half where nothing is known. */
  readonly score: number;
  /** Decayed to now. */
  readonly tallies: ReputationTallies;
  /** Mean stars, 1 to 5, weighed by what was paid; null without ratings that count. */
  readonly stars: number | null;
}

/** What a rating of a worker who was paid `paid` micro-units counts for. */
export function ratingWeight(paid: bigint): number {
  return Math.min(RATING_WEIGHT_MAX, Number(paid) / Number(UNIT));
}

/** The tallies with a change made now. Negative where something is taken back; none goes below zero. */
export function changed(before: ReputationTallies | undefined, change: TallyChange, nowMs: number): ReputationTallies {
  const now = decayed(before, nowMs);
  const add = (name: Tally) => Math.max(0, now[name] + (change[name] ?? 0));
  return {
    completed: add("completed"),
    verified: add("verified"),
    failed: add("failed"),
    disputed: add("disputed"),
    wrong: add("wrong"),
    rated: add("rated"),
    stars: add("stars"),
    ratings: add("ratings"),
    atMs: nowMs,
  };
}

/** The tallies as they are at `nowMs`; how many ratings there were is a count and stays. */
export function decayed(before: ReputationTallies | undefined, nowMs: number): ReputationTallies {
  if (before === undefined) return { ...NO_TALLIES, atMs: nowMs };
  const factor = decayFactor(nowMs - before.atMs);
  const { completed, verified, failed, disputed, wrong, rated, stars, ratings } = before;
  return {
    completed: completed * factor,
    verified: verified * factor,
    failed: failed * factor,
    disputed: disputed * factor,
    wrong: wrong * factor,
    rated: rated * factor,
    stars: stars * factor,
    ratings,
    atMs: nowMs,
  };
}

/** What is left after `ms` of what weighed 1. */
export function decayFactor(ms: number): number {
  return 2 ** (-Math.max(0, ms) / REPUTATION_HALF_LIFE_MS);
}

/** Between 0 and 1; a half where nothing is known. */
export function scoreOf(tallies: ReputationTallies): number {
  const { completed, verified, failed, disputed, wrong, rated, stars } = tallies;
  const good = FOR.completed * completed + FOR.verified * verified;
  const bad = AGAINST.failed * failed + AGAINST.disputed * disputed + AGAINST.wrong * wrong;
  const work = (good + PRIOR) / (good + bad + 2 * PRIOR);
  const opinion = (stars + RATING_PRIOR * work) / (rated + RATING_PRIOR);
  return (1 - RATING_PART) * work + RATING_PART * opinion;
}

export function viewOf(tallies: ReputationTallies | undefined, nowMs: number): Reputation {
  const now = decayed(tallies, nowMs);
  const stars = now.rated > 0 ? 1 + 4 * Math.min(1, now.stars / now.rated) : null;
  return { score: scoreOf(now), tallies: now, stars };
}

/** For the market, among offers of the same price and load: higher is better. A function of the row alone, so that the index stays true to it. */
export function gradeOf({ reputation }: WorkerRecord): number {
  if (reputation === undefined) return NEUTRAL_GRADE;
  return Math.min(GRADES - 1, Math.floor(scoreOf(reputation) * GRADES));
}
