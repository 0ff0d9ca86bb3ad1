// Measures the machine when it has nothing else to do: the line once a day, the disk once for each disk. What was measured is kept in the journal.
import { stat, statfs } from "node:fs/promises";
import type { Logger } from "@qubix/shared/runtime";
import type { Journal } from "../journal/journal.ts";
import type { BulkLink } from "../link/bulk.ts";
import { type DiskSpeed, measureDisk } from "../machine/disk-speed.ts";
import { hardwareOf, steady } from "../machine/hardware.ts";
import { type LineSpeed, measureLine } from "../machine/line-speed.ts";
import type { OfferKeeper } from "./offer.ts";

export interface MeasuresPorts {
  readonly journal: Journal;
  readonly keeper: OfferKeeper;
  readonly bulk: Pick<BulkLink, "measure">;
  readonly dataDir: string;
  readonly logger: Logger;
  /** Nothing runs here and nothing is about to. */
  isIdle(): boolean;
  isConnected(): boolean;
  random(): number;
  readonly times?: Partial<typeof TIMES>;
}

export interface Measures {
  start(): void;
  stop(): void;
}

/** What the journal keeps. */
interface Kept {
  readonly line?: LineSpeed & { readonly atMs: number };
  /** `disk`: which one it was. */
  readonly disk?: DiskSpeed & { readonly disk: string };
}

const TIMES = {
  /** Work that waits for this worker comes at once; and a fleet that comes back does not measure all at the same time. */
  firstMs: 4_000,
  spreadMs: 6_000,
  everyMs: 60_000,
  lineAgeMs: 24 * 3_600_000,
  /** After a measure that did not work. */
  retryMs: 3_600_000,
  /** A line that cannot carry even this is not measured to the end. */
  lineTimeoutMs: 30_000,
};
const KEY = "measured";

export function createMeasures(ports: MeasuresPorts): Measures {
  const { journal, keeper, logger } = ports;
  const times = { ...TIMES, ...ports.times };
  const life = new AbortController();
  let timer: NodeJS.Timeout | null = null;
  let notBeforeMs = 0;

  const kept = () => (journal.get(KEY) ?? {}) as Kept;

  function keep(patch: Kept): void {
    journal.set(KEY, { ...kept(), ...patch });
    show();
  }

  function show(): void {
    keeper.update({ hardware: hardwareOf(keeper.parts().machine, kept()) });
  }

  function later(ms: number): void {
    if (life.signal.aborted) return;
    timer = setTimeout(() => {
      void turn()
        .catch((error: unknown) => {
          notBeforeMs = Date.now() + times.retryMs;
          logger.info({ event: "measure_failed", err: error }, "the machine could not be measured; trying again later");
        })
        .finally(() => later(times.everyMs));
    }, ms);
  }

  async function turn(): Promise<void> {
    if (Date.now() < notBeforeMs) return;
    const { line } = kept();
    const ageMs = line === undefined ? Number.POSITIVE_INFINITY : Math.abs(Date.now() - line.atMs);
    if (ageMs > times.lineAgeMs && ports.isIdle() && ports.isConnected()) {
      const signal = AbortSignal.any([life.signal, AbortSignal.timeout(times.lineTimeoutMs)]);
      const measured = await measureLine(ports.bulk, signal);
      logger.info({ event: "line_measured", ...measured }, "the line was measured");
      if (!life.signal.aborted) keep({ line: { ...steady(kept().line, measured), atMs: Date.now() } });
    }
    const disk = await diskName(ports.dataDir);
    if (kept().disk?.disk !== disk && ports.isIdle()) {
      const goOn = () => ports.isIdle() && !life.signal.aborted;
      const measured = await measureDisk(ports.dataDir, { goOn });
      if (life.signal.aborted || measured === undefined) return;
      logger.info({ event: "disk_measured", ...measured }, "the disk was measured");
      keep({ disk: { ...measured, disk } });
    }
  }

  return {
    start() {
      if (timer !== null) return;
      show();
      later(times.firstMs + ports.random() * times.spreadMs);
    },
    stop() {
      life.abort();
      if (timer !== null) clearTimeout(timer);
    },
  };
}

/** Tells one disk from another, also after a restart of the machine: where it lies and how large it is. */
async function diskName(dataDir: string): Promise<string> {
  const [{ dev }, { type, blocks, bsize }] = await Promise.all([stat(dataDir), statfs(dataDir)]);
  return `${dev}:${type}:${blocks * bsize}`;
}
