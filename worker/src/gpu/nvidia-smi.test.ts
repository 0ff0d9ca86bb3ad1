import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { gpuSchema } from "@qubix/shared/protocol";
import { createInspector, detectGpus } from "./nvidia-smi.ts";
import { readReport } from "./query-xml.ts";
import { createNvidiaSmi } from "./smi-process.ts";
import { createFakeSmi, type FakeSmi, readFixture } from "./testing.ts";

let dir = "";
let smi: FakeSmi;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-smi-"));
  smi = await createFakeSmi(dir);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function inspect(answers: Readonly<Record<string, string>>, known: readonly string[] = []) {
  await smi.set(answers);
  const inspector = createInspector(createNvidiaSmi(smi.path));
  return inspector.inspect({ known, driverCards: join(dir, "none") });
}

const GOOD_H100 = "GPU-b8d6207f-4e1c-4a93-8c5b-e27f1d0a9634";
const LOST_H100 = "GPU-d13a95c8-7b60-4f2e-b9d4-80c5e6f7a213";

describe("a card that works", () => {
  it.each([
    [
      "rtx-4090-desktop-v12",
      "GeForce RTX 4090",
      24564,
      "550.54.14",
      "12.4",
      { generation: 4, lanes: 16 },
      450,
      undefined,
    ],
    [
      "rtx-3060-laptop-v12",
      "GeForce RTX 3060 Laptop GPU",
      6144,
      "535.129.03",
      "12.2",
      { generation: 4, lanes: 8 },
      undefined,
      undefined,
    ],
    ["gtx-1070-ti-v10", "GeForce GTX 1070 Ti", 8119, "430.40", "10.1", { generation: 3, lanes: 1 }, 180, undefined],
    ["t4-v11", "Tesla T4", 15109, "460.73.01", "11.2", { generation: 3, lanes: 8 }, 70, true],
    ["l4-v12", "L4", 23034, "535.104.05", "12.2", { generation: 4, lanes: 16 }, 72, true],
    ["h100-sxm-v12", "H100 80GB HBM3", 81559, "550.54.15", "12.4", { generation: 5, lanes: 16 }, 700, true],
    ["quadro-p2000-v12", "Quadro P2000", 5120, "545.23.08", "12.3", { generation: 3, lanes: 4 }, 75, undefined],
    [
      "rtx-pro-6000-v13",
      "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
      97887,
      "590.44.01",
      "13.1",
      { generation: 4, lanes: 16 },
      300,
      false,
    ],
    ["gb10-v13", "GB10", 0, "580.95.05", "13.0", { generation: 1, lanes: 1 }, undefined, undefined],
    [
      "gtx-1660-v13-new-head",
      "GeForce GTX 1660",
      6144,
      "610.57.04",
      "13.3",
      { generation: 3, lanes: 16 },
      120,
      undefined,
    ],
    [
      "engineering-sample-v13",
      "Graphics Device",
      294912,
      "605.11.01",
      "13.2",
      { generation: 6, lanes: 16 },
      1800,
      true,
    ],
    [
      "wsl-rtx-2080-ti-v12",
      "GeForce RTX 2080 Ti",
      11264,
      "551.61",
      "12.4",
      { generation: 3, lanes: 8 },
      260,
      undefined,
    ],
    ["k80-v11", "Tesla K80", 11441, "470.239.06", "11.4", { generation: 3, lanes: 16 }, 149, true],
  ])(
    "is offered as measured: %s",
    async (name, model, memoryMiB, driverVersion, cudaVersion, pcie, powerLimitW, ecc) => {
      const report = await readFixture(`${name}.xml`);
      const { detection, cards, troubles } = await inspect({ report });
      expect(troubles).toEqual([]);
      if (detection.kind !== "gpus") throw new Error(JSON.stringify(detection));
      const [gpu] = detection.gpus;
      const { uuid, ...rest } = gpuSchema.parse(gpu);
      expect(uuid).toMatch(/^GPU-[0-9a-f-]{36}$/);
      const expected = { model, memoryMiB, driverVersion, cudaVersion, pcie, powerLimitW, ecc };
      expect(rest).toEqual(JSON.parse(JSON.stringify(expected)));
      expect(cards).toHaveLength(detection.gpus.length);
    },
  );

  it("says what it does now, and who is on it", async () => {
    const report = await readFixture("rtx-4090-desktop-v12.xml");
    const { cards } = await inspect({ report });
    expect(cards[0]?.now).toEqual({
      gpuPercent: 3,
      memoryUsedMiB: 823,
      temperatureC: 38,
      powerW: 22.47,
      graphicsMHz: 210,
      memoryMHz: 405,
    });
    expect(cards[0]?.processes.map(({ pid, kind, memoryMiB }) => [pid, kind, memoryMiB])).toEqual([
      [1893, "G", 392],
      [2107, "G", 118],
      [5521, "G", 214],
      [90211, "C+G", 64],
    ]);
    expect(cards[0]?.processes[3]?.name).toBe("/home/ada/games/starfield/bin/game & watch");
    const unknown = await inspect({ report: await readFixture("wsl-rtx-2080-ti-v12.xml") });
    expect(unknown.cards[0]?.processes).toEqual([
      { pid: 33, kind: "G", name: "/Xwayland", memoryMiB: undefined, gpuInstance: undefined },
      { pid: 4120, kind: "C", name: "/python3.10", memoryMiB: undefined, gpuInstance: undefined },
    ]);
  });

  it("has its compute capability from the other question, asked once", async () => {
    const report = await readFixture("h100-sxm-v12.xml");
    await smi.set({ report, capabilities: `${GOOD_H100}, 9.0\n${LOST_H100}, [N/A]\n` });
    const inspector = createInspector(createNvidiaSmi(smi.path));
    await inspector.inspect();
    const { detection } = await inspector.inspect();
    expect(detection).toMatchObject({ gpus: [{ computeCapability: "9.0" }, { uuid: LOST_H100 }] });
    expect(detection).not.toHaveProperty("gpus.1.computeCapability");
    expect((await smi.calls()).filter((call) => call.includes("compute_cap"))).toHaveLength(1);
  });
});

