import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hardwareSchema } from "@qubix/shared/protocol";
import { measureDisk } from "./disk-speed.ts";
import { coarse, hardwareOf, steady } from "./hardware.ts";
import { measureLine } from "./line-speed.ts";
import { detectMachine } from "./machine.ts";

const MIB = 1024 * 1024;
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-machine-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

it("knows what it is made of", async () => {
  const machine = await detectMachine(dir);
  expect(machine.cpus).toBeGreaterThan(0);
  expect(machine.diskMiB).toBeGreaterThanOrEqual(machine.diskMiBFree);
  const hardware = hardwareSchema.parse(hardwareOf(machine, {}));
  expect(hardware).toMatchObject({ cpuThreads: machine.cpus, diskMiB: machine.diskMiB });
  expect(hardware).not.toHaveProperty("uplinkMbps");
});

describe("the disk", () => {
  it("is measured, and nothing of it is left", async () => {
    const speed = await measureDisk(dir, { bytesMax: 8 * MIB, goOn: () => true });
    expect(speed?.writeMBps).toBeGreaterThan(0);
    expect(await readdir(dir)).toEqual([]);
  });

  it("is left alone when a job comes, and where there is no room", async () => {
    let blocks = 0;
    const goOn = () => (blocks += 1) < 4;
    expect(await measureDisk(dir, { bytesMax: 8 * MIB, goOn })).toBeUndefined();
    expect(blocks).toBe(4);
    expect(await measureDisk(dir, { bytesMax: 2 ** 50, goOn: () => true })).toBeUndefined();
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("the line", () => {
  /** One that carries so many bytes a millisecond, and answers after so many milliseconds. */
  function lineOf(up: number, down: number, roundTripMs: number) {
    const asked: [string, number][] = [];
    const measure = (way: "up" | "down", bytes: number) => {
      asked.push([way, bytes]);
      return Promise.resolve(roundTripMs + bytes / (way === "up" ? up : down));
    };
    return { asked, measure };
  }

  it("is measured each way, without the time of a round trip", async () => {
    const line = lineOf(1_250, 12_500, 30);
    const { uplinkMbps, downlinkMbps } = await measureLine(line, new AbortController().signal);
    expect(uplinkMbps).toBeCloseTo(10, 1);
    expect(downlinkMbps).toBeCloseTo(100, 0);
    expect(line.asked.filter(([way]) => way === "up")).toHaveLength(3);
    expect(line.asked.filter(([way]) => way === "down")).toHaveLength(2);
  });

  it("is kept busy for a second at most, and with little where it is slow", async () => {
    const slow = lineOf(50, 12_500, 30);
    await measureLine(slow, new AbortController().signal);
    expect(slow.asked.filter(([way]) => way === "up").map(([, bytes]) => bytes)).toEqual([1, 256 * 1024]);
    const quick = lineOf(125_000, 1_250_000, 1);
    await measureLine(quick, new AbortController().signal);
    expect(Math.max(...quick.asked.map(([, bytes]) => bytes))).toBe(4 * MIB);
  });
});

it("tells figures coarsely, and the same figure for what hardly moved", () => {
  expect([1234, 98.7, 0.123, 0, undefined, Number.NaN].map(coarse)).toEqual([
    1200,
    99,
    0.12,
    undefined,
    undefined,
    undefined,
  ]);
  expect(steady({ a: 100, b: 100, c: "x" }, { a: 115, b: 130, c: "y" })).toEqual({ a: 100, b: 130, c: "y" });
  expect(steady(undefined, { a: 1 })).toEqual({ a: 1 });
});
