// A program for tests: stores chunks without end in the folder and account it is given, under the keys of a second folder, several at a time, and prints each name once it is durable.
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { createMemoryStore } from "../../store/memory.ts";
import { openKeyRing, openMasterKey } from "../../vault/index.ts";
import { cidOf, createChunkStore, createTreeOwners } from "../index.ts";

const STDOUT = 1;
const CHUNK_BYTES = 256 * 1024;
const AT_A_TIME = 8;

const [root = "", account = "", keysFolder = ""] = process.argv.slice(2);
const chunks = createChunkStore({
  root,
  owners: createTreeOwners(createMemoryStore()),
  keys: openKeyRing(keysFolder, openMasterKey(join(keysFolder, "master.key"))),
  clock: { nowMs: () => performance.now() },
  logger: createLogger("put-loop", "error"),
});
await chunks.start();

async function putForever(): Promise<void> {
  for (;;) {
    const bytes = randomBytes(CHUNK_BYTES);
    const cid = cidOf(bytes);
    await chunks.put(account as AccountId, "job-1", cid, bytes);
    writeSync(STDOUT, `${cid}\n`);
  }
}

await Promise.all(Array.from({ length: AT_A_TIME }, putForever));
