// Where the worker takes jobs with egress, and what it tells an owner on whose machine it cannot.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { EgressCheck } from "../../worker/src/runner/network/check.ts";
import { startTestEngine, type TestEngine, type TestEngineOptions, whyNoTestEngine } from "../lib/engine.ts";

const reason = whyNoTestEngine();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const SCRIPT = fileURLToPath(new URL("check.ts", import.meta.url));
const TIMEOUT_MS = 60_000;
let engine: TestEngine | undefined;
let scratch: string | undefined;

afterEach(async () => {
  await engine?.stop();
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

describe.skipIf(reason !== undefined)("jobs with egress", { timeout: 2 * TIMEOUT_MS }, () => {
  it("can be taken, and the check leaves no trace", async () => {
    const started = await start({});
    const before = await stateOf(started);
    expect(await check(started)).toMatchObject({ ok: true, remedy: "" });
    expect(await stateOf(started)).toEqual(before);

    const unprivileged = await check(started, ["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"]);
    expect(unprivileged).toMatchObject({ ok: false, remedy: expect.stringMatching(/root[\s\S]*NET_ADMIN/) });
    expect(await stateOf(started)).toEqual(before);
  });

  it("can be taken where the Engine uses the older iptables", async () => {
    // The same tools under the names that the Engine asks for.
    scratch = mkdtempSync(join(tmpdir(), "qubix-legacy-"));
    mkdirSync(scratch, { recursive: true });
    for (const tool of ["iptables", "ip6tables"]) symlinkSync(`/usr/sbin/${tool}-legacy`, join(scratch, tool));
    const started = await start({ env: { PATH: `${scratch}:${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` } });
    const { stdout } = await started.exec(["iptables-legacy", "-S", "DOCKER-USER"]);
    expect(stdout).toContain("-N DOCKER-USER");
    expect(await check(started)).toMatchObject({ ok: true });
    expect((await started.exec(["iptables-legacy-save"])).stdout).not.toMatch(/QUBIX|qx/);
  });

  it("cannot be taken where the Engine leaves the firewall alone", async () => {
    const started = await start({ config: { iptables: false } });
    const found = await check(started);
    expect(found).toMatchObject({ ok: false, found: expect.stringContaining("DOCKER-USER") });
    expect(found.remedy).toMatch(/iptables/);
    expect(await started.docker(["network", "ls", "--quiet", "--filter", "label=qubix.worker"])).toBe("");
  });
});

async function start(options: TestEngineOptions): Promise<TestEngine> {
  engine = await startTestEngine(options);
  return engine;
}

async function check(at: TestEngine, before: readonly string[] = []): Promise<EgressCheck> {
  const command = [...before, process.execPath, "--conditions=qubix-source", SCRIPT, at.socket];
  const { stdout, stderr } = await at.exec(command, TIMEOUT_MS);
  expect(stderr).toBe("");
  return JSON.parse(stdout) as EgressCheck;
}

/** Rules, interfaces and networks. */
async function stateOf(at: TestEngine): Promise<readonly string[]> {
  const rules = [await at.exec(["iptables-save", "-t", "filter"]), await at.exec(["ip6tables-save", "-t", "filter"])];
  const links = await at.exec(["ip", "-br", "link"]);
  const plain = rules.map(({ stdout }) => stdout.replaceAll(/^#.*\n|\[\d+:\d+\]/gm, ""));
  return [...plain, links.stdout, await at.docker(["network", "ls", "--no-trunc"])];
}
