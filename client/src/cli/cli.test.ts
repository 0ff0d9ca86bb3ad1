// The program itself, as a process, against the real API.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CarReader } from "@ipld/car";
import type { SessionId } from "@qubix/shared/domain";
import { HEARTBEAT_BUSY_MS } from "@qubix/shared/protocol";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { DrivenWorker } from "../../../orchestrator/src/api/testing/driven-worker.ts";
import { startTestApi, type TestAccount, type TestApi } from "../../../orchestrator/src/api/testing/test-api.ts";
import { buildTree } from "../../../orchestrator/src/checkpoints/testing/trees.ts";
import { createNodeClient, type NodeClient } from "../node/http-client.ts";
import { uploadPath } from "../node/upload.ts";

// Each test starts programs, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 120_000 });

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));
const SPEC = ["--image", "docker.io/library/busybox:1", "--price-max", "0.10/h", "--duration", "1h"];
const CREDIT = 100_000_000n;
const RESUMED = {
  kind: "hot",
  recoveryMs: 2_840,
  detectedMs: 1_560,
  promotedMs: 2_160,
  startedMs: 2_600,
  workLostMs: 900,
};
const EMPTY_EVENT = { atMs: 1, channel: "jobs", providerId: null, jobId: null, workerId: null } as const;
const NO_CHANGES = { puts: [], transfers: [], logs: [], ticks: [], settled: [] };

