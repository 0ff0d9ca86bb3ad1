import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { detectGpus, parseGpus } from "./nvidia-smi.ts";
import { parseGpuUse } from "./usage.ts";

const TWO_CARDS = `GPU-5f7f4e2b-9f3e-4c64-9a39-2c3a8f1b6d10, NVIDIA GeForce RTX 4090, 24564, 550.54.14, 8.9
GPU-0b9ad1c1-52a5-1f21-6d33-3c1bdf3f6e77, NVIDIA GeForce RTX 3090, 24576, 550.54.14, 8.6
`;

describe("the CSV of nvidia-smi", () => {
  it("names every card", () => {
    expect(parseGpus(TWO_CARDS)).toEqual({
      kind: "gpus",
      gpus: [
        {
          uuid: "GPU-5f7f4e2b-9f3e-4c64-9a39-2c3a8f1b6d10",
          model: "GeForce RTX 4090",
          memoryMiB: 24564,
          driverVersion: "550.54.14",
          computeCapability: "8.9",
        },
        {
          uuid: "GPU-0b9ad1c1-52a5-1f21-6d33-3c1bdf3f6e77",
          model: "GeForce RTX 3090",
          memoryMiB: 24576,
          driverVersion: "550.54.14",
          computeCapability: "8.6",
        },
      ],
    });
  });

  it("may lack fields: unified memory, old drivers", () => {
    expect(parseGpus("GPU-1c2d3e4f-0000-1111-2222-333344445555, NVIDIA GB10, [N/A], 580.95.05, 12.1\n")).toMatchObject({
      gpus: [{ model: "GB10", memoryMiB: 0, computeCapability: "12.1" }],
    });
    const old = parseGpus("GPU-1c2d3e4f-0000-1111-2222-333344445555, Tesla K80, 11441, 470.239.06, [Not Supported]");
    expect(old).toMatchObject({ gpus: [{ model: "Tesla K80" }] });
    expect(old).not.toHaveProperty("gpus.0.computeCapability");
  });

  it("may say that there are none", () => {
    expect(parseGpus("No devices were found\n")).toEqual({ kind: "gpus", gpus: [] });
    expect(parseGpus("")).toEqual({ kind: "gpus", gpus: [] });
  });

  it("is not believed by halves", () => {
    const driver = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.";
    expect(parseGpus(driver)).toEqual({ kind: "broken", message: driver });
    expect(parseGpus(`${TWO_CARDS}[Unknown Error], [N/A], [N/A], 550.54.14, 8.9`).kind).toBe("broken");
    expect(parseGpus("GPU-5f7f4e2b-9f3e, NVIDIA X, 24 GiB, 550, 8.9").kind).toBe("broken");
  });
});

describe("nvidia-smi itself", () => {
  let dir = "";
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "qubix-gpu-"));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function fake(script: string): Promise<string> {
    const path = join(dir, `smi-${Math.random()}`);
    await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return path;
  }

  it("may not be there, fail, or find nothing", async () => {
    expect(await detectGpus(join(dir, "absent"))).toEqual({ kind: "absent" });
    expect(await detectGpus(await fake("echo 'Driver/library version mismatch' >&2; exit 18"))).toEqual({
      kind: "broken",
      message: "Driver/library version mismatch",
    });
    expect(await detectGpus(await fake("echo 'No devices were found'; exit 6"))).toEqual({ kind: "gpus", gpus: [] });
    expect(await detectGpus(await fake("echo 'GPU-aa, NVIDIA A100-SXM4-80GB, 81920, 535.1, 8.0'"))).toMatchObject({
      gpus: [{ model: "A100-SXM4-80GB", memoryMiB: 81920 }],
    });
  });
});

describe("what GPUs are doing", () => {
  it("is the mean and the sum over the job's own cards", () => {
    const csv = "GPU-a, 90, 1000\nGPU-b, 10, 500\nGPU-c, 50, 9\n";
    expect(parseGpuUse(csv, ["GPU-a", "GPU-b"])).toEqual({ gpuPercent: 50, gpuMemoryMiB: 1500 });
  });

  it("is unknown where the driver does not say", () => {
    expect(parseGpuUse("GPU-a, [N/A], [N/A]\n", ["GPU-a"])).toBeUndefined();
    expect(parseGpuUse("", ["GPU-a"])).toBeUndefined();
  });
});
