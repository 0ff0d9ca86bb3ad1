import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { loadConfig } from "@qubix/shared/runtime";
import { createEngine } from "../../runner/engine.ts";
import { createKey } from "../../link/keys.ts";
import { startConfigSchema } from "../config.ts";
import { type Check, type DoctorConfig, fail, ok, skip, warn } from "./check.ts";
import { checkDataDir } from "./checks/data-dir.ts";
import { checkDocker, compareVersions, type EngineInfo, judgeEngine } from "./checks/docker.ts";
import { checkOrchestrator } from "./checks/orchestrator.ts";
import { checkPrices } from "./checks/prices.ts";
import { isHealthy, runDoctor } from "./doctor.ts";
import { renderCheck, renderSummary } from "./render.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-doctor-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function configOf(flags: Record<string, unknown> = {}): DoctorConfig {
  return loadConfig(startConfigSchema, { flags: { dataDir: dir, ...flags }, env: {} });
}

function contextOf(flags: Record<string, unknown> = {}) {
  const config = configOf(flags);
  return { config, engine: createEngine(config.dockerSocket), signal: new AbortController().signal };
}

const plain = (_style: unknown, text: string) => text;

describe("the report", () => {
  const engine = createEngine("/nowhere.sock");

  it("tells every area in order, also what throws or hangs", async () => {
    const told: string[] = [];
    const areas = [
      {
        name: "Slow",
        run: () => new Promise<Check[]>((resolve) => setTimeout(() => resolve([ok("Slow", "a", "b")]), 20)),
      },
      { name: "Quick", run: async () => [warn("Quick", "x", "y", "z"), skip("Quick too", "not here")] },
      { name: "Broken", run: async () => Promise.reject(new Error("it broke")) },
      {
        name: "Hanging",
        run: ({ signal }: { signal: AbortSignal }) =>
          new Promise<Check[]>((resolve) => signal.addEventListener("abort", () => resolve([]))),
      },
    ];
    const checks = await runDoctor(
      areas,
      configOf(),
      { engine, told: (all) => told.push(...all.map((c) => c.name)) },
      200,
    );
    expect(told).toEqual(["Slow", "Quick", "Quick too", "Broken", "Hanging"]);
    expect(checks.map(({ status }) => status)).toEqual(["ok", "warn", "skip", "fail", "fail"]);
    expect(checks[3]?.found).toBe("it broke");
    expect(checks[4]?.found).toContain("no answer");
    expect(isHealthy(checks)).toBe(false);
    expect(isHealthy(checks.slice(0, 3))).toBe(true);
  });

  it("shows what is needed and the remedy where something is to be done", () => {
    expect(renderCheck(ok("Disk", "much", "some"), plain)).toBe(`ok    ${"Disk".padEnd(24)} much`);
    const failed = renderCheck(fail("Disk", "none", "some", "make room"), plain);
    expect(failed).toMatch(/^FAIL {2}Disk +none \(needed: some\)\n +→ make room$/);
    expect(renderSummary([ok("a", "", ""), warn("b", "", "", "")], plain)).toBe(
      "Ready: 1 ok, 1 warnings, 0 failed, 0 skipped.",
    );
    expect(renderSummary([fail("a", "", "", "")], plain)).toMatch(/^Not ready/);
  });
});

describe("the prices", () => {
  it("are told, with what is not priced apart, and what makes no sense is warned of", async () => {
    const apart = { pricePerGpuHour: "0.50", pricePerMemoryGibHour: "0.01", pricePerDiskGibHour: "0.001" };
    expect(await checkPrices(contextOf(apart))).toMatchObject([
      {
        status: "ok",
        found:
          "an hour: 0.50 USD a GPU, 0.10 USD a core, 0.01 USD a GiB of memory, 0.001 USD a GiB of disk; the rest is in these",
      },
    ]);
    expect(await checkPrices(contextOf({ pricePerGpuJobCpuHour: "0.05" }))).toMatchObject([{ status: "warn" }]);
    expect(await checkPrices(contextOf({ pricePerCpuHour: "0" }))).toMatchObject([{ status: "warn" }]);
  });
});

describe("the data directory", () => {
  const byName = (checks: readonly Check[]) => Object.fromEntries(checks.map((check) => [check.name, check]));

  it("may not be there yet", async () => {
    const checks = byName(await checkDataDir(contextOf({ dataDir: join(dir, "later", "w") })));
    expect(checks["Data directory"]).toMatchObject({ status: "warn", remedy: "enrol makes it" });
    expect(checks["Disk"]?.found).toMatch(/MiB free/);
    expect(await checkDataDir({ ...contextOf(), config: { ...configOf(), dataDir: undefined } })).toMatchObject([
      { status: "skip" },
    ]);
  });

  it("is private, and tells who is enrolled there", async () => {
    await chmod(dir, 0o755);
    const before = byName(await checkDataDir(contextOf()));
    expect(before["Data directory"]).toMatchObject({ status: "warn", remedy: `chmod 0700 ${dir}` });
    expect(before["Enrolment"]).toMatchObject({ status: "warn", found: "not enrolled yet" });
    await chmod(dir, 0o700);
    createKey(join(dir, "key.pem"));
    const identity = { url: "http://127.0.0.1:9", workerId: "wrk-1", orchestratorId: "orc", name: "anna" };
    await writeFile(join(dir, "identity.json"), JSON.stringify(identity));
    const after = byName(await checkDataDir(contextOf()));
    expect(after["Data directory"]?.status).toBe("ok");
    expect(after["Enrolment"]).toMatchObject({ status: "ok", found: "wrk-1 (anna) at http://127.0.0.1:9" });
    expect(after["Agent"]?.status).toBe("skip");
    await writeFile(join(dir, "key.pem"), "no key");
    expect(byName(await checkDataDir(contextOf()))["Enrolment"]?.status).toBe("fail");
  });
});