describe("a card in MIG mode", () => {
  it("is offered as its partitions", async () => {
    const [report, list] = [await readFixture("a100-mig-v12.xml"), await readFixture("a100-mig-list.txt")];
    const { detection, cards } = await inspect({ report, list });
    if (detection.kind !== "gpus") throw new Error(JSON.stringify(detection));
    expect(
      detection.gpus.map(({ uuid, model, memoryMiB, migParentUuid }) => [
        uuid.slice(0, 12),
        model,
        memoryMiB,
        migParentUuid?.slice(0, 12),
      ]),
    ).toEqual([
      ["MIG-0c7d5e92", "A100-SXM4-40GB MIG 3g.20gb", 19968, "GPU-3b1f8e6d"],
      ["MIG-9f1a3b60", "A100-SXM4-40GB MIG 2g.10gb", 9856, "GPU-3b1f8e6d"],
      ["MIG-e4b80d17", "A100-SXM4-40GB MIG 1g.5gb", 4864, "GPU-3b1f8e6d"],
      ["GPU-f08d2c71", "A100-SXM4-40GB", 40960, undefined],
    ]);
    for (const gpu of detection.gpus) gpuSchema.parse(gpu);
    expect(cards.map((card) => card.isPartitioned)).toEqual([true, false, true]);
    expect(cards[0]?.processes).toMatchObject([{ pid: 31337, gpuInstance: 1 }]);
  });

  it("has the partitions that can be named, as old drivers and new ones do", async () => {
    const report = await readFixture("a100-mig-v12.xml");
    const parent = "GPU-3b1f8e6d-c592-47a0-8d14-f9e0b6a2c735";
    const list = `GPU 0: A100-SXM4-40GB (UUID: ${parent})\n  MIG 3g.20gb Device 0: (UUID: MIG-${parent}/1/0)\n`;
    const old = await inspect({ report, list });
    expect(old.detection).toMatchObject({ gpus: [{ uuid: `MIG-${parent}/1/0` }, { model: "A100-SXM4-40GB" }] });
    const uuid = "MIG-11111111-2222-5333-8444-555555555555";
    const told = report.replace("<index>0</index>", `<index>0</index><uuid>${uuid}</uuid>`);
    await smi.set({ list: null });
    const fresh = await inspect({ report: told });
    expect(fresh.detection).toMatchObject({ gpus: [{ uuid, model: "A100-SXM4-40GB MIG 20gb" }, {}] });
  });
});