let api: TestApi;
let consumer: TestAccount;
let client: NodeClient;
let worker: DrivenWorker;
let folder: string;
/** Without them the worker would be lost while programs start. */
let signsOfLife: NodeJS.Timeout;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "qubix-cli-"));
  api = await startTestApi();
  consumer = await api.account("consumer", CREDIT);
  worker = await api.worker(await api.account("provider"), "anna");
  client = createNodeClient({ url: api.url, apiKey: consumer.key });
  signsOfLife = setInterval(() => {
    const { id: workerId } = worker;
    void api.writer.submit({ kind: "worker.heard", workerId, sessionId: `ses-${workerId}` as SessionId });
  }, HEARTBEAT_BUSY_MS);
});
afterAll(async () => {
  clearInterval(signsOfLife);
  client.close();
  await api.stop();
  await rm(folder, { recursive: true });
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
interface Running {
  readonly ended: Promise<Ended>;
  /** Resolves when this has been written to either stream. */
  saw(text: string | RegExp): Promise<void>;
  interrupt(): void;
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(process.execPath, ["--conditions=qubix-source", MAIN, ...args], {
    env: { PATH: process.env["PATH"], QUBIX_URL: api.url, QUBIX_API_KEY: consumer.key, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const watchers: (() => void)[] = [];
  const note = () => {
    for (const watcher of watchers) watcher();
  };
  child.stdout.on("data", (data: Buffer) => {
    stdout += data.toString();
    note();
  });
  child.stderr.on("data", (data: Buffer) => {
    stderr += data.toString();
    note();
  });
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
  return {
    ended,
    saw: (text) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (typeof text === "string" ? (stdout + stderr).includes(text) : text.test(stdout + stderr)) resolve();
        };
        watchers.push(look);
        look();
        void ended.then(() => reject(new Error(`never saw ${String(text)} in:\n${stdout}${stderr}`)));
      }),
    interrupt: () => child.kill("SIGINT"),
  };
}

const qubix = (...args: string[]) => start(args).ended;
const asAdmin = (...args: string[]) => start(args, { QUBIX_API_KEY: api.adminKey }).ended;

describe("administration", () => {
  test("budgets: none, set, shown with what is left, cleared; an admin's stays", async () => {
    const account = (await asAdmin("accounts", "create", "--name", "thrifty", "--role", "consumer")).stdout.trim();
    const key = (await asAdmin("api-keys", "create", "--account", account)).stdout.trim();
    const own = (...args: string[]) => start(["budget", ...args], { QUBIX_API_KEY: key }).ended;
    expect(await own("show")).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("no budget") });
    const monthly = await asAdmin("budget", "set", "40", "--month", "--account", account);
    expect(monthly.stdout).toMatch(/this month +admin +40\.00 USD/);
    expect((await own("set", "12.50", "--json")).stdout).toContain('"12500000"');
    expect((await own("show")).stdout).toMatch(/in all +account +12\.50 USD +0\.00 USD +0\.00 USD +12\.50 USD/);
    const left = JSON.parse((await own("clear", "--json")).stdout) as { budgets: { owner: string }[] };
    expect(left.budgets.map(({ owner }) => owner)).toEqual(["admin"]);
  });

  test("an account, its key, its credit, and a token for a worker", async () => {
    const account = await asAdmin("accounts", "create", "--name", "Bob's", "--role", "consumer");
    expect(account).toMatchObject({ code: 0, stdout: expect.stringMatching(/^acc-[a-z0-9-]+\n$/) });
    const id = account.stdout.trim();
    const key = (await asAdmin("api-keys", "create", "--account", id)).stdout.trim();
    expect(key).toMatch(/^qbx_/);
    const empty = await start(["wallet"], { QUBIX_API_KEY: key }).ended;
    expect(empty).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining(`--account ${id}`) });
    const deposit = await asAdmin("admin", "wallet", "deposit", "--account", id, "--amount", "25.50");
    expect(deposit).toMatchObject({ code: 0, stdout: `Granted 25.50 USD to ${id}.\n` });
    const wallet = await start(["wallet"], { QUBIX_API_KEY: key }).ended;
    expect(wallet.stdout).toBe(
      "CURRENCY  AVAILABLE  HELD  EARNED  PENDING  PAYABLE  STAKED  BEHIND IT\n" +
        "USD           25.50  0.00    0.00     0.00     0.00    0.00  the operator's word (custodial)\n",
    );
    const entries = await start(["wallet", "entries", "--json"], { QUBIX_API_KEY: key }).ended;
    expect(JSON.parse(entries.stdout)).toMatchObject({ items: [{ kind: "deposit" }], nextCursor: null });
    const more = await asAdmin("wallet", "deposit", "--account", id, "--amount", "1", "--currency", "EUR", "--json");
    expect(JSON.parse(more.stdout)).toMatchObject({ transferId: expect.any(String), wallet: { accountId: id } });
    const named = ["wallet", "deposit", "--account", id, "--id", "payment-7", "--currency", "EUR", "--amount"] as const;
    expect(await asAdmin(...named, "2")).toMatchObject({ code: 0 });
    expect(await asAdmin(...named, "3")).toMatchObject({ code: 1, stderr: expect.stringContaining("payment-7") });
    expect((await asAdmin("wallet", id)).stdout).toMatch(/^EUR +3\.00 .*\nUSD +25\.50 /m);
    expect((await asAdmin("wallet", "entries", "--account", id, "--json", "--limit", "1")).stdout).toContain("EUR");
    expect((await asAdmin("accounts")).stdout).toContain("Bob's");
    const token = await asAdmin("enrolments", "create", "--ttl", "5m", "--json");
    expect(JSON.parse(token.stdout)).toMatchObject({ expiresInS: 300, token: expect.any(String) });
  });

  test("payouts and chains, where there are none yet", async () => {
    const id = (await asAdmin("accounts", "create", "--name", "Carol", "--role", "provider")).stdout.trim();
    const key = (await asAdmin("api-keys", "create", "--account", id)).stdout.trim();
    const carol = (...args: string[]) => start(args, { QUBIX_API_KEY: key }).ended;
    expect(await carol("payout")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("payout request"),
    });
    expect((await carol("payout", "request", "5", "--to", "IBAN")).stderr).toMatch(/^error: .*more than is payable/);
    expect((await carol("payout", "withdraw", "TST")).stderr).toContain("does not lie on a chain");
    expect((await carol("payout", "address")).stderr).toContain("no address on any chain");
    expect((await carol("payout", "address", "evm", "0x1")).stderr).toContain("no chain evm");
    expect(await asAdmin("payout", "complete", "pay-0", "--reference", "r")).toMatchObject({ code: 4 });
    expect((await asAdmin("chain")).stderr).toContain("every currency is custodial");
    expect(JSON.parse((await asAdmin("chain", "status", "--json")).stdout)).toEqual({ items: [] });
    expect(await asAdmin("chain", "reconcile")).toMatchObject({ code: 0, stdout: "" });
    expect(await asAdmin("chain", "resume", "evm")).toMatchObject({ stderr: expect.stringContaining("no chain evm") });
    expect((await qubix("wallet", "address")).stderr).toContain("an admin grants credit");
  });

  test("is closed to others", async () => {
    const refused = await qubix("accounts", "create", "--name", "x", "--role", "admin");
    expect(refused).toMatchObject({ code: 3, stdout: "" });
    expect(refused.stderr).toMatch(/^error: .*role/);
  });
});

