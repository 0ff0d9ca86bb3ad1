import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Slot, WorkerCoreEvent } from "../../core/index.ts";
import { createOfferKeeper } from "../offer.ts";
import { createLeaving, DRAIN_DEADLINE_MS } from "./leaving.ts";
import { MAINTENANCE_LEAD_MS, maintenanceAt, parseMaintenance } from "./maintenance.ts";

function windowsOf(...texts: string[]) {
  const parsed = parseMaintenance(texts);
  if (parsed.kind !== "ok") throw new Error(parsed.why);
  return parsed.windows;
}

describe("maintenance windows", () => {
  it.each(["2026-12-01T02:00/2h", "2026-12-01 02:00/90m", " 2026-12-01T02:00/1d "])("%j is one", (text) => {
    expect(windowsOf(text)[0]?.from).toEqual(new Date(2026, 11, 1, 2, 0));
  });

  it.each([
    "",
    "tomorrow",
    "2026-12-01T02:00",
    "2026-12-01T02:00/0h",
    "2026-13-01T02:00/1h",
    "2026-02-31T02:00/1h",
    "2026-12-01T25:00/1h",
  ])("%j is none", (text) => {
    expect(parseMaintenance([text])).toMatchObject({
      kind: "invalid",
      why: expect.stringContaining("2026-12-01T02:00/2h"),
    });
  });

  it("near, are under way, and are over", () => {
    const windows = windowsOf("2026-12-09T02:00/2h", "2026-12-01T02:00/2h");
    const at = (minutes: number) => maintenanceAt(windows, new Date(2026, 11, 1, 2, minutes)).kind;
    const leadMin = MAINTENANCE_LEAD_MS / 60_000;
    expect([at(-leadMin - 1), at(-leadMin), at(-1), at(0), at(119), at(120)]).toEqual([
      "none",
      "nearing",
      "nearing",
      "under",
      "under",
      "none",
    ]);
    expect(parseMaintenance(Array.from({ length: 51 }, () => "2026-12-01T02:00/2h")).kind).toBe("invalid");
  });
});

describe("a machine that is to be empty", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** With a job, one that is being stopped already, and a standby; at 2026-12-01 00:00. */
  function machine(settings: { maintenance: string[] } = { maintenance: [] }, kept = new Map<string, unknown>()) {
    vi.setSystemTime(new Date(2026, 11, 1));
    const keeper = createOfferKeeper(
      {
        machine: { cpus: 1, memoryMiB: 1000, diskMiBFree: 1000 },
        detection: { kind: "absent" },
        terms: {
          region: "unknown",
          pricePerCpuHour: { amount: 1n, currency: "USD" },
          standbyPercent: 25,
          localImages: [],
        },
        pauses: new Set(),
        withheldGpus: new Set(),
        features: new Set(),
      },
      () => undefined,
    );
    const events: WorkerCoreEvent[] = [];
    const slots = [
      { id: "job", attempt: {}, stopping: null },
      { id: "stopping", attempt: {}, stopping: "cancelled" },
      { id: "standby", attempt: null, stopping: null },
    ] as Slot[];
    const leaving = createLeaving(
      {
        journal: { get: (key) => kept.get(key), set: (key, value) => void kept.set(key, value) },
        keeper,
        state: { slots: new Map(slots.map((slot) => [slot.id, slot])) },
        dispatch: (event) => void events.push(event),
        wallTime: () => new Date(),
      },
      settings,
    );
    leaving.refresh();
    return { keeper, events, leaving, settings, kept };
  }

  it("says so at once, and ends what is left when its time is over", () => {
    const { keeper, events, leaving } = machine();
    leaving.drainNow(DRAIN_DEADLINE_MS);
    expect(keeper.offer().leaving).toBe("drain");
    vi.advanceTimersByTime(DRAIN_DEADLINE_MS - 10_000);
    expect(events).toEqual([]);
    vi.advanceTimersByTime(15_000);
    expect(events[0]).toMatchObject({ kind: "leave", slotId: "job" });
    expect(new Set(events.map((event) => "slotId" in event && event.slotId))).toEqual(new Set(["job"]));
    leaving.drainNow(null);
    expect(keeper.offer()).not.toHaveProperty("leaving");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("remembers it across restarts of the agent", () => {
    const before = machine();
    before.leaving.drainNow(60_000);
    before.leaving.stop();
    const after = machine({ maintenance: [] }, before.kept);
    expect(after.keeper.offer().leaving).toBe("drain");
    vi.advanceTimersByTime(65_000);
    expect(after.events[0]).toMatchObject({ kind: "leave", slotId: "job" });
    after.leaving.stop();
  });

  it("for maintenance takes nothing new before, moves what runs, and takes work again afterwards", () => {
    const { keeper, events, leaving } = machine({ maintenance: ["2026-12-01T02:00/2h"] });
    const offer = () => [keeper.offer().draining, keeper.offer().leaving, events.length > 0];
    vi.advanceTimersByTime(90 * 60_000);
    expect(offer()).toEqual([false, undefined, false]);
    vi.advanceTimersByTime(20 * 60_000);
    expect(offer()).toEqual([true, "maintenance", false]);
    expect(leaving.maintenanceUntil()).toBe("2026-12-01 04:00");
    vi.advanceTimersByTime(15 * 60_000);
    expect(offer()).toEqual([true, "maintenance", true]);
    vi.advanceTimersByTime(2 * 3_600_000);
    expect(offer()).toEqual([false, undefined, true]);
    expect(leaving.maintenanceUntil()).toBeNull();
    leaving.stop();
  });

  it("and is called off, goes on as before", () => {
    const { keeper, leaving, settings } = machine({ maintenance: ["2026-12-01T00:10/2h"] });
    expect(keeper.offer()).toMatchObject({ draining: true, leaving: "maintenance" });
    settings.maintenance = [];
    leaving.refresh();
    expect(keeper.offer().draining).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });
});
