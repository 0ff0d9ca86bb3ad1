// What each slot brings in an hour: reckoned from the offer at the moment its order came, as the orchestrator does, and kept, since prices may change
// while it runs and the agreed one holds. The orchestrator's books are what counts; this is for the owner to look at.
import { rateFor } from "@qubix/shared/domain";
import { toWireMoney, type RunSpec, type WireMoney, type WorkerOffer } from "@qubix/shared/protocol";
import type { Slot, SlotId } from "../../core/index.ts";
import type { Journal } from "../../journal/journal.ts";

interface Rates {
  readonly running: string;
  readonly standby: string;
  readonly currency: string;
}

export interface SlotRates {
  /** Of a new slot; one that is known keeps its rate. */
  agree(slotId: SlotId, run: RunSpec, offer: WorkerOffer): void;
  of(slot: Slot): WireMoney | null;
  forget(slotId: SlotId): void;
}

const MILLI = 1000;
const keyOf = (slotId: SlotId) => `rate:${slotId}`;

export function createSlotRates(journal: Pick<Journal, "get" | "set">): SlotRates {
  return {
    agree(slotId, run, offer) {
      if (journal.get(keyOf(slotId)) !== undefined) return;
      const rates = ratesOf(run, offer);
      if (rates !== undefined) journal.set(keyOf(slotId), rates);
    },
    of(slot) {
      const rates = journal.get(keyOf(slot.id)) as Rates | undefined;
      if (rates === undefined) return null;
      return toWireMoney(BigInt(slot.attempt === null ? rates.standby : rates.running), rates.currency);
    },
    forget: (slotId) => journal.set(keyOf(slotId), undefined),
  };
}

function ratesOf(run: RunSpec, offer: WorkerOffer): Rates | undefined {
  const gpus = run.gpuUuids.length;
  const { currency } = (gpus > 0 ? offer.pricePerGpuHour : undefined) ?? offer.pricePerCpuHour;
  const { memoryMiB, diskMiB } = run;
  const running = rateFor(offer, { gpus, cpuMilli: Math.round(run.cpus * MILLI), memoryMiB, diskMiB }, currency);
  if (running === null) return undefined;
  const standby = (running * BigInt(offer.standbyPercent)) / 100n;
  return { running: running.toString(), standby: standby.toString(), currency };
}
