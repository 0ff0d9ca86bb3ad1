// What the soak has run so far, in a file beside the sources that no commit takes.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Totals } from "../../test/sim/report.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FILE = join(ROOT, "data/soak.state");
/** All that decides what a seed does. */
const SOURCES = [
  "shared/src",
  "orchestrator/src/core",
  "orchestrator/src/store/memory.ts",
  "worker/src/core",
  "test/sim",
];
/** Of these only what runs a seed: not what runs many, or breaks it on purpose. */
const LEFT_OUT = /\.test\.ts$|test\/sim\/(main|mutants?|mutant-table[\w-]*|thread|seeds|report)\.ts$/;
const HASH_LENGTH = 16;

interface Saved {
  readonly sources: string;
  readonly totals: Omit<Totals, "fired"> & { readonly fired: readonly string[] };
}

/** Names the sources. */
export function sourcesHash(): string {
  const hash = createHash("sha256");
  for (const path of SOURCES.flatMap((source) => filesOf(join(ROOT, source)))) {
    hash.update(path.slice(ROOT.length)).update("\0").update(readFileSync(path)).update("\0");
  }
  return hash.digest("hex").slice(0, HASH_LENGTH);
}

function filesOf(path: string): readonly string[] {
  if (path.endsWith(".ts")) return [path];
  const names = readdirSync(path, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return names
    .toSorted()
    .map((name) => join(path, name))
    .filter((name) => !LEFT_OUT.test(name));
}

/** Null where nothing was run with these sources. */
export function loadSoak(sources: string): Totals | null {
  let saved: Saved;
  try {
    saved = JSON.parse(readFileSync(FILE, "utf8")) as Saved;
  } catch {
    return null;
  }
  return saved.sources === sources ? { ...saved.totals, fired: new Set(saved.totals.fired) } : null;
}

/** Replaced as a whole, so that a run that is ended leaves the last one. */
export function saveSoak(sources: string, totals: Totals): void {
  mkdirSync(dirname(FILE), { recursive: true });
  const saved: Saved = { sources, totals: { ...totals, fired: [...totals.fired] } };
  writeFileSync(`${FILE}.tmp`, JSON.stringify(saved));
  renameSync(`${FILE}.tmp`, FILE);
}
