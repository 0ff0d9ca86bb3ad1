import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect, createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createPublicKey, verify } from "node:crypto";
import { enrolRequestSchema, enrolText, type WorkerMessage } from "@qubix/shared/protocol";
import { loadConfig } from "@qubix/shared/runtime";
import { ORCHESTRATOR_ID, startTestOrchestrator, type TestOrchestrator } from "../link/testing.ts";
import { createContainers } from "../runner/containers.ts";
import { createEngine } from "../runner/engine.ts";
import { attemptOf, DOCKER_SOCKET, ensureTinyImage, shell, TINY_IMAGE } from "../runner/testing.ts";
import { agentSocketPath, askAgent, serveAgent } from "./agent-socket.ts";
import { priceOf, startConfigSchema } from "./config.ts";
import { enrol, loadIdentity } from "./identity.ts";

const run = promisify(execFile);
const WORKER_ID = "wrk-test-app";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-app-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe("settings", () => {
  it("come from flags, then variables, then defaults", () => {
    const env = { QUBIX_REGION: "eu-west", QUBIX_CPUS: "3", QUBIX_LOCAL_IMAGE: "a/b:local, c:local" };
    const config = loadConfig(startConfigSchema, { flags: { dataDir: "/d", cpus: "2" }, env });
    expect(config).toMatchObject({ dataDir: "/d", cpus: 2, region: "eu-west", localImage: ["a/b:local", "c:local"] });
    expect(config).toMatchObject({ pricePerCpuHour: "0.10", currency: "USD", standbyPercent: 25, json: false });
  });

  it.each([
    [{ pricePerCpuHour: "free" }, /pricePerCpuHour \(flag\): a price is a decimal number/],
    [{ standbyPercent: "101" }, /standbyPercent/],
    [{ localImage: ["Not An Image"] }, /tag local/],
    [{ region: "EU West" }, /region/],
  ])("say what is wrong: %j", (flags, message) => {
    expect(() => loadConfig(startConfigSchema, { flags: { dataDir: "/d", ...flags }, env: {} })).toThrow(message);
  });

  it("turn prices into micro-units, exactly", () => {
    expect(priceOf("0.10", "USD")).toEqual({ amount: 100_000n, currency: "USD" });
    expect(priceOf("12", "EUR").amount).toBe(12_000_000n);
    expect(priceOf("0.000001", "EUR").amount).toBe(1n);
  });
});

describe("enrolment", () => {
  const TOKEN = "enrol-token-0123456789";

  async function serve(status: number, body: unknown) {
    const requests: unknown[] = [];
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        requests.push(JSON.parse(Buffer.concat(parts).toString()));
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return { url, requests, stop: () => new Promise((resolve) => server.close(resolve)) };
  }

  it("proves that the key is held, and is done once", async () => {
    const server = await serve(201, { workerId: WORKER_ID, orchestratorId: "orc-1" });
    const dataDir = join(dir, "w");
    const identity = await enrol({ url: server.url, token: TOKEN, name: "my worker", dataDir });
    expect(identity).toEqual({ url: server.url, name: "my worker", workerId: WORKER_ID, orchestratorId: "orc-1" });
    const request = enrolRequestSchema.parse(server.requests[0]);
    const der = Buffer.concat([
      Buffer.from("302a300506032b6570032100", "hex"),
      Buffer.from(request.publicKey, "base64url"),
    ]);
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    expect(verify(null, Buffer.from(enrolText(TOKEN)), key, Buffer.from(request.signature, "base64url"))).toBe(true);
    expect(loadIdentity(dataDir).key.publicKey).toBe(request.publicKey);
    for (const file of await readdir(dataDir)) expect((await stat(join(dataDir, file))).mode & 0o077).toBe(0);
    await expect(enrol({ url: server.url, token: TOKEN, name: "x", dataDir })).rejects.toMatchObject({
      code: "already_enrolled",
    });
    await server.stop();
  });

  it("tells the orchestrator's reason, and can be tried again with another token", async () => {
    const refusing = await serve(410, { code: "enrolment_expired", detail: "The token has expired; ask for another." });
    const input = { token: TOKEN, name: "x", dataDir: join(dir, "w") };
    await expect(enrol({ ...input, url: refusing.url })).rejects.toMatchObject({
      code: "enrolment_expired",
      message: "The token has expired; ask for another.",
    });
    await refusing.stop();
    await expect(enrol({ ...input, url: refusing.url })).rejects.toMatchObject({ code: "orchestrator_unreachable" });
    await expect(enrol({ ...input, url: refusing.url, token: "short" })).rejects.toMatchObject({
      code: "enrolment_invalid",
    });
    const server = await serve(201, { workerId: WORKER_ID, orchestratorId: "orc-1" });
    await enrol({ ...input, url: server.url });
    await server.stop();
  });

  it.each(["null", "[]", "{}", '{"url":"http://x","workerId":"wrk-1","name":"w"}'])(
    "is not read from a file that holds %s: that it is damaged is told, and what to do",
    async (text) => {
      await writeFile(join(dir, "identity.json"), text);
      expect(() => loadIdentity(dir)).toThrow(/identity\.json.*Restore it, or enrol again/);
    },
  );

  it("is missed when a worker starts without it", () => {
    expect(() => loadIdentity(dir)).toThrow(/qubix-worker enrol/);
  });
});