describe("the way to the orchestrator", () => {
  async function served(date: string, status = 200) {
    const http = createServer((request, response) => {
      response.writeHead(request.url === "/healthz" ? status : 404, { date }).end();
    });
    const sockets = new WebSocketServer({ server: http });
    sockets.on("connection", (socket) => socket.send("{}"));
    await new Promise<void>((resolve) => {
      http.listen(0, "127.0.0.1", resolve);
    });
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    return {
      url,
      stop: () => {
        sockets.close();
        http.closeAllConnections();
        http.close();
      },
    };
  }
  const told = (checks: readonly Check[]) => checks.map(({ name, status }) => `${name} ${status}`);

  it("is open: name, port, health, clock and socket", async () => {
    const { url, stop } = await served(new Date().toUTCString());
    expect(told(await checkOrchestrator(contextOf({ url })))).toEqual([
      "TLS ok",
      "Orchestrator ok",
      "Clock ok",
      "WebSocket ok",
    ]);
    stop();
    const closed = await checkOrchestrator(contextOf({ url }));
    expect(closed).toMatchObject([{ status: "fail", found: expect.stringContaining("ECONNREFUSED") }]);
  });

  it("shows a clock that is wrong, an answer that is no health, and a name that is none", async () => {
    const early = await served(new Date(Date.now() - 60_000).toUTCString());
    const clock = (await checkOrchestrator(contextOf({ url: early.url }))).find(({ name }) => name === "Clock");
    expect(clock).toMatchObject({ status: "warn", found: expect.stringMatching(/^(58|59|60) s ahead$/) });
    early.stop();
    const sick = await served(new Date().toUTCString(), 503);
    expect(told(await checkOrchestrator(contextOf({ url: sick.url })))).toEqual([
      "TLS ok",
      "Orchestrator fail",
      "Clock ok",
    ]);
    sick.stop();
    expect(await checkOrchestrator(contextOf({ url: "http://no-such-host.invalid" }))).toMatchObject([
      { status: "fail", found: expect.stringContaining("no address") },
    ]);
    expect(await checkOrchestrator(contextOf())).toMatchObject([{ status: "skip" }]);
  });
});

describe("the Docker Engine", () => {
  const good: EngineInfo = {
    ServerVersion: "27.1.0",
    Driver: "overlay2",
    CgroupVersion: "2",
    MemoryLimit: true,
    SwapLimit: true,
    PidsLimit: true,
    CpuCfsQuota: true,
    LiveRestoreEnabled: true,
    SecurityOptions: ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    OSType: "linux",
  };
  const version = { ApiVersion: "1.46", Components: [{ Name: "runc", Version: "1.1.13" }] };
  const judged = (patch: Partial<EngineInfo>, other = version) =>
    judgeEngine({ ...good, ...patch }, other)
      .filter(({ status }) => status !== "ok")
      .map(({ name, status }) => `${name} ${status}`);

  it("is judged by what it says of itself", () => {
    expect(judged({})).toEqual([]);
    expect(judged({ MemoryLimit: false, PidsLimit: false })).toEqual(["Limits fail"]);
    expect(judged({ SwapLimit: false, LiveRestoreEnabled: false })).toEqual(["Swap limit warn", "Live restore warn"]);
    expect(judged({ SecurityOptions: [] })).toEqual(["seccomp fail", "AppArmor warn"]);
    expect(judged({ SecurityOptions: ["name=selinux", "name=seccomp,profile=unconfined"] })).toEqual(["seccomp fail"]);
    expect(judged({ OSType: "windows", Driver: "vfs" })).toEqual(["Docker Engine fail", "Storage driver warn"]);
    expect(judged({}, { ApiVersion: "1.40", Components: [{ Name: "runc", Version: "1.1.5+ds1" }] })).toEqual([
      "Docker Engine fail",
      "runc warn",
    ]);
  });

  it("compares versions by their numbers", () => {
    expect(compareVersions("1.1.12", "1.1.9")).toBeGreaterThan(0);
    expect(compareVersions("1.1.5+ds1-1", "1.1.5")).toBe(0);
    expect(compareVersions("20.10.24+dfsg1", "24")).toBeLessThan(0);
  });

  it("of this machine answers, and one that is not there is a failure with a remedy", async () => {
    const here = await checkDocker(contextOf());
    expect(here[0]).toMatchObject({ name: "Docker Engine", status: "ok" });
    const nowhere = await checkDocker(contextOf({ dockerSocket: join(dir, "no.sock") }));
    expect(nowhere).toMatchObject([{ status: "fail", remedy: expect.stringContaining("docker.io") }]);
  });
});
