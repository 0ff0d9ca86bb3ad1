// What the agent's own checks of isolation allow it to offer. They take a while, so they run beside its start; until they have passed nothing is offered by them.
import type { Logger } from "@qubix/shared/runtime";
import type { OfferKeeper } from "../app/offer.ts";
import type { Journal } from "../journal/journal.ts";
import type { Engine } from "../runner/engine.ts";
import { transparentFeature } from "@qubix/shared/protocol";
import { checkMemoryImages } from "./memory-images.ts";
import { checkSandbox } from "./sandbox.ts";
import { checkToolkit, TOOLKIT_VERSION_MIN } from "./toolkit.ts";

interface Ports {
  readonly engine: Engine;
  readonly journal: Journal;
  readonly keeper: OfferKeeper;
  readonly logger: Logger;
}

/** Adds the feature `sandboxed` where it works. Never throws. */
export async function offerSandbox({ engine, journal, keeper, logger }: Ports, runtime: string): Promise<void> {
  try {
    const check = await checkSandbox(engine, runtime, journal);
    if (check.kind === "absent") return;
    if (check.kind === "ready") {
      keeper.update({ features: new Set([...keeper.parts().features, "sandboxed"]) });
      logger.info({ event: "sandbox_ready", version: check.version }, "sandboxed jobs are offered");
    } else {
      logger.warn({ event: "sandbox_unfit", found: check.found }, "sandboxed jobs are not offered; see doctor");
    }
  } catch (error) {
    logger.warn({ event: "sandbox_unknown", err: error }, "whether jobs can be sandboxed cannot be told now");
  }
}

/** Adds the features of transparent checkpoints where they hold. `folder`: for the self-test alone. Never throws. */
export async function offerMemoryImages(
  { engine, journal, keeper, logger }: Ports,
  runtime: string,
  folder: string,
): Promise<void> {
  try {
    const check = await checkMemoryImages(engine, runtime, folder, journal);
    if (check.kind === "absent") return;
    if (check.kind === "ready") {
      const { memoryClass } = check;
      keeper.update({
        features: new Set([...keeper.parts().features, "transparent", transparentFeature(memoryClass)]),
      });
      logger.info({ event: "memory_images_ready", memoryClass }, "transparent checkpoints are offered");
    } else {
      const { found } = check;
      logger.warn({ event: "memory_images_unfit", found }, "transparent checkpoints are not offered; see doctor");
    }
  } catch (error) {
    logger.warn({ event: "memory_images_unknown", err: error }, "whether memory can be saved cannot be told now");
  }
}

/** True where containers must not be given GPUs: the toolkit is too old, or not there. */
export async function areGpusUnsafe(hasGpus: boolean, logger: Logger): Promise<boolean> {
  const check = await checkToolkit();
  if (check.kind === "good") return false;
  if (hasGpus) {
    const found = check.kind === "old" ? check.version : "none";
    const event = { event: "gpu_toolkit_unsafe", found, needed: TOOLKIT_VERSION_MIN };
    logger.error(event, "no GPU is offered: nvidia-container-toolkit is too old or missing (CVE-2025-23266)");
  }
  return true;
}
