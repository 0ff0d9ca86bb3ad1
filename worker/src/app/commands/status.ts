// `qubix-worker status` and `qubix-worker drain`: what the running worker is doing.
import { askAgent } from "../agent-socket.ts";
import { gpuLine } from "../gpu-line.ts";
import type { AgentStatus } from "../requests.ts";
import { type CommonFlags, dataDirOf, print } from "./common.ts";

export type DrainFlags = CommonFlags & { readonly undo?: boolean };

export async function runStatus(flags: CommonFlags): Promise<void> {
  show(flags, (await askAgent(dataDirOf(flags), { command: "status" })) as AgentStatus);
}

export async function runDrain(flags: DrainFlags): Promise<void> {
  const request = { command: "drain", draining: flags.undo !== true } as const;
  show(flags, (await askAgent(dataDirOf(flags), request)) as AgentStatus);
}

function show(flags: CommonFlags, status: AgentStatus): void {
  if (flags.json === true) return print(JSON.stringify(status));
  const state = `${status.connected ? "connected" : "not connected"} to ${status.url}${status.draining ? ", draining" : ""}`;
  print(`${status.workerId} (${status.name}): ${state}`);
  const gpus = status.gpus.length === 0 ? "no GPUs" : status.gpus.join(", ");
  print(`offers ${gpus}, ${status.cpus} cores, ${status.memoryMiB} MiB memory, ${status.diskMiB} MiB disk`);
  for (const gpu of status.gpuStates) print(`  ${gpuLine(gpu)}`);
  if (status.slots.length === 0) print("nothing runs");
  for (const slot of status.slots) {
    const role = slot.epoch === null ? "standby" : `epoch ${slot.epoch}`;
    const progress = slot.progress === null ? "" : `, ${Math.round(slot.progress * 100)}%`;
    print(`  ${slot.jobId}  ${role}  ${slot.phase}${progress}, checkpoint ${slot.checkpointSeq}`);
  }
}
