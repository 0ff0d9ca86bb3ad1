// What a machine is made of, in words.
import type { Offer, Worker } from "../../sdk/types.ts";
import { formatMiB } from "./units.ts";

type Gpu = Worker["gpus"][number];
type Hardware = NonNullable<Offer["hardware"]>;

/** `RTX 4090, 24 GiB, CUDA 12.4, compute 8.9, PCIe 4 ×16, 450 W, ECC`. */
export function gpuText(gpu: Omit<Gpu, "uuid">): string {
  const parts = [
    gpu.model,
    // Shared with the CPU, or not told.
    gpu.memoryMiB > 0 ? formatMiB(gpu.memoryMiB) : null,
    gpu.cudaVersion === undefined ? null : `CUDA ${gpu.cudaVersion}`,
    gpu.computeCapability === undefined ? null : `compute ${gpu.computeCapability}`,
    gpu.pcie === undefined ? null : `PCIe ${gpu.pcie.generation} ×${gpu.pcie.lanes}`,
    gpu.powerLimitW === undefined ? null : `${gpu.powerLimitW} W`,
    gpu.ecc === true ? "ECC" : null,
  ];
  return parts.filter((part) => part !== null).join(", ");
}

/** `64 cores of AMD EPYC 7742, 128 threads`; null where nothing is known. */
export function cpuText(hardware: Hardware | undefined): string | null {
  if (hardware === undefined) return null;
  const { cpuModel, cpuCores, cpuThreads } = hardware;
  const cores = cpuCores === undefined ? null : `${cpuCores} ${cpuCores === 1 ? "core" : "cores"}`;
  const model = cores !== null && cpuModel !== undefined ? `${cores} of ${cpuModel}` : (cpuModel ?? cores);
  const threads = cpuThreads === undefined ? null : `${cpuThreads} threads`;
  return [model, threads].filter((part) => part !== null).join(", ") || null;
}

/** `466 GiB, writes 1200 MB/s, reads 2400 MB/s`. */
export function diskText(hardware: Hardware | undefined): string | null {
  if (hardware === undefined) return null;
  const { diskMiB, diskWriteMBps, diskReadMBps } = hardware;
  const parts = [
    diskMiB === undefined ? null : formatMiB(diskMiB),
    diskWriteMBps === undefined ? null : `writes ${diskWriteMBps} MB/s`,
    diskReadMBps === undefined ? null : `reads ${diskReadMBps} MB/s`,
  ];
  return parts.filter((part) => part !== null).join(", ") || null;
}

/** `40 Mbit/s up, 400 Mbit/s down`. */
export function lineText(hardware: Hardware | undefined): string | null {
  if (hardware?.uplinkMbps === undefined || hardware.downlinkMbps === undefined) return null;
  return `${hardware.uplinkMbps} Mbit/s up, ${hardware.downlinkMbps} Mbit/s down`;
}
