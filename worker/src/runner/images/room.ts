// Room for images: a budget for those that this agent brought to the Engine, and a reserve of the disk that stays free. What was not wanted for
// longest goes first; what a slot uses or stands by for never goes. The Engine refuses too, for any container of anybody.
import { statfs } from "node:fs/promises";
import type { Logger } from "@qubix/shared/runtime";
import { type Engine, EngineError, isNotFound, LOOK_TIMEOUT_MS } from "../engine.ts";
import { type ImageLedger, isOwn, type KnownImage } from "./ledger.ts";
import { lookAtImage } from "./local.ts";
import { ImageFailure } from "./problem.ts";

export interface RoomConfig {
  /** For all images that this agent brought here. */
  readonly budgetBytes: number;
  /** Of the Engine's disk, what a pull leaves free. */
  readonly reserveBytes: number;
  /** Where the Engine keeps images; null where that cannot be seen from here. */
  readonly engineDir: string | null;
}

export interface Room {
  /** Evicts until `bytes` fit, of which `here` are on the disk already. Throws {@link ImageFailure} when they do not. */
  make(bytes: number, what: string, here?: number): Promise<void>;
  /** Throws {@link ImageFailure} when the disk is nearly full: others fill it too. */
  checkDisk(what: string): Promise<void>;
  /** Removes this image if this agent brought it here and nobody uses it. */
  evict(image: KnownImage): Promise<boolean>;
}

const MIB = 1024 * 1024;

export function createRoom(
  ports: {
    readonly engine: Engine;
    readonly ledger: ImageLedger;
    readonly logger: Logger;
    /** Images that slots of this agent use or are about to. */
    inUse(): ReadonlySet<string>;
    /** Names of what is being brought here now. */
    underWay(): ReadonlySet<string>;
  },
  config: RoomConfig,
): Room {
  const { engine, ledger, logger } = ports;
  let turn: Promise<unknown> = Promise.resolve();

  /** One at a time: two that look at the same room would both take it. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(work, work);
    turn = mine.catch(() => undefined);
    return mine;
  }

  async function make(bytes: number, what: string, here: number): Promise<void> {
    await forgetVanished();
    await adoptStrays();
    const left = ledger
      .all()
      .filter(isOwn)
      .toSorted((a, b) => a.usedAtMs - b.usedAtMs);
    for (;;) {
      const taken = ledger
        .all()
        .filter(isOwn)
        .reduce((sum, image) => sum + image.bytes, 0);
      const free = await freeBytes(config.engineDir);
      const fitsBudget = taken + bytes <= config.budgetBytes;
      const fitsDisk = free === null || free + here - bytes >= config.reserveBytes;
      if (fitsBudget && fitsDisk) return;
      const next = left.shift();
      if (next === undefined) throw fitsBudget ? diskFull(what, bytes, free ?? 0) : overBudget(what, bytes, taken);
      if (!ports.inUse().has(next.id)) await evict(next);
    }
  }

  function overBudget(what: string, bytes: number, taken: number): ImageFailure {
    const [needs, used, budget] = [bytes, taken, config.budgetBytes].map(inMib);
    return new ImageFailure(
      "image_pull_failed",
      `${what} needs ${needs} MiB, and this worker keeps at most ${budget} MiB of images, of which ${used} MiB are in use. Its owner can allow more with --image-disk-mib.`,
    );
  }

  function diskFull(what: string, bytes: number, free: number): ImageFailure {
    const [needs, left, reserve] = [bytes, free, config.reserveBytes].map(inMib);
    return new ImageFailure(
      "image_pull_failed",
      `${what} needs ${needs} MiB of the worker's disk, which has ${left} MiB free and keeps ${reserve} MiB in reserve.`,
    );
  }

  async function evict(image: KnownImage): Promise<boolean> {
    try {
      // Names alone are taken away where there are names: an image that its owner has tagged since stays for him.
      for (const name of image.names) await removeReference(name);
      if (image.tree !== null) await removeLoaded(image.id);
    } catch (error) {
      if (error instanceof EngineError && error.statusCode === CONFLICT) return false;
      logger.warn({ event: "image_not_evicted", image: image.id, err: error }, "an image could not be removed");
      return false;
    }
    ledger.forget(image.id);
    logger.info(
      { event: "image_evicted", image: image.id, names: image.names },
      "an image that was not used made room",
    );
    return true;
  }

  async function removeReference(name: string): Promise<void> {
    try {
      await engine.call("remove an image", EVICT_TIMEOUT_MS, () => engine.docker.getImage(name).remove({}));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** It came without a name. If somebody gave it one, it is his. */
  async function removeLoaded(id: string): Promise<void> {
    try {
      const info = await engine.call("look at an image", LOOK_TIMEOUT_MS, () => engine.docker.getImage(id).inspect());
      if (((info.RepoTags as string[] | null) ?? []).length === 0) await removeReference(id);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Images that its owner removed take no room. */
  async function forgetVanished(): Promise<void> {
    const listed = await engine.call("list images", LOOK_TIMEOUT_MS, () => engine.docker.listImages({ all: true }));
    const there = new Set(listed.map(({ Id }) => Id));
    for (const { id } of ledger.all()) if (!there.has(id)) ledger.forget(id);
  }

  /** What was being brought here when that was cut off, and has come all the same, is ours; it is the first to go. */
  async function adoptStrays(): Promise<void> {
    for (const { name, tree, sinceMs } of ledger.expected()) {
      if (ports.underWay().has(name)) continue;
      const found = await lookAtImage(engine, name);
      if (found === undefined) {
        if (Date.now() - sinceMs > STRAY_MS) ledger.settle(name);
        continue;
      }
      const known = ledger.get(found.id);
      const { open = false, tags = [], usedAtMs = 0 } = known ?? {};
      const names = tree === null ? [...new Set([...(known?.names ?? []), name])] : (known?.names ?? []);
      ledger.put({ id: found.id, names, tree: tree ?? known?.tree ?? null, open, tags, bytes: found.bytes, usedAtMs });
      ledger.settle(name);
    }
  }

  return {
    make: (bytes, what, here = 0) => inTurn(() => make(bytes, what, here)),
    async checkDisk(what) {
      const free = await freeBytes(config.engineDir);
      if (free !== null && free < config.reserveBytes) throw diskFull(what, 0, free);
    },
    evict: (image) => inTurn(() => evict(image)),
  };
}

const CONFLICT = 409;
/** Pulls wait for their room meanwhile. An Engine that hangs over one of its containers removes no image at all. */
const EVICT_TIMEOUT_MS = 30_000;
/** The Engine has long finished what nobody waits for any more. */
const STRAY_MS = 600_000;

/** Null where the folder cannot be looked at. */
export async function freeBytes(dir: string | null): Promise<number | null> {
  if (dir === null) return null;
  try {
    const { bavail, bsize } = await statfs(dir);
    return bavail * bsize;
  } catch {
    return null;
  }
}

function inMib(bytes: number): number {
  return Math.ceil(bytes / MIB);
}
