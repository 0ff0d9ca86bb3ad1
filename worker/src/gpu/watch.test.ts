import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "@qubix/shared/runtime";
import { createInspector } from "./nvidia-smi.ts";
import { createNvidiaSmi } from "./smi-process.ts";
import { createFakeSmi, type FakeSmi, readFixture } from "./testing.ts";
import { createGpuWatch, type GpuView, type GpuWatch } from "./watch.ts";

const A = "GPU-b8d6207f-4e1c-4a93-8c5b-e27f1d0a9634";
const B = "GPU-d13a95c8-7b60-4f2e-b9d4-80c5e6f7a213";
const PULSE_A = `0, ${A}, 00000000:19:00.0, 4, 0, 31\n`;
const PULSE_B = `1, ${B}, 00000000:3B:00.0, 4, 0, 31\n`;
/** As in earnest, but quicker. */
const TIMES = {
  pulseMs: 1_000,
  searchMs: 300,
  inspectMs: 3_600_000,
  changeGapMs: 300,
  confirmMs: 600,
  missingMs: 300,
  silenceMs: 3_000,
  firstLookMs: 5_000,
  restartMs: 300,
};

let dir = "";
let smi: FakeSmi;
let watch: GpuWatch | null = null;
let views: GpuView[] = [];
let foreign = new Set<number>();
/** Two idle H100, and the same with somebody's process of 6 GiB on the first one. */
let idle = "";
let used = "";

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-watch-"));
  smi = await createFakeSmi(dir);
  views = [];
  foreign = new Set();
  const busy = await readFixture("h100-sxm-v12.xml");
  idle = busy.replace(/<process_info>[\s\S]*<\/process_info>/, "").replace("<used>79206 MiB<", "<used>4 MiB<");
  used = busy
    .replace("<used>79206 MiB<", "<used>6140 MiB<")
    .replaceAll(/<pid>\d+/g, "<pid>4711")
    .replace("78932 MiB", "5900 MiB");
});
afterEach(async () => {
  watch?.stop();
  watch = null;
  await rm(dir, { recursive: true, force: true });
});

async function start(path = smi.path, more: Partial<Parameters<typeof createGpuWatch>[1]> = {}): Promise<GpuWatch> {
  const runner = createNvidiaSmi(path);
  watch = createGpuWatch(
    {
      smi: runner,
      inspector: createInspector(runner),
      logger: createLogger("test", "silent"),
      foreign: (pids) => Promise.resolve(new Set(pids.filter((pid) => foreign.has(pid)))),
      changed: (view) => views.push(view),
      nowMs: () => performance.now(),
    },
    { yieldGpu: true, ignore: [], quietMs: 1_500, times: TIMES, ...more },
  );
  await watch.start();
  return watch;
}

function offered(): readonly string[] | string {
  if (watch === null) return "not watched";
  const { inspection, lost, inUse } = watch.view();
  if (inspection.detection.kind !== "gpus") return inspection.detection.kind;
  return inspection.detection.gpus.map(({ uuid }) => uuid).filter((uuid) => !lost.has(uuid) && !inUse.has(uuid));
}

async function until(expected: readonly string[] | string): Promise<void> {
  await expect.poll(offered, { timeout: 10_000 }).toEqual(expected);
}

describe("the watch over the cards", () => {
  it("starts nothing while there is no nvidia-smi, and sees it appear", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    const hidden = join(dir, "later");
    await start(join(hidden, "nvidia-smi"));
    expect(offered()).toBe("absent");
    const late = await createFakeSmi(hidden);
    await late.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await until([A, B]);
  });

  it("sees a driver that is loaded later, and one that breaks", async () => {
    await smi.set({ fails: await readFixture("no-driver.txt") });
    await start();
    expect(offered()).toBe("broken");
    await smi.set({ fails: null, report: idle, pulse: PULSE_A + PULSE_B });
    await until([A, B]);
    await smi.set({ fails: await readFixture("mismatch.txt") });
    await until("broken");
    // Nothing says that the cards are lost: what runs on them runs on.
    expect(watch?.view().lost.size).toBe(0);
  });

  it("asks one process for lines instead of starting one each time", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await start();
    await expect.poll(() => watch?.use([A, B])).toEqual({ gpuPercent: 0, gpuMemoryMiB: 8 });
    await smi.set({ pulse: PULSE_A.replace("4, 0, 31", "40, 90, 60") + PULSE_B });
    await expect.poll(() => watch?.use([A]), { timeout: 5_000 }).toEqual({ gpuPercent: 90, gpuMemoryMiB: 40 });
    expect((await smi.calls()).filter((call) => call.includes("index"))).toHaveLength(1);
    expect((await smi.calls()).filter((call) => call === "-q -x")).toHaveLength(1);
  });

  it("sees a card plugged in and pulled out", async () => {
    const one = idle.replace(/<gpu id="00000000:3B[\s\S]*?<\/gpu>/, "");
    await smi.set({ report: one, pulse: PULSE_A });
    await start(smi.path, { times: { ...TIMES, inspectMs: 500 } });
    expect(offered()).toEqual([A]);
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await until([A, B]);
    await smi.set({ report: one, pulse: PULSE_A });
    await until([A]);
    await expect.poll(() => watch?.view().lost.get(B)).toBe("It is no longer there.");
  });
});

