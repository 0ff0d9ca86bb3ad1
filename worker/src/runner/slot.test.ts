import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { listEntries } from "../checkpoint/entries.ts";
import { EPOCH_FILE } from "./host-config.ts";
import { slotFolders } from "./slot-folders.ts";
import { attemptOf, type Bench, createBench, ensureTinyImage, NOBODY, RUN, shell } from "./testing.ts";

// On the real Docker Engine, with a 2 MB image made from the distribution's busybox.
let bench: Bench;
beforeAll(ensureTinyImage, 120_000);
beforeEach(async () => {
  bench = await createBench();
});
afterEach(() => bench.dispose());

const JOB = "job-a";
const ATTEMPT = attemptOf(JOB);
const jobId = ATTEMPT.jobId;

async function runToEnd(script: string, patch = {}) {
  const slot = bench.slot("s1");
  const run = shell(script, patch);
  await slot.prepare(jobId, run, null);
  await bench.event("prepared");
  await slot.start(ATTEMPT, run);
  return bench.event("exited");
}

describe("a container's rights", () => {
  it("are the least there are, seen from inside", async () => {
    const exit = await runToEnd(`
      grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status
      echo id=$(id -u):$(id -g)
      touch /etc/x 2>&1; mount -t tmpfs x /mnt 2>&1; mknod /tmp/d c 1 3 2>&1
      ls /sys/class/net | tr '\\n' ' '; echo
      echo routes=$(($(wc -l < /proc/net/route) - 1))
      cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
      cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null
      for d in /work /out /tmp $QUBIX_CHECKPOINT_DIR; do touch $d/f && echo can-write $d; done
      echo 9 > $QUBIX_EPOCH_FILE; echo epoch=$(cat $QUBIX_EPOCH_FILE)
      ls /var/run/docker.sock 2>&1
      grep ' /tmp ' /proc/mounts; echo files=$(ulimit -Hn) core=$(ulimit -Hc)
      exit 3`);
    expect(exit).toMatchObject({ exitCode: 3, oomKilled: false, diskExceeded: false });
    const log = bench.log();
    for (const set of ["CapEff", "CapPrm", "CapBnd"]) expect(log).toContain(`${set}:\t0000000000000000`);
    expect(log).toContain("NoNewPrivs:\t1");
    expect(log).toContain("Seccomp:\t2");
    expect(log).toContain(`id=${NOBODY}:${NOBODY}`);
    expect(log).toContain("touch: /etc/x: Read-only file system");
    expect(log).toMatch(/mount: .*(permission denied|not permitted)/i);
    expect(log).toMatch(/mknod: .*not permitted/i);
    expect(log).toContain("\nlo \n");
    expect(log).toContain("routes=0\n");
    expect(log).toContain(String(64 * 1024 * 1024));
    expect(log).toContain("\n2048\n");
    for (const folder of ["/work", "/out", "/tmp", "/qubix/checkpoint"]) expect(log).toContain(`can-write ${folder}`);
    expect(log).toContain("epoch=1\n");
    expect(bench.log("stderr")).toContain(`can't create ${EPOCH_FILE}: Read-only file system`);
    expect(log).toContain("No such file");
    expect(log).toMatch(/^tmpfs \/tmp tmpfs rw,nosuid,nodev,relatime,size=32768k,nr_inodes=8192 /m);
    expect(log).toContain("files=16384 core=0\n");
  });

  it("end at the memory limit", async () => {
    const exit = await runToEnd(
      "tail -c 200m /dev/zero | wc -c; x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo $?",
    );
    expect(exit.oomKilled).toBe(true);
  });

  it("end at the disk limit where only a watch bounds the disk, also when nothing more can be noted", async () => {
    await bench.dispose();
    bench = await createBench({ kind: "watched", why: "tested" });
    const slot = bench.slot("s1");
    const run = shell("sleep 1; dd if=/dev/zero of=/work/big bs=1M count=200; sleep 30", { diskMiB: 32 });
    await slot.prepare(jobId, run, null);
    await bench.event("prepared");
    await slot.start(ATTEMPT, run);
    const { own } = slotFolders(join(bench.dir, "slots"), "s1");
    await rm(own, { recursive: true });
    await writeFile(own, "");
    expect(await bench.event("exited")).toMatchObject({ diskExceeded: true });
  });
});

