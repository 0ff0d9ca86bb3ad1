// The guard: a program of its own that outlives the agent, with a session of its own, so that neither the agent's death nor its stop reaches it. It looks at the
// boot-time clock several times a second, which counts suspended time, too, and holds the containers whose lease is over. Only what Node itself brings is
// imported: it must start quickly, and it stays in memory as long as an exclusive job runs here.
import { open, rename, rm, stat } from "node:fs/promises";
import { setPriority } from "node:os";
import { parseArgs } from "node:util";
import { writeFileSync } from "node:fs";
import { createBootClock } from "../runner/boot-clock.ts";
import { createEnforcer, type GuardRecord } from "./enforcer.ts";
import { createGuardEngine } from "./engine-calls.ts";
import { type Leases, leasesVersion, readLeases, readStatus, writeStatus } from "./files.ts";

/** Of the two seconds' margin this may pass before the end of a lease is seen. */
const LOOK_EVERY_MS = 100;
/** How often the agent is told that the guard is there, when nothing changes. */
const BEAT_EVERY_MS = 400;
/** Without anything to guard, and nothing announced, it ends after this. */
const IDLE_MS_MAX = 2_000;
const RECORD_BYTES_MAX = 1024 * 1024;
/** Before others, and the last that the kernel kills when memory is short. */
const PRIORITY = -10;
const OOM_SCORE = "-900";

const { values } = parseArgs({
  options: {
    folder: { type: "string" },
    "docker-socket": { type: "string" },
    record: { type: "string" },
    generation: { type: "string" },
  },
});
const { folder = "", "docker-socket": socketPath = "", record = "" } = values;
const generation = Number(values.generation);
const clock = createBootClock();
const enforcer = createEnforcer(
  { nowMs: () => clock.nowMs(), engine: createGuardEngine(socketPath), record: keep },
  readStatus(folder)?.wards,
);

let version = "";
let leases: Leases | undefined;
let told = "";
let toldAtMs = -Infinity;
let idleSinceMs: number | null = null;
let keeping: Promise<void> = Promise.resolve();

prefer();
look();

function look(): void {
  // Gone or torn, it says nothing: what was known last holds, and runs out.
  const now = leasesVersion(folder);
  if (now !== "" && now !== version) {
    const read = readLeases(folder);
    if (read !== undefined) [leases, version] = [read, now];
  }
  if (leases !== undefined && leases.generation > generation) return end();
  enforcer.tick(leases?.entries ?? []);
  tell();
  if (isIdle()) return end();
  setTimeout(look, LOOK_EVERY_MS);
}

function tell(): void {
  const nowMs = clock.nowMs();
  const wards = enforcer.status();
  const text = JSON.stringify(wards);
  if (text === told && nowMs - toldAtMs < BEAT_EVERY_MS) return;
  try {
    writeStatus(folder, { pid: process.pid, generation, beatMs: nowMs, wards });
    [told, toldAtMs] = [text, nowMs];
  } catch {
    // Its folder is gone or full: the agent will miss the beat. What is guarded is guarded on.
  }
}

function isIdle(): boolean {
  const isAwaited = leases !== undefined && leases.stay && isAlive(leases.agentPid);
  const isBusy = isAwaited || !enforcer.isIdle();
  const nowMs = clock.nowMs();
  if (isBusy) idleSinceMs = null;
  else idleSinceMs ??= nowMs;
  return idleSinceMs !== null && nowMs - idleSinceMs > IDLE_MS_MAX;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function end(): void {
  void keeping.finally(() => process.exit(0));
}

/** Durable, and never waited for: a slow disk must not hold up the next pause. */
function keep(entry: GuardRecord): void {
  const line = `${JSON.stringify({ at: new Date().toISOString(), ...entry })}\n`;
  keeping = keeping.then(() => append(line)).catch(() => undefined);
}

async function append(line: string): Promise<void> {
  const size = await stat(record).then(
    (found) => found.size,
    () => 0,
  );
  if (size > RECORD_BYTES_MAX) {
    await rm(`${record}.1`, { force: true });
    await rename(record, `${record}.1`);
  }
  const file = await open(record, "a", 0o600);
  try {
    await file.write(line);
    await file.datasync();
  } finally {
    await file.close();
  }
}

function prefer(): void {
  try {
    setPriority(PRIORITY);
    writeFileSync("/proc/self/oom_score_adj", OOM_SCORE);
  } catch {
    // Without rights it is one among others.
  }
}
