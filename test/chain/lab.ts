// A whole orchestrator in a process of its own, on real data, that pays on a chain; workers that run nothing, and people with keys.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { freePort } from "../../contracts-bridge/src/evm/testing/node.ts";
import { createKey } from "../../worker/src/link/keys.ts";
import { type Client, createClient } from "../../client/src/sdk/index.ts";
import { createNullWorker, type NullWorker } from "../../bench/harness/null-worker.ts";
import { startProgram } from "../../scripts/lib/processes.ts";
import { enrolText } from "@qubix/shared/protocol";

/** Of a core: what a run of a millisecond costs is a thousand micro-units. */
export const PRICE = 3_600_000_000n;
const GRANT = 10n ** 15n;

export type Row = Readonly<Record<string, SQLOutputValue>>;

export interface ChainLab {
  readonly dir: string;
  readonly admin: Client;
  readonly consumer: Client;
  readonly provider: Client;
  /** Started again after a kill. */
  restart(): Promise<void>;
  kill(): Promise<void>;
  submit(name: string): Promise<string>;
  /** All rows of a query of the store; the orchestrator may run. */
  rows(sql: string): readonly Row[];
  stop(): Promise<void>;
}

/** `settings`: of the orchestrator. `address`: where the provider is paid. `files`: key files, by name. */
export async function startChainLab(options: {
  readonly currency: string;
  readonly driver: string;
  readonly address: string;
  readonly files: Readonly<Record<string, string>>;
  readonly settings: (file: (name: string) => string) => Readonly<Record<string, string>>;
}): Promise<ChainLab> {
  const { currency, driver } = options;
  const dir = mkdtempSync(join(tmpdir(), "qubix-chain-"));
  const file = (name: string) => join(dir, name);
  for (const [name, text] of Object.entries(options.files)) writeFileSync(file(name), text, { mode: 0o600 });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const settings = {
    "data-dir": file("data"),
    listen: `127.0.0.1:${port}`,
    "worker-proofs": "off",
    "dispute-window-s": "0",
    "chain-poll-ms": "40",
    ...options.settings(file),
  };
  const args = ["start", ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])];
  const logFile = file("orchestrator.log");
  let program = await startProgram("orchestrator", { args, logFile });
  const clientOf = (apiKey: string) => createClient({ url, apiKey, retries: 10 });
  const admin = clientOf(String(program.ready["adminKey"]));
  const person = async (role: "consumer" | "provider") => {
    const account = await admin.accounts.create({ name: role, role });
    const { key = "" } = await admin.apiKeys.create({ accountId: account.id });
    return { id: account.id, client: clientOf(key) };
  };
  const [consumer, provider] = [await person("consumer"), await person("provider")];
  await admin.wallet.deposit({ accountId: consumer.id, amount: { amount: `${GRANT}`, currency } });
  await provider.client.payouts.setAddress(driver, options.address);
  const worker = await startWorker(url, provider.client, currency, file("worker.key"));

  return {
    dir,
    admin,
    consumer: consumer.client,
    provider: provider.client,
    async restart() {
      program = await startProgram("orchestrator", { args, logFile });
    },
    kill: () => program.kill(),
    async submit(name) {
      const priceMaxPerHour = { amount: `${PRICE}`, currency };
      const image = "docker.io/library/busybox:1";
      const job = await consumer.client.jobs.create({ name, image, priceMaxPerHour, durationMaxS: 60 });
      return job.id;
    },
    rows(sql) {
      const db = new DatabaseSync(join(file("data"), "qubix.db"), { readOnly: true });
      try {
        return db.prepare(sql).all();
      } finally {
        db.close();
      }
    },
    async stop() {
      worker.stop();
      await program.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function startWorker(url: string, provider: Client, currency: string, keyFile: string): Promise<NullWorker> {
  const { token } = await provider.enrolments.create();
  const key = createKey(keyFile);
  const body = { token, name: "null", publicKey: key.publicKey, signature: key.sign(enrolText(token)) };
  const { workerId } = await provider.requester.json<{ workerId: string }>({
    method: "POST",
    path: "/v1/enrolments/redeem",
    body,
    idempotent: true,
  });
  const worker = createNullWorker({
    url: new URL(url),
    worker: { workerId, key },
    cpus: 64,
    pricePerCpuHour: PRICE,
    currency,
    onStart: () => {},
  });
  await worker.online;
  return worker;
}
