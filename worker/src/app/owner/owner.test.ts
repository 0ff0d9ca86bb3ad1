import { describe, expect, it } from "vitest";
import { workerOfferSchema } from "@qubix/shared/protocol";
import { loadConfig } from "@qubix/shared/runtime";
import type { Slot } from "../../core/index.ts";
import { shell } from "../../runner/testing.ts";
import { parseListen, startConfigSchema } from "../config.ts";
import { createOfferKeeper } from "../offer.ts";
import { createEarnings } from "./earnings.ts";
import { createQuietWatch } from "./quiet-watch.ts";
import { createSlotRates } from "./rates.ts";
import { createSettings, flagOf, termsOf } from "./settings.ts";

/** What the journal does with values, without its file. */
function memory() {
  const values = new Map<string, string>();
  return {
    get: (key: string): unknown => {
      const text = values.get(key);
      return text === undefined ? undefined : JSON.parse(text);
    },
    set: (key: string, value: unknown) => {
      if (value === undefined) values.delete(key);
      else values.set(key, JSON.stringify(value));
    },
  };
}

function configOf(flags: Record<string, unknown> = {}) {
  return loadConfig(startConfigSchema, { flags: { dataDir: "/d", ...flags }, env: {} });
}

const never = () => {
  throw new Error("nothing was to be dropped");
};

describe("settings", () => {
  it("change at once, say what changed, and hold across restarts", () => {
    const journal = memory();
    const config = configOf({ pricePerGpuHour: "0.50" });
    const settings = createSettings(journal, config, never);
    const changes = settings.set(
      { pricePerGpuHour: "0.60", cpus: "2", standbyPercent: "25", quietHours: ["22:00-07:00"] },
      [],
    );
    expect(changes).toEqual([
      { name: "pricePerGpuHour", from: "0.50", to: "0.60" },
      { name: "cpus", from: null, to: 2 },
      { name: "quietHours", from: [], to: ["22:00-07:00"] },
    ]);
    expect(settings.live).toMatchObject({ pricePerGpuHour: "0.60", cpus: 2, dataDir: "/d" });
    expect(termsOf(settings.live, 77)).toMatchObject({ pricePerGpuHour: { amount: 600_000n }, cpus: 2, diskMiB: 77 });
    const again = createSettings(journal, config, never);
    expect(again.live).toMatchObject({ pricePerGpuHour: "0.60", cpus: 2, quietHours: ["22:00-07:00"] });
    expect(again.overridden()).toEqual(["pricePerGpuHour", "standbyPercent", "cpus", "quietHours"]);
  });

  it("price what jobs send, in the offer, until that is taken away", () => {
    const settings = createSettings(memory(), configOf({ pricePerEgressGib: "0.05" }), never);
    expect(termsOf(settings.live, 77).pricePerEgressGiB).toEqual({ amount: 50_000n, currency: "USD" });
    expect(flagOf("pricePerEgressGib")).toBe("price-per-egress-gib");
    settings.set({ pricePerEgressGib: "none" }, []);
    expect(termsOf(settings.live, 77).pricePerEgressGiB).toBeUndefined();
  });

  it("give way to another value at start, and to a reset", () => {
    const journal = memory();
    createSettings(journal, configOf({ cpus: "4" }), never).set({ cpus: "2", region: "eu-west" }, []);
    const dropped: string[] = [];
    const started = createSettings(journal, configOf({ cpus: "3" }), (name) => dropped.push(name));
    expect(started.live).toMatchObject({ cpus: 3, region: "eu-west" });
    expect(dropped).toEqual(["cpus"]);
    expect(started.set({}, ["region"])).toEqual([{ name: "region", from: "eu-west", to: "unknown" }]);
    expect(journal.get("settings")).toBeUndefined();
  });

  it("can be taken away where there is an all or a nothing", () => {
    const settings = createSettings(
      memory(),
      configOf({
        pricePerGpuHour: "1",
        pricePerMemoryGibHour: "0.02",
        memoryMib: "64",
        localImage: ["a:local"],
        uplinkMbpsMax: "20",
      }),
      never,
    );
    expect(settings.live.uplinkMbpsMax).toBe(20);
    settings.set({ uplinkMbpsMax: "2.5" }, []);
    expect(settings.live.uplinkMbpsMax).toBe(2.5);
    settings.set({ pricePerGpuHour: "none", memoryMib: "none", localImage: ["none"], uplinkMbpsMax: "none" }, []);
    expect(settings.live.uplinkMbpsMax).toBeUndefined();
    expect(settings.live).toMatchObject({ localImage: [] });
    expect([settings.live.pricePerGpuHour, settings.live.memoryMib]).toEqual([undefined, undefined]);
    expect(termsOf(settings.live, undefined).pricePerGpuHour).toBeUndefined();
  });

  it.each([
    [{ pricePerGpuHour: "cheap" }, /--price-per-gpu-hour: a price is a decimal number/],
    [{ standbyPercent: "101" }, /--standby-percent/],
    [{ region: "none" }, /--region cannot be none/],
    [{ uplinkMbpsMax: "0.01" }, /--uplink-mbps-max/],
    [{ uplinkMbpsMax: "fast" }, /--uplink-mbps-max/],
    [{ quietHours: ["10:00-10:00"] }, /whole day/],
    [{ maintenance: ["tonight"] }, /2026-12-01T02:00\/2h/],
    [{ localImage: ["python:3.12"] }, /tag local/],
    [{ dockerSocket: "/x" }, /cannot be set while the agent runs/],
  ])("refuse %j, and then nothing has changed", (values, message) => {
    const journal = memory();
    const settings = createSettings(journal, configOf(), never);
    expect(() => settings.set({ cpus: "1", ...values }, [])).toThrow(message);
    expect(() => settings.set({ cpus: "1" }, ["no-such"])).toThrow(/no-such/);
    expect(settings.live.cpus).toBeUndefined();
    expect(journal.get("settings")).toBeUndefined();
  });
});

