// The owner's side of the agent: settings that change while it runs, quiet hours, earnings, and the answers to his commands and to Prometheus.
import { statfs } from "node:fs/promises";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import type { Logger, MetricFamily } from "@qubix/shared/runtime";
import {
  heartbeatEveryMs,
  type WorkerCoreEvent,
  type WorkerEffect,
  type WorkerMessageBody,
  type WorkerState,
} from "../../core/index.ts";
import type { Journal } from "../../journal/journal.ts";
import type { ControlLink } from "../../link/control.ts";
import type { AgentRequest } from "../agent-socket.ts";
import { parseListen, type StartConfig } from "../config.ts";
import type { Direct } from "../../direct/direct.ts";
import type { Gpus } from "../gpus.ts";
import type { Identity } from "../identity.ts";
import { createCounters } from "../metrics/counters.ts";
import type { MetricsServer } from "../metrics/server.ts";
import type { OfferKeeper, OwnerTerms, PauseReason } from "../offer.ts";
import { answer, KEY_DRAINING } from "../requests.ts";
import { createEarnings } from "./earnings.ts";
import { createLeaving, type Leaving } from "./leaving.ts";
import { createQuietWatch, type QuietWatch } from "./quiet-watch.ts";
import { createSlotRates } from "./rates.ts";
import { createSettings, flagOf, termsOf } from "./settings.ts";
import { type AgentStatus, statusOf } from "./status.ts";

export interface OwnerPorts {
  readonly journal: Journal;
  readonly identity: Identity;
  readonly agentVersion: string;
  readonly logger: Logger;
  /** The machine's boot-time clock. */
  readonly nowMs: () => number;
}

/** What the agent is made of, once it is. */
export interface Working {
  readonly state: WorkerState;
  readonly control: ControlLink;
  readonly keeper: OfferKeeper;
  readonly gpus: Gpus;
  readonly direct: Pick<Direct, "fetched" | "served"> | null;
  dispatch(event: WorkerCoreEvent): void;
}

export interface Owner {
  /** The settings as they are at that moment. */
  readonly live: StartConfig;
  terms(): OwnerTerms;
  /** With which the agent starts. */
  pauses(): ReadonlySet<PauseReason>;
  /** From now on the offer follows the settings and the hours. */
  attach(working: Working): Promise<void>;
  answer(request: AgentRequest): unknown;
  // What happens, for counts, rates and earnings:
  opened(): void;
  closed(): void;
  heard(message: OrchestratorMessage): void;
  performing(effect: WorkerEffect): void;
  acknowledged(message: WorkerMessageBody): void;
  logged(text: string): void;
  stop(): void;
}

const KEY_DISK = "diskMiB";
const MS_PER_S = 1000;
const US_PER_S = 1e6;