describe("a job", () => {
  test("is submitted, listed, explained, cancelled", async () => {
    const run = await qubix("run", ...SPEC, "--cpus", "999", "--name", "too big", "--", "true");
    expect(run).toMatchObject({ code: 0, stderr: expect.stringContaining("qubix events job-") });
    const id = run.stdout.trim();
    expect((await qubix("jobs")).stdout).toMatch(new RegExp(`^JOB +NAME .*\n${id} +too big +queued`));
    const why = await qubix("why", id);
    expect(why.stdout).toMatch(/waits: none of 1 offer matches\.[\s\S]*cpus +1 /);
    expect(JSON.parse((await qubix("why", id, "--json")).stdout)).toMatchObject({
      jobId: id,
      quote: { offers: { matching: 0 } },
    });
    expect(await qubix("move", id, "--to", worker.id)).toMatchObject({
      code: expect.any(Number),
      stdout: "",
      stderr: expect.stringContaining("has no running container to move"),
    });
    expect((await qubix("cancel", id)).stdout).toBe(`Job ${id} is cancelled.\n`);
    expect((await qubix("cancel", id)).stdout).toContain("already ended: it was cancelled");
    const shown = await qubix("job", id);
    expect(shown.stdout).toMatch(/Phase +cancelled/);
    expect((await qubix("jobs", "--phase", "cancelled", "--json")).stdout).toContain(id);
    expect((await qubix("jobs", "--phase", "running")).stderr).toContain("No jobs are running");
    expect((await qubix("outputs", id)).stderr).toContain("cancelled");
    expect((await qubix("checkpoints", id)).stderr).toContain("no committed checkpoint");
    expect((await qubix("logs", id)).code).toBe(0);
  });

  test("that succeeds: timeline, log, settlement, outputs, exit code 0", async () => {
    await mkdir(join(folder, "result"));
    await writeFile(join(folder, "result", "model.bin"), "weights");
    const tree = await api.treeOfUpload((await uploadPath(client, join(folder, "result"))).id);
    const to = join(folder, "fetched");
    const run = start(["run", ...SPEC, "--logs", "--output-dir", to, "--", "train"]);
    await run.saw("queued");
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.log(attempt, "step 1\n");
    await run.saw("step 1");
    await worker.checkpoint(attempt, 1, tree);
    await run.saw("checkpoint 1");
    await worker.end(attempt, tree);
    const { code, stdout, stderr } = await run.ended;
    expect(stdout).toBe(`${attempt.jobId}\nstep 1\n`);
    expect(stderr).toContain(`matched to worker ${worker.id} at 0.06 USD/h (epoch 1)`);
    const kinds = [
      "queued",
      "matched",
      "started",
      "checkpoint 1",
      "completed",
      "settled",
      "succeeded",
      "= hold",
      "Fetched 1 file",
    ];
    expect(kinds.map((kind) => stderr.indexOf(kind)).every((at, n, all) => at > (all[n - 1] ?? -1))).toBe(true);
    expect(stdout + stderr).not.toContain("\u001b");
    expect(await readFile(join(to, "model.bin"), "utf8")).toBe("weights");
    expect(code).toBe(0);

    const { jobId } = attempt;
    expect((await qubix("outputs", jobId)).stdout).toMatch(/7 B {2}[0-9a-f]{64} {2}model\.bin/);
    expect((await qubix("outputs", jobId, "model.bin")).stdout).toBe("weights");
    expect(await qubix("outputs", jobId, "other.bin")).toMatchObject({
      code: 4,
      stderr: expect.stringContaining("model.bin"),
    });
    expect((await qubix("checkpoints", jobId)).stdout).toMatch(/^SEQ.*\n +1 /);
    expect((await qubix("logs", jobId, "-f")).stdout).toBe("step 1\n");
    expect((await qubix("events", jobId, "-f")).stdout).toMatch(/queued\n[\s\S]*settled: .* refunded\n$/);
    const events = (await qubix("events", jobId, "--json")).stdout.trim().split("\n");
    expect(events.map((line) => (JSON.parse(line) as { kind: string }).kind)).toContain("settled");
  });

  test("with checkpoints: listed, fetched, fetched again, removed", async () => {
    const run = start(["run", ...SPEC, "--wait", "--", "train"]);
    await run.saw("queued");
    const attempt = await worker.nextAssign();
    const { jobId } = attempt;
    await worker.start(attempt);
    const trees = [
      buildTree({ step: "1", "deep/weights": "first" }),
      buildTree({ step: "2", "deep/weights": "second" }),
    ];
    for (const [at, tree] of trees.entries()) {
      for (const { cid, bytes } of tree.chunks) await api.chunks.put(consumer.id, jobId, cid, bytes);
      await api.chunks.admitTree(consumer.id, jobId, tree.ref);
      await worker.checkpoint(attempt, at + 1, tree.ref);
      api.chunks.settleTree(consumer.id, jobId, tree.ref.manifestCid, true);
    }
    const listed = await qubix("checkpoints", "ls", jobId);
    expect(listed.stdout).toMatch(/^SEQ.*\n +1 .*\n +2 /);
    expect((await qubix("checkpoints", jobId, "--json")).stdout).toContain('"seq":2');

    const to = join(folder, "checkpoint");
    expect((await qubix("checkpoints", "get", `${jobId}@1`, "-o", to)).stderr).toContain("Fetched 2 files");
    expect(await readFile(join(to, "deep", "weights"), "utf8")).toBe("first");
    expect((await qubix("checkpoints", "get", jobId, "-o", to)).stderr).toContain("of checkpoint 2");
    expect(await readFile(join(to, "deep", "weights"), "utf8")).toBe("second");
    expect((await qubix("checkpoints", "get", jobId, "-o", to)).stderr).toContain("2 were there already");
    expect(await qubix("checkpoints", "get", `${jobId}@9`)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining("It has 1, 2."),
    });
    expect((await qubix("checkpoints", "get", "job-1@x")).code).toBe(2);

    for (const options of [[], ["--sealed"]]) {
      const car = join(folder, `files${options.length}.car`);
      const exported = await qubix("checkpoints", "export", `${jobId}@1`, "-o", car, ...options);
      expect(exported).toMatchObject({ code: 0, stderr: expect.stringContaining(`to ${car}`) });
      const reader = await CarReader.fromBytes(await readFile(car));
      expect(await reader.getRoots()).toHaveLength(1);
    }

    expect((await qubix("storage")).stdout).toMatch(/^[^\n]* of .* are used[^\n]*\n$/);
    const refused = await qubix("checkpoints", "rm", `${jobId}@2`);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("is the newest of job");
    expect((await qubix("checkpoints", "rm", jobId)).stderr).toContain("Removed checkpoint 1 ");
    expect((await qubix("checkpoints", "rm", jobId)).stderr).toContain("no checkpoint that can go");
    await worker.end(attempt, null);
    await run.ended;
    expect((await qubix("checkpoints", "rm", `${jobId}@2`)).stderr).toContain("Removed checkpoint 2 ");
    expect((await qubix("checkpoints", jobId)).stderr).toContain("no committed checkpoint");
    expect((await qubix("events", jobId)).stdout).toContain("checkpoint 1 was removed");
  });

  test("that fails: exit code 1, the reason, and where to look", async () => {
    const run = start(["run", ...SPEC, "--retries", "0", "--wait", "--", "false"]);
    await run.saw("queued");
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.say({ kind: "exited", attempt, ranMs: 5 });
    const outcome = { kind: "failed", code: "exit_code", exitCode: 3, message: "exit code 3" } as const;
    await worker.say({ kind: "ended", attempt, ranMs: 5, outcome });
    const { code, stderr } = await run.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/failed[\s\S]*qubix logs job-/);
  });

  test("waited for with --json: events and the job, a line each", async () => {
    const run = start(["run", ...SPEC, "--wait", "--json", "--", "true"]);
    await run.saw("queued");
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.end(attempt, null);
    const { code, stdout, stderr } = await run.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; kind?: string });
    expect(lines.at(-1)).toMatchObject({ type: "job", job: { id: attempt.jobId, phase: "succeeded" } });
    expect(lines.slice(0, -1).every((line) => line.type === "event")).toBe(true);
  });

  test("goes on when who waits for it leaves", async () => {
    const run = start(["run", ...SPEC, "--wait", "--", "sleep"]);
    await run.saw("queued");
    const attempt = await worker.nextAssign();
    await run.saw("matched");
    run.interrupt();
    const { code, stderr } = await run.ended;
    expect(code).toBe(130);
    expect(stderr).toContain(`Detached; job ${attempt.jobId} goes on`);
    expect((await client.jobs.get(attempt.jobId)).phase).toBe("starting");
    await worker.start(attempt);
    await worker.end(attempt, null);
    expect((await client.jobs.wait(attempt.jobId)).phase).toBe("succeeded");
  });

  test("takes a specification from a file, and inputs from the disk", async () => {
    await writeFile(join(folder, "data.txt"), "input");
    const file = join(folder, "job.yaml");
    await writeFile(
      file,
      `name: from file\nimage: docker.io/library/busybox:1\npriceMaxPerHour: 0.10 USD/h\ndurationMaxS: 60\ninputs: [{ local: ${folder}/data.txt, to: /work/data }]\n`,
    );
    const run = await qubix("run", file, "--name", "by flag", "--cpus", "999", "--json", "--idempotency-key", "once");
    const job = JSON.parse(run.stdout) as { id: string; spec: { name: string; inputs: unknown[] } };
    expect(job.spec).toMatchObject({
      name: "by flag",
      inputs: [{ upload: expect.stringMatching(/^upl-/), to: "/work/data" }],
    });
    const again = await qubix("run", file, "--name", "by flag", "--cpus", "999", "--json", "--idempotency-key", "once");
    expect((JSON.parse(again.stdout) as { id: string }).id).toBe(job.id);
    await qubix("cancel", job.id);
    const quote = await qubix("quote", file);
    expect(quote.stdout).toMatch(/Cheapest rate +0\.06 USD\/h[\s\S]*1 of 1 match/);
  });
});

