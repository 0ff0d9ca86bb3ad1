// Every store, and a folder for each test: what each of them promises is run over all.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { Changes } from "../../core/model.ts";
import { createMemoryStore, openSqliteStore, type Store } from "../index.ts";
import { changesOf } from "./records.ts";

interface Kind {
  readonly name: string;
  readonly open: (dir: string) => Store;
}
export const STORES: readonly Kind[] = [
  { name: "memory", open: () => createMemoryStore() },
  { name: "sqlite", open: (dir) => openSqliteStore(dir) },
];

/** When the tests commit, on the wall clock. */
export const WALL_MS = 1_700_000_000_000;

/** Gives each test of the suite an empty folder, which goes with it; what it says is the folder of the test that runs. */
export function folderPerTest(): () => string {
  let dir: string | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "qubix-store-"));
  });
  afterEach(() => {
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
  });
  return () => dir ?? "";
}

/** Gives each test of the suite an empty store, as `at.store`. */
export function storePerTest({ name, open }: Kind) {
  const dir = folderPerTest();
  let store: Store;
  beforeEach(() => {
    store = open(dir());
  });
  afterEach(() => {
    store.close();
  });
  return {
    get store(): Store {
      return store;
    },
    /** What a restart sees: for the store in memory that is the same object. */
    reopen(): Store {
      if (name === "memory") return store;
      store.close();
      store = open(dir());
      return store;
    },
    commit(...batch: Partial<Changes>[]) {
      return store.commit(batch.map(changesOf), WALL_MS);
    },
  };
}