describe("a card that is lost", () => {
  it.each([
    [
      "a line of its own",
      { pulse: `${PULSE_A}1, [GPU is lost], 00000000:3B:00.0, [GPU is lost], [GPU is lost], [GPU is lost]\n` },
    ],
    [
      "a line that still names it",
      { pulse: `${PULSE_A}1, ${B}, 00000000:3B:00.0, [GPU is lost], [GPU is lost], [N/A]\n` },
    ],
  ])("is known from %s", async (_what, lost) => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await start();
    await smi.set({ report: await readFixture("h100-one-lost-v13.xml"), ...lost });
    await until([A]);
    expect(watch?.view().lost.get(B)).toBe("GPU is lost");
    expect(await watch?.verify([B], 2_000)).toBe("GPU is lost");
    expect(await watch?.verify([A], 2_000)).toBeUndefined();
    // The machine's owner resets it.
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await until([A, B]);
  });

  it("is known when the driver falls silent about all others, and they are offered on", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await start();
    const one = idle.replace(/<gpu id="00000000:3B[\s\S]*?<\/gpu>/, "");
    await smi.set({ fails: await readFixture("lost.txt"), [`one-${A}`]: one });
    await until([A]);
    expect(watch?.view().lost.get(B)).toBe("GPU is lost");
  });

  it("is found by who asks before the lines tell", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await start(smi.path, { times: { ...TIMES, pulseMs: 60_000 } });
    await smi.set({ report: await readFixture("h100-one-lost-v13.xml") });
    expect(await watch?.verify([B], 5_000)).toBe("GPU is lost");
  });
});

describe("an nvidia-smi that does not behave", () => {
  it("prints once though it was told to go on", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B, once: "" });
    await start();
    await smi.set({ report: await readFixture("h100-one-lost-v13.xml") });
    await until([A]);
  });

  it("stops answering: its cards are not offered, and it is not started again and again", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    const runner = createNvidiaSmi(smi.path);
    const inspector = createInspector(runner);
    watch = createGpuWatch(
      {
        smi: runner,
        inspector: { inspect: (options) => inspector.inspect({ ...options, timeoutMs: 500 }) },
        logger: createLogger("test", "silent"),
        foreign: () => Promise.resolve(new Set()),
        changed: (view) => views.push(view),
        nowMs: () => performance.now(),
      },
      { yieldGpu: true, ignore: [], quietMs: 1_000, times: TIMES },
    );
    await watch.start();
    await smi.set({ hang: "" });
    await until("broken");
    expect(watch.view().lost.size).toBe(0);
    await smi.set({ hang: null });
    await until([A, B]);
  });
});

describe("a card that somebody else uses", () => {
  it("is withheld once the process stays, and offered again after some quiet", async () => {
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await start();
    foreign.add(4711);
    await smi.set({ report: used, pulse: PULSE_A.replace(", 4, 0,", ", 6140, 97,") + PULSE_B });
    await until([B]);
    expect(
      watch
        ?.view()
        .inUse.get(A)
        ?.map(({ pid }) => pid),
    ).toEqual([4711, 4711]);
    const begunMs = performance.now();
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await until([A, B]);
    expect(performance.now() - begunMs).toBeGreaterThan(1_000);
  });

  it("is not withheld for a process of ours, a passing one, or by an owner who does not mind", async () => {
    await smi.set({ report: used, pulse: PULSE_A.replace(", 4, 0,", ", 6140, 97,") + PULSE_B });
    await start();
    await watch?.verify([A], 5_000);
    expect(offered()).toEqual([A, B]);
    foreign.add(4711);
    await watch?.verify([A], 5_000);
    // Seen once.
    expect(offered()).toEqual([A, B]);
    await smi.set({ report: idle, pulse: PULSE_A + PULSE_B });
    await watch?.verify([A], 5_000);
    expect(views.every((view) => view.inUse.size === 0)).toBe(true);
    watch?.stop();
    await smi.set({ report: used });
    await start(smi.path, { yieldGpu: false, times: { ...TIMES, inspectMs: 200 } });
    await expect.poll(() => views.length).toBeGreaterThan(6);
    expect(views.every((view) => view.inUse.size === 0)).toBe(true);
  });

  it("may be a partition, and the others are offered on", async () => {
    const report = await readFixture("a100-mig-v12.xml");
    await smi.set({ report, list: await readFixture("a100-mig-list.txt"), pulse: "" });
    foreign.add(31337);
    await start();
    const uuids = ["MIG-9f1a3b60-58de-5c27-a4f8-07c6e2d9b184", "MIG-e4b80d17-c39f-5a62-bd05-6f2a8c1e7093"];
    await until([...uuids, "GPU-f08d2c71-9e46-4b35-a7c8-1d5e3f9b0a62"]);
  });
});
