// The guard as a process of its own, on real containers.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { EXCLUSIVE_MARGIN_MS } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createBootClock } from "../runner/boot-clock.ts";
import { attemptOf, type Bench, createBench, DOCKER_SOCKET, ensureTinyImage, shell } from "../runner/testing.ts";
import { slotFolders } from "../runner/slot-folders.ts";
import { createEngine } from "../runner/engine.ts";
import { makeMemoryFolder, memoryFolderCandidates } from "../secrets/memory-folder.ts";
import { readStatus } from "./files.ts";
import { cgroupOf, isFrozen } from "./freezer.ts";
import { createGuard, type Guard } from "./guard.ts";

const SLOT = "job-1-r0e1";
/** As short as a start allows. */
const LEASE_MS = 4_000;
const SOON = { timeout: 15_000, interval: 20 };
/** Writes for ever, as quickly as it can, and notes when it is asked to save. */
const WRITER = "trap 'echo asked >> /work/asked' URG; while :; do echo x >> /work/lines; done";

const clock = createBootClock();
const never = new AbortController().signal;
const { docker } = createEngine(DOCKER_SOCKET);
let bench: Bench;
let folder: string;
let guard: Guard;
let containerId: string;
const over: (() => void | Promise<void>)[] = [];

beforeAll(ensureTinyImage);
beforeEach(async () => {
  bench = await createBench();
  folder = makeMemoryFolder(memoryFolderCandidates(process.env), `qubix-guard-${bench.workerId}`) ?? "";
  guard = newGuard();
  containerId = await newContainer();
});
afterEach(async () => {
  for (const end of over.splice(0).toReversed()) await end();
  guard.release(SLOT);
  guard.stop();
  await bench.dispose();
  // One that cannot ask its Engine guards on for ever.
  const { pid } = readStatus(folder) ?? {};
  if (pid !== undefined && isAlive(pid)) process.kill(pid, "SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

function newGuard(dockerSocket = DOCKER_SOCKET): Guard {
  const logger = createLogger("test", "silent");
  return createGuard({ clock, logger }, { folder, dockerSocket, record: join(bench.dir, "guard.log") });
}

async function newContainer(): Promise<string> {
  const slot = bench.slot(SLOT);
  await slot.prepare("job-1" as never, shell(WRITER), null);
  await bench.event("prepared");
  return (await bench.containers.inspect(SLOT))?.id ?? "";
}

const stateOf = async () => (await docker.getContainer(containerId).inspect()).State.Status;
const linesFile = () => join(slotFolders(join(bench.dir, "slots"), SLOT).work, "lines");
const askedFile = () => join(slotFolders(join(bench.dir, "slots"), SLOT).work, "asked");
const bytesWritten = () => (existsSync(linesFile()) ? statSync(linesFile()).size : 0);
const records = () =>
  existsSync(join(bench.dir, "guard.log"))
    ? readFileSync(join(bench.dir, "guard.log"), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { what: string; atMs: number; untilMs: number })
    : [];
const recorded = () => records().map(({ what }) => what);

/** Under guard and running, with a lease from now. */
async function start(): Promise<number> {
  const untilMs = clock.nowMs() + LEASE_MS;
  guard.extend(SLOT, untilMs);
  await guard.arm(SLOT, containerId, never);
  await bench.containers.start(SLOT);
  return untilMs;
}

/** Nothing is written from here on. */
async function expectStill(): Promise<void> {
  const before = bytesWritten();
  expect(before).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(bytesWritten()).toBe(before);
}

describe("a container", () => {
  it("runs while its lease is renewed, is paused at its end, and goes on when it is renewed again", async () => {
    const untilMs = await start();
    guard.extend(SLOT, untilMs + 1_000);
    await expect.poll(stateOf, SOON).toBe("paused");
    expect(clock.nowMs()).toBeGreaterThanOrEqual(untilMs + 1_000);
    await expectStill();
    expect(guard.heldMs(SLOT)).toBeGreaterThan(0);
    guard.extend(SLOT, clock.nowMs() + 60_000);
    await expect.poll(stateOf, SOON).toBe("running");
    const before = bytesWritten();
    await expect.poll(bytesWritten, SOON).toBeGreaterThan(before);
    await expect.poll(recorded, SOON).toEqual(["paused", "let_go"]);
    const [paused] = records();
    expect((paused?.atMs ?? 0) - (paused?.untilMs ?? 0)).toBeLessThan(EXCLUSIVE_MARGIN_MS);
  });

  it("that somebody resumes though its lease is over is paused again", async () => {
    await start();
    await expect.poll(stateOf, SOON).toBe("paused");
    await docker.getContainer(containerId).unpause();
    // An Engine that is late at it leaves it to the kernel.
    const held = expect.stringMatching(/^(paused|frozen)$/);
    await expect.poll(recorded, SOON).toEqual(["paused", "resumed", held]);
    await expectStill();
  });

  it("that is asked to save while it is held stays held, and hears of it when it is let go", async () => {
    await start();
    await expect.poll(stateOf, SOON).toBe("paused");
    const before = bytesWritten();
    await bench.containers.signal(SLOT, "SIGURG");
    expect(await stateOf()).toBe("paused");
    expect(bytesWritten()).toBe(before);
    expect(existsSync(askedFile())).toBe(false);
    guard.extend(SLOT, clock.nowMs() + 60_000);
    await expect.poll(() => existsSync(askedFile()), SOON).toBe(true);
    await expect.poll(recorded, SOON).toEqual(["paused", "let_go"]);
  });

  it("that was not started before its lease was over cannot be started any more", async () => {
    guard.extend(SLOT, clock.nowMs() + LEASE_MS);
    await guard.arm(SLOT, containerId, never);
    await expect.poll(() => bench.containers.inspect(SLOT), SOON).toBeUndefined();
    await expect.poll(recorded, SOON).toEqual(["removed"]);
  });

  it("without a lease, or with hardly any left, is not armed for a start", async () => {
    await expect(guard.arm(SLOT, containerId, never)).rejects.toMatchObject({ code: "guard_failed" });
    guard.extend(SLOT, clock.nowMs() + 1_000);
    await expect(guard.arm(SLOT, containerId, never)).rejects.toMatchObject({ code: "guard_failed" });
  });

  it.each([["removed"], ["killed"], ["stopped"]] as const)(
    "that is %s while it is held writes nothing more",
    async (how) => {
      await start();
      await expect.poll(stateOf, SOON).toBe("paused");
      const before = bytesWritten();
      if (how === "removed") await bench.containers.remove(SLOT);
      else if (how === "killed") await bench.containers.kill(SLOT);
      else await bench.containers.stop(SLOT, 10);
      await expect
        .poll(async () => (await bench.containers.inspect(SLOT))?.state ?? "absent", SOON)
        .not.toBe("running");
      expect(bytesWritten()).toBe(before);
    },
  );
});

it("holds a container for a time that is told with what is seen of it", async () => {
  const slot = bench.slot("job-2-r0e1", guard);
  const run = shell("exec sleep 60", { failover: "exclusive" });
  await slot.prepare("job-2" as never, run, null);
  slot.lease(clock.nowMs() + LEASE_MS);
  await slot.start(attemptOf("job-2"), run);
  const look = async () => {
    await slot.measure(false);
    return bench.events.findLast((event) => event.kind === "measured")?.look;
  };
  expect(await look()).not.toHaveProperty("heldMs");
  await expect.poll(look, SOON).toMatchObject({ heldMs: expect.any(Number) });
  await slot.remove();
});

describe("the guard", () => {
  it.each([["SIGKILL"], ["SIGSTOP"]] as const)(
    "outlives its agent, which gets %s with all of its group",
    async (signal) => {
      guard.stop();
      const agent = startAgent();
      await expect.poll(bytesWritten, SOON).toBeGreaterThan(0);
      process.kill(-(agent.pid ?? 0), signal);
      expect(await stateOf()).toBe("running");
      await expect.poll(stateOf, SOON).toBe("paused");
      await expectStill();
    },
  );

  it("that is killed is replaced, and the next one keeps to the same leases", async () => {
    await start();
    const first = readStatus(folder);
    process.kill(first?.pid ?? 0, "SIGKILL");
    await expect.poll(stateOf, SOON).toBe("paused");
    await expect.poll(() => readStatus(folder)?.generation ?? 0, SOON).toBeGreaterThan(first?.generation ?? 0);
    guard.extend(SLOT, clock.nowMs() + 60_000);
    await expect.poll(stateOf, SOON).toBe("running");
  });

  it("is found again by the next agent, and ends when nothing is left to guard", async () => {
    await start();
    const pid = readStatus(folder)?.pid ?? 0;
    guard.stop();
    guard = newGuard();
    expect(guard.leaseLeftMs(SLOT)).toBeGreaterThan(0);
    guard.extend(SLOT, clock.nowMs() + 60_000);
    await guard.arm(SLOT, containerId, never);
    expect(readStatus(folder)?.pid).toBe(pid);
    await bench.containers.remove(SLOT);
    guard.keepOnly(new Set());
    await expect.poll(() => isAlive(pid), SOON).toBe(false);
  });

  it("freezes what an Engine that hangs does not pause, and lets it go when the lease is renewed", async () => {
    const engine = await createHangingEngine();
    guard.stop();
    guard = newGuard(engine.socketPath);
    await start();
    await expect.poll(bytesWritten, SOON).toBeGreaterThan(0);
    engine.hang(true);
    const pid = (await docker.getContainer(containerId).inspect()).State.Pid;
    const cgroup = cgroupOf(containerId, pid) ?? "";
    await expect.poll(() => isFrozen(cgroup), SOON).toBe(true);
    await expect.poll(recorded, SOON).toEqual(["frozen"]);
    const [frozen] = records();
    expect((frozen?.atMs ?? 0) - (frozen?.untilMs ?? 0)).toBeLessThan(EXCLUSIVE_MARGIN_MS);
    expect(await stateOf()).toBe("running");
    await expectStill();
    engine.hang(false);
    guard.extend(SLOT, clock.nowMs() + 60_000);
    await expect.poll(() => isFrozen(cgroup), SOON).toBe(false);
  });

  it("that froze without the Engine leaves a container that can be removed", async () => {
    const engine = await createHangingEngine();
    guard.stop();
    guard = newGuard(engine.socketPath);
    await start();
    await expect.poll(bytesWritten, SOON).toBeGreaterThan(0);
    engine.hang(true);
    const cgroup = cgroupOf(containerId, (await docker.getContainer(containerId).inspect()).State.Pid) ?? "";
    await expect.poll(() => isFrozen(cgroup), SOON).toBe(true);
    const before = bytesWritten();
    await bench.containers.remove(SLOT);
    expect(await bench.containers.inspect(SLOT)).toBeUndefined();
    expect(bytesWritten()).toBe(before);
  });
});

/** A process in a group of its own that guards and starts the container, and renews its lease once a second. */
function startAgent(): ChildProcess {
  const from = (name: string) => JSON.stringify(join(import.meta.dirname, name));
  const script = `
    import { createGuard } from ${from("guard.ts")};
    import { createBootClock } from ${from("../runner/boot-clock.ts")};
    import { createContainers } from ${from("../runner/containers.ts")};
    import { createEngine } from ${from("../runner/engine.ts")};
    import { createLogger } from "@qubix/shared/runtime";
    const clock = createBootClock();
    const config = ${JSON.stringify({ folder, dockerSocket: DOCKER_SOCKET, record: join(bench.dir, "guard.log") })};
    const guard = createGuard({ clock, logger: createLogger("test", "silent") }, config);
    const renew = () => guard.extend("${SLOT}", clock.nowMs() + ${LEASE_MS});
    renew();
    await guard.arm("${SLOT}", "${containerId}", new AbortController().signal);
    await createContainers(createEngine("${DOCKER_SOCKET}"), "${bench.workerId}").start("${SLOT}");
    setInterval(renew, 1_000);`;
  const args = ["--conditions=qubix-source", "--input-type=module", "-e", script];
  // Its folder lies in the workspace: packages are found from there.
  const child = spawn(process.execPath, args, { cwd: import.meta.dirname, detached: true, stdio: "ignore" });
  over.push(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), "SIGKILL");
  });
  return child;
}

/** The Engine behind a socket that stops answering when it is told to. */
async function createHangingEngine(): Promise<{ readonly socketPath: string; hang(yes: boolean): void }> {
  const socketPath = join(mkdtempSync(join(tmpdir(), "qubix-hang-")), "docker.sock");
  const sockets = new Set<Socket>();
  let hangs = false;
  const server: Server = createServer((near) => {
    sockets.add(near);
    near.on("error", () => undefined);
    if (hangs) return;
    const far = connect(DOCKER_SOCKET);
    sockets.add(far);
    far.on("error", () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  over.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(dirname(socketPath), { recursive: true, force: true });
  });
  return {
    socketPath,
    hang: (yes) => {
      hangs = yes;
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