describe("the agent's socket", () => {
  it("answers its owner, and says so when nobody is there", async () => {
    await expect(askAgent(dir, { command: "status" })).rejects.toMatchObject({ code: "not_running" });
    const server = await serveAgent(dir, (request) => {
      if (request.command === "drain") throw new Error("no draining today");
      return { got: request };
    });
    expect((await stat(agentSocketPath(dir))).mode & 0o777).toBe(0o600);
    expect(await askAgent(dir, { command: "status" })).toEqual({ got: { command: "status" } });
    await expect(askAgent(dir, { command: "drain", draining: true })).rejects.toThrow("no draining today");
    server.close();
  });

  it("takes a request whole, however it is cut, and only one of each connection", async () => {
    const got: unknown[] = [];
    const server = await serveAgent(dir, (request) => got.push(request));
    const request = { command: "set", values: { yieldGpuIgnore: ["spéléo"] }, reset: [] } as const;
    const line = Buffer.from(`${JSON.stringify(request)}\n`);
    // In the middle of a letter of two bytes.
    const cut = line.indexOf(0xc3) + 1;
    const socket = connect(agentSocketPath(dir));
    let text = "";
    socket.on("data", (part: Buffer) => (text += part.toString()));
    await new Promise((resolve) => socket.write(line.subarray(0, cut), resolve));
    // Answered on another connection: by then what was written before has been read.
    await askAgent(dir, { command: "status" });
    socket.write(Buffer.concat([line.subarray(cut), line]));
    await new Promise((resolve) => socket.once("close", resolve));
    expect(text).toBe('{"ok":true,"value":2}\n');
    expect(got).toEqual([{ command: "status" }, request]);
    server.close();
  });

  it("does not lie in a folder under the system's temporary ones that somebody else has made", async () => {
    const deep = join(dir, "b".repeat(120));
    const folder = join(agentSocketPath(deep), "..");
    await mkdir(folder);
    try {
      await chmod(folder, 0o777);
      await expect(serveAgent(deep, () => 1)).rejects.toMatchObject({ code: "data_dir_unusable" });
      await chmod(folder, 0o700);
      if (process.getuid?.() === 0) {
        await chown(folder, 65_534, 65_534);
        await expect(serveAgent(deep, () => 1)).rejects.toThrow(folder);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("fits a data directory with a long name, and takes a dead agent's place", async () => {
    const deep = join(dir, "a".repeat(120));
    await mkdir(deep);
    expect(Buffer.byteLength(agentSocketPath(deep))).toBeLessThan(104);
    await writeFile(agentSocketPath(dir), "left over");
    const server = await serveAgent(dir, () => 1);
    expect(await askAgent(dir, { command: "status" })).toBe(1);
    server.close();
  });
});

// The program itself as a process, with the real Docker Engine and a server that speaks the protocol.
describe("qubix-worker", () => {
  const main = JSON.stringify(join(import.meta.dirname, "main.ts"));
  const program = `import(${main}).then(async (m) => { process.exitCode = await m.main(process.argv.slice(1)); })`;
  const node = ["--conditions=qubix-source", "-e", program, "--"];
  const running: ChildProcess[] = [];
  let orchestrator: TestOrchestrator | null = null;
  const containers = createContainers(createEngine(DOCKER_SOCKET), WORKER_ID);

  beforeAll(ensureTinyImage, 120_000);
  afterEach(async () => {
    for (const child of running.splice(0)) child.kill("SIGKILL");
    await orchestrator?.stop();
    orchestrator = null;
    for (const id of await containers.list()) await containers.remove(id);
  });

  async function cli(...args: string[]) {
    return run(process.execPath, [...node, ...args]).then(
      ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
  }

  async function enrolled(): Promise<TestOrchestrator> {
    const { createKey } = await import("../link/keys.ts");
    const made = await startTestOrchestrator(createKey(join(dir, "key.pem")).publicKey);
    const identity = { url: made.url, workerId: WORKER_ID, orchestratorId: ORCHESTRATOR_ID, name: "w" };
    await writeFile(join(dir, "identity.json"), JSON.stringify(identity));
    return made;
  }

  /** Starts the agent and waits for its line of JSON. */
  async function start(...more: string[]): Promise<ChildProcess> {
    const flags = ["--data-dir", dir, "--local-image", TINY_IMAGE, "--cpus", "1", "--memory-mib", "512", "--json"];
    const child = spawn(process.execPath, [...node, "start", ...flags, "--log-level", "error", ...more]);
    running.push(child);
    const line = await new Promise<string>((resolve, reject) => {
      let errors = "";
      child.stdout?.once("data", (data: Buffer) => resolve(data.toString()));
      child.stderr?.on("data", (data: Buffer) => (errors += data.toString()));
      child.once("exit", (code) => reject(new Error(`exit ${code}: ${errors}`)));
    });
    expect(JSON.parse(line)).toMatchObject({ event: "ready", workerId: WORKER_ID });
    return child;
  }

  function said<K extends WorkerMessage["kind"]>(kind: K): Extract<WorkerMessage, { kind: K }>[] {
    const all = orchestrator?.messages ?? [];
    return all.filter((message): message is Extract<WorkerMessage, { kind: K }> => message.kind === kind);
  }

  function exited(child: ChildProcess): Promise<number | null> {
    return new Promise((resolve) => {
      child.once("exit", (code) => resolve(code));
    });
  }

  it("helps, and fails in one line", async () => {
    expect((await cli("--help")).stdout).toContain("enrol");
    expect(await cli("start", "--data-dir", dir)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qubix-worker: .*enrol/),
    });
    expect(await cli("status", "--data-dir", dir)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qubix-worker: No qubix-worker runs/),
    });
    expect(await cli("enrol", "--url", "nowhere", "--token", "x", "--data-dir", dir)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("is no URL"),
    });
    expect(await cli("start", "--data-dir", dir, "--local-image", "python:3.12")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^qubix-worker: .*tag local.*\n$/),
    });
    expect(await cli("enrol", "--url", "http://x", "--token", "x", "--data-dir", process.execPath)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qubix-worker: Cannot make the data directory.*\n$/),
    });
    const printed = await cli("start", "--data-dir", dir, "--region", "eu-west", "--print-config");
    expect(JSON.parse(printed.stdout)).toMatchObject({ dataDir: dir, region: "eu-west", standbyPercent: 25 });
    orchestrator = await enrolled();
    const noDocker = await cli("start", "--data-dir", dir, "--docker-socket", join(dir, "no.sock"));
    expect(noDocker).toMatchObject({ code: 1, stderr: expect.stringContaining("Cannot reach the Docker Engine") });
    orchestrator.refuseWith = 4003;
    expect(await cli("start", "--data-dir", dir)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("enrol again"),
    });
    await writeFile(join(dir, "identity.json"), "{");
    expect(await cli("start", "--data-dir", dir)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qubix-worker: Cannot read .*\n$/),
    });
  }, 180_000);

  it("says what is wrong with an address that a variable names, and with flags that exclude each other", async () => {
    const env = { ...process.env, QUBIX_URL: "nowhere" };
    const enrolling = run(process.execPath, [...node, "enrol", "--token", "x", "--data-dir", dir], { env });
    await expect(enrolling).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('"nowhere" is no URL') });
    for (const flag of ["--now", "--deadline=60", "--wait"]) {
      expect(await cli("drain", "--undo", flag, "--data-dir", dir)).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/--undo.* cannot be used with option '--(now|deadline|wait)/),
      });
    }
  }, 60_000);

  it("stops at SIGTERM also while it starts, beside a Docker Engine that hangs", async () => {
    orchestrator = await enrolled();
    const engine = createSocketServer();
    const path = join(dir, "docker.sock");
    await new Promise<void>((resolve) => engine.listen(path, resolve));
    const asked = new Promise((resolve) => engine.once("connection", resolve));
    const child = spawn(process.execPath, [...node, "start", "--data-dir", dir, "--docker-socket", path]);
    running.push(child);
    await asked;
    child.kill("SIGTERM");
    expect(await exited(child)).toBe(0);
    engine.close();
  }, 60_000);

  it("ends when its start fails half-way", async () => {
    orchestrator = await enrolled();
    await mkdir(join(dir, "agent.sock", "in the way"), { recursive: true });
    const quiet = ["--quiet-hours", "mon-sun 00:00-24:00"];
    const child = spawn(process.execPath, [...node, "start", "--data-dir", dir, "--log-level", "error", ...quiet]);
    running.push(child);
    let errors = "";
    child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
    expect(await exited(child)).toBe(1);
    expect(errors).toContain("agent.sock");
  }, 60_000);

  it("finds its orchestrator at another address", async () => {
    orchestrator = await enrolled();
    const file = join(dir, "identity.json");
    const identity = JSON.parse(await readFile(file, "utf8")) as { url: string };
    await writeFile(file, JSON.stringify({ ...identity, url: "http://127.0.0.1:9" }));
    await start("--url", `${identity.url}/`);
    await expect.poll(() => said("hello")).toHaveLength(1);
  }, 60_000);

  it("runs a job, survives kill -9 with it, and tells its whole story", async () => {
    orchestrator = await enrolled();
    const first = await start();
    const attempt = attemptOf("job-a");
    const script = `
      for i in $(seq 1 120); do
        echo line $i; echo $i > $QUBIX_CHECKPOINT_DIR/.n; mv $QUBIX_CHECKPOINT_DIR/.n $QUBIX_CHECKPOINT_DIR/n; sleep 0.1
      done; echo 120 > /out/n`;
    orchestrator.send({ kind: "assign", attempt, run: shell(script), checkpoint: null });
    await expect.poll(() => said("checkpoint").length, { timeout: 15_000 }).toBeGreaterThan(0);
    const status = JSON.parse((await cli("status", "--data-dir", dir, "--json")).stdout) as Record<string, unknown>;
    expect(status).toMatchObject({ connected: true, slots: [{ jobId: "job-a", phase: "running", epoch: 1 }] });
    const second = await cli("start", "--data-dir", dir);
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("Another qubix-worker") });

    first.kill("SIGKILL");
    await exited(first);
    await start();
    await expect.poll(() => said("hello")).toHaveLength(2);
    expect(said("hello")[1]?.attempts).toMatchObject([{ attempt, phase: "running" }]);
    await expect.poll(() => said("ended").length, { timeout: 40_000 }).toBeGreaterThan(0);
    expect(said("ended")[0]?.outcome).toMatchObject({ kind: "succeeded", outputs: { files: 1, bytes: 4 } });
    // As the orchestrator keeps it: what overlaps is there already.
    let log = "";
    for (const { offset, text } of said("log").toSorted((a, b) => a.offset - b.offset)) {
      log += text.slice(Math.max(0, log.length - offset));
    }
    expect(log).toBe(Array.from({ length: 120 }, (_, i) => `line ${i + 1}\n`).join(""));
    const seqs = said("checkpoint").map((checkpoint) => checkpoint.seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    // Acknowledged: nothing of it is left.
    await expect.poll(() => containers.list()).toEqual([]);
    await expect.poll(() => readdir(join(dir, "slots"))).toEqual([]);
  }, 90_000);

  it("stops at SIGTERM and leaves the job running, and can be drained", async () => {
    orchestrator = await enrolled();
    const child = await start();
    await cli("drain", "--data-dir", dir);
    await expect.poll(() => said("offer").at(-1)?.offer.draining).toBe(true);
    orchestrator.send({ kind: "assign", attempt: attemptOf("job-a"), run: shell("sleep 60"), checkpoint: null });
    await expect.poll(() => said("started").length, { timeout: 15_000 }).toBeGreaterThan(0);
    child.kill("SIGTERM");
    expect(await exited(child)).toBe(0);
    const [slot = ""] = await containers.list();
    expect((await containers.inspect(slot))?.state).toBe("running");
    await start();
    await expect.poll(() => said("hello")).toHaveLength(2);
    expect(said("hello")[1]).toMatchObject({ offer: { draining: true }, attempts: [{ phase: "running" }] });
    await cli("drain", "--undo", "--data-dir", dir);
    await expect.poll(() => said("offer").at(-1)?.offer.draining).toBe(false);
    orchestrator.send({ kind: "fence", attempt: attemptOf("job-a") });
    await expect.poll(() => containers.list(), { timeout: 15_000 }).toEqual([]);
    await expect.poll(() => readdir(join(dir, "slots")), { timeout: 15_000 }).toEqual([]);
  }, 60_000);

  it("removes what no slot knows when it starts", async () => {
    orchestrator = await enrolled();
    const stray = { slotId: "job-x-r0e1", jobId: "job-x", run: shell("sleep 60"), hostCpus: 1 };
    const { slotFolders } = await import("../runner/slot-folders.ts");
    const folders = slotFolders(join(dir, "slots"), stray.slotId);
    for (const folder of [folders.work, folders.out, folders.checkpoint, folders.progress, folders.control]) {
      await mkdir(folder, { recursive: true });
    }
    expect(await containers.create({ ...stray, folders })).toMatchObject({ kind: "created" });
    await start();
    expect(await containers.list()).toEqual([]);
    expect(await readdir(join(dir, "slots"))).toEqual([]);
  }, 60_000);
});

it("has a starter that any Node can read", () => {
  const starter = readFileSync(join(import.meta.dirname, "../../bin/qubix-worker.js"), "utf8");
  expect(starter).toContain("major !== 24");
  expect(starter).not.toMatch(/^import .* from/m);
});
