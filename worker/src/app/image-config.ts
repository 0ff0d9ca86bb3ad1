// What the owner's settings and his disk mean for images: how much of it they may take, and where they may come from.
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Journal } from "../journal/journal.ts";
import type { ImagesConfig } from "../runner/images/images.ts";
import { isOwn, type LedgerContent, type LedgerStore } from "../runner/images/ledger.ts";
import type { StartConfig } from "./config.ts";

const MIB = 1024 * 1024;
/** Unless the owner says otherwise, a quarter of the disk, and never more than half of what others leave free: jobs need disk too. */
const BUDGET_SHARE = 0.25;
const BUDGET_SHARE_OF_FREE = 0.5;
/** Pulls leave so much free: the rest of the machine must go on working, and the journal be written. */
const RESERVE_SHARE = 0.05;
const RESERVE_BYTES_MAX = 10 * 1024 * MIB;
const KEY_IMAGES = "images";

export interface ImageSettings {
  readonly config: ImagesConfig;
  /** Of what is free now, so much is kept for images and not offered to jobs. */
  readonly diskMiBKept: number;
}

/** The journal's part that remembers images. */
export function imageLedgerStore(journal: Journal): LedgerStore {
  return {
    load: () => journal.get(KEY_IMAGES) as LedgerContent | undefined,
    save: (content) => journal.set(KEY_IMAGES, content),
  };
}

/** `engineDir`: where the Engine keeps images, as it says. Where that cannot be seen from here, the disk of the data directory stands for it. */
export async function imageSettings(
  start: StartConfig,
  engineDir: string | undefined,
  store: LedgerStore,
): Promise<ImageSettings> {
  const own = await statfs(start.dataDir);
  const seen = engineDir === undefined ? undefined : await statfs(engineDir).catch(() => undefined);
  const disk = seen ?? own;
  const [total, free] = [disk.blocks * disk.bsize, disk.bavail * disk.bsize];
  const taken = (store.load()?.images ?? []).filter(isOwn).reduce((sum, image) => sum + image.bytes, 0);
  const budgetBytes =
    start.imageDiskMib === undefined
      ? Math.floor(Math.min(total * BUDGET_SHARE, (free + taken) * BUDGET_SHARE_OF_FREE))
      : start.imageDiskMib * MIB;
  return {
    config: {
      localImages: start.localImage,
      registries: start.registry,
      privateRegistries: start.allowPrivateRegistry,
      dir: join(start.dataDir, "images"),
      room: {
        budgetBytes,
        reserveBytes: Math.min(RESERVE_BYTES_MAX, Math.floor(total * RESERVE_SHARE)),
        engineDir: seen === undefined ? null : (engineDir ?? null),
      },
    },
    diskMiBKept: Math.min(Math.max(0, budgetBytes - taken), free * BUDGET_SHARE_OF_FREE) / MIB,
  };
}
