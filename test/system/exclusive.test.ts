// Exclusive jobs: whatever happens to a machine out of sight, the old container writes nothing after the first line of the new one.
import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Cable, createCable } from "./cable.ts";
import { eventsOf, shellJob, SMALL_WORKER, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

/** Lines bear the machine's boot-time clock, which all containers share. */
const TELL = `while :; do read up rest < /proc/uptime; echo "line $up $(cat $QUBIX_EPOCH_FILE)"; sleep 0.02; done`;
/** A lease and its margin pass, twice on a busy machine. */
const LONG_MS = 150_000;
const PATIENCE = { timeout: 60_000, interval: 50 };

let network: TestNetwork;
const cables = new Map<string, Cable>();
const followers: ChildProcess[] = [];

beforeEach(async () => {
  network = await startTestNetwork([]);
  for (const name of ["anna", "bruno"]) {
    const cable = await createCable(network.url);
    cables.set(name, cable);
    await network.addWorker({ name, args: [...SMALL_WORKER, "--url", cable.url] });
  }
});
afterEach(async () => {
  for (const follower of followers.splice(0)) follower.kill();
  for (const cable of cables.values()) cable.plug();
  await network.stop();
  for (const cable of cables.values()) cable.close();
  cables.clear();
});

interface Line {
  /** Boot-time clock, in seconds. */
  readonly at: number;
  readonly epoch: number;
}

/** All that the containers of a worker print, straight from the Engine, to the very end. */
async function follow(workerId: string): Promise<Line[]> {
  const [name = ""] = await network.worker(workerId).containers();
  expect(name).not.toBe("");
  const lines: Line[] = [];
  const follower = spawn("docker", ["logs", "--follow", name], { stdio: ["ignore", "pipe", "ignore"] });
  followers.push(follower);
  let rest = "";
  follower.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const [, at = "", epoch = ""] = part.split(" ");
      lines.push({ at: Number(at), epoch: Number(epoch) });
    }
  });
  return lines;
}

async function runExclusive(standby: "hot" | "cold") {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(shellJob(TELL, { standby, failover: "exclusive" }));
  const before = await until(
    client,
    id,
    (job) => job.phase === "running" && (standby === "cold" || job.standby?.phase === "ready"),
  );
  const primary = network.worker(before.workerId);
  const old = await follow(primary.id);
  await expect.poll(() => old.length, PATIENCE).toBeGreaterThan(10);
  return { client, id, primary, old };
}

const last = (lines: readonly Line[]) => lines.at(-1)?.at ?? Number.NaN;

describe("the cable is pulled", { timeout: LONG_MS }, () => {
  it.each([
    ["and nothing else happens", "hot", undefined],
    ["and the agent gets SIGKILL", "hot", "SIGKILL"],
    ["and the agent gets SIGSTOP", "cold", "SIGSTOP"],
  ] as const)(
    "%s (%s): no line of the old container comes after the first of the new one",
    async (_, standby, signal) => {
      const { client, id, primary, old } = await runExclusive(standby);
      cables.get(primary.name)?.pull();
      if (signal !== undefined) process.kill(primary.program().pid, signal);
      const cutAt = last(old);
      const waiting = await until(client, id, (job) => job.leaseWait !== null);
      expect(waiting).toMatchObject({ phase: "queued", epoch: 1, leaseWait: { workerId: primary.id, epoch: 1 } });
      // Out of sight it works on, for as long as it has a lease.
      await expect.poll(() => last(old), PATIENCE).toBeGreaterThan(cutAt);

      const after = await until(client, id, (job) => job.phase === "running" && job.epoch === 2);
      expect(after.workerId).not.toBe(primary.id);
      const young = await follow(after.workerId ?? "");
      await expect.poll(() => young.length, PATIENCE).toBeGreaterThan(50);
      const [first] = young;
      expect(last(old)).toBeLessThan(first?.at ?? 0);

      // It comes back, is told that its epoch is over, and dies without another line.
      cables.get(primary.name)?.plug();
      if (signal === "SIGKILL") await primary.start();
      if (signal === "SIGSTOP") process.kill(primary.program().pid, "SIGCONT");
      // What is made there to stand by for the new one may stay.
      const ofAttempts = async () => (await primary.allContainers()).filter((name) => !/-s\d+$/.test(name));
      await expect.poll(ofAttempts, PATIENCE).toEqual([]);
      expect(last(old)).toBeLessThan(first?.at ?? 0);
      expect(old.every(({ epoch }) => epoch === 1) && young.every(({ epoch }) => epoch === 2)).toBe(true);
      const kinds = (await eventsOf(client, id)).map(({ kind }) => kind);
      expect(kinds.indexOf("lease_over")).toBeGreaterThan(kinds.indexOf("lease_wait"));
      await client.jobs.cancel(id);
    },
  );

  it("and plugged in again before anybody else was there: the container was held meanwhile, and goes on under the next epoch", async () => {
    const [, bruno] = network.workers;
    await bruno?.stop();
    const { client, id, primary, old } = await runExclusive("cold");
    cables.get(primary.name)?.pull();
    await until(client, id, (job) => job.phase === "queued" && job.leaseWait !== null);
    const over = await until(client, id, (job) => job.leaseWait === null);
    expect(over.phase).toBe("queued");
    const held = old.length;
    cables.get(primary.name)?.plug();
    const back = await until(client, id, (job) => job.phase === "running");
    expect(back).toMatchObject({ epoch: 2, workerId: primary.id, failoversUsed: 0 });
    await expect.poll(() => old.length, PATIENCE).toBeGreaterThan(held + 10);
    const epochs = old.map(({ epoch }) => epoch);
    expect(epochs.lastIndexOf(1)).toBe(epochs.indexOf(2) - 1);
    await client.jobs.cancel(id);
    await client.jobs.wait(id);
  });
});

describe("an agent that is killed and started again at once", { timeout: LONG_MS }, () => {
  it("finds container and guard, and the job runs on as if nothing had been", async () => {
    const { client, id, primary, old } = await runExclusive("cold");
    const before = last(old);
    await primary.program().kill();
    await primary.start();
    await expect.poll(() => last(old), PATIENCE).toBeGreaterThan(before + 20);
    const job = await client.jobs.get(id);
    expect([job.phase, job.workerId]).toEqual(["running", primary.id]);
    await client.jobs.cancel(id);
    await client.jobs.wait(id);
  });
});