export function createOwner(ports: OwnerPorts, config: StartConfig): Owner {
  const { journal, logger } = ports;
  const settings = createSettings(journal, config, (name) =>
    logger.warn(
      { event: "setting_replaced", name },
      `what was set for ${flagOf(name)} gives way to the new value it was started with`,
    ),
  );
  // What running jobs have written is theirs: with work in the journal the disk is what it was before it came.
  const diskMiB = journal.slots().length > 0 ? (journal.get(KEY_DISK) as number | undefined) : undefined;
  const counters = createCounters(ports.nowMs, Date.now);
  const earnings = createEarnings(journal);
  const rates = createSlotRates(journal);
  let working: Working | null = null;
  let quiet: QuietWatch | null = null;
  let leaving: Leaving | null = null;
  let metrics: MetricsServer | null = null;

  function status(): AgentStatus {
    const { state, control, keeper, gpus } = attached();
    return statusOf({
      identity: ports.identity,
      version: ports.agentVersion,
      state,
      connected: control.isOpen(),
      keeper,
      gpuStates: gpus.status(),
      counters,
      rates,
      earnings: earnings.view(new Date()),
      uplinkMbpsMax: settings.live.uplinkMbpsMax ?? null,
      set: settings.overridden(),
      quietUntil: quiet?.until() ?? null,
      maintenanceUntil: leaving?.maintenanceUntil() ?? null,
      metricsUrl: metrics?.url ?? null,
      nowMs: ports.nowMs(),
    });
  }

  function attached(): Working {
    if (working === null) throw new Error("the agent is not put together yet");
    return working;
  }

  function apply(): void {
    working?.keeper.update({ terms: termsOf(settings.live, diskMiB) });
    quiet?.refresh();
    leaving?.refresh();
  }

  async function openMetrics(listen: string): Promise<void> {
    const at = parseListen(listen);
    if (at === undefined) return;
    try {
      const { serveMetrics } = await import("../metrics/server.ts");
      metrics = await serveMetrics(at, figures);
      logger.info({ event: "metrics", url: metrics.url }, "metrics are served");
    } catch (error) {
      // Jobs matter more than figures about them.
      logger.error(
        { event: "metrics_failed", err: error },
        `metrics cannot be served at ${listen}; the worker goes on without`,
      );
    }
  }

  async function figures(loopLagMaxSeconds: number): Promise<readonly MetricFamily[]> {
    const { figuresOf } = await import("../metrics/figures.ts");
    const { state, control, keeper, gpus, direct } = attached();
    const { bavail, bsize } = await statfs(config.dataDir);
    const cpu = process.cpuUsage();
    return figuresOf({
      version: ports.agentVersion,
      connected: control.isOpen(),
      counters,
      direct: direct === null ? null : { fetched: direct.fetched(), served: direct.served() },
      slotPhases: [...state.slots.values()].map(({ phase }) => phase),
      offer: keeper.offer(),
      pauses: [...keeper.parts().pauses],
      gpus: gpus.status(),
      earned: earnings.view(new Date()).total ?? [],
      diskBytesFree: bavail * bsize,
      residentBytes: process.memoryUsage.rss(),
      cpuSeconds: (cpu.user + cpu.system) / US_PER_S,
      uptimeSeconds: process.uptime(),
      loopLagMaxSeconds,
      heartbeatLateMaxSeconds: counters.takeLatenessMs() / MS_PER_S,
    });
  }

  return {
    live: settings.live,
    terms: () => termsOf(settings.live, diskMiB),
    pauses: () => new Set<PauseReason>(journal.get(KEY_DRAINING) === true ? ["drained"] : []),
    async attach(to) {
      working = to;
      if (settings.live.diskMib === undefined) journal.set(KEY_DISK, to.keeper.offer().diskMiB);
      quiet = createQuietWatch({ keeper: to.keeper, wallTime: () => new Date() }, settings.live);
      quiet.refresh();
      leaving = createLeaving(
        {
          journal,
          keeper: to.keeper,
          state: to.state,
          dispatch: (event) => to.dispatch(event),
          wallTime: () => new Date(),
        },
        settings.live,
      );
      leaving.refresh();
      if (config.metricsListen !== undefined) await openMetrics(config.metricsListen);
    },
    answer: (request) => {
      const drainNow = (deadlineMs: number | null) => leaving?.drainNow(deadlineMs);
      return answer(request, { journal, keeper: attached().keeper, settings, status, drainNow, apply });
    },
    opened: () => counters.opened(),
    closed: () => counters.closed(),
    heard(message) {
      if (message.kind === "earnings") earnings.note(message.totals, new Date());
    },
    performing(effect) {
      if (effect.kind === "send" && working !== null) {
        const { config: core, slots } = working.state;
        counters.sent(effect.message, heartbeatEveryMs(core, slots.size > 0));
      } else if (effect.kind === "prepare" && working !== null) {
        rates.agree(effect.slotId, effect.run, working.keeper.offer());
      } else if (effect.kind === "remove") rates.forget(effect.slotId);
    },
    acknowledged: (message) => counters.acknowledged(message),
    logged: (text) => counters.logged(text),
    stop() {
      quiet?.stop();
      leaving?.stop();
      metrics?.close();
      quiet = null;
      leaving = null;
      metrics = null;
      working = null;
    },
  };
}
