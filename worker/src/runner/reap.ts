// What an agent that died left behind: at the start everything of this worker that no slot of its journal knows is removed. Each kind is tried, also
// when another cannot be removed now: the next start tries again.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@qubix/shared/runtime";
import { removeTree } from "../checkpoint/remove.ts";
import type { SlotId } from "../core/index.ts";
import type { Containers } from "./containers.ts";
import { slotFileName } from "./slot-folders.ts";
import { releaseAt, type Volumes } from "./volumes/volumes.ts";

export interface ReapPorts {
  readonly containers: Pick<Containers, "list" | "remove">;
  readonly volumes: Volumes;
  readonly networks: { reap(known: ReadonlySet<SlotId>): Promise<void> };
  readonly secrets: { reap(known: ReadonlySet<SlotId>): void };
  readonly logger: Logger;
}

export async function reap(known: ReadonlySet<SlotId>, slotsDir: string, ports: ReapPorts): Promise<void> {
  const { containers, networks, volumes, secrets, logger } = ports;
  // Containers first: they use all the others.
  await attempt("containers", () => reapContainers(known, containers, logger));
  await attempt("networks", () => networks.reap(known));
  await attempt("folders", () => reapFolders(known, slotsDir, volumes));
  await attempt("secrets", async () => secrets.reap(known));

  async function attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      logger.error({ event: "reap_failed", what, err: error }, "what an earlier life left could not be removed");
    }
  }
}

async function reapContainers(
  known: ReadonlySet<SlotId>,
  containers: ReapPorts["containers"],
  logger: Logger,
): Promise<void> {
  for (const slotId of await containers.list()) {
    if (known.has(slotId)) continue;
    logger.warn({ event: "container_reaped", slot: slotId }, "removing a container that no slot knows");
    await containers.remove(slotId);
  }
}

async function reapFolders(known: ReadonlySet<SlotId>, slotsDir: string, volumes: Volumes): Promise<void> {
  const names = new Set([...known].map(slotFileName));
  for (const name of await readdir(slotsDir)) {
    if (names.has(name)) continue;
    await releaseAt(volumes, join(slotsDir, name));
    await removeTree(join(slotsDir, name));
  }
}