describe("a card of no use", () => {
  it.each([
    ["h100-one-lost-v13", "00000000:3B:00.0", "GPU is lost"],
    ["rtx-2080-ti-unknown-error-v12", "00000000:0B:00.0", "Unknown Error"],
    ["l40s-needs-reset-v12", "00000000:61:00.0", "It needs a recovery: Reset"],
  ])("is named, and the good one beside it is offered: %s", async (name, busId, message) => {
    const { detection, troubles } = await inspect({ report: await readFixture(`${name}.xml`) });
    expect(detection).toMatchObject({ kind: "gpus", gpus: [{}] });
    expect(troubles).toMatchObject([{ busId, message }]);
  });

  it.each(["lost.txt", "lost-wrapped.txt", "lost-new.txt"])(
    "makes the driver silent about the others, which are asked for one by one: %s",
    async (name) => {
      const one = (await readFixture("h100-sxm-v12.xml")).replace(/<gpu id="00000000:3B[\s\S]*?<\/gpu>/, "");
      const fails = await readFixture(name);
      const { detection, troubles } = await inspect({ fails, [`one-${GOOD_H100}`]: one }, [GOOD_H100, LOST_H100]);
      expect(detection).toMatchObject({ kind: "gpus", gpus: [{ uuid: GOOD_H100 }] });
      expect(troubles).toMatchObject([
        { busId: "0000:3B:00.0", message: expect.stringMatching(/is lost|Unknown Error/) },
      ]);
      const alone = await inspect({ fails });
      expect(alone.detection).toMatchObject({ kind: "broken", message: expect.stringContaining("0000:3B:00.0") });
    },
  );
});

describe("nvidia-smi itself", () => {
  it("may not be there, or have no cards", async () => {
    expect(await detectGpus(join(dir, "absent"))).toEqual({ kind: "absent" });
    expect(await detectGpus(smi.path)).toEqual({ kind: "gpus", gpus: [] });
  });

  it.each(["mismatch.txt", "no-driver.txt"])("says what is wrong with the driver: %s", async (name) => {
    const fails = await readFixture(name);
    const { detection } = await inspect({ fails });
    expect(detection).toEqual({ kind: "broken", message: fails.trim() });
  });

  it("is asked the old way where its XML cannot be had or read", async () => {
    const cards = `${GOOD_H100}, NVIDIA H100 80GB HBM3, 81559, 550.54.15, 9.0\n`;
    const whole = await readFixture("h100-sxm-v12.xml");
    for (const report of ["Option -x is not recognized.", whole.slice(0, 3_000), whole.replace("</uuid>", "")]) {
      const { detection } = await inspect({ report, cards });
      expect(detection).toMatchObject({
        gpus: [{ uuid: GOOD_H100, model: "H100 80GB HBM3", computeCapability: "9.0" }],
      });
    }
  });

  it("may hang: then it is killed, and asked again later", async () => {
    await smi.set({ hang: "" });
    const runner = createNvidiaSmi(smi.path);
    expect(await runner.run(["-L"], 200)).toEqual({ kind: "hangs" });
    await smi.set({ hang: null, list: "GPU 0: x" });
    await expect.poll(() => runner.run(["-L"], 2_000)).toMatchObject({ kind: "said", stdout: "GPU 0: x" });
  });

  it("is followed anew, and asked, right after one was told to end", async () => {
    await smi.set({ pulse: "a line\n", list: "GPU 0: x" });
    const runner = createNvidiaSmi(smi.path);
    for (let round = 0; round < 3; round += 1) {
      const said: string[] = [];
      const events = { line: (line: string) => void said.push(line), ended: () => undefined };
      const following = await runner.follow(["--query-gpu=index,uuid", "-l", "1"], events);
      await expect.poll(() => said).toContain("a line");
      following?.stop();
      expect(await runner.run(["-L"], 5_000)).toMatchObject({ kind: "said", stdout: "GPU 0: x" });
    }
  });

  it("may print garbage of any kind without harm", async () => {
    const whole = await readFixture("rtx-4090-desktop-v12.xml");
    for (let at = 0; at < whole.length; at += 97) {
      expect(readReport(whole.slice(0, at))).toBeUndefined();
      const holed = readReport(whole.slice(0, at) + whole.slice(at + 60));
      for (const { gpu } of holed?.cards ?? []) expect(gpuSchema.safeParse(gpu).success).toBe(true);
    }
  });
});
