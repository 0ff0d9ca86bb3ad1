// The secrets of jobs that have not ended, encrypted, one file each beside the database. A job's record knows only the name of its entry.
// An entry is durable before its job is accepted and goes when the job ends; what a crash left between is removed at the start.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type SealedContent, sealedContentSchema } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { MasterKey } from "./master-key.ts";

export interface Vault {
  /** Keeps the content; durable when it resolves. Until {@link Vault.settle} the entry counts as wanted. Throws `vault_not_writable`. */
  put(content: SealedContent): Promise<string>;
  /** The caller's job is committed, or never will be: from here on the records say whether the entry is wanted. */
  settle(id: string): void;
  /** Throws `vault_unreadable`. */
  get(id: string): SealedContent;
  /** Called again, or for one that is not there: does nothing. */
  remove(id: string): void;
  /** Removes every entry that no living job names. */
  sweep(wanted: ReadonlySet<string>): void;
}

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ID_BYTES = 16;
/** Tells at the start that the key is the one the entries were made with. */
const CHECK_FILE = "key-check";
const CHECK_BYTES = 16;
/** Of a file that is being written. */
const PART = ".new";

/** Makes the folder where there is none. Throws `master_key_wrong` when its entries were made under other keys. */
export function openVault(folder: string, master: MasterKey, logger: Logger): Vault {
  const key = master.derive("vault", KEY_BYTES);
  const pending = new Set<string>();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  checkKey(folder, master);

  return {
    async put(content) {
      const id = randomBytes(ID_BYTES).toString("hex");
      pending.add(id);
      try {
        await writeDurably(folder, id, encrypt(key, id, content));
      } catch (cause) {
        pending.delete(id);
        throw new QubixError(
          "vault_not_writable",
          "The orchestrator could not keep the secrets of this job, so it was not accepted. The operator has to look at the disk; then ask again.",
          { category: "platform", status: 503, retryable: true, cause },
        );
      }
      return id;
    },
    settle: (id) => void pending.delete(id),
    get(id) {
      try {
        return sealedContentSchema.parse(JSON.parse(decrypt(key, id, readFileSync(join(folder, id))).toString("utf8")));
      } catch (cause) {
        // The cause may quote what was decrypted.
        const why = (cause as NodeJS.ErrnoException).code ?? "it was changed";
        throw new QubixError("vault_unreadable", `The vault's entry ${id} cannot be read (${why}).`, {
          category: "platform",
        });
      }
    },
    remove(id) {
      pending.delete(id);
      rmSync(join(folder, id), { force: true });
    },
    sweep(wanted) {
      for (const name of readdirSync(folder)) {
        if (name === CHECK_FILE || wanted.has(name) || pending.has(name.replace(PART, ""))) continue;
        rmSync(join(folder, name), { force: true });
        logger.info({ event: "vault_entry_removed", entry: name }, "an entry that no job names");
      }
    },
  };
}

/** The entry's name is authenticated too: one cannot be put in the place of another. */
function encrypt(key: Buffer, id: string, content: SealedContent): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(id));
  const text = Buffer.from(JSON.stringify(content));
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Buffer, id: string, bytes: Buffer): Buffer {
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(id));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
}

async function writeDurably(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, name);
  await writeFile(`${path}${PART}`, bytes, { mode: 0o600, flush: true });
  await rename(`${path}${PART}`, path);
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function checkKey(folder: string, master: MasterKey): void {
  const check = master.derive("vault check", CHECK_BYTES).toString("hex");
  const names = readdirSync(folder);
  const known = names.includes(CHECK_FILE) ? readFileSync(join(folder, CHECK_FILE), "utf8") : undefined;
  if (known === check) return;
  if (known !== undefined && names.some((name) => name !== CHECK_FILE)) {
    throw new QubixError(
      "master_key_wrong",
      `The secrets in ${folder} were encrypted under other keys. Bring back the keys.db and the master key (--master-key-file) they were made with, or delete the folder: the jobs they belong to then fail with secrets_lost.`,
      { category: "platform" },
    );
  }
  // Torn by a crash it is written anew: there are no entries yet.
  writeFileSync(join(folder, CHECK_FILE), check, { mode: 0o600, flush: true });
}
