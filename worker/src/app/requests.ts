// What the owner's commands ask of the running agent.
import { QubixError } from "@qubix/shared/runtime";
import type { WorkerState } from "../core/index.ts";
import type { Journal } from "../journal/journal.ts";
import type { ControlLink } from "../link/control.ts";
import type { AgentRequest } from "./agent-socket.ts";
import type { GpuStatus } from "../gpu/status.ts";
import type { Gpus } from "./gpus.ts";
import type { Identity } from "./identity.ts";
import type { OfferKeeper, PauseReason } from "./offer.ts";

export interface AgentStatus {
  readonly workerId: string;
  readonly name: string;
  readonly url: string;
  readonly connected: boolean;
  readonly draining: boolean;
  readonly gpus: readonly string[];
  /** Every card and partition of the machine, also those that are not offered. */
  readonly gpuStates: readonly GpuStatus[];
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
  readonly slots: readonly {
    readonly id: string;
    readonly jobId: string;
    readonly phase: string;
    readonly epoch: number | null;
    readonly checkpointSeq: number;
    readonly progress: number | null;
  }[];
}

export interface RequestPorts {
  readonly identity: Identity;
  readonly journal: Journal;
  readonly state: WorkerState;
  readonly control: ControlLink;
  readonly keeper: OfferKeeper;
  readonly gpus: Gpus;
}

/** The journal's word on whether the owner drains the worker. */
export const KEY_DRAINING = "draining";

/** Carries one command out. Throws for one that it does not know. */
export function answer(request: AgentRequest, ports: RequestPorts): AgentStatus {
  switch (request.command) {
    case "drain":
      drain(ports, request.draining);
      return statusOf(ports);
    case "status":
      return statusOf(ports);
    default:
      throw new QubixError("unknown_command", "The agent knows the commands status and drain.", { category: "user" });
  }
}

function drain({ journal, keeper }: RequestPorts, draining: boolean): void {
  journal.set(KEY_DRAINING, draining);
  const pauses = new Set<PauseReason>(keeper.parts().pauses);
  if (draining) pauses.add("drained");
  else pauses.delete("drained");
  keeper.update({ pauses });
}

function statusOf({ identity, state, control, keeper, gpus }: RequestPorts): AgentStatus {
  const offer = keeper.offer();
  return {
    workerId: identity.workerId,
    name: identity.name,
    url: identity.url,
    connected: control.isOpen(),
    draining: offer.draining,
    gpus: offer.gpus.map((gpu) => gpu.model),
    gpuStates: gpus.status(),
    cpus: offer.cpus,
    memoryMiB: offer.memoryMiB,
    diskMiB: offer.diskMiB,
    slots: [...state.slots.values()].map((slot) => ({
      id: slot.id,
      jobId: slot.jobId,
      phase: slot.phase,
      epoch: slot.attempt?.epoch ?? null,
      checkpointSeq: slot.committedSeq,
      progress: state.live.get(slot.id)?.progress ?? null,
    })),
  };
}
