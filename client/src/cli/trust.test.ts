// Ratings, disputes, stakes and slashes on the command line, as processes against the real API.
import { spawn } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { enrolText } from "@qubix/shared/protocol";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  jobSpec,
  startTestApi,
  type TestAccount,
  type TestApi,
} from "../../../orchestrator/src/api/testing/test-api.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));
/** One unit of money a millisecond. */
const PRICE = { pricePerCpuHour: { amount: 3_600_000_000_000n, currency: "USD" } };
const SPEC = { priceMaxPerHour: { amount: "3600000000000", currency: "USD" }, durationMaxS: 60 };
const MONEY = 1_000_000_000_000n;
const MOMENT_MS = 10;

let api: TestApi;
let consumer: TestAccount;
let provider: TestAccount;
let jobId: string;
let workerId: string;

beforeAll(async () => {
  api = await startTestApi();
  consumer = await api.account("consumer", MONEY);
  provider = await api.account("provider", MONEY);
  const worker = await api.worker(provider, "anna", PRICE);
  workerId = worker.id;
  jobId = String((await consumer.call("POST /v1/jobs", jobSpec(SPEC))).body["id"]);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  const untilMs = api.writer.nowMs() + MOMENT_MS;
  while (api.writer.nowMs() < untilMs) await new Promise((resolve) => setImmediate(resolve));
  await worker.end(attempt, null);
});
afterAll(() => api.stop());

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function qubix(key: string, ...args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, ["--conditions=qubix-source", MAIN, ...args], {
    env: { PATH: process.env["PATH"], QUBIX_URL: api.url, QUBIX_API_KEY: key },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const texts = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (texts.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (texts.stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, ...texts };
}

describe("an ended job", () => {
  test("is rated, and its worker shows it", async () => {
    const rated = await qubix(consumer.key, "rate", jobId, "--stars", "4", "--comment", "quick");
    expect(rated).toMatchObject({ code: 0, stdout: expect.stringContaining("4 of 5") });
    expect((await qubix(consumer.key, "rate", jobId)).stdout).toBe("4 of 5: quick\n");
    expect(await qubix(consumer.key, "rate", jobId, "--stars", "6")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("from 1 to 5"),
    });
    expect((await qubix(provider.key, "workers")).stdout).toMatch(/REPUTATION.*\n.*% ★4\.0 \(1\)/);
    expect((await qubix(consumer.key, "offers")).stdout).toContain("★4.0 (1)");
    expect((await qubix(consumer.key, "events", jobId)).stdout).toContain("rated 4 of 5: quick");
  });

  test("is disputed, listed and decided", async () => {
    expect((await qubix(consumer.key, "disputes")).stderr).toContain("There are no disputes");
    const opened = await qubix(consumer.key, "dispute", jobId, "--reason", "it_is empty", "--json");
    const { id } = JSON.parse(opened.stdout) as { id: string };
    expect((await qubix(provider.key, "disputes", "--open")).stdout).toMatch(new RegExp(`\n${id} +open +${jobId} `));
    const decided = await qubix(
      api.adminKey,
      "disputes",
      "resolve",
      id,
      "--consumer-percent",
      "12.5",
      "--note",
      "half",
    );
    expect(decided).toMatchObject({ code: 0, stdout: expect.stringMatching(/Phase +resolved/) });
    expect((await qubix(consumer.key, "disputes", id, "--json")).stdout).toContain('"consumerBps":1250');
    expect(await qubix(consumer.key, "dispute", jobId, "--reason", "again")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("disputed once"),
    });
    const events = (await qubix(consumer.key, "events", jobId)).stdout;
    expect(events).toMatch(/disputed by its consumer, .* USD frozen: it_is empty\n/);
    expect(events).toMatch(/dispute decided: .* USD back to the consumer: half\n/);
  });
});

describe("stake", () => {
  test("is added, asked back, slashed on evidence that is checked here, and appealed", async () => {
    expect((await qubix(provider.key, "stake")).stdout).toContain("nothing at stake");
    const added = await qubix(provider.key, "stake", "add", "25", "--from", "spendable");
    expect(added.stdout).toMatch(/\nUSD +25\.00 +0\.00 +0\.00\n/);
    const back = await qubix(provider.key, "stake", "remove", "5");
    expect(back.stdout).toMatch(/\nUSD +20\.00 +5\.00 +0\.00\n[\s\S]*ust-.*5\.00 USD is paid at /);
    expect(back.stderr).toContain("7 d");
    expect((await qubix(consumer.key, "offers")).stdout).toContain("20.00 USD");

    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const says = (text: string) => ({
      text,
      signature: sign(null, Buffer.from(text), privateKey).toString("base64url"),
    });
    const token = String((await provider.call("POST /v1/enrolments", {})).body["token"]);
    const key = String(publicKey.export({ format: "jwk" }).x);
    const { signature } = says(enrolText(token));
    const made = await api.anyone("POST /v1/enrolments/redeem", { token, name: "liar", publicKey: key, signature });
    const liar = String(made.body["workerId"]);
    const file = join(api.dir, "evidence.json");
    const tick = (ranMs: number) => says(`qubix-tick-v1\n${jobId}\n0\n1\n7\ncheckpoint\n${ranMs}\n-`);
    await writeFile(file, JSON.stringify({ statements: [tick(1), tick(2)] }));
    const about = ["--job", jobId, "--offence", "contradiction", "--evidence", file];
    const accuse = (worker: string) => qubix(api.adminKey, "slashes", "propose", "--worker", worker, ...about);
    const lost = await qubix(
      api.adminKey,
      "slashes",
      "propose",
      "--worker",
      workerId,
      ...about.slice(0, -1),
      `${file}x`,
    );
    expect([lost.code, lost.stderr]).toEqual([2, expect.stringContaining(`--evidence: cannot read ${file}x (ENOENT)`)]);
    // Of another worker these signatures are not.
    expect(await accuse(workerId)).toMatchObject({ code: 2, stderr: expect.stringContaining("not signed") });
    expect(await accuse(liar)).toMatchObject({ code: 0, stdout: expect.stringContaining("contradict each other") });
    const list = await qubix(provider.key, "slashes", "--json");
    const [slash] = (JSON.parse(list.stdout) as { items: { id: string }[] }).items;
    const id = slash?.id ?? "";
    expect(await qubix(consumer.key, "slashes", id, "--json")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"verified":true'),
    });
    expect((await qubix(provider.key, "slashes", "appeal", id, "--text", "a bug")).stdout).toMatch(/Phase +appealed/);
    expect((await qubix(api.adminKey, "slashes", "resolve", id, "perhaps")).code).toBe(2);
    const decided = await qubix(api.adminKey, "slashes", "resolve", id, "uphold", "--note", "no bug");
    expect(decided.stdout).toMatch(/Decided by +admin: no bug/);
    expect((await qubix(provider.key, "slashes")).stdout).toMatch(
      new RegExp(`\n${id} +applied +contradiction +${liar}`),
    );
  });
});
