// Secrets on this machine: opened where the order comes in, before it is journaled, and from then on in files in memory alone: never in the journal, the
// environment, a note or a log. Each slot has a folder: `files` is what its container sees at /run/secrets, `registry.json` it does not see.
import type { KeyObject } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  type OrchestratorMessage,
  type RegistryAuth,
  registryAuthSchema,
  type SealedContent,
  sealedContentSchema,
} from "@qubix/shared/protocol";
import { type Logger, open, QubixError, type SealingContext } from "@qubix/shared/runtime";
import { attemptSlotId, type SlotId, standbySlotId } from "../core/index.ts";
import { slotFileName } from "../runner/slot-folders.ts";

/** What one slot needs of it. */
export interface SlotSecrets {
  /** The folder a container sees, made where there is none: it must be there when the container is made, and when it is started. Undefined without one in memory. */
  folder(slotId: SlotId): string | undefined;
  /** Undefined where none came, or a reboot took them. */
  registryAuth(slotId: SlotId): RegistryAuth | undefined;
  /** Gives the files to the container's user, right before it is started. False when one is missing. */
  handOver(slotId: SlotId, names: readonly string[], user: { readonly uid: number; readonly gid: number }): boolean;
  remove(slotId: SlotId): void;
}

export interface SecretStore extends SlotSecrets {
  /**
   * Opens what came sealed with an order and keeps it, unless it is there. Returns the order without it: no other part sees a box.
   * `isKnown`: whether an order was taken up, asked a little later; a stale one's secrets go again.
   */
  receive<M extends OrchestratorMessage>(message: M, isKnown: (slotId: SlotId) => boolean): M;
  /** Removes the folders of slots that are not known. */
  reap(known: ReadonlySet<SlotId>): void;
  /** The agent stops: its folder goes, unless a container that runs on needs what is in it. */
  close(): void;
}

export interface SecretStorePorts {
  /** In memory, the agent's own. */
  readonly folder: string;
  readonly key: KeyObject;
  readonly orchestratorId: string;
  readonly workerId: string;
  readonly logger: Logger;
}

/** What a job may call a secret; checked again here, because the agent writes as root where its orchestrator says. */
const SECRET_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/;
const FILES = "files";
const INCOMING = "incoming";
const REGISTRY_FILE = "registry.json";
/** An order is journaled within a turn of the event loop. */
const STALE_AFTER_MS = 10_000;

