// Canaries in the virtual world: some of the seeds with checks have jobs of the operator's whose results are known, and what must hold of what they come to.
import type { Canary, CoreConfig } from "@qubix/orchestrator/core";
import { jobSpecSchema } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import type { Verified } from "./checks.ts";
import { type Program, resultOf, treeOf } from "./programs.ts";
import { createRng } from "./random.ts";

/** Among the seeds with checks: one of those that have a forger, and one of those that have none. */
const CANARIES_EVERY = 16;
const CANARIES_AT: ReadonlySet<number> = new Set([5, 9]);
const APART = 0xca9a;
/** Beyond all jobs of consumers. */
const INDEX_FROM = 1_000;
const COUNT = 6;
/** Of one of them what is expected is wrong: nobody may be accused by it. */
const MISTAKEN = 2;

export function hasCanaries(seed: number): boolean {
  return CANARIES_AT.has(seed % CANARIES_EVERY);
}

export function canaryPrograms(seed: number): readonly Program[] {
  if (!hasCanaries(seed)) return [];
  const rng = createRng(seed ^ APART);
  return Array.from({ length: COUNT }, (_, at) => ({
    index: INDEX_FROM + at,
    steps: rng.int(5, 40),
    stepMs: rng.int(50, 200),
    stepsPerEntry: rng.int(2, 10),
    failure: null,
    runs: 0,
    mirrored: "alike" as const,
  }));
}

export function canaryConfig(seed: number): Partial<CoreConfig> {
  const canaries = canaryPrograms(seed).map((program, at): Canary => {
    const spec = jobSpecSchema.parse({
      image: "docker.io/library/tiny:1",
      command: [String(program.index)],
      resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 },
      checkpoint: { intervalS: 1 },
      priceMaxPerHour: { amount: "9000000", currency: "USD" },
      durationMaxS: 60,
    });
    const sum = at === MISTAKEN ? "another" : treeOf(program, "outputs", resultOf(program)).manifestCid;
    return { name: `canary-${at}`, spec, expected: { exitCode: 0, sum } };
  });
  return canaries.length === 0 ? {} : { canaries, canaryShare: 1 };
}

/** Nobody is accused but who forged, nobody by a canary that is wrong itself, and none comes to a provider twice. */
export function reckonCanaries({ monitor, store, forgers }: Verified): void {
  const given = new Set<string>();
  for (const { id, check: of, phase } of monitor.jobs.values()) {
    const name = of?.canary?.name;
    if (name === undefined) continue;
    monitor.counts.canaries += 1;
    check(phase !== "queued", () => `canary ${id} never ended`);
    const [workerId] = monitor.jobs.get(id)?.spec.placement.workers ?? [];
    const providerId = store.load().rows.workers.find((worker) => worker.id === workerId)?.providerId;
    const key = `${name} ${providerId}`;
    check(!given.has(key), () => `${name} came to ${providerId} twice`);
    given.add(key);
  }
  for (const record of monitor.cases.values()) {
    if (record.kind !== "slash" || !record.evidence.includes('"canary"')) continue;
    const { canary } = JSON.parse(record.evidence) as { canary: string };
    check(forgers.has(record.workerId), () => `${record.workerId} is accused by ${canary}, and forged nothing`);
    check(canary !== `canary-${MISTAKEN}`, () => `${canary} is wrong itself, and accuses ${record.workerId}`);
    monitor.counts.canariesWrong += 1;
  }
}
