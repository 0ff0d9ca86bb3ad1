// The composition root: store, clock, writer, chunk store, gateway, settlement and API put together; started and stopped in the order that loses nothing.
import { randomBytes } from "node:crypto";
import { access, constants, mkdir, statfs } from "node:fs/promises";
import { createLedgerDriver } from "@qubix/contracts-bridge/ledger";
import { QubixError, type Logger, type RandomSource } from "@qubix/shared/runtime";
import { createApiKey } from "../accounts/secrets.ts";
import { createApiServer } from "../api/server.ts";
import { openChunkStore } from "../checkpoints/index.ts";
import { createState, DEFAULT_CORE_CONFIG, nextDeadlineMs, step } from "../core/index.ts";
import { createWorkerGateway } from "../gateway/index.ts";
import { createSettlement } from "../settlement/settlement.ts";
import { openSqliteStore } from "../store/index.ts";
import { createOrchestratorClock } from "./clock.ts";
import type { OrchestratorConfig } from "./config.ts";
import { createWallTimes } from "./wall-times.ts";
import { createWriter } from "./writer.ts";
import type { EffectSink } from "./writer-port.ts";

/** Below this the data folder is as good as full: a checkpoint would not fit. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const SEED_BYTES = 4;
const ID_BYTES = 10;

export interface Orchestrator {
  readonly url: string;
  /** Only after the first start of all. */
  readonly adminKey?: string;
  /** Takes no more requests, finishes what is under way, closes sockets and the store. Callable twice. */
  stop(): Promise<void>;
}

/** Starts everything. Throws with one clear sentence when the data folder or the address cannot be had; then nothing is left behind. */
export async function startOrchestrator(
  config: OrchestratorConfig,
  { logger }: { readonly logger: Logger },
): Promise<Orchestrator> {
  await prepareFolder(config.dataDir);
  const store = openSqliteStore(config.dataDir);
  try {
    return await startOver(store, config, logger);
  } catch (error) {
    store.close();
    throw error;
  }
}