describe("the market", () => {
  test("recoveries, as text and as JSON", async () => {
    const none = await qubix("stats", "recovery", "--window", "2h");
    expect(none).toMatchObject({ code: 0, stderr: expect.stringContaining("Nothing had to recover in the last 2") });
    const recovery = { ...EMPTY_EVENT, accountId: consumer.id, kind: "resumed" as const, data: RESUMED };
    const { meta } = api.writer.state();
    const seq = meta.eventSeq + 1;
    api.writer.store.commit(
      [{ ...NO_CHANGES, events: [{ ...recovery, seq }], meta: { ...meta, eventSeq: seq } }],
      Date.now(),
    );
    meta.eventSeq = seq;
    const shown = await qubix("stats", "recovery");
    expect(shown.stdout).toMatch(/KIND +COUNT/);
    expect(shown.stdout).toMatch(/hot +1 +1\.5 s +2\.8 s/);
    const [kind] = (JSON.parse((await qubix("stats", "recovery", "--json")).stdout) as { kinds: object[] }).kinds;
    expect(kind).toMatchObject({ kind: "hot", recoveries: 1, recoveryMs: { p50: 2_840, max: 2_840 } });
    expect((await qubix("stats", "recovery", "--window", "soon")).stderr).toContain("is not a duration");
  });

  test("offers and workers", async () => {
    expect((await qubix("offers")).stdout).toMatch(new RegExp(`${worker.id} +anna +acc-.* 8/8 `));
    expect(await qubix("workers")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("You have no workers"),
    });
    expect((await asAdmin("workers")).stdout).toMatch(/anna +online/);
    expect((await asAdmin("workers", worker.id)).stdout).toMatch(/Phase +online/);
    expect((await asAdmin("workers", "drain", worker.id)).stdout).toContain("gets no new jobs");
    expect((await asAdmin("workers", "drain", worker.id, "--move")).stdout).toContain("It is idle and can be stopped");
    expect((await asAdmin("workers", "drain", worker.id, "--off")).stdout).toContain("gets jobs again");
  });
});