export function createSecretStore(ports: SecretStorePorts): SecretStore {
  const { folder: root, logger } = ports;
  const rootOf = (slotId: SlotId) => join(root, slotFileName(slotId));

  function keep(slotId: SlotId, { secrets, registryAuth }: SealedContent): void {
    if (!Object.keys(secrets ?? {}).every(isSecretName)) throw new Error("a secret's name is no file name");
    const own = rootOf(slotId);
    mkdirSync(own, { recursive: true, mode: 0o700 });
    if (registryAuth !== undefined) {
      writeFileSync(join(own, REGISTRY_FILE), JSON.stringify(registryAuth), { mode: 0o600 });
    }
    // An order that comes twice finds them there: the container may be reading.
    if (secrets === undefined || isFilled(join(own, FILES))) return;
    const incoming = join(own, INCOMING);
    rmSync(incoming, { recursive: true, force: true });
    mkdirSync(incoming, { mode: 0o700 });
    for (const [name, value] of Object.entries(secrets)) writeFileSync(join(incoming, name), value, { mode: 0o400 });
    // All of them or none: it takes the place of the empty folder of a standby.
    renameSync(incoming, join(own, FILES));
  }

  function remove(slotId: SlotId): void {
    rmSync(rootOf(slotId), { recursive: true, force: true });
  }

  return {
    receive(message, isKnown) {
      if (!("sealed" in message) || message.sealed === undefined) return message;
      const { sealed, ...rest } = message;
      const { slotId, context } = addressOf(message, ports);
      try {
        const plain = open(ports.key, sealed, context);
        keep(slotId, sealedContentSchema.parse(JSON.parse(plain.toString("utf8"))));
      } catch (error) {
        // The attempt is given back before its start, when they are found to be missing. No cause here: it may quote what was opened.
        const code = error instanceof QubixError ? error.code : ((error as NodeJS.ErrnoException).code ?? "malformed");
        logger.error({ event: "secrets_not_kept", slot: slotId, code }, "secrets could not be opened or kept");
      }
      setTimeout(() => isKnown(slotId) || remove(slotId), STALE_AFTER_MS).unref();
      return rest as typeof message;
    },
    folder(slotId) {
      const files = join(rootOf(slotId), FILES);
      mkdirSync(files, { recursive: true, mode: 0o700 });
      return files;
    },
    registryAuth(slotId) {
      try {
        return registryAuthSchema.parse(JSON.parse(readFileSync(join(rootOf(slotId), REGISTRY_FILE), "utf8")));
      } catch {
        return undefined;
      }
    },
    handOver(slotId, names, user) {
      if (names.length === 0) return true;
      const files = join(rootOf(slotId), FILES);
      if (!names.every((name) => isSecretName(name) && existsSync(join(files, name)))) return false;
      for (const path of [...names.map((name) => join(files, name)), files]) giveToReader(path, path === files, user);
      return true;
    },
    remove,
    close() {
      try {
        rmdirSync(root);
      } catch {
        // There is something in it, or it has gone.
      }
    },
    reap(known) {
      const names = new Set([...known].map(slotFileName));
      for (const name of readdirSync(root)) {
        if (names.has(name)) continue;
        logger.info({ event: "secrets_reaped", slot: name }, "removing secrets that no slot knows");
        rmSync(join(root, name), { recursive: true, force: true });
      }
    },
  };
}

/** Where no folder lies in memory: what comes is not kept, and the worker does not offer to run jobs with secrets. */
export function createNoSecretStore(logger: Logger): SecretStore {
  return {
    receive(message) {
      if (!("sealed" in message) || message.sealed === undefined) return message;
      logger.error(
        { event: "secrets_not_kept", code: "no_memory_folder" },
        "secrets came, and there is no place in memory",
      );
      const { sealed: _sealed, ...rest } = message;
      return rest as typeof message;
    },
    folder: () => undefined,
    registryAuth: () => undefined,
    handOver: (_slotId, names) => names.length === 0,
    remove: () => {},
    reap: () => {},
    close: () => {},
  };
}

/** The slot an order is about, and what its box must have been made for. */
function addressOf(
  message: Extract<OrchestratorMessage, { readonly sealed?: unknown }>,
  { orchestratorId, workerId }: SecretStorePorts,
): { readonly slotId: SlotId; readonly context: SealingContext } {
  const common = { orchestratorId, workerId, purpose: message.kind };
  if (message.kind === "prepare") {
    const { standbyId, jobId } = message;
    return { slotId: standbySlotId(standbyId), context: { ...common, jobId, of: { standbyId } } };
  }
  const { attempt } = message;
  const slotId = message.kind === "promote" ? standbySlotId(message.standbyId) : attemptSlotId(attempt);
  return { slotId, context: { ...common, jobId: attempt.jobId, of: attempt } };
}

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

function isFilled(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).length > 0;
}

/**
 * Only the container's user may read it. An agent without the right to give files away leaves them readable to all who get there, which on the host is
 * nobody else: the folder above is the agent's alone.
 */
function giveToReader(
  path: string,
  isFolder: boolean,
  { uid, gid }: { readonly uid: number; readonly gid: number },
): void {
  try {
    chownSync(path, uid, gid);
    chmodSync(path, isFolder ? 0o500 : 0o400);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    chmodSync(path, isFolder ? 0o755 : 0o444);
  }
}
