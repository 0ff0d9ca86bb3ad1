// Hands posted transfers to the escrow driver, at least once each. The ledger itself is the outbox: a driver that moves value is fed from the store,
// in the order of posting, from the beginning of the books at each start (it knows what it has done); so no crash and no full queue can lose one.
import type { EscrowDriver, PostedTransfer } from "@qubix/contracts-bridge/port";
import type { TransferId } from "@qubix/shared/domain";
import type { Logger } from "@qubix/shared/runtime";
import type { TransferRecord } from "../core/index.ts";
import type { Store, StoredTransfer } from "../store/port.ts";

const PAGE_TRANSFERS = 500;
/** Between tries of a transfer that the driver refused: first, and longest. */
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 60_000;

export interface SettlementPorts {
  readonly driver: EscrowDriver;
  readonly store: TransferSource;
  readonly logger: Logger;
  /** Between 0 and 1, for the jitter of retries. */
  readonly random: () => number;
}

export interface Settlement {
  /** Feeds a value-moving driver with everything posted so far. */
  start(): void;
  /** Waits for the submission under way; none begins after it. */
  stop(): Promise<void>;
  /** A transfer is durable. Returns at once. */
  settle(transfer: TransferRecord): void;
}

export function createSettlement({ driver, store, logger, random }: SettlementPorts): Settlement {
  const movesValue = driver.capabilities().movesValue;
  let last: TransferId | null = null;
  const life = { running: false };
  let wanted = false;
  let pump: Promise<void> = Promise.resolve();
  let wakeRetry: () => void = () => {};

  const run = async () => {
    while (wanted && life.running) {
      wanted = false;
      for (const page of pagesSince(store, last)) {
        for (const transfer of page) {
          if (!(await submit(transfer))) return;
          last = transfer.id;
        }
      }
    }
  };

  /** Tries until the driver took it; false when stopped before that. */
  const submit = async (transfer: StoredTransfer): Promise<boolean> => {
    for (let waitMs = RETRY_MS_FIRST; life.running; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
      try {
        await driver.submit(posted(transfer));
        return true;
      } catch (error) {
        logger.warn({ event: "settle_retry", transferId: transfer.id, waitMs, err: error }, "the escrow driver failed");
        await pause(waitMs * (0.5 + random() / 2));
      }
    }
    return false;
  };

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wakeRetry = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const poke = () => {
    if (!life.running || wanted) return;
    wanted = true;
    pump = pump
      .then(run)
      .catch((error: unknown) => logger.error({ event: "settle_failed", err: error }, "reading transfers failed"));
  };

  return {
    start() {
      if (life.running) return;
      life.running = true;
      if (movesValue) poke();
    },
    async stop() {
      life.running = false;
      wakeRetry();
      await pump;
    },
    settle(transfer) {
      if (movesValue) return poke();
      driver.submit(posted(transfer)).catch((error: unknown) => {
        logger.error({ event: "settle_failed", transferId: transfer.id, err: error }, "the escrow driver failed");
      });
    },
  };
}

type TransferSource = Pick<Store, "transfers">;

/** Everything posted after `since`, a page at a time, oldest first. The store reads newest first: the pages' places are found going back, then read going forth. */
function* pagesSince(store: TransferSource, since: TransferId | null): Generator<readonly StoredTransfer[]> {
  // The newest page is kept: its place moves with every new transfer. The places of the others are fixed.
  const newest = store.transfers({ limit: PAGE_TRANSFERS });
  const places: TransferId[] = [];
  let page = newest;
  while (page.length === PAGE_TRANSFERS && !page.some((row) => row.id === since)) {
    const before = page.at(-1)?.id;
    if (before === undefined) break;
    places.push(before);
    page = store.transfers({ before, limit: PAGE_TRANSFERS });
  }
  for (const before of places.toReversed()) {
    yield oldestFirst(store.transfers({ before, limit: PAGE_TRANSFERS }), since);
  }
  yield oldestFirst(newest, since);
}

function oldestFirst(rows: readonly StoredTransfer[], since: TransferId | null): readonly StoredTransfer[] {
  const known = rows.findIndex((row) => row.id === since);
  return (known < 0 ? rows : rows.slice(0, known)).toReversed();
}

function posted(transfer: TransferRecord): PostedTransfer {
  const { id, kind, jobId, currency, postings } = transfer;
  return { id, kind, jobId, currency, postings };
}
