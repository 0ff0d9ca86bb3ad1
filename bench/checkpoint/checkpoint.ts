// What a checkpoint costs: bytes moved, speed, CPU and memory of a first save, of saves after changes of some kinds, and of a restore, beside restic, borg,
// casync and rsync on the same data in the same run.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Bar, Report } from "../harness/report.ts";
import { makeAdamStates } from "./adam.ts";
import { type Cost, createPeers, type Peer, type Saved } from "./peers.ts";
import { changeState, type Format, makeState, type Pattern, PATTERNS } from "./states.ts";

const OURS = fileURLToPath(new URL("ours.ts", import.meta.url));
const LIMIT = fileURLToPath(new URL("limit.ts", import.meta.url));
const SAVE_MBPS_MIN = 400;
const PEER_SPEED = 2;
const MEMORY_MB_MAX = 300;
const PAGES_MAX = 1.5;
const ADAM_SHARE_MAX: Readonly<Record<Format, number>> = { fp32: 0.9, bf16: 0.6 };
const FORMATS: readonly Format[] = ["fp32", "bf16"];

export interface CheckpointOptions {
  /** Size of the states that are saved first and changed. */
  readonly mib: number;
  /** Weights in a row of the trained layer. */
  readonly width: number;
  readonly peers: boolean;
}

export async function runCheckpoint(report: Report, cleanup: Cleanup, options: CheckpointOptions): Promise<void> {
  const states = join(tmpdir(), "qubix-bench-checkpoint");
  const adam = makeAdamStates(states, options.width, (text) => report.progress(text));
  for (const format of FORMATS) await patterns(report, cleanup, states, format, options);
  for (const format of FORMATS) await moved(report, cleanup, adam[format], format, options);
}

/** First save, restore, and each pattern after the first save. */
async function patterns(
  report: Report,
  cleanup: Cleanup,
  states: string,
  format: Format,
  options: CheckpointOptions,
): Promise<void> {
  const base = makeState(states, format, options.mib);
  const changes = PATTERNS.map((pattern) => ({ pattern, ...changeState(base, format, pattern) }));
  const peers = options.peers ? createPeers(await scratchFolder(cleanup, "checkpoint-peers")) : [];
  const size = options.mib * 1024 * 1024;
  const firsts = new Map<Peer, Saved>();
  const bytes = new Map<Pattern, number[]>();
  const seconds = new Map<Pattern, number[]>();
  for (const peer of peers) {
    report.progress(`${format}: ${peer.name}`);
    const first = peer.save(base);
    firsts.set(peer, first);
    row(report, peer.name, `${format} first save`, first, size, peer.encrypts);
    for (const { pattern, path } of changes) {
      if (peer.name === "rsync" && pattern !== "slices") peer.save(base);
      const saved = peer.save(path);
      row(report, peer.name, `${format} ${pattern}`, saved, size, peer.encrypts);
      bytes.set(pattern, [...(bytes.get(pattern) ?? []), saved.bytesMoved]);
      if (peer.encrypts) seconds.set(pattern, [...(seconds.get(pattern) ?? []), saved.seconds]);
    }
    speed(report, peer.name, `${format} restore`, peer.restore(join(tmpdir(), "qubix-bench-restored")), size);
    rmSync(join(tmpdir(), "qubix-bench-restored"), { force: true });
  }
  const [limit] = runNode(LIMIT, join(await scratchFolder(cleanup, "checkpoint-limit"), "pieces"), [base]);
  row(report, "limit", `${format} first save`, limit as Saved, size, true);
  const encrypting = [...firsts].filter(([peer]) => peer.encrypts).map(([, saved]) => saved.seconds);
  for (const { pattern, path, changed } of changes) {
    report.progress(`${format}: qubix, ${pattern}`);
    const [first, next, restore] = await ours(cleanup, [base, path], true);
    if (pattern === "slices") {
      row(report, "qubix", `${format} first save`, first as Saved, size, true, {}, fastest(encrypting, size));
    }
    const best = Math.min(...(bytes.get(pattern) ?? [Number.POSITIVE_INFINITY]));
    const bar = pattern === "pages" ? PAGES_MAX * changed : best;
    const quickest = fastest(seconds.get(pattern) ?? [], size);
    row(report, "qubix", `${format} ${pattern}`, next as Saved, size, true, { atMost: bar / 1e6 }, quickest);
    report.row({
      system: "limit",
      metric: `bytes changed ${format} ${pattern}`,
      value: changed / 1e6,
      unit: "MB",
      n: 1,
    });
    if (pattern === "pages" && restore !== undefined) speed(report, "qubix", `${format} restore`, restore, size);
  }
}