describe("what cannot run", () => {
  it("is the job's own fault where the image is not allowed or not there", async () => {
    const slot = bench.slot("s1");
    await slot.prepare(jobId, { ...RUN, image: "qubix-test/other:local" }, null);
    const { outcome } = await bench.event("failed");
    expect(outcome).toMatchObject({ kind: "failed", code: "image_not_found" });
  });

  it("is the worker's fault where its owner does not pull from the registry", async () => {
    await bench.slot("s1").prepare(jobId, { ...RUN, image: "registry.example/x:1" }, null);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "worker_failed", code: "image_pull_failed" });
  });

  it("is a failed start where the command is not in the image", async () => {
    const slot = bench.slot("s1");
    const run = { ...RUN, command: ["/no/such/program"] };
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "failed", code: "start_failed" });
  });
});

describe("a job's folders", () => {
  it("take its progress and whole checkpoints, and give its outputs", async () => {
    const slot = bench.slot("s1");
    const run = shell(`
      echo 1/4 > $QUBIX_PROGRESS_FILE
      mkdir $QUBIX_CHECKPOINT_DIR/.new; echo state > $QUBIX_CHECKPOINT_DIR/.new/model
      mv $QUBIX_CHECKPOINT_DIR/.new $QUBIX_CHECKPOINT_DIR/step-1
      echo half > $QUBIX_CHECKPOINT_DIR/step-2.tmp
      mkdir /out/sub; echo result > /out/sub/r.txt; ln -s /etc/passwd /out/link
      sleep 1`);
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    const entry = await bench.event("entry");
    expect(entry.entry).toMatch(/^step-1#/);
    expect(entry.progress).toBe(0.25);
    await slot.ship(jobId, entry.entry, entry.ranMs, entry.progress);
    expect((await bench.event("shipped")).tree).toMatchObject({ files: 1, bytes: 6 });
    await bench.event("exited");
    await slot.collect(jobId, run);
    expect((await bench.event("outputs")).tree).toMatchObject({ files: 1, bytes: 7 });
    await expect
      .poll(() => bench.log("stderr"))
      .toContain("not in the outputs, because they are links or devices: link");
  });

  it("may hold no more outputs than are kept", async () => {
    const slot = bench.slot("s1");
    const run = shell("truncate -s 17G /out/huge");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await bench.event("exited");
    await slot.collect(jobId, run);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "failed", code: "output_exceeded" });
  });

  it("hold the checkpoint, owned by its user, when a successor starts", async () => {
    const first = bench.slot("s1");
    const run = shell(
      "echo 41 > $QUBIX_CHECKPOINT_DIR/.n; mv $QUBIX_CHECKPOINT_DIR/.n $QUBIX_CHECKPOINT_DIR/n; sleep 1",
    );
    await first.prepare(jobId, run, null);
    await first.start(ATTEMPT, run);
    const { entry } = await bench.event("entry");
    await first.ship(jobId, entry, 1, null);
    const { tree } = await bench.event("shipped");
    await bench.event("exited");
    bench.events.length = 0;
    const second = bench.slot("s2");
    const next = attemptOf(JOB, 2);
    const after = shell(
      "cd $QUBIX_CHECKPOINT_DIR; ls -ln; echo $(($(cat n)+1)) > n.tmp; mv n.tmp n; cat n; cat $QUBIX_EPOCH_FILE",
    );
    await second.prepare(jobId, after, { seq: 7, epoch: ATTEMPT.epoch, tree });
    const prepared = await bench.event("prepared");
    expect(prepared).toMatchObject({ checkpointSeq: 7 });
    expect(prepared.entry).toMatch(/^n#/);
    await second.start(next, after);
    await bench.event("exited");
    expect(bench.log()).toContain(`${NOBODY}    ${NOBODY}`);
    expect(bench.log()).toMatch(/42\n2\n$/);
    // The restored entry is not news; the one that replaced it under the same name is.
    const told = bench.events.filter((event) => event.kind === "entry");
    expect(told).toHaveLength(1);
    expect(told[0]?.entry).not.toBe(prepared.entry);
  });

  it("give up older checkpoints when a newer one is committed", async () => {
    const slot = bench.slot("s1");
    const run = shell("cd $QUBIX_CHECKPOINT_DIR; echo 1 > a; sleep 0.1; echo 2 > b; sleep 0.1; echo 3 > .c; sleep 2");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    const { checkpoint } = slotFolders(join(bench.dir, "slots"), "s1");
    await expect.poll(async () => (await readdir(checkpoint)).toSorted()).toEqual([".c", "a", "b"]);
    await expect.poll(() => bench.events.findLast((event) => event.kind === "entry")?.entry).toMatch(/^b#/);
    const last = bench.events.findLast((event) => event.kind === "entry");
    await slot.committed(last?.entry ?? "");
    expect((await readdir(checkpoint)).toSorted()).toEqual([".c", "b"]);
  });

  it("are given up also while this machine's own disk takes no note of the newer one", async () => {
    const { checkpoint, staging } = slotFolders(join(bench.dir, "slots"), "s1");
    for (const folder of [checkpoint, staging]) await mkdir(folder, { recursive: true });
    await writeFile(join(checkpoint, "a"), "older");
    await writeFile(join(checkpoint, ".b"), "newer");
    await rename(join(checkpoint, ".b"), join(checkpoint, "b"));
    const newest = (await listEntries(checkpoint)).at(-1)?.id ?? "";
    const slot = bench.slot("s1");
    await slot.ship(jobId, newest, 1, null);
    // There is no folder for the note.
    await slot.committed(newest);
    expect(await readdir(checkpoint)).toEqual(["b"]);
  });

  it("follow commit after commit, fetching only what is new", async () => {
    const source = slotFolders(join(bench.dir, "slots"), "source");
    await mkdir(source.checkpoint, { recursive: true });
    const shipped = [];
    const parts = [0, 1, 2, 3].map((n) => Buffer.alloc(1024 * 1024, `part ${n}`));
    for (const [seq, changed] of [Buffer.from(""), Buffer.alloc(1024 * 1024, "new")].entries()) {
      if (seq === 1) parts[2] = changed;
      await writeFile(join(source.checkpoint, "w"), Buffer.concat(parts));
      bench.events.length = 0;
      const [entry] = await listEntries(source.checkpoint);
      await bench.slot("source").ship(jobId, entry?.id ?? "", 0, null);
      shipped.push((await bench.event("shipped")).tree);
    }
    const standby = bench.slot("s2");
    const [first, second] = shipped;
    if (first === undefined || second === undefined) throw new Error("nothing shipped");
    await standby.prepare(jobId, RUN, { seq: 1, epoch: ATTEMPT.epoch, tree: first });
    expect(bench.chunks.fetched).toHaveLength(5);
    bench.chunks.fetched.length = 0;
    await standby.restore(jobId, { seq: 2, epoch: ATTEMPT.epoch, tree: second });
    expect(bench.events.at(-1)).toMatchObject({ kind: "prepared", checkpointSeq: 2 });
    // The manifest and the one piece that changed.
    expect(bench.chunks.fetched).toHaveLength(2);
    const { checkpoint } = slotFolders(join(bench.dir, "slots"), "s2");
    expect(Buffer.concat(parts).equals(await readFile(join(checkpoint, "w")))).toBe(true);
    expect((await stat(join(checkpoint, "w"))).uid).toBe(NOBODY);
  });

  it("show inputs, read-only, where the job wants them", async () => {
    const source = slotFolders(join(bench.dir, "slots"), "source");
    await mkdir(join(source.out, "set"), { recursive: true });
    await writeFile(join(source.out, "set/a.txt"), "hello input\n");
    const maker = bench.slot("source");
    await maker.collect(jobId, RUN);
    const { tree } = await bench.event("outputs");
    if (tree === null) throw new Error("no tree");
    const run = {
      ...shell("cat /data/set/a.txt; touch /data/x"),
      inputs: [{ manifestCid: tree.manifestCid, to: "/data" }],
    };
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    expect((await bench.event("exited")).exitCode).toBe(1);
    expect(bench.log()).toBe("hello input\n");
    expect(bench.log("stderr")).toContain("Read-only file system");
  });
});

it("is measured and removed also where the disk takes no note of how far its output was read", async () => {
  const run = shell("echo begun; sleep 60");
  const slot = bench.slot("s1");
  await slot.prepare(jobId, run, null);
  await slot.start(ATTEMPT, run);
  await expect.poll(() => bench.log()).toBe("begun\n");
  const fail = () => {
    throw new Error("database or disk is full");
  };
  Object.assign(bench.positions, { set: fail, delete: fail });
  bench.events.length = 0;
  await slot.measure(false);
  expect(bench.events).toMatchObject([{ kind: "measured" }]);
  await slot.remove();
  expect(bench.events.at(-1)).toMatchObject({ kind: "removed" });
  expect(await bench.containers.list()).toEqual([]);
}, 60_000);

describe("after the agent's own crash", () => {
  it("a running container is taken up again, with every line of its output once", async () => {
    const run = shell("for i in $(seq 1 60); do echo line $i; sleep 0.05; done; echo done >&2; exit 5");
    const before = bench.slot("s1");
    await before.prepare(jobId, run, null);
    await before.start(ATTEMPT, run);
    await expect.poll(() => bench.log()).toContain("line 10\n");
    await before.measure(false);
    await expect.poll(() => bench.log()).toContain("line 20\n");
    // What it had read since the position was saved is read and sent again, at the same offsets.
    const saved = bench.positions.get("s1");
    before.detach();
    if (saved !== undefined) bench.positions.set("s1", saved);
    bench.events.length = 0;

    const after = bench.slot("s1");
    const found = await after.found();
    expect(found.state).toBe("running");
    expect(found.ranMs).toBeGreaterThan(0);
    await after.follow(ATTEMPT, run);
    const exit = await bench.event("exited");
    expect(exit.exitCode).toBe(5);
    expect(exit.ranMs).toBeGreaterThanOrEqual(found.ranMs);
    const lines = Array.from({ length: 60 }, (_, index) => `line ${index + 1}\n`).join("");
    expect(bench.log()).toBe(lines);
    expect(bench.log("stderr")).toBe("done\n");
  });

  it("one that ended meanwhile is found with its code, time and the rest of its output", async () => {
    const run = shell("echo a; sleep 0.5; echo b; exit 4");
    const before = bench.slot("s1");
    await before.prepare(jobId, run, null);
    await before.start(ATTEMPT, run);
    await expect.poll(() => bench.log()).toBe("a\n");
    before.detach();
    await expect.poll(async () => (await bench.containers.inspect("s1"))?.state).toBe("exited");
    const after = bench.slot("s1");
    const found = await after.found();
    expect(found).toMatchObject({ state: "exited", exitCode: 4, oomKilled: false });
    expect(found.ranMs).toBeGreaterThan(0);
    await after.readRest(ATTEMPT);
    await expect.poll(() => bench.log()).toBe("a\nb\n");
  });

  it("one that was killed from outside meanwhile is lost, not failed", async () => {
    const run = shell("sleep 60");
    const before = bench.slot("s1");
    await before.prepare(jobId, run, null);
    await before.start(ATTEMPT, run);
    before.detach();
    await bench.containers.kill("s1");
    await expect.poll(async () => (await bench.containers.inspect("s1"))?.state).toBe("exited");
    expect((await bench.slot("s1").found()).state).toBe("absent");
  });

  it("one whose notes a power cut tore is lost, not failed", async () => {
    const run = shell("exit 3");
    const before = bench.slot("s1");
    await before.prepare(jobId, run, null);
    await before.start(ATTEMPT, run);
    await bench.event("exited");
    before.detach();
    await writeFile(join(bench.dir, "slots/s1/own/notes.json"), '{"user":{"uid"');
    expect((await bench.slot("s1").found()).state).toBe("absent");
  });

  it("nothing is left after a removal", async () => {
    const run = shell("sleep 60");
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await slot.remove();
    expect(bench.events.at(-1)).toEqual({ kind: "removed", slotId: "s1" });
    expect(await bench.containers.list()).toEqual([]);
    expect(await readdir(join(bench.dir, "slots"))).toEqual([]);
  });
});

describe("a container that runs on under a later epoch", () => {
  it("reads the new epoch, and its output goes on under it", async () => {
    const run = shell("until [ $(cat $QUBIX_EPOCH_FILE) = 3 ]; do sleep 0.05; done; echo now 3");
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await bench.event("started");
    slot.relabel(attemptOf(JOB, 3));
    expect((await bench.event("exited")).exitCode).toBe(0);
    expect(bench.log()).toBe("now 3\n");
    await slot.measure(false);
    expect(bench.positions.get("s1")?.epoch).toBe(3);
  });
});

it("stops in good order: first asked, then killed", async () => {
  const run = shell("trap 'echo asked' TERM; echo up; while true; do sleep 0.1; done");
  const slot = bench.slot("s1");
  await slot.prepare(jobId, run, null);
  await slot.start(ATTEMPT, run);
  await expect.poll(() => bench.log()).toBe("up\n");
  await slot.stop(1);
  expect((await bench.event("exited")).exitCode).toBe(137);
  expect(bench.log()).toContain("asked\n");
});

describe("a job that is to move", () => {
  it("sees the request and its signal, and that it is withdrawn", async () => {
    const run = shell(`trap 'echo signal' URG; echo up
      until [ -e "$QUBIX_REQUEST_FILE" ]; do sleep 0.05; done; echo "asked $(cat "$QUBIX_REQUEST_FILE")"
      while [ -e "$QUBIX_REQUEST_FILE" ]; do sleep 0.05; done; echo off`);
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await expect.poll(() => bench.log()).toBe("up\n");
    await slot.request(7);
    await expect.poll(() => bench.log()).toContain("asked 7\n");
    await expect.poll(() => bench.log()).toContain("signal\n");
    await slot.request(null);
    expect((await bench.event("exited")).exitCode).toBe(0);
    expect(bench.log()).toContain("off\n");
  });

  it("and knows nothing of such requests goes on undisturbed, whatever its program is", async () => {
    const run = shell("echo up; exec sleep 1.5");
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await expect.poll(() => bench.log()).toContain("up\n");
    await slot.request(1);
    expect(await bench.event("exited")).toMatchObject({ exitCode: 0 });
    // Nor is it an error that it has ended.
    await slot.request(2);
  });
});

it("looks at what shows that a container gets on", async () => {
  const run = shell("echo line; echo '1/4 deadline=9' > $QUBIX_PROGRESS_FILE; exec sleep 30");
  const slot = bench.slot("s1");
  await slot.prepare(jobId, run, null);
  await slot.start(ATTEMPT, run);
  await expect.poll(() => bench.log()).toBe("line\n");
  const looked = async () => {
    await slot.measure(true);
    return bench.events.findLast((event) => event.kind === "measured");
  };
  await expect.poll(looked).toMatchObject({
    progress: 0.25,
    look: { progressDueMs: 9_000, logBytes: 5, use: { cpuMs: expect.any(Number), ioBytes: expect.any(Number) } },
  });
});
