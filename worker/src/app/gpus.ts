// The machine's cards in the agent: what the watch over them sees becomes the offer, and ends what runs on a card that is lost or that its owner takes back.
import type { Logger } from "@qubix/shared/runtime";
import type { Slot, WorkerCoreEvent, WorkerFailure, WorkerState } from "../core/index.ts";
import { type GpuStatus, gpuStatusOf } from "../gpu/status.ts";
import { foreignOf } from "../gpu/owners.ts";
import { createInspector, type GpuDetection } from "../gpu/nvidia-smi.ts";
import { createNvidiaSmi } from "../gpu/smi-process.ts";
import type { GpuUse } from "../gpu/usage.ts";
import { createGpuWatch, type GpuView } from "../gpu/watch.ts";
import { checkToolkit } from "../isolation/toolkit.ts";
import { type Engine, LOOK_TIMEOUT_MS } from "../runner/engine.ts";
import { LABEL_WORKER } from "../runner/host-config.ts";
import type { StartConfig } from "./config.ts";
import type { OfferKeeper } from "./offer.ts";

export interface Gpus {
  /** Begins to watch; resolves with what the first look found. */
  start(): Promise<GpuDetection>;
  /** From now on the offer follows, and what must not run on goes to the core. */
  attach(to: Attached): void;
  /** On its way to the core: a job that dies because its card is gone is not at fault. */
  dispatch(event: WorkerCoreEvent): void;
  use(uuids: readonly string[]): GpuUse | undefined;
  status(): readonly GpuStatus[];
  stop(): void;
}

interface Attached {
  readonly keeper: OfferKeeper;
  readonly state: WorkerState;
  dispatch(event: WorkerCoreEvent): void;
}

/** How long a job's failure waits for a look at its cards. */
const VERIFY_MS = 5_000;
/** While cards are withheld, jobs that were on their way to them are looked for this often. */
const SWEEP_MS = 5_000;
const MS_PER_MIN = 60_000;
/** Phases in which a slot needs its cards. */
const ON_CARDS: readonly Slot["phase"][] = ["preparing", "ready", "starting", "running"];

export function createGpus(
  ports: { readonly engine: Engine; readonly logger: Logger; readonly nowMs: () => number },
  config: Pick<StartConfig, "yieldGpu" | "yieldGpuIgnore" | "yieldGpuQuietMin">,
): Gpus {
  const { engine, logger, nowMs } = ports;
  const smi = createNvidiaSmi();
  let attached: Attached | null = null;
  let sweep: NodeJS.Timeout | null = null;
  const watch = createGpuWatch(
    { smi, inspector: createInspector(smi), logger, nowMs, foreign, changed },
    {
      // They may change while it runs.
      get yieldGpu() {
        return config.yieldGpu;
      },
      get ignore() {
        return config.yieldGpuIgnore;
      },
      get quietMs() {
        return config.yieldGpuQuietMin * MS_PER_MIN;
      },
    },
  );

  async function foreign(pids: readonly number[]): Promise<ReadonlySet<number> | undefined> {
    try {
      return await foreignOf(pids, { agentPid: process.pid, containerIds });
    } catch (error) {
      logger.warn({ event: "gpu_owners_unknown", err: error }, "whose the processes on a GPU are cannot be told now");
      return undefined;
    }
  }

  async function containerIds(): Promise<ReadonlySet<string>> {
    const found = await engine.call("list containers", LOOK_TIMEOUT_MS, () =>
      engine.docker.listContainers({ filters: { label: [LABEL_WORKER] } }),
    );
    return new Set(found.map(({ Id }) => Id));
  }

  function changed(view: GpuView): void {
    if (attached === null) return;
    const withheldGpus = new Set([...view.lost.keys(), ...view.inUse.keys()]);
    attached.keeper.update({ detection: view.inspection.detection, withheldGpus });
    if (attached.keeper.parts().gpusUnsafe === true && view.inspection.cards.length > 0) void recheckToolkit();
    reclaimFrom(view);
    if (withheldGpus.size > 0) sweep ??= setInterval(() => reclaimFrom(watch.view()), SWEEP_MS).unref();
    else if (sweep !== null) {
      clearInterval(sweep);
      sweep = null;
    }
  }

  /** The toolkit may have been installed or upgraded since, as the driver may have been. */
  async function recheckToolkit(): Promise<void> {
    if ((await checkToolkit()).kind !== "good" || attached === null) return;
    logger.info({ event: "gpu_toolkit_good" }, "nvidia-container-toolkit is good now: GPUs are offered");
    attached.keeper.update({ gpusUnsafe: false });
  }

  function reclaimFrom(view: GpuView): void {
    for (const slot of attached?.state.slots.values() ?? []) {
      if (slot.stopping !== null || !ON_CARDS.includes(slot.phase)) continue;
      const outcome = outcomeFor(slot, view);
      if (outcome !== undefined) attached?.dispatch({ kind: "reclaim", slotId: slot.id, outcome });
    }
  }

  /** Whether a slot's cards may be what made it fail. */
  function isSuspicious(event: WorkerCoreEvent): event is Extract<WorkerCoreEvent, { kind: "exited" | "failed" }> {
    if (event.kind !== "failed" && (event.kind !== "exited" || event.exitCode === 0)) return false;
    const slot = attached?.state.slots.get(event.slotId);
    return slot !== undefined && slot.run.gpuUuids.length > 0 && slot.stopping === null;
  }

  async function lookThenDispatch(event: Extract<WorkerCoreEvent, { kind: "exited" | "failed" }>): Promise<void> {
    const slot = attached?.state.slots.get(event.slotId);
    const message = await watch.verify(slot?.run.gpuUuids ?? [], VERIFY_MS);
    const { slotId } = event;
    if (message !== undefined && attached?.state.slots.get(slotId)?.stopping === null)
      attached.dispatch({ kind: "reclaim", slotId, outcome: lostOutcome(message) });
    attached?.dispatch(event);
  }

  return {
    async start() {
      await watch.start();
      return watch.view().inspection.detection;
    },
    attach(to) {
      attached = to;
      changed(watch.view());
    },
    dispatch(event) {
      if (isSuspicious(event)) void lookThenDispatch(event);
      else attached?.dispatch(event);
    },
    use: (uuids) => (uuids.length === 0 ? undefined : watch.use(uuids)),
    status: () => gpuStatusOf(watch.view(), attached?.keeper.offer().gpus ?? []),
    stop() {
      watch.stop();
      if (sweep !== null) clearInterval(sweep);
      sweep = null;
      attached = null;
    },
  };
}

function outcomeFor(slot: Slot, view: GpuView): WorkerFailure | undefined {
  for (const uuid of slot.run.gpuUuids) {
    const said = view.lost.get(uuid);
    if (said !== undefined) return lostOutcome(said);
  }
  if (!slot.run.gpuUuids.some((uuid) => view.inUse.has(uuid))) return undefined;
  const message = "The owner of the machine uses the GPU himself now, so the job moves to another.";
  return { kind: "worker_failed", code: "owner_reclaimed", message };
}

function lostOutcome(said: string): WorkerFailure {
  const message = `The worker lost a GPU that the job ran on (${said}).`;
  return { kind: "worker_failed", code: "gpu_lost", message };
}