describe("quiet hours", () => {
  it("pause the offer and let it go on, as the clock on the wall says", () => {
    const keeper = createOfferKeeper(
      {
        machine: { cpus: 1, memoryMiB: 1000, diskMiBFree: 1000 },
        detection: { kind: "absent" },
        terms: termsOf(configOf(), undefined),
        pauses: new Set(["drained"]),
        withheldGpus: new Set(),
        features: new Set(),
      },
      () => undefined,
    );
    let now = new Date(2026, 10, 27, 12, 0);
    const settings = { quietHours: ["fri 11:00-13:00"] };
    const watch = createQuietWatch({ keeper, wallTime: () => now }, settings);
    watch.refresh();
    expect([...keeper.parts().pauses]).toEqual(["drained", "quiet_hours"]);
    expect(watch.until()).toBe("fri 13:00");
    now = new Date(2026, 10, 27, 13, 0);
    watch.refresh();
    expect([...keeper.parts().pauses]).toEqual(["drained"]);
    now = new Date(2026, 10, 27, 12, 0);
    settings.quietHours = [];
    watch.refresh();
    expect([...keeper.parts().pauses]).toEqual(["drained"]);
    watch.stop();
  });
});

describe("earnings", () => {
  const usd = (amount: bigint) => ({ amount, currency: "USD" });
  const wire = (amount: string, currency = "USD") => ({ amount, currency });

  it("are the totals last told, and what came on each day", () => {
    const journal = memory();
    const earnings = createEarnings(journal);
    const friday = new Date(2026, 10, 27, 23, 59);
    expect(earnings.view(friday)).toEqual({ total: null, today: [], days: [] });
    earnings.note([], friday);
    earnings.note([usd(100n)], friday);
    earnings.note([usd(100n)], friday);
    earnings.note([usd(250n), { amount: 5n, currency: "EUR" }], friday);
    const saturday = new Date(2026, 10, 28, 0, 1);
    const again = createEarnings(journal);
    expect(again.view(saturday)).toMatchObject({ total: [wire("250"), wire("5", "EUR")], today: [] });
    again.note([usd(251n), { amount: 5n, currency: "EUR" }], saturday);
    expect(again.view(saturday)).toMatchObject({
      today: [wire("1")],
      days: [
        { day: "2026-11-27", earned: [wire("250"), wire("5", "EUR")] },
        { day: "2026-11-28", earned: [wire("1")] },
      ],
    });
  });

  it("of before the first word are nobody's day, and days are bounded", () => {
    const earnings = createEarnings(memory());
    earnings.note([usd(1_000n)], new Date(2020, 0, 1));
    expect(earnings.view(new Date(2020, 0, 1))).toMatchObject({ total: [wire("1000")], today: [] });
    for (let day = 1; day <= 500; day += 1) earnings.note([usd(1_000n + BigInt(day))], new Date(2020, 0, 1 + day));
    const { days, total } = earnings.view(new Date());
    expect(days).toHaveLength(400);
    expect(days.at(-1)).toEqual({ day: "2021-05-15", earned: [wire("1")] });
    expect(total).toEqual([wire("1500")]);
  });
});

describe("a slot's rate", () => {
  it("is that of the offer when its order came", () => {
    const offer = (cpu: string) =>
      workerOfferSchema.parse({
        gpus: [],
        cpus: 4,
        memoryMiB: 1,
        diskMiB: 1,
        pricePerCpuHour: { amount: cpu, currency: "USD" },
        pricePerGpuHour: { amount: "500000", currency: "USD" },
      });
    const rates = createSlotRates(memory());
    const slot = (attempt: unknown) => ({ id: "a", attempt }) as Slot;
    const run = { ...shell("true"), cpus: 0.5, gpuUuids: [] };
    rates.agree("a", run, offer("100001"));
    rates.agree("a", run, offer("900000"));
    expect(rates.of(slot({}))).toEqual({ amount: "50001", currency: "USD" });
    expect(rates.of(slot(null))).toEqual({ amount: "12500", currency: "USD" });
    rates.forget("a");
    expect(rates.of(slot({}))).toBeNull();
    rates.agree("a", { ...run, gpuUuids: ["GPU-1", "GPU-2"] }, offer("1"));
    expect(rates.of(slot({}))).toEqual({ amount: "1000000", currency: "USD" });
    const apart = {
      pricePerMemoryGiBHour: { amount: 1024n, currency: "USD" },
      pricePerDiskGiBHour: { amount: 3n, currency: "USD" },
    };
    rates.agree("b", { ...run, memoryMiB: 100, diskMiB: 512 }, { ...offer("100000"), ...apart });
    expect(rates.of({ ...slot({}), id: "b" })).toEqual({ amount: "50102", currency: "USD" });
  });
});

it("an address to listen on is the loopback's unless it is named", () => {
  expect(parseListen("9420")).toEqual({ host: "127.0.0.1", port: 9420 });
  expect(parseListen("0.0.0.0:9420")).toEqual({ host: "0.0.0.0", port: 9420 });
  expect(parseListen("[::1]:0")).toEqual({ host: "::1", port: 0 });
  expect(parseListen("localhost")).toBeUndefined();
  expect(parseListen("x:70000")).toBeUndefined();
});
