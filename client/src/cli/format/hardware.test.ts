import { expect, it } from "vitest";
import { cpuText, diskText, gpuText, lineText } from "./hardware.ts";

it("says of a card what is known", () => {
  const pcie = { generation: 4, lanes: 16 };
  const whole = { cudaVersion: "12.4", computeCapability: "8.9", pcie, powerLimitW: 450, ecc: true };
  expect(gpuText({ model: "RTX 4090", memoryMiB: 24_576, ...whole })).toBe(
    "RTX 4090, 24 GiB, CUDA 12.4, compute 8.9, PCIe 4 ×16, 450 W, ECC",
  );
  expect(gpuText({ model: "GB10", memoryMiB: 0, ecc: false })).toBe("GB10");
});

it("says of a machine what was measured", () => {
  const hardware = {
    cpuModel: "AMD EPYC 7742",
    cpuCores: 64,
    cpuThreads: 128,
    diskMiB: 476_160,
    diskWriteMBps: 1200,
    diskReadMBps: 2400,
    uplinkMbps: 40,
    downlinkMbps: 400,
  };
  expect(cpuText(hardware)).toBe("64 cores of AMD EPYC 7742, 128 threads");
  expect(diskText(hardware)).toBe("465 GiB, writes 1200 MB/s, reads 2400 MB/s");
  expect(lineText(hardware)).toBe("40 Mbit/s up, 400 Mbit/s down");
  expect(cpuText({ cpuModel: "Cortex" })).toBe("Cortex");
  expect([cpuText(undefined), diskText({}), lineText({ uplinkMbps: 1 })]).toEqual([null, null, null]);
});
