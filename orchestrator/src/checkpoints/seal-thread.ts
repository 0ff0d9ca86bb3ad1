// A thread that seals chunks and writes their files, and opens them again: hashing, encrypting and waiting for the disk, which the loop must not do.
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { parentPort, threadId, workerData } from "node:worker_threads";
import { cidOfSum } from "@qubix/shared/names";
import { BODY_AT, copyInto, createChunkCipher, SEAL_BYTES, sealInPlace } from "./chunk-cipher.ts";
import { foldersOf } from "./chunk-folders.ts";
import type { StoredCid } from "./port.ts";
import type { OpenTask, SealTask, ThreadAnswer, ThreadTask } from "./sealer.ts";

const root = workerData as string;
/** Folders that this thread has made or found, and that are durable. */
const known = new Set<string>();
let temps = 0;
/** For small chunks, which come with their question, and for files that are read. */
let own = new Uint8Array(0);

parentPort?.on("message", (tasks: readonly ThreadTask[]) => {
  const answers = doAll(tasks);
  const given = answers.flatMap((answer) => ("opened" in answer ? [answer.opened] : []));
  parentPort?.postMessage(
    answers,
    given.filter((opened) => typeof opened !== "string"),
  );
});

/** What is written together shares the syncs of its folders. */
function doAll(tasks: readonly ThreadTask[]): readonly ThreadAnswer[] {
  const folders = new Set<string>();
  const made = new Set<string>();
  const answers = tasks.map((task) => (task.kind === "open" ? open(task) : writeOne(task, folders, made)));
  try {
    for (const folder of [...folders, ...made]) syncFolder(folder);
    for (const folder of folders) known.add(folder);
    return answers;
  } catch (error) {
    return answers.map((answer) => ("stored" in answer && answer.stored !== undefined ? failed(error) : answer));
  }
}

function writeOne(task: SealTask, folders: Set<string>, made: Set<string>): ThreadAnswer {
  try {
    const file = fileOf(task);
    const sum = sealInPlace(file, task.bytes, task.key, task.sum);
    if (sum === undefined) return { stored: undefined };
    const stored = cidOfSum(sum) as string as StoredCid;
    const { account, temp, folder } = foldersOf(root, task.accountId, stored);
    if (!known.has(folder)) {
      mkdirSync(temp, { recursive: true, mode: 0o700 });
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      made.add(account).add(root);
    }
    write(file, join(temp, `${stored}.${process.pid}.${threadId}.${(temps += 1)}`), join(folder, stored));
    folders.add(folder);
    return { stored };
  } catch (error) {
    return failed(error);
  }
}

/** With its plain bytes in their place. */
function fileOf({ memory, plain, bytes }: SealTask): Uint8Array {
  if (memory !== null) return new Uint8Array(memory, 0, bytes + SEAL_BYTES);
  const file = ownMemory(bytes + SEAL_BYTES);
  copyInto(file, BODY_AT, plain);
  return file;
}

function open({ accountId, stored, bytes, key, sum, into }: OpenTask): ThreadAnswer {
  try {
    const file = ownMemory(bytes + SEAL_BYTES);
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

function ownMemory(bytes: number): Uint8Array {
  if (own.length < bytes) own = new Uint8Array(bytes);
  return own.subarray(0, bytes);
}

function write(file: Uint8Array, temp: string, path: string): void {
  try {
    const fd = openSync(temp, "wx", 0o600);
    try {
      for (let at = 0; at < file.length; ) at += writeSync(fd, file, at);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temp, path);
  } catch (cause) {
    rmSync(temp, { force: true });
    throw cause;
  }
}

function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function failed(error: unknown): ThreadAnswer {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return { failed: { code, message: message ?? String(error) } };
}
