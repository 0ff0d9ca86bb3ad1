import { describe, expect, it } from "vitest";
import type { GpuProcess } from "./cards.ts";
import { lostCardsOf, parseCapabilities, parseGpus, parsePulse } from "./query-csv.ts";
import { countsAsUse, gpuUseOf, programOf } from "./usage.ts";

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

describe("the pulse", () => {
  it("tells of a card, or of its loss", () => {
    expect(parsePulse("0, GPU-aa, 00000000:01:00.0, 823, 3, 38")).toEqual({
      index: 0,
      uuid: "GPU-aa",
      busId: "00000000:01:00.0",
      memoryUsedMiB: 823,
      gpuPercent: 3,
      temperatureC: 38,
    });
    const lost = "1, [GPU is lost], 00000000:3B:00.0, [GPU is lost], [GPU is lost], [GPU is lost]";
    expect(parsePulse(lost)).toMatchObject({ index: 1, busId: "00000000:3B:00.0", trouble: "GPU is lost" });
    expect(parsePulse("0, GPU-aa, 00000000:01:00.0, [N/A], [N/A], [Unknown Error]")).toEqual({
      index: 0,
      uuid: "GPU-aa",
      busId: "00000000:01:00.0",
    });
    expect(parsePulse("No devices were found")).toBeUndefined();
  });

  it("may be a complaint about a card", () => {
    expect(lostCardsOf("Unable to determine the device handle for GPU0000:07:00.0: Unknown Error")).toEqual([
      { busId: "0000:07:00.0", message: "Unknown Error" },
    ]);
    expect(lostCardsOf("all is well")).toEqual([]);
  });
});

describe("compute capabilities", () => {
  it("are numbers or nothing", () => {
    expect([...parseCapabilities('GPU-a, 8.9\nGPU-b, [N/A]\nField "compute_cap" is not a valid field')]).toEqual([
      ["GPU-a", "8.9"],
    ]);
  });
});

describe("what GPUs are doing", () => {
  const pulses = [
    { uuid: "GPU-a", gpuPercent: 90, memoryUsedMiB: 1000 },
    { uuid: "GPU-b", gpuPercent: 10, memoryUsedMiB: 500 },
    { uuid: "GPU-c", gpuPercent: 50, memoryUsedMiB: 9 },
    { uuid: "GPU-d" },
  ];

  it("is the mean and the sum over the job's own cards", () => {
    expect(gpuUseOf(pulses, ["GPU-a", "GPU-b"])).toEqual({ gpuPercent: 50, gpuMemoryMiB: 1500 });
  });

  it("is unknown where the driver does not say", () => {
    expect(gpuUseOf(pulses, ["GPU-d"])).toBeUndefined();
    expect(gpuUseOf([], ["GPU-a"])).toBeUndefined();
  });
});

describe("a process that counts as its owner's use", () => {
  const of = (name: string, kind: GpuProcess["kind"], memoryMiB?: number) =>
    countsAsUse({ pid: 1, name, kind, memoryMiB }, ["Folding", "blender"]);

  it.each([
    ["computes", "/usr/bin/python3 train.py", "C", 12, true],
    ["computes, of unknown size", "/python3.10", "C", undefined, true],
    ["is a game", "/home/ada/games/starfield", "C+G", 6_000, true],
    ["is a small window", "/opt/google/chrome/chrome --type=gpu-process", "G", 214, false],
    ["draws, of unknown size", "C:\\Games\\game.exe", "C+G", undefined, false],
    ["is the display server", "/usr/lib/xorg/Xorg", "G", 900, false],
    ["is far too large for a display server", "/usr/lib/xorg/Xorg", "G", 9_000, true],
    ["is what the owner says is none", "/usr/bin/blender -b x", "C", 4_000, false],
    ["proves a GPU", "/opt/qubix/qubix-gpu-proof", "C", 23_000, false],
  ] as const)("%s", (_what, name, kind, memoryMiB, expected) => {
    expect(of(name, kind, memoryMiB)).toBe(expected);
  });

  it("is known by the name of its program", () => {
    expect(programOf("/usr/bin/Python3 a b")).toBe("python3");
    expect(programOf("C:\\Games\\Game.exe")).toBe("game.exe");
    expect(programOf("")).toBe("");
  });
});