describe("accounts", () => {
  const OFFLINE = { QUBIX_API_KEY: "", QUBIX_URL: "http://127.0.0.1:1" };
  let jobId: string;
  beforeAll(async () => {
    const run = await qubix("run", ...SPEC, "--name", "=accounts", "--json", "--", "true");
    jobId = (JSON.parse(run.stdout) as { id: string }).id;
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.end(attempt, null);
    await client.jobs.wait(jobId);
  });

  test("a receipt is shown, verified and saved, and verified again without the orchestrator", async () => {
    const file = join(folder, "receipt.json");
    const shown = await qubix("receipt", jobId, "--ticks", "--output", file);
    expect(shown).toMatchObject({ code: 0, stderr: expect.stringContaining(`Saved to ${file}`) });
    expect(shown.stdout).toMatch(/state +succeeded, settled/);
    expect(shown.stdout).toMatch(/held +\S+ USD = shares \+ fee \+ refund/);
    expect(shown.stdout).toMatch(new RegExp(`hold +\\S+ +escrow:${jobId}`));
    expect(shown.stdout).toMatch(/\nverified: 0 signatures/);
    const again = await start(["receipt", "--verify", file], OFFLINE).ended;
    expect(again).toMatchObject({ code: 0, stderr: "", stdout: expect.stringContaining("\nverified: ") });
    const asJson = await start(["receipt", "--verify", file, "--json"], OFFLINE).ended;
    expect(JSON.parse(asJson.stdout)).toMatchObject({ verified: true, problems: [] });
    expect(JSON.parse((await qubix("receipt", jobId, "--json")).stdout)).toEqual(
      JSON.parse(await readFile(file, "utf8")),
    );
  });

  test("a receipt that was changed is found out, with an exit code of its own", async () => {
    const file = join(folder, "changed.json");
    const receipt = (await qubix("receipt", jobId, "--json")).stdout;
    await writeFile(file, receipt.replace('"ratePerHour":"6', '"ratePerHour":"7'));
    const found = await start(["receipt", "--verify", file], OFFLINE).ended;
    expect(found).toMatchObject({ code: 6, stdout: expect.stringContaining("NOT VERIFIED") });
    expect(found.stdout).toMatch(/receipt was changed after it was made: its digest is another \(digest_differs\)/);
    await writeFile(file, "no receipt");
    const none = await start(["receipt", "--verify", file, "--json"], OFFLINE).ended;
    expect(none.code).toBe(6);
    expect(JSON.parse(none.stdout)).toMatchObject({ verified: false, problems: [{ code: "malformed" }] });
  });

  test.each([
    ["without a job", ["receipt"], 2, /Which job\?/],
    ["with a job and a file", ["receipt", "job-1", "--verify", "x"], 2, /takes no job/],
    ["of a job that there is not", ["receipt", "job-none"], 4, /There is no job/],
    ["of a file that there is not", ["receipt", "--verify", "/no/such/file"], 2, /Cannot read/],
  ])("a receipt %s", async (_what, args, code, message) => {
    expect(await qubix(...args)).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(message) });
  });

  test("statements and earnings, as text, JSON and CSV", async () => {
    const days = await qubix("statement");
    expect(days.stdout).toMatch(/days of UTC\n\nDAY \(UTC\) +OPENING/);
    expect(days.stdout).toMatch(/USD at the beginning, .* at the end; \d+ jobs cost/);
    const jobs = await qubix("statement", "--by", "job", "--all");
    expect(jobs.stdout).toMatch(new RegExp(`${jobId} +=accounts`));
    const csv = await qubix("statement", "--by", "job", "--csv");
    expect(csv.stdout).toContain(`,${jobId},'=accounts,USD,`);
    const view = JSON.parse((await qubix("statement", "--by", "job", "--limit", "1", "--json")).stdout) as object;
    expect(view).toMatchObject({ by: "job", timeZone: "UTC", items: [{}], totals: [{ currency: "USD" }] });
    const workers = JSON.parse((await asAdmin("workers", "--json")).stdout) as { items: { providerId: string }[] };
    const providerId = workers.items.at(0)?.providerId ?? "";
    const earned = await asAdmin("earnings", "--by", "worker", "--account", providerId);
    expect(earned.stdout).toMatch(new RegExp(`${worker.id} +anna`));
    expect(earned.stdout).toMatch(/CURRENCY +EARNED +PENDING +PAYABLE +PAID OUT/);
    expect(await qubix("statement", "--csv", "--json")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("exclude each other"),
    });
    expect(await qubix("statement", "--from", "yesterday")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("query.from"),
    });
  });
});

