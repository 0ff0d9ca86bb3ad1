import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { listEntries } from "../../checkpoint/entries.ts";
import { createEngine } from "../engine.ts";
import { slotFolders } from "../slot-folders.ts";
import { attemptOf, type Bench, createBench, DOCKER_SOCKET, ensureTinyImage, NOBODY, shell } from "../testing.ts";
import { isMountPoint, unmount } from "./mounts.ts";
import { planVolume } from "./plan.ts";
import { chooseDiskBound } from "./self-test.ts";
import { createVolumes } from "./volumes.ts";

// Real volumes under real containers. Without root there are none, and the agent watches folders instead (see slot.test.ts).
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skipped: volumes need root");

const ATTEMPT = attemptOf("job-a");
const { jobId } = ATTEMPT;
const DISK_MIB = 32;
const DISK_BYTES = DISK_MIB * 1024 * 1024;
const TOLERANCE = 0.05;

describe("the size of a volume", () => {
  it("is what was asked for and ext4's own, of which large disks need little", () => {
    for (const diskMiB of [16, 100, 4096, 1_000_000]) {
      const { imageBytes, files } = planVolume(diskMiB);
      expect(imageBytes).toBeGreaterThan(diskMiB * 1024 * 1024);
      expect(files).toBeGreaterThanOrEqual(diskMiB * 64);
    }
    expect(planVolume(100_000).imageBytes / (100_000 * 1024 * 1024)).toBeLessThan(1.03);
  });
});

