// The doctor on secrets: whether there is a place in memory for them, and whether that place may be written to a disk after all.
import { rmdirSync } from "node:fs";
import { type Check, ok, warn } from "../app/doctor/check.ts";
import { makeMemoryFolder, memoryFolderCandidates } from "./memory-folder.ts";
import { swapsFound } from "./swap.ts";

const NAME = "Secrets";
const NEEDED = "a folder in memory (tmpfs), without swap";

export async function checkSecrets(): Promise<readonly Check[]> {
  const candidates = memoryFolderCandidates(process.env);
  const folder = makeMemoryFolder(candidates, `qubix-doctor-${process.pid}`);
  if (folder === undefined) {
    const remedy = "Mount a tmpfs at /dev/shm or /run; until then jobs with secrets and private images go elsewhere";
    return [warn(NAME, `none of ${candidates.join(", ")} lies in memory and can be written`, NEEDED, remedy)];
  }
  rmdirSync(folder);
  const parent = folder.slice(0, folder.lastIndexOf("/"));
  if (!swapsFound()) return [ok(NAME, `${parent} lies in memory`, NEEDED)];
  return [
    warn(
      NAME,
      `${parent} lies in memory, but may be written to swap`,
      NEEDED,
      "Turn swap off, or encrypt it (swapoff -a)",
    ),
  ];
}
