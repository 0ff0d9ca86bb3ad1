// A thread that seals chunks and writes their files, and opens them again: hashing and encrypting, which the loop must not do. While the disk makes the
// files of one batch durable, the thread seals those of the next.
import { closeSync, fdatasync, fsync, mkdirSync, openSync, readSync, renameSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { parentPort, threadId, workerData } from "node:worker_threads";
import { CHUNK_STORED_BYTES_MAX } from "@qubix/shared/limits";
import { cidOfSum } from "@qubix/shared/names";
import { BODY_AT, copyInto, createChunkCipher, SEAL_BYTES, sealInPlace } from "./chunk-cipher.ts";
import { foldersOf } from "./chunk-folders.ts";
import { alignedMemory, discard, writeNew } from "./direct-write.ts";
import type { StoredCid } from "./port.ts";
import type { OpenTask, SealTask, ThreadAnswer, ThreadTask } from "./sealer.ts";

/** A file that lies beside its place until the disk has all of it. */
interface Written {
  readonly stored: StoredCid;
  readonly fd: number;
  readonly temp: string;
  readonly folder: string;
}

const syncData = promisify(fdatasync);
const sync = promisify(fsync);
const root = workerData as string;
/** Folders that this thread has made or found, and that are durable. */
const known = new Set<string>();
let count = 0;
/** Where each file is made, or read. */
const own = alignedMemory(CHUNK_STORED_BYTES_MAX + SEAL_BYTES);
/** Batches are answered in the order they came. */
let answered = Promise.resolve();

parentPort?.on("message", (tasks: readonly ThreadTask[]) => {
  const made = new Set<string>();
  const done = tasks.map((task) => (task.kind === "open" ? open(task) : write(task, made)));
  const durable = makeDurable(done, made);
  answered = answered.then(async () => post(await durable));
});

function post(answers: readonly ThreadAnswer[]): void {
  const given = answers.flatMap((answer) => ("opened" in answer ? [answer.opened] : []));
  parentPort?.postMessage(
    answers,
    given.filter((opened) => typeof opened !== "string"),
  );
}

/** What is written together shares the syncs of its folders; `made`: those that got new ones. Never rejects. */
async function makeDurable(
  done: readonly (ThreadAnswer | Written)[],
  made: Set<string>,
): Promise<readonly ThreadAnswer[]> {
  const folders = new Set<string>();
  const answers = await Promise.all(done.map(async (one) => ("fd" in one ? putInPlace(one, folders) : one)));
  try {
    await Promise.all([...folders, ...made].map(syncFolder));
    for (const folder of [...folders, ...made]) known.add(folder);
    return answers;
  } catch (error) {
    return answers.map((answer) => ("stored" in answer && answer.stored !== undefined ? failed(error) : answer));
  }
}

async function putInPlace({ stored, fd, temp, folder }: Written, folders: Set<string>): Promise<ThreadAnswer> {
  try {
    await syncData(fd).finally(() => closeSync(fd));
    renameSync(temp, join(folder, stored));
    folders.add(folder);
    return { stored };
  } catch (error) {
    discard(temp);
    return failed(error);
  }
}

function write(task: SealTask, made: Set<string>): ThreadAnswer | Written {
  try {
    const file = fileOf(task);
    const sum = sealInPlace(file, task.bytes, task.key, task.sum);
    if (sum === undefined) return { stored: undefined };
    const stored = cidOfSum(sum) as string as StoredCid;
    const { account, temp: temps, folder } = foldersOf(root, task.accountId, stored);
    if (!known.has(folder)) {
      if (!known.has(account)) mkdirSync(temps, { recursive: true, mode: 0o700 });
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      made.add(account).add(root);
    }
    const temp = join(temps, `${stored}.${process.pid}.${threadId}.${(count += 1)}`);
    return { stored, fd: writeNew(temp, file), temp, folder };
  } catch (error) {
    return failed(error);
  }
}

/** With its plain bytes in their place. */
function fileOf({ memory, plain, bytes }: SealTask): Uint8Array {
  const file = own.subarray(0, bytes + SEAL_BYTES);
  copyInto(file, BODY_AT, memory === null ? plain : new Uint8Array(memory, BODY_AT, bytes));
  return file;
}

function open({ accountId, stored, bytes, key, sum, into }: OpenTask): ThreadAnswer {
  try {
    const file = own.subarray(0, bytes + SEAL_BYTES);
    const fd = openSync(join(foldersOf(root, accountId, stored).folder, stored), "r");
    let filled = 0;
    try {
      for (let got = 1; got > 0 && filled < bytes + SEAL_BYTES; filled += got) {
        got = readSync(fd, file, filled, bytes + SEAL_BYTES - filled, filled);
      }
    } finally {
      closeSync(fd);
    }
    const plain = createChunkCipher(key).open(file.subarray(0, filled), sum, into);
    return { opened: plain === undefined ? "damaged" : into };
  } catch (error) {
    return (error as { code?: string }).code === "ENOENT" ? { opened: "none" } : failed(error);
  }
}

async function syncFolder(path: string): Promise<void> {
  const fd = openSync(path, "r");
  await sync(fd).finally(() => closeSync(fd));
}

function failed(error: unknown): ThreadAnswer {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return { failed: { code, message: message ?? String(error) } };
}
