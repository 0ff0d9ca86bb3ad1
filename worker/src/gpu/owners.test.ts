import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { containersIn, foreignOf } from "./owners.ts";

const OURS = "a".repeat(64);
const THEIRS = "b".repeat(64);

let proc = "";
beforeEach(async () => {
  proc = await mkdtemp(join(tmpdir(), "qubix-proc-"));
});
afterEach(() => rm(proc, { recursive: true, force: true }));

async function add(pid: number, parent: number, cgroup: string): Promise<void> {
  await mkdir(join(proc, String(pid)));
  await writeFile(join(proc, String(pid), "cgroup"), cgroup);
  await writeFile(join(proc, String(pid), "stat"), `${pid} (a) b) S ${parent} 1 1 0`);
}

function foreign(
  pids: readonly number[],
  containerIds = () => Promise.resolve(new Set([OURS]) as ReadonlySet<string>),
) {
  return foreignOf(pids, { proc, agentPid: 100, containerIds });
}

it("knows a container by its control group, as every Engine writes it", () => {
  expect(containersIn(`0::/system.slice/docker-${OURS}.scope`)).toEqual([OURS]);
  expect(containersIn(`12:devices:/docker/${OURS}\n11:cpu:/docker/${OURS}`)).toEqual([OURS, OURS]);
  expect(containersIn(`0::/../${THEIRS}/init`)).toEqual([THEIRS]);
  expect(containersIn("0::/user.slice/user-1000.slice/session-2.scope")).toEqual([]);
});

it("tells the agent's, a Qubix container's and somebody else's processes apart", async () => {
  await add(100, 1, "0::/system.slice/qubix-worker.service");
  await add(101, 100, "0::/system.slice/qubix-worker.service");
  await add(102, 101, "0::/system.slice/qubix-worker.service");
  await add(200, 199, `0::/system.slice/docker-${OURS}.scope`);
  await add(300, 299, `0::/system.slice/docker-${THEIRS}.scope`);
  await add(400, 1, "0::/user.slice");
  expect([...(await foreign([100, 101, 102, 200, 300, 400, 500]))]).toEqual([300, 400]);
});

it("does not ask the Engine where no container is on a card, and fails where it cannot be asked", async () => {
  const broken = () => Promise.reject(new Error("no Engine"));
  await add(400, 1, "0::/user.slice");
  expect([...(await foreign([400], broken))]).toEqual([400]);
  await add(200, 1, `0::/docker/${OURS}`);
  await expect(foreign([200], broken)).rejects.toThrow("no Engine");
});

it("sees a real child of its own as its own, and the first process of the machine as foreign", async () => {
  const child = spawn("sleep", ["30"]);
  try {
    const ports = { agentPid: process.pid, containerIds: () => Promise.resolve(new Set<string>()) };
    expect([...(await foreignOf([child.pid ?? 0, process.pid, 1], ports))]).toEqual([1]);
  } finally {
    child.kill("SIGKILL");
  }
});
