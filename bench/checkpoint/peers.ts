// The tools from Debian's packages that save the same data: how each saves, restores, and what it then takes or sends.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly memoryMb: number;
}
export interface Saved extends Cost {
  /** Bytes that were stored or sent for this save. */
  readonly bytesMoved: number;
}

export interface Peer {
  readonly name: string;
  readonly encrypts: boolean;
  /** Saves a file under the name `state`, after the saves before it. */
  save(path: string): Saved;
  /** Brings the newest save back as a file at `to`. */
  restore(to: string): Cost;
}

const PACKAGES: Readonly<Record<string, string>> = {
  restic: "restic",
  borg: "borgbackup",
  casync: "casync",
  rsync: "rsync",
};

/** Throws with the remedy where one is not installed. */
export function createPeers(folder: string): readonly Peer[] {
  const missing = Object.keys(PACKAGES).filter((name) => !PATHS.some((path) => existsSync(join(path, name))));
  if (!existsSync(TIME)) missing.push("time");
  if (missing.length > 0) {
    const packages = missing.map((name) => PACKAGES[name] ?? name).join(" ");
    throw new Error(`Not installed: ${missing.join(", ")}. Run: apt-get install -y ${packages}`);
  }
  return [restic(folder), borg(folder), casync(folder), rsync(folder)];
}

const PATHS = ["/usr/bin", "/usr/local/bin", "/bin"];
const TIME = "/usr/bin/time";
const ENV = {
  ...process.env,
  RESTIC_PASSWORD: "bench",
  BORG_PASSPHRASE: "bench",
  BORG_RELOCATED_REPO_ACCESS_IS_OK: "yes",
};

function restic(folder: string): Peer {
  const { repo, work, state, env } = places(folder, "restic");
  execFileSync("restic", ["init", "--quiet", "--repo", repo], { env });
  return {
    name: "restic",
    encrypts: true,
    save: (path) => {
      take(path, state);
      return grown(repo, () => timed(work, env, ["restic", "backup", "--quiet", "--repo", repo, state]));
    },
    restore: (to) =>
      timed(work, env, [
        "sh",
        "-c",
        `restic restore latest --quiet --repo ${repo} --target ${work}/out && mv ${work}/out${state} ${to}`,
      ]),
  };
}

function borg(folder: string): Peer {
  const { repo, work, state, env } = places(folder, "borg");
  execFileSync("borg", ["init", "--encryption", "repokey", repo], { env, stdio: "ignore" });
  let count = 0;
  return {
    name: "borg",
    encrypts: true,
    save: (path) => {
      take(path, state);
      count += 1;
      return grown(repo, () => timed(work, env, ["borg", "create", `${repo}::save-${count}`, "state"]));
    },
    restore: (to) => timed(work, env, ["sh", "-c", `borg extract --stdout ${repo}::save-${count} state > ${to}`]),
  };
}

function casync(folder: string): Peer {
  const { repo, work, state, env } = places(folder, "casync");
  mkdirSync(repo);
  let count = 0;
  return {
    name: "casync",
    encrypts: false,
    save: (path) => {
      take(path, state);
      count += 1;
      return grown(repo, () => timed(work, env, ["casync", "make", "--store", repo, `${repo}/${count}.caibx`, state]));
    },
    restore: (to) => timed(work, env, ["casync", "extract", "--store", repo, `${repo}/${count}.caibx`, to]),
  };
}

/** Between two folders with its own algorithm, as between two machines; what it sent is what it says. */
function rsync(folder: string): Peer {
  const { repo, work, state, env } = places(folder, "rsync");
  mkdirSync(repo);
  const log = join(work, "rsync.log");
  return {
    name: "rsync",
    encrypts: false,
    save: (path) => {
      take(path, state);
      const command = `rsync --no-whole-file --ignore-times --fsync --stats ${state} ${repo}/ > ${log}`;
      const cost = timed(work, env, ["sh", "-c", command]);
      const sent = /Total bytes sent: ([\d,.]+)/.exec(readFileSync(log, "utf8"))?.[1] ?? "";
      return { ...cost, bytesMoved: Number(sent.replaceAll(/\D/g, "")) };
    },
    restore: (to) => timed(work, env, ["cp", join(repo, "state"), to]),
  };
}

function places(folder: string, name: string) {
  const work = join(folder, name);
  mkdirSync(work, { recursive: true });
  const env = { ...ENV, HOME: work, BORG_BASE_DIR: work, RESTIC_CACHE_DIR: join(work, "cache") };
  return { repo: join(work, "repo"), work, state: join(work, "state"), env };
}

/** A new file in the place of the last one, as a job saves. */
function take(path: string, state: string): void {
  rmSync(state, { force: true });
  copyFileSync(path, state);
}

function grown(repo: string, run: () => Cost): Saved {
  const before = sizeOf(repo);
  const cost = run();
  return { ...cost, bytesMoved: sizeOf(repo) - before };
}

function sizeOf(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

/** Wall time, CPU time of the program and its children, and its largest memory, by GNU time. */
export function timed(cwd: string, env: NodeJS.ProcessEnv, command: readonly string[]): Cost {
  const out = join(cwd, "time.log");
  const [program, ...args] = ["-f", "%e %U %S %M", "-o", out, ...command] as [string, ...string[]];
  execFileSync(TIME, [program, ...args], { cwd, env, stdio: ["ignore", "ignore", "inherit"] });
  const [seconds = 0, user = 0, system = 0, kib = 0] = readFileSync(out, "utf8").trim().split(/\s+/).map(Number);
  return { seconds, cpuSeconds: user + system, memoryMb: (kib * 1024) / 1e6 };
}
