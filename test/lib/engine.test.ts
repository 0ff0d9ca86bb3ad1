// The Engine for tests is one of its own, can do what a real one does, and leaves nothing behind.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureTinyImage, TINY_IMAGE } from "../../worker/src/runner/testing.ts";
import { isRunning, startTestEngine, type TestEngine, whyNoTestEngine } from "./engine.ts";

let engine: TestEngine;
const reason = whyNoTestEngine();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

beforeAll(async () => {
  if (reason !== undefined) return;
  await ensureTinyImage();
  engine = await startTestEngine();
});

afterAll(() => engine?.stop());

describe.skipIf(reason !== undefined)("an Engine for tests", () => {
  it("runs images of the machine's Engine on a bridge and iptables chains in a namespace of its own", async () => {
    await engine.loadImage(TINY_IMAGE);
    expect(await engine.docker(["run", "--rm", "--user", "0", TINY_IMAGE, "cat", "/proc/self/cgroup"])).toContain(
      engine.namespace,
    );
    const gateway = await engine.docker([
      "run",
      "--rm",
      TINY_IMAGE,
      "sh",
      "-c",
      "ip route | sed 's/.*via //;s/ .*//;q'",
    ]);
    const addresses = await engine.exec(["ip", "-o", "-4", "address", "show", "docker0"]);
    expect(addresses.stdout).toContain(`${gateway}/`);
    const chains = await engine.exec(["iptables", "-w", "5", "-S"]);
    expect(chains.stdout).toContain("-N DOCKER-USER");
    expect((await engine.exec(["ip", "-o", "link"])).stdout).not.toContain("eth0");
  });

  it("says why when it does not start", async () => {
    await expect(startTestEngine({ config: { "storage-driver": "no-such" } })).rejects.toThrow(/no-such/);
  });

  it("loses power with all that runs on it, and has its disk when it is back", async () => {
    await engine.docker(["run", "--detach", "--name", "powered", TINY_IMAGE, "sleep", "600"]);
    const container = Number(await engine.docker(["inspect", "--format", "{{.State.Pid}}", "powered"]));
    await engine.crash();
    expect([isRunning(container), isRunning(engine.pid())]).toEqual([false, false]);
    await engine.resume();
    expect(await engine.docker(["inspect", "--format", "{{.State.Status}}", "powered"])).toBe("exited");
    expect(await engine.docker(["run", "--rm", TINY_IMAGE, "echo", "again"])).toBe("again");
    await engine.docker(["rm", "powered"]);
  });

  it("is gone when it is stopped, with containers that ran", async () => {
    const other = await startTestEngine();
    await other.loadImage(TINY_IMAGE);
    await other.docker(["run", "--detach", "--name", "left", TINY_IMAGE, "sleep", "600"]);
    const container = Number(await other.docker(["inspect", "--format", "{{.State.Pid}}", "left"]));
    await other.stop();
    await other.stop();
    expect(isRunning(container)).toBe(false);
    expectNothingLeft(other.namespace, other.folder);
  });

  it("removes what a run that was killed has left", async () => {
    const child = spawn(
      process.execPath,
      ["--conditions=qubix-source", fileURLToPath(new URL("./engine-holder.ts", import.meta.url)), TINY_IMAGE],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const held = await new Promise<{ namespace: string; folder: string; container: number }>((resolve, reject) => {
      child.stdout.once("data", (line: Buffer) => resolve(JSON.parse(line.toString())));
      child.once("exit", (code) => reject(new Error(`the holder ended with ${code}`)));
    });
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    expect(isRunning(held.container)).toBe(true);
    await (await startTestEngine()).stop();
    expect(isRunning(held.container)).toBe(false);
    expectNothingLeft(held.namespace, held.folder);
    expect((await engine.exec(["ip", "-o", "link"])).stdout, "that of a run that goes on is left alone").toContain(
      "docker0",
    );
  });
});

function expectNothingLeft(namespace: string, folder: string): void {
  expect(existsSync(folder)).toBe(false);
  expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(namespace);
  const hierarchies = readdirSync("/sys/fs/cgroup").map((name) => `/sys/fs/cgroup/${name}/${namespace}`);
  expect(hierarchies.filter((path) => existsSync(path))).toEqual([]);
}
