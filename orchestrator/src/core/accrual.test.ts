import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { breakBeats, createBeats, GAPS_MAX, GAPS_MIN, limitsFor, noteBeat, rhythmOf } from "./accrual.ts";
import { DEFAULT_CORE_CONFIG } from "./config.ts";

const { silenceHot, silenceBusy, silenceIdle } = DEFAULT_CORE_CONFIG;

/** A worker whose heartbeats came with these gaps. */
function after(gaps: readonly number[], busy = true) {
  const beats = createBeats();
  let atMs = 50_000;
  noteBeat(beats, atMs, busy);
  noteBeat(beats, atMs, busy);
  beats.count = 0;
  for (const gap of gaps) noteBeat(beats, (atMs += gap), busy);
  return beats;
}
const steady = Array.from({ length: GAPS_MAX }, () => 1_000);

describe("the accrual detector", () => {
  test("says nothing of a worker without a history: the fixed limits hold", () => {
    const beats = after(steady.slice(0, GAPS_MIN - 1));
    expect(limitsFor(rhythmOf(beats, true), silenceHot)).toMatchObject({ suspectMs: 2_000, lostMs: 2_800 });
    expect(limitsFor(rhythmOf(createBeats(), true), silenceBusy)).toMatchObject({ suspectMs: 3_500, lostMs: 5_500 });
  });

  test("suspects a steady worker soon, and an unsteady one later", () => {
    const soon = limitsFor(rhythmOf(after(steady), true), silenceHot);
    expect(soon).toEqual({ suspectMs: 1_560, lostMs: 2_160 });
    const uneven = steady.map((_, n) => (n % 2 === 0 ? 850 : 1_150));
    const later = limitsFor(rhythmOf(after(uneven), true), silenceHot);
    expect(later.suspectMs).toBeGreaterThan(soon.suspectMs);
    expect(later.suspectMs).toBeLessThan(2_000);
  });

  test("is no sooner than the longest gap that was met", () => {
    const once = steady.map((gap, n) => (n === 3 ? 1_900 : gap));
    expect(limitsFor(rhythmOf(after(once), true), silenceHot).suspectMs).toBeGreaterThan(1_900);
  });

  test("forgets what is older than its window", () => {
    const beats = after([...steady.map(() => 2_000), ...steady]);
    expect(rhythmOf(beats, true)).toEqual({ meanMs: 1_000, deviationMs: 0, longestMs: 1_000 });
  });

  test("does not mix the rhythm of a busy worker with that of an idle one", () => {
    const beats = after(
      steady.map(() => 5_000),
      false,
    );
    expect(rhythmOf(beats, true)).toBeUndefined();
    noteBeat(beats, 1_000_000, true);
    expect(rhythmOf(beats, true)).toBeUndefined();
    for (let n = 1; n <= GAPS_MIN; n += 1) noteBeat(beats, 1_000_000 + 1_000 * n, true);
    expect(rhythmOf(beats, true)?.meanMs).toBe(1_000);
  });

  test("counts the time between two connections as no gap", () => {
    const beats = after(steady);
    breakBeats(beats);
    noteBeat(beats, 9_000_000, true);
    noteBeat(beats, 9_001_000, true);
    expect(rhythmOf(beats, true)?.longestMs).toBe(1_000);
  });

  test("does not judge idle workers by their history", () => {
    expect(limitsFor(rhythmOf(after(steady, false), false), silenceIdle)).toMatchObject({ suspectMs: 12_000 });
  });

  test.each([
    ["hot", silenceHot, 3_000],
    ["busy", silenceBusy, 6_000],
  ])("keeps within its bounds whatever came (%s)", (_, bounds, barMs) => {
    fc.assert(
      fc.property(fc.array(fc.nat(100_000), { maxLength: 3 * GAPS_MAX }), (gaps) => {
        const { suspectMs, lostMs } = limitsFor(rhythmOf(after(gaps), true), bounds);
        expect(suspectMs).toBeGreaterThanOrEqual(bounds.accrual?.suspectMsMin ?? 0);
        expect(lostMs).toBeGreaterThan(suspectMs);
        expect(lostMs).toBeLessThan(barMs);
      }),
    );
  });
});
