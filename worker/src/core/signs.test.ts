import { describe, expect, it } from "vitest";
import { type Look, noteLook, noteSave, type SignTracker, signsOf } from "./signs.ts";

const QUIET: Look = { progressMark: null, progressDueMs: null, logBytes: 0 };
const STALL_S = 100;

/** Looks once a second from `fromS` to `untilS`. */
function watch(
  before: SignTracker | null,
  fromS: number,
  untilS: number,
  look: (s: number) => Partial<Look>,
): SignTracker | null {
  let tracker = before;
  for (let s = fromS; s <= untilS; s += 1) tracker = noteLook(tracker, s * 1_000, { ...QUIET, ...look(s) });
  return tracker;
}
const at = (tracker: SignTracker | null, s: number) => signsOf(tracker, s * 1_000, STALL_S);
const use = (cpuMs: number, ioBytes = 0, gpuPercent: number | null = null) => ({ use: { cpuMs, ioBytes, gpuPercent } });

describe("signs", () => {
  it("are not told while nothing is silent, nor before the first look", () => {
    expect(signsOf(null, 0, STALL_S)).toBeUndefined();
    const tracker = watch(null, 0, 200, (s) => ({ progressMark: `${s}`, logBytes: s + 1, ...use(s * 100) }));
    expect(at(tracker, 200)).toBeUndefined();
  });

  it("tell of progress and output from when they last came, with the rhythm of output", () => {
    const tracker = watch(null, 0, 130, (s) => ({
      progressMark: `${Math.min(s, 60)}`,
      // Every ten seconds until 100.
      logBytes: Math.min(10, Math.floor(s / 10)),
    }));
    expect(at(tracker, 130)).toEqual({ progressMs: 70_000, logMs: 30_000, logGapMs: 10_000, logSpanMs: 90_000 });
  });

  it("tell of saves from the last on, with the median between them", () => {
    let tracker = watch(null, 0, 0, () => ({}));
    let lookedS = 0;
    for (const s of [10, 20, 30, 80]) {
      const looked = watch(tracker, lookedS + 1, s, () => ({}));
      tracker = noteSave(looked, s * 1_000);
      lookedS = s;
    }
    tracker = watch(tracker, 81, 120, () => ({}));
    expect(at(tracker, 120)).toMatchObject({ savedMs: 40_000, savedEveryMs: 10_000 });
    expect(noteSave(null, 5)).toBeNull();
  });

  it.each<[string, (s: number) => Partial<Look>, number | undefined]>([
    ["a container that sleeps", () => use(5), 50_000],
    ["one that wakes up for a moment", (s) => use(5 + s), 50_000],
    ["one that computes", (s) => use(5 + 900 * s), undefined],
    ["one that computes a little all the time", (s) => use(5 + 20 * s), undefined],
    ["one that reads", (s) => use(5, 10_000_000 * s), undefined],
    ["one that keeps a GPU busy", () => use(5, 0, 40), undefined],
    ["one of which the Engine says nothing", () => ({}), undefined],
  ])("tell of idleness: %s", (_what, look, idleMs) => {
    expect(
      at(
        watch(null, 0, 50, (s) => (s % 10 === 0 ? look(s) : {})),
        50,
      )?.idleMs,
    ).toBe(idleMs);
  });

  it("tell of a deadline as soon as it is missed", () => {
    const tracker = watch(null, 0, 11, (s) => ({ progressMark: "x", progressDueMs: s < 5 ? 10_000 : 10_000 }));
    expect(at(tracker, 10)).toBeUndefined();
    expect(at(tracker, 11)).toMatchObject({ progressMs: 11_000, progressDueMs: 10_000 });
  });

  it("do not count time in which nobody looked", () => {
    const before = watch(null, 0, 60, (s) => ({ progressMark: "x", logBytes: 1, ...use(s) }));
    // The machine slept for an hour.
    const after = watch(before, 3_661, 3_662, () => ({ progressMark: "x", logBytes: 1 }));
    const seen = at(after, 3_662);
    expect(seen?.progressMs).toBe(62_000);
    expect(seen?.idleMs).toBe(62_000);
    // Nor is anything told from a look of long ago.
    expect(at(before, 3_600)).toBeUndefined();
  });

  it("do not count a short sleep of the machine against a short deadline", () => {
    const due = { progressMark: "x", progressDueMs: 5_000 };
    const before = watch(null, 0, 3, () => due);
    expect(
      at(
        watch(before, 13, 14, () => due),
        14,
      ),
    ).toBeUndefined();
    expect(
      at(
        watch(before, 13, 15, () => due),
        15,
      ),
    ).toMatchObject({ progressMs: 6_000 });
  });

  it("do not count the time for which its guard held the container", () => {
    const look = { progressMark: "x", progressDueMs: 70_000, logBytes: 1, ...use(5) };
    const before = watch(null, 0, 60, () => look);
    // Held for a minute from 70 on, and looked at all the while.
    const heldMs = (s: number) => Math.min(60_000, Math.max(0, s - 70) * 1_000);
    const held = watch(before, 61, 130, (s) => ({ ...look, heldMs: heldMs(s) }));
    expect(at(held, 130)).toMatchObject({ progressMs: 70_000, logMs: 70_000, idleMs: 70_000 });
    const after = watch(held, 131, 135, (s) => ({ ...look, heldMs: heldMs(s) }));
    expect(at(after, 135)).toMatchObject({ progressMs: 75_000, logMs: 75_000, idleMs: 75_000 });
  });
});
