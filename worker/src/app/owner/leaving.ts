// Empties the machine: says in the offer that what runs here is to go elsewhere, which the orchestrator then moves in good order, and ends what is left once
// there is no more time. For `drain --now` and for maintenance. The clock on the wall is looked at often, so that a jump of it is never acted on for long.
import type { WorkerCoreEvent, WorkerState } from "../../core/index.ts";
import type { Journal } from "../../journal/journal.ts";
import { type OfferKeeper, setPause } from "../offer.ts";
import { type MaintenanceWindow, maintenanceAt, parseMaintenance } from "./maintenance.ts";

export interface LeavingPorts {
  readonly journal: Pick<Journal, "get" | "set">;
  readonly keeper: OfferKeeper;
  readonly state: Pick<WorkerState, "slots">;
  dispatch(event: WorkerCoreEvent): void;
  wallTime(): Date;
}

export interface Leaving {
  /** Takes up the present setting. With nothing to watch nothing runs. */
  refresh(): void;
  /** The owner wants the machine empty within this time; null: no more. Durable. */
  drainNow(deadlineMs: number | null): void;
  /** Until when maintenance lasts, as people write it; null where there is none now. */
  maintenanceUntil(): string | null;
  stop(): void;
}

/** How long `drain --now` leaves for moves before what is left is stopped. */
export const DRAIN_DEADLINE_MS = 10 * 60_000;
/** Then a job still has this long to save. */
const LAST_CHANCE_MS = 30_000;
const LOOK_EVERY_MS = 5_000;
/** The journal's word: when the owner wants the machine to be empty, on the wall's clock. */
const KEY_EMPTY_BY = "emptyBy";

export function createLeaving(ports: LeavingPorts, settings: { readonly maintenance: readonly string[] }): Leaving {
  const { journal, keeper } = ports;
  let windows: readonly MaintenanceWindow[] = [];
  let timer: NodeJS.Timeout | null = null;

  const emptyByMs = () => (journal.get(KEY_EMPTY_BY) as number | undefined) ?? null;

  function look(): void {
    const now = ports.wallTime();
    const drainByMs = emptyByMs();
    const maintenance = maintenanceAt(windows, now);
    const isMaintenance = maintenance.kind !== "none";
    setPause(keeper, "maintenance", isMaintenance);
    keeper.update({ leaving: drainByMs !== null ? "drain" : isMaintenance ? "maintenance" : undefined });
    if (maintenance.kind === "under" || (drainByMs !== null && now.getTime() >= drainByMs)) endWhatIsLeft();
  }

  function endWhatIsLeft(): void {
    for (const { id, attempt, stopping } of ports.state.slots.values()) {
      if (attempt !== null && stopping === null) {
        ports.dispatch({ kind: "leave", slotId: id, answerMs: LAST_CHANCE_MS });
      }
    }
  }

  function watch(): void {
    look();
    const isNeeded = windows.length > 0 || emptyByMs() !== null;
    if (isNeeded) timer ??= setInterval(look, LOOK_EVERY_MS);
    else unwatch();
  }

  function unwatch(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
  }

  return {
    refresh() {
      const parsed = parseMaintenance(settings.maintenance);
      windows = parsed.kind === "ok" ? parsed.windows : [];
      watch();
    },
    drainNow(deadlineMs) {
      journal.set(KEY_EMPTY_BY, deadlineMs === null ? undefined : ports.wallTime().getTime() + deadlineMs);
      watch();
    },
    maintenanceUntil() {
      const maintenance = maintenanceAt(windows, ports.wallTime());
      return maintenance.kind === "none" ? null : textOf(maintenance.window.to);
    },
    stop: unwatch,
  };
}

/** `2026-12-01 04:00` */
function textOf(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}