describe("what goes wrong is said in a line or two, with its exit code", () => {
  test.each([
    ["no such job", ["job", "job-none"], 4, /^error: There is no job/],
    ["no such command", ["no-such-command"], 2, /unknown command/],
    ["an unknown option", ["jobs", "--nope"], 2, /unknown option/],
    ["nothing to run", ["run"], 2, /^error: There is nothing to run/],
    ["a wrong value", ["run", ...SPEC, "--memory", "much"], 2, /^error: --memory: "much" is not a size/],
    ["a wrong image", ["run", ...SPEC, "--image", "NOT AN IMAGE"], 2, /image reference/],
    [
      "several wrong fields",
      ["run", ...SPEC, "--cpus", "0", "--standby", "lukewarm"],
      2,
      /\n {2}resources\.cpus: .*\n {2}standby: /,
    ],
    ["a command where none belongs", ["jobs", "--", "x"], 2, /Only `run` and `quote`/],
    ["too little money", ["run", ...SPEC, "--price-max", "1000000", "--", "x"], 1, /^error: [\s\S]*wallet/],
    ["a mirror with effects", ["run", ...SPEC, "--standby", "mirror", "--network", "egress"], 1, /twice/],
    ["a failover that is none", ["run", ...SPEC, "--failover", "perhaps"], 2, /failover/],
    ["a replica that cannot be", ["logs", "job-none", "--replica", "2"], 2, /^error: --replica: "2"/],
  ])("%s", async (_name, args, code, message) => {
    const ended = await qubix(...args);
    expect(ended).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(message) });
    expect(ended.stderr.trim().split("\n").length).toBeLessThanOrEqual(4);
  });

  test("no key, a wrong key, nobody there", async () => {
    expect(await start(["jobs"], { QUBIX_API_KEY: "" }).ended).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/QUBIX_API_KEY/),
    });
    expect((await qubix("jobs", "--api-key", "qbx_wrong")).code).toBe(3);
    const nobody = await qubix("--url", "http://127.0.0.1:1", "jobs");
    expect(nobody).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(/^error: Cannot reach .*connection refused/),
    });
    expect((await qubix("jobs", "--url", "nonsense")).code).toBe(2);
  });

  test("as JSON", async () => {
    const { code, stderr } = await qubix("job", "job-none", "--json");
    expect([code, JSON.parse(stderr)]).toEqual([
      4,
      { error: expect.objectContaining({ code: "job_not_found", status: 404 }) },
    ]);
  });

  test("a reader who has seen enough", async () => {
    const child = spawn("sh", [
      "-c",
      `"${process.execPath}" --conditions=qubix-source "${MAIN}" run --help | head -n 1`,
    ]);
    let stderr = "";
    child.stderr.on("data", (data: Buffer) => {
      stderr += data.toString();
    });
    await new Promise((resolve) => child.on("close", resolve));
    expect(stderr).toBe("");
  });
});

test("help names the exit codes", async () => {
  const help = await qubix("--help");
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(help.stdout).toContain("5  the orchestrator cannot be reached");
});

// Last: it brings a second worker.
describe("a mirror job", () => {
  test("lists the checkpoints of both replicas, and fetches those of the first", async () => {
    const other = await api.worker(await api.account("provider"), "bert");
    const id = (await qubix("run", ...SPEC, "--standby", "mirror", "--price-max", "0.20/h")).stdout.trim();
    for (const each of [worker, other]) {
      const attempt = await each.nextAssign();
      await each.start(attempt);
      await each.checkpoint(attempt, 1, buildTree({ of: String(attempt.replica) }).ref);
    }
    expect((await qubix("checkpoints", id)).stdout).toMatch(/^REPLICA +SEQ.*\n +0 +1 .*\n +1 +1 .*\n$/);
    const { items } = JSON.parse((await qubix("checkpoints", id, "--json")).stdout) as {
      items: { replica?: number }[];
    };
    expect(items.map(({ replica }) => replica)).toEqual([undefined, 1]);
    expect((await qubix("checkpoints", "get", `${id}@2`)).stderr).toContain("It has 1.");
    expect((await qubix("cancel", id)).code).toBe(0);
    await other.close();
  });
});