/** Every parameter moved. */
async function moved(
  report: Report,
  cleanup: Cleanup,
  [before, after]: readonly [string, string],
  format: Format,
  options: CheckpointOptions,
): Promise<void> {
  const size = options.width ** 2 * (format === "fp32" ? 12 : 2);
  const name = `adam ${format}`;
  let best = Number.POSITIVE_INFINITY;
  for (const peer of options.peers ? createPeers(await scratchFolder(cleanup, "checkpoint-peers")) : []) {
    report.progress(`${name}: ${peer.name}`);
    peer.save(before);
    const saved = peer.save(after);
    row(report, peer.name, name, saved, size, peer.encrypts);
    best = Math.min(best, saved.bytesMoved);
  }
  report.progress(`${name}: qubix`);
  const [, next] = await ours(cleanup, [before, after], false);
  row(report, "qubix", name, next as Saved, size, true, { atMost: (ADAM_SHARE_MAX[format] * best) / 1e6 });
}

/** Each in a process of its own, as the others are: all saves, and the restore of the last. */
async function ours(cleanup: Cleanup, states: readonly string[], restore: boolean): Promise<readonly (Saved | Cost)[]> {
  const folder = await scratchFolder(cleanup, "checkpoint-ours");
  const saves = runNode(OURS, folder, ["save", ...states]) as readonly (Saved & { readonly manifestCid: string })[];
  const restores = restore ? runNode(OURS, folder, ["restore", saves.at(-1)?.manifestCid ?? ""]) : [];
  // The chunks' many files stay until the end: where some thousand were deleted in the last minutes ext4 takes 0.5 ms to make the next one.
  for (const name of ["job", "restored"]) rmSync(join(folder, name), { recursive: true, force: true });
  return [...saves, ...restores];
}

/** With the settings of worker/bin/qubix-worker.js, and what was built, as users run it. */
function runNode(program: string, folder: string, args: readonly string[]): readonly (Saved | Cost)[] {
  const flags = ["--optimize-for-size", "--semi-space-growth-factor=1"];
  const lines = execFileSync(process.execPath, [...flags, program, folder, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, MALLOC_MMAP_THRESHOLD_: "32768" },
  });
  return lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Saved | Cost);
}

function fastest(seconds: readonly number[], size: number): number {
  return seconds.length === 0 ? 0 : size / 1e6 / Math.min(...seconds);
}

function row(
  report: Report,
  system: string,
  what: string,
  saved: Saved,
  size: number,
  encrypts: boolean,
  bytesBar: Bar = {},
  peerMbps = 0,
): void {
  const label = encrypts ? what : `${what} (not encrypted)`;
  report.row({ system, metric: `bytes moved ${label}`, value: saved.bytesMoved / 1e6, unit: "MB", n: 1 }, bytesBar);
  speed(report, system, label, saved, size, system === "qubix" ? Math.max(SAVE_MBPS_MIN, PEER_SPEED * peerMbps) : 0);
}

function speed(report: Report, system: string, label: string, cost: Cost, size: number, mbpsMin = 0): void {
  const bar = (limit: Bar): Bar => (system === "qubix" ? limit : {});
  const value = size / 1e6 / cost.seconds;
  report.row({ system, metric: `MB/s ${label}`, value, unit: "MB/s", n: 1 }, mbpsMin > 0 ? { atLeast: mbpsMin } : {});
  report.row({ system, metric: `CPU ${label}`, value: cost.cpuSeconds, unit: "s", n: 1 });
  report.row(
    { system, metric: `peak memory ${label}`, value: cost.memoryMb, unit: "MB", n: 1 },
    bar({ atMost: MEMORY_MB_MAX }),
  );
}