describe.runIf(isRoot)("a volume", () => {
  let bench: Bench;
  beforeAll(ensureTinyImage, 120_000);
  beforeEach(async () => {
    bench = await createBench();
  });
  afterEach(() => bench.dispose());
  const foldersOf = (id: string) => slotFolders(join(bench.dir, "slots"), id);

  async function startJob(script: string) {
    const run = shell(script, { diskMiB: DISK_MIB });
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    return { slot, run };
  }

  it("is what this machine has, as the agent's own test says", async () => {
    const folder = join(bench.dir, "probe");
    expect(await chooseDiskBound(createEngine(DOCKER_SOCKET), folder)).toEqual({ kind: "volumes" });
    expect(await readdir(bench.dir)).not.toContain("probe");
  });

  it("takes within 5% of what the job asked for, over all its folders, and then no more", async () => {
    await startJob("cat /dev/zero > /work/a; cat /dev/zero > /out/b; cat /work/a /out/b | wc -c; exit 4");
    const exit = await bench.event("exited");
    expect(exit).toMatchObject({ exitCode: 4, diskExceeded: true });
    expect(bench.log("stderr")).toContain("No space left on device");
    const written = Number(bench.log().trim());
    expect(Math.abs(written / DISK_BYTES - 1)).toBeLessThan(TOLERANCE);
  });

  it("takes a bounded number of files", async () => {
    const most = planVolume(DISK_MIB).files;
    // The shell's own `true`: no name needs a process.
    await startJob(`cd /work; n=0; while true > f$n; do n=$((n+1)); done 2>/dev/null; ls | wc -l; exit 4`);
    expect((await bench.event("exited")).diskExceeded).toBe(true);
    const files = Number(bench.log().trim());
    expect(files).toBeGreaterThan(most * (1 - TOLERANCE));
    expect(files).toBeLessThan(most * (1 + TOLERANCE));
  });

  it("that is full is no reason of its own: what succeeds, succeeds; what had room again, failed by itself", async () => {
    await startJob("cat /dev/zero > /work/a; exit 0");
    expect(await bench.event("exited")).toMatchObject({ exitCode: 0, diskExceeded: false });
    bench.events.length = 0;
    const run = shell("cat /dev/zero > /work/a; rm /work/a; exit 5", { diskMiB: DISK_MIB });
    const other = bench.slot("s2");
    await other.prepare(jobId, run, null);
    await other.start(ATTEMPT, run);
    expect(await bench.event("exited")).toMatchObject({ exitCode: 5, diskExceeded: false });
  });

  it("still gives its checkpoints and outputs when it is full, and loses the older ones", async () => {
    const { slot, run } = await startJob(`
      cd $QUBIX_CHECKPOINT_DIR; echo 1 > one; sleep 0.3; echo 2 > two; echo result > /out/r
      cat /dev/zero > /work/fill; sleep 2; exit 0`);
    await expect.poll(() => bench.log("stderr")).toContain("No space left");
    await expect.poll(() => bench.events.findLast((event) => event.kind === "entry")?.entry).toMatch(/^two#/);
    const entry = bench.events.findLast((event) => event.kind === "entry")?.entry ?? "";
    await slot.ship(jobId, entry, 1, null);
    expect((await bench.event("shipped")).tree.bytes).toBe(2);
    await slot.committed(entry);
    expect(await readdir(foldersOf("s1").checkpoint)).toEqual(["two"]);
    await bench.event("exited");
    await slot.collect(jobId, run);
    expect((await bench.event("outputs")).tree).toMatchObject({ files: 1, bytes: 7 });
  });

  it("outlives the agent, and goes with the slot", async () => {
    const { slot } = await startJob("echo kept > /work/x; sleep 60");
    await bench.event("started");
    const { disk, root, work } = foldersOf("s1");
    slot.detach();
    const after = bench.slot("s1");
    expect((await after.found()).state).toBe("running");
    expect(await isMountPoint(disk)).toBe(true);
    await expect.poll(() => readFile(join(work, "x"), "utf8")).toBe("kept\n");
    await after.remove();
    expect(await readdir(join(bench.dir, "slots"))).toEqual([]);
    expect(await loopDevices()).not.toContain(root);
  });

  it("is mounted again where a reboot has unmounted it, with all that was in it", async () => {
    const maker = bench.slot("s1");
    const run = shell("cat /work/before", { diskMiB: DISK_MIB });
    await maker.prepare(jobId, run, null);
    const { disk, work } = foldersOf("s1");
    await promisify(execFile)("sh", ["-c", `echo there > ${work}/before`]);
    maker.detach();
    await unmount(disk);
    const after = bench.slot("s1");
    expect((await after.found()).state).toBe("created");
    await after.start(ATTEMPT, run);
    await bench.event("exited");
    expect(bench.log()).toBe("there\n");
  });

  it("gives room to a newer checkpoint by giving up the older one", async () => {
    // More than half of the disk each: there is no room for two.
    const part = 20;
    const sourceRun = shell(
      `cd $QUBIX_CHECKPOINT_DIR; dd if=/dev/zero of=.w bs=1M count=${part}; cat $QUBIX_EPOCH_FILE >> .w; mv .w w`,
      { diskMiB: 64 },
    );
    const trees = [];
    for (const epoch of [1, 2]) {
      bench.events.length = 0;
      const id = `source${epoch}`;
      const maker = bench.slot(id);
      await maker.prepare(jobId, sourceRun, null);
      await maker.start(attemptOf("job-a", epoch), sourceRun);
      const { entry } = await bench.event("entry");
      await bench.event("exited");
      await maker.ship(jobId, entry, 1, null);
      trees.push((await bench.event("shipped")).tree);
    }
    const [first, second] = trees;
    if (first === undefined || second === undefined) throw new Error("nothing shipped");
    const standby = bench.slot("s2");
    await standby.prepare(jobId, shell("true", { diskMiB: DISK_MIB }), { seq: 1, epoch: ATTEMPT.epoch, tree: first });
    await standby.restore(jobId, { seq: 2, epoch: ATTEMPT.epoch, tree: second });
    expect(bench.events.at(-1)).toMatchObject({ kind: "prepared", checkpointSeq: 2 });
    expect(await readdir(foldersOf("s2").checkpoint)).toEqual(["w"]);
    const small = bench.slot("s3");
    await small.prepare(jobId, shell("true", { diskMiB: 16 }), { seq: 2, epoch: ATTEMPT.epoch, tree: second });
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "failed", code: "disk_exceeded" });
  });

  it("is not blamed for what the machine's own disk has no room for", async () => {
    const source = foldersOf("source");
    await mkdir(source.checkpoint, { recursive: true });
    await writeFile(join(source.checkpoint, "w"), "a state");
    const [entry] = await listEntries(source.checkpoint);
    await bench.slot("source").ship(jobId, entry?.id ?? "", 1, null);
    const { tree } = await bench.event("shipped");
    const slot = bench.slot("s1");
    await slot.prepare(jobId, shell("true", { diskMiB: DISK_MIB }), null);
    const { own } = foldersOf("s1");
    // Room for one note, and none for the next.
    await promisify(execFile)("mount", ["-t", "tmpfs", "-o", "size=4k", "tmpfs", own]);
    try {
      await slot.restore(jobId, { seq: 1, epoch: ATTEMPT.epoch, tree });
    } finally {
      await unmount(own);
    }
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "worker_failed", code: "restore_failed" });
  });

  it("gives nobody rights through what lies in it", async () => {
    const { slot } = await startJob("cp /bin/busybox /work/b; chmod 6755 /work/b; ls -ln /work/b; sleep 5");
    await expect.poll(() => bench.log()).toMatch(/^-rwsr-sr-x/);
    expect(bench.log()).toContain(` ${NOBODY} `);
    const { disk } = foldersOf("s1");
    const mounts = await readFile("/proc/mounts", "utf8");
    expect(mounts.split("\n").find((line) => line.includes(disk))).toMatch(/ ext4 rw,nosuid,nodev,/);
    await slot.remove();
  });

  it("is released by a worker that does not know the slot", async () => {
    const { slot } = await startJob("true");
    await bench.event("exited");
    slot.detach();
    await bench.containers.remove("s1");
    const folders = foldersOf("s1");
    const volumes = createVolumes({ kind: "watched", why: "another agent's" });
    await volumes.release(folders);
    await rm(folders.root, { recursive: true });
    expect(await readdir(join(bench.dir, "slots"))).toEqual([]);
  });
});

async function loopDevices(): Promise<string> {
  return (await promisify(execFile)("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"])).stdout;
}
