import fc from "fast-check";
import { expect, it } from "vitest";
import { createPacer, type Pacer } from "./pacer.ts";

const FRAME = 65_536;

/** A clock that stands still until it is told to go on; timers fire in its order. */
function virtual(mbps: number | null) {
  const timers: { readonly atMs: number; readonly act: () => void }[] = [];
  const clock = { nowMs: 0, mbps };
  const pacer = createPacer({
    mbpsMax: () => clock.mbps,
    frameBytesMax: FRAME,
    nowMs: () => clock.nowMs,
    after: (ms, act) => void timers.push({ atMs: clock.nowMs + ms, act }),
  });
  /** Lets time pass to the next timer; false when there is none. */
  const tick = async (): Promise<boolean> => {
    const next = timers.toSorted((a, b) => a.atMs - b.atMs)[0];
    if (next === undefined) return false;
    timers.splice(timers.indexOf(next), 1);
    clock.nowMs = Math.max(clock.nowMs, next.atMs);
    next.act();
    await Promise.resolve();
    return true;
  };
  return { clock, pacer, tick };
}

/** Sends frames one after the other, as a line does; says when each left. */
async function leaving(pacer: Pacer, frames: readonly number[], nowMs: () => number, left: number[]): Promise<void> {
  for (const bytes of frames) {
    const wait = pacer.take(bytes);
    if (wait !== null) await wait;
    left.push(nowMs());
  }
}

it("lets everything out at once without a cap", () => {
  const { pacer } = virtual(null);
  for (let n = 0; n < 100; n += 1) expect(pacer.take(FRAME)).toBeNull();
});

it("lets one frame out at once, then as many a second as the cap allows", async () => {
  // 8 Mbit/s are a million bytes a second.
  const { clock, pacer, tick } = virtual(8);
  const left: number[] = [];
  const done = leaving(
    pacer,
    Array.from({ length: 40 }, () => 50_000),
    () => clock.nowMs,
    left,
  );
  while (await tick());
  await done;
  expect(left[0]).toBe(0);
  // Two million bytes, less what the bucket held.
  expect(left.at(-1)).toBeGreaterThanOrEqual(2_000 - FRAME / 1_000);
  expect(left.at(-1)).toBeLessThanOrEqual(2_000 + 40);
});

it("never lets more out in any stretch of time than the cap and one burst, and keeps nothing back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0.1, max: 1_000, noNaN: true }),
      fc.array(fc.integer({ min: 1, max: FRAME }), { minLength: 1, maxLength: 60 }),
      async (mbps, frames) => {
        const { clock, pacer, tick } = virtual(mbps);
        const left: number[] = [];
        const done = leaving(pacer, frames, () => clock.nowMs, left);
        await Promise.resolve();
        for (let turns = 0; left.length < frames.length && turns < 1_000; turns += 1) {
          await tick();
          await Promise.resolve();
        }
        await done;
        const bytesPerMs = mbps * 125;
        const burst = Math.max(FRAME, bytesPerMs * 50);
        for (let from = 0; from < frames.length; from += 1) {
          let bytes = 0;
          for (let to = from; to < frames.length; to += 1) {
            bytes += frames[to] ?? 0;
            const ms = (left[to] ?? 0) - (left[from] ?? 0);
            expect(bytes).toBeLessThanOrEqual(burst + ms * bytesPerMs + 1);
          }
        }
        // In whole milliseconds, of which each frame may lose one.
        const total = frames.reduce((sum, bytes) => sum + bytes, 0);
        expect(left.at(-1)).toBeLessThanOrEqual(total / bytesPerMs + frames.length);
      },
    ),
  );
});

it("follows a change of the cap: taken away, nothing waits any more", async () => {
  const { clock, pacer, tick } = virtual(1);
  expect(pacer.take(FRAME)).toBeNull();
  const left: string[] = [];
  void pacer.take(FRAME)?.then(() => left.push("second"));
  void pacer.take(FRAME)?.then(() => left.push("third"));
  expect(left).toEqual([]);
  clock.mbps = null;
  await tick();
  expect(left).toEqual(["second", "third"]);
  expect(pacer.take(FRAME)).toBeNull();
  clock.mbps = 1;
  expect(pacer.take(FRAME)).toBeNull();
  expect(pacer.take(FRAME)).not.toBeNull();
});
