// A thread that seals chunks and writes their files: hashing, encrypting and waiting for the disk, all of which the orchestrator's loop must not do.
import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parentPort, threadId, workerData } from "node:worker_threads";
import { cidOfSum } from "@qubix/shared/chunks";
import { BODY_AT, copyInto, SEAL_BYTES, sealInPlace } from "./chunk-cipher.ts";
import { foldersOf } from "./chunk-folders.ts";
import type { StoredCid } from "./port.ts";
import type { SealAnswer, SealTask } from "./sealer.ts";

const root = workerData as string;
/** Folders that this thread has made or found, and that are durable. */
const known = new Set<string>();
let temps = 0;
/** For small chunks, which come with their question. */
let own = new Uint8Array(0);

parentPort?.on("message", (tasks: readonly SealTask[]) => {
  parentPort?.postMessage(writeAll(tasks), []);
});

/** What is written together shares the syncs of its folders. */
function writeAll(tasks: readonly SealTask[]): readonly SealAnswer[] {
  const folders = new Set<string>();
  const made = new Set<string>();
  const answers = tasks.map((task) => writeOne(task, folders, made));
  try {
    for (const folder of [...folders, ...made]) syncFolder(folder);
    for (const folder of folders) known.add(folder);
    return answers;
  } catch (error) {
    return answers.map((answer) => ("stored" in answer && answer.stored !== undefined ? failed(error) : answer));
  }
}

function writeOne(task: SealTask, folders: Set<string>, made: Set<string>): SealAnswer {
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
  const fileBytes = bytes + SEAL_BYTES;
  if (own.length < fileBytes) own = new Uint8Array(fileBytes);
  copyInto(own, BODY_AT, plain);
  return own.subarray(0, fileBytes);
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

function failed(error: unknown): SealAnswer {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return { failed: { code, message: message ?? String(error) } };
}
